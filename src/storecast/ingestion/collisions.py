"""Store identifiers that are two to us and one to the source: never a guess which is meant."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import combinations, islice

from storecast.errors import Code, ContractError
from storecast.ingestion.bench import Workbench
from storecast.ingestion.contract import Feed
from storecast.ports import Source

_MOST = 10_000
"""Pairs that each column is asked about. What a collation says of one pair it need not say of
another: SQLite's NOCASE knows no case of letters with accents."""


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
        _refuse_spaces(everywhere, found)
        _refuse_equal_to_the_source(source, found, everywhere)
    except ContractError as fault:
        if len(came) < len(everywhere):
            # The other may be of rows that were corrected and did not come.
            fault.next_step = f"{fault.next_step}; once that is done, `storecast ingest --full`"
        raise


def _stores(bench: Workbench, name: str) -> set[str]:
    return set(bench.rows(f"SELECT DISTINCT store_id FROM {name}")["store_id"].to_pylist())  # noqa: S608 - a table of the bench


def _refuse_spaces(stores: Iterable[str], found: Mapping[Feed, set[str]]) -> None:
    seen: dict[str, str] = {}
    for store in stores:
        other = seen.setdefault(store.strip(), store)
        if other != store:
            raise _collide(
                other,
                store,
                "equal but for spaces around them",
                "trim the column in a view or `query:`, or correct the rows",
                found,
            )


def _refuse_equal_to_the_source(
    source: Source, found: Mapping[Feed, set[str]], everywhere: Iterable[str]
) -> None:
    pairs = list(_pairs(everywhere))
    for feed, stores in found.items():
        column = next(f.source for f in feed.fields if f.name == "store_id")
        # A column that has neither cannot be asked about them.
        ours = list(islice((p for p in pairs if not stores.isdisjoint(p)), _MOST))
        equal = source.first_equal(feed.relation, column, ours) if ours else None
        if equal is not None:
            raise _collide(
                *equal,
                f"one to the source: the collation of {feed.relation}.{column} takes no "
                "account of the difference",
                "write each store in one way, in the source or by a view or `query:`; or give "
                "the column a collation that tells them apart",
                found,
            )


def _pairs(stores: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Pairs of identifiers that differ in case alone, then those that differ in accents as well."""
    folded: dict[str, list[str]] = defaultdict(list)
    bare: dict[str, list[str]] = defaultdict(list)
    for store in stores:
        folded[store.casefold()].append(store)
        bare[_bare(store)].append(store)
    for group in folded.values():
        yield from combinations(group, 2)
    for group in bare.values():
        yield from (p for p in combinations(group, 2) if p[0].casefold() != p[1].casefold())


def _bare(store: str) -> str:
    """Without case, accents and differences of width."""
    parts = unicodedata.normalize("NFKD", store.casefold())
    return "".join(c for c in parts if not unicodedata.combining(c)).casefold()


def _place(store: str, found: Mapping[Feed, set[str]]) -> str:
    """The columns that have the identifier, as ``lines.store``."""
    columns = [
        f"{feed.relation}.{next(f.source for f in feed.fields if f.name == 'store_id')}"
        for feed, stores in found.items()
        if store in stores
    ]
    return " and ".join(columns) or "the tables, from an earlier run"


def _collide(
    one: str, other: str, how: str, next_step: str, found: Mapping[Feed, set[str]]
) -> ContractError:
    where = _place(one, found), _place(other, found)
    return ContractError(
        Code.IDENTIFIERS_COLLIDE,
        f"the store identifiers {one!r} and {other!r} are {how}",
        where=where[0]
        if where[0] == where[1]
        else f"{one!r} in {where[0]}; {other!r} in {where[1]}",
        expected="identifiers that differ to the source too, and in more than spaces around them",
        found=f"{one!r}, {other!r}",
        next_step=next_step,
    )
