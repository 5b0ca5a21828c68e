# ruff: noqa: S608 - the names in these statements are our own normalised ones
"""Rows that vanished or changed unseen: rows and sums by store and month, the source's and ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from storecast.ingestion import places
from storecast.ingestion.bench import Workbench
from storecast.ingestion.contract import Feed, converted
from storecast.ingestion.staging import Pass
from storecast.ports import TALLY, Source, Span, Tallied

REGIONS = "regions"
"""The bench's table of the stores and months that are extracted again."""

_TALLY = pa.schema(
    [
        pa.field("row__store", pa.string()),
        pa.field("row__month", pa.int32()),
        pa.field("row__rows", pa.int64()),
        pa.field("row__sum", pa.decimal128(38, 4)),
    ]
)
_NEVER = date(2201, 1, 1)
"""After every day that a row may have."""

_FEW = 2
"""Months between two regions that cost less to read than another reading."""

_MOST = 10_000
"""Regions that are kept in mind from run to run."""

Region = tuple[str, int]
Numbers = tuple[int, str, int, str]
"""Rows and sum in the source, rows and sum that we know of."""


def first_day(through: date, days: int) -> date:
    """From which day on a source is compared: whole months, so their first."""
    earliest = date(1900, 1, 1)
    if (through - earliest).days <= days:
        return earliest
    return (through - timedelta(days=days)).replace(day=1)


def where(column: str, since: date) -> str:
    """The condition for it in a statement."""
    return f"{column} >= DATE '{since.isoformat()}'"


def within(first: int, last: int) -> str:
    """The condition for days from one month to another, by their numbers."""
    until = _first_of(last + 1).isoformat()
    return f"{where('date', _first_of(first))} AND date < DATE '{until}'"


# ---------------------------------------------------------------------- the source's numbers


def tally_source(bench: Workbench, source: Source, feed: Feed, since: date) -> str:
    """Rows and sums of the source from ``since`` on; returns the bench's table."""
    by_name = {f.name: f for f in feed.fields}
    store, day = by_name["store_id"], by_name["date"]
    asked = Tallied(store.source, day.source, by_name["sales"].source, since)
    told = source.tally(feed.relation, asked) if day.known_to_the_source else None
    if told is not None:
        parts = _told(told, feed)
    else:
        span = Span(day.source, since=since) if day.known_to_the_source else None
        parts = _counted(source.read(feed.relation, places.columns(feed), span), feed)
    bench.append("tally_parts", [pa.RecordBatch.from_pylist([], schema=_TALLY), *parts])
    return bench.make("tally_source", "tallied", parts="SELECT * FROM tally_parts")


def _told(told: pa.Table, feed: Feed) -> Iterator[pa.RecordBatch]:
    field = next(f for f in feed.fields if f.name == "store_id")
    for batch in told.cast(TALLY).to_batches():
        raw = pa.RecordBatch.from_arrays([batch["store_id"]], names=[field.source])
        stores, wrong = converted(raw, field, feed)
        rows = pa.RecordBatch.from_arrays(
            [stores, places.months(batch["month"]), batch["n_rows"], batch["amount"]],
            schema=_TALLY,
        )
        yield rows.filter(pc.and_(pc.is_valid(stores), pc.is_null(wrong)))


def _counted(batches: Iterable[pa.RecordBatch], feed: Feed) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        grouped = (
            pa.Table.from_batches([places.placed(batch, feed)])
            .group_by(list(places.PLACE))
            .aggregate([([], "count_all"), ("row__amount", "sum")])
        )
        yield from (
            pa.Table.from_arrays(
                [
                    grouped["row__store"],
                    grouped["row__month"],
                    grouped["count_all"],
                    grouped["row__amount_sum"].cast(pa.decimal128(38, 4)),
                ],
                schema=_TALLY,
            )
            .combine_chunks()
            .to_batches()
        )


# ---------------------------------------------------------------------- what differs


@dataclass(frozen=True)
class Comparison:
    """Regions that were compared, and the numbers of those that differ."""

    compared: int
    differing: Mapping[Region, Numbers] = field(default_factory=dict)


def compare(bench: Workbench, tally: str, ours: Sequence[str], since: date) -> Comparison:
    """Compare the source's numbers with ours.

    Args:
        bench: where both are.
        tally: the source's.
        ours: statements whose rows add up to ours.
        since: the first day that counts.
    """
    name = bench.make("tally_ours", "tallied", parts=" UNION ALL ".join(ours))
    first = since.year * 12 + since.month - 1
    bench.make("tally_compared", "tally_compared", source=tally, ours=name, first=str(first))
    differs = "source_rows <> our_rows OR source_sum <> our_sum"
    found = bench.tuples(
        "SELECT row__store, row__month, source_rows, source_sum, our_rows, our_sum "
        f"FROM tally_compared WHERE {differs}"
    )
    return Comparison(
        bench.count("tally_compared"),
        {(r[0], r[1]): (int(r[2]), str(r[3]), int(r[4]), str(r[5])) for r in found},
    )


def to_read(
    differing: Mapping[Region, Numbers],
    lasting: Mapping[Region, Numbers],
    known: Mapping[Region, Numbers],
    unplaced: set[Region],
) -> set[Region]:
    """Regions to extract again.

    Args:
        differing: those that differ by all that we know of the source's rows.
        lasting: those that differ by what the tables have of them, and how.
        known: ``lasting`` of the run before: these had just been read.
        unplaced: where rejected rows lie that the source counts in no month, or for no store:
            whether they are still there only a reading tells.
    """
    new = {r for r in differing if r not in lasting or known.get(r) != lasting[r]}
    return new | unplaced


def remembered(details: Mapping[str, Any]) -> dict[Region, Numbers]:
    """What ``to_remember`` made of regions and their numbers."""
    return {(r[0], r[1]): (r[2], r[3], r[4], r[5]) for r in details.get("differing", ())}


def to_remember(differing: Mapping[Region, Numbers]) -> list[list[Any]]:
    """Regions that differ all the same, for the ledger; none where there are too many."""
    if len(differing) > _MOST:
        return []
    return [[*region, *numbers] for region, numbers in sorted(differing.items())]


# ---------------------------------------------------------------------- extraction


Keeper = Callable[[pa.RecordBatch], pa.Array]
"""Which rows of a batch count."""


def widened(feed: Feed, regions: set[Region], quarantined: set[Region]) -> set[Region]:
    """Regions, and what is read along with them.

    Args:
        feed: the sales.
        regions: stores and months that are read.
        quarantined: where rejected rows lie.

    Returns:
        beside ``regions`` the rows without a store that a reading passes, and all rows without a
        date: to whom they belong nobody can tell.
    """
    if not regions:
        return set()
    passed = {m for run in _months_read(feed, regions) for m in _passed(run)}
    undated = {r for r in quarantined if r[1] == places.NO_MONTH}
    return regions | undated | {(places.NO_STORE, m) for m in (*passed, places.NO_MONTH)}


def passes(
    feed: Feed, regions: set[Region], keeper: Callable[[set[int]], Keeper]
) -> Iterator[Pass]:
    """Readings of regions, each of the source's rows once.

    Args:
        feed: the sales.
        regions: stores and months.
        keeper: which rows of a batch count, of a reading of these months.
    """
    day = next(f for f in feed.fields if f.name == "date")
    for number, run in enumerate(_months_read(feed, regions)):
        # Rows without a readable date come with every reading: they are taken from the first.
        undated = number == 0
        keeps = keeper({*_passed(run), *([places.NO_MONTH] if undated else [])})
        if not day.known_to_the_source:
            yield Pass(None, keeps)
            continue
        since, until = (_first_of(run[0]), _first_of(run[-1] + 1)) if run else (_NEVER, None)
        yield Pass(
            Span(day.source, since, until, or_undated=day.source if undated else None), keeps
        )


def _months_read(feed: Feed, regions: set[Region]) -> list[list[int]]:
    """The months of each reading: of those near each other one; none where only a date lacks."""
    months = sorted({month for _, month in regions if month != places.NO_MONTH})
    if not next(f for f in feed.fields if f.name == "date").known_to_the_source:
        return [months] if regions else []
    runs: list[list[int]] = []
    for month in months:
        if runs and month - runs[-1][-1] <= _FEW:
            runs[-1].append(month)
        else:
            runs.append([month])
    return runs or ([[]] if regions else [])


def _passed(run: Sequence[int]) -> range:
    return range(run[0], run[-1] + 1) if run else range(0)


def of_regions(
    feed: Feed, regions: set[Region], done: set[Region], already: Keeper
) -> Callable[[set[int]], Keeper]:
    """Keepers of what lies in ``regions``, or of what says neither store nor date.

    Args:
        feed: the sales.
        regions: stores and months.
        done: those that were read before.
        already: which rows of a batch this run has read before.
    """
    undated = not any(month == places.NO_MONTH for _, month in done)

    def keeper(months: set[int]) -> Keeper:
        own = {r for r in regions if r[1] in months}
        own |= {(places.NO_STORE, month) for month in months} - done
        wanted = frame(own).with_columns(wanted=True)
        whole = undated and places.NO_MONTH in months

        def keeps(batch: pa.RecordBatch) -> pa.Array:
            rows: pl.DataFrame = pl.DataFrame(places.placed(batch, feed).select(list(places.PLACE)))
            inside = rows.join(wanted, on=list(places.PLACE), how="left", maintain_order="left")
            within = inside["wanted"].fill_null(False)
            if whole:
                within |= rows["row__month"] == places.NO_MONTH
            return _not_yet(within, already, batch)

        return keeps

    return keeper


def of_keys(feed: Feed, keys: pl.DataFrame, already: Keeper) -> Callable[[set[int]], Keeper]:
    """Keepers of the rows that have one of the keys, in its place.

    Args:
        feed: the sales.
        keys: the key's columns and the place.
        already: which rows of a batch this run has read before.
    """

    def keeper(months: set[int]) -> Keeper:
        wanted = keys.filter(pl.col("row__month").is_in(sorted(months))).with_columns(wanted=True)

        def keeps(batch: pa.RecordBatch) -> pa.Array:
            placed = places.placed(batch, feed)
            own = places.keyed(batch, feed) | {n: placed.column(n) for n in places.PLACE}
            rows: pl.DataFrame = pl.DataFrame(pa.table(own))
            inside = rows.join(wanted, on=rows.columns, how="left", maintain_order="left")
            return _not_yet(inside["wanted"].fill_null(False), already, batch)

        return keeps

    return keeper


def _not_yet(within: pl.Series, already: Keeper, batch: pa.RecordBatch) -> pa.Array:
    mask = within.to_arrow()
    return pc.and_not(mask, already(batch)) if within.any() else mask


def frame(regions: Iterable[Region]) -> pl.DataFrame:
    """Stores and months: row__store, row__month."""
    schema = {"row__store": pl.String, "row__month": pl.Int32}
    return pl.DataFrame(sorted(regions), schema=schema, orient="row")


def _first_of(month: int) -> date:
    return date(month // 12, month % 12 + 1, 1)


def show(bench: Workbench, regions: Iterable[Region]) -> str:
    """The regions as a table of the bench."""
    schema = pa.schema([_TALLY.field("row__store"), _TALLY.field("row__month")])
    rows = [dict(zip(schema.names, region, strict=True)) for region in regions]
    with bench.viewed("shown", pa.Table.from_pylist(rows, schema=schema)):
        return bench.create(REGIONS, "SELECT * FROM shown")
