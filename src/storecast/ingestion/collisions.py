"""Store identifiers that are two to us and one to the source: never a guess which is meant."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import combinations, islice

from storecast.errors import Code, ContractError
from storecast.ingestion.bench import Workbench
from storecast.ingestion.contract import Feed
from storecast.ports import Source

_QUESTIONS = 3
"""Pairs of a kind that each column is asked about. A collation holds for the whole column: what it
says of a few pairs it says of all, and each question reads the column once."""


def refuse(
    bench: Workbench,
    source: Source,
    staged: Iterable[tuple[Feed, str]],
    known: Collection[str] = (),
) -> None:
    """Refuse store identifiers that differ only in spaces around them, or only to us.

    Args:
        bench: where the rows lie.
        source: asked whether it calls two identifiers equal that differ in case or accents.
        staged: each feed, and the bench's table of its rows.
        known: identifiers that the tables have from earlier runs.

    Raises:
        ContractError: IDENTIFIERS_COLLIDE, with both.
        SourceError: as ``Source.calls_equal``.
    """
    found = {feed: _stores(bench, name) for feed, name in staged if "store_id" in feed.schema.names}
    came: set[str] = set().union(*found.values())
    everywhere = sorted(came.union(known))
    try:
        _refuse_spaces(everywhere)
        _refuse_equal_to_the_source(source, found, everywhere)
    except ContractError as fault:
        if len(came) < len(everywhere):
            # The other may be of rows that were corrected and did not come.
            fault.next_step = f"{fault.next_step}; once that is done, `storecast ingest --full`"
        raise


def _stores(bench: Workbench, name: str) -> set[str]:
    return set(bench.rows(f"SELECT DISTINCT store_id FROM {name}")["store_id"].to_pylist())  # noqa: S608 - a table of the bench


def _refuse_spaces(stores: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for store in stores:
        other = seen.setdefault(store.strip(), store)
        if other != store:
            raise _collide(
                other,
                store,
                "equal but for spaces around them",
                "trim the column in a view or `query:`, or correct the rows",
            )


def _refuse_equal_to_the_source(
    source: Source, found: Mapping[Feed, set[str]], everywhere: Iterable[str]
) -> None:
    kinds = _pairs(everywhere, str.casefold), _pairs(everywhere, _bare)
    for feed, stores in found.items():
        column = next(f.source for f in feed.fields if f.name == "store_id")
        asked: dict[tuple[str, str], None] = {}
        for pairs in kinds:
            # A column that has neither cannot be asked about them.
            ours = (p for p in pairs if p not in asked and not stores.isdisjoint(p))
            asked.update(dict.fromkeys(islice(ours, _QUESTIONS)))
        for one, other in asked:
            if source.calls_equal(feed.relation, column, one, other):
                raise _collide(
                    one,
                    other,
                    f"one to the source: the collation of {feed.relation}.{column} takes no "
                    "account of the difference",
                    "write each store in one way, in the source or by a view or `query:`; or give "
                    "the column a collation that tells them apart",
                )


def _pairs(
    stores: Iterable[str], plain: Callable[[str], str], most: int = 1000
) -> list[tuple[str, str]]:
    """Pairs of different identifiers that are equal once made ``plain``; at most so many."""
    groups: dict[str, list[str]] = defaultdict(list)
    for store in stores:
        groups[plain(store)].append(store)
    every = (pair for group in groups.values() for pair in combinations(group, 2))
    return list(islice(every, most))


def _bare(store: str) -> str:
    """Without case, accents and differences of width."""
    parts = unicodedata.normalize("NFKD", store.casefold())
    return "".join(c for c in parts if not unicodedata.combining(c)).casefold()


def _collide(one: str, other: str, how: str, next_step: str) -> ContractError:
    return ContractError(
        Code.IDENTIFIERS_COLLIDE,
        f"the store identifiers {one!r} and {other!r} are {how}",
        where="store_id",
        expected="identifiers that differ to the source too, and in more than spaces around them",
        found=f"{one!r}, {other!r}",
        next_step=next_step,
    )
