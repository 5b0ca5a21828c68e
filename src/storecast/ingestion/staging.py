# ruff: noqa: S608 - the names in these statements are our own normalised ones
"""Reading: the source's rows through the contract, staged on the bench, one a key."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from storecast.core.calendar import Frequency
from storecast.ingestion import quarantine
from storecast.ingestion.bench import Workbench
from storecast.ingestion.contract import Feed, check
from storecast.ingestion.merge import Unique, unique
from storecast.ports import Source
from storecast.runs import Run

_FLUSH = 4
PERIODS = "periods"
"""The bench's table of each day's period."""

_PERIODS_SCHEMA = pa.schema([("day", pa.date32()), ("label", pa.date32())])


@dataclass
class Staged:
    """A feed whose rows lie in the bench's table ``name``."""

    feed: Feed
    name: str
    read: int = 0
    rejected: int = 0
    amount: Decimal = Decimal(0)


def stage(bench: Workbench, source: Source, feed: Feed, run: Run) -> Staged:
    """Read a feed: what the contract accepts to the bench, the rest to the quarantine."""
    name = _staged_name(feed)
    staged = Staged(feed, name)
    bench.append(name, _empty(feed.schema))
    accepted: list[pa.RecordBatch] = []
    for batch in _ahead(source.read(feed.relation, feed.sources)):
        result = check(batch, feed)
        staged.read += batch.num_rows
        accepted.append(result.accepted)
        _reject(bench, staged, result.rejected)
        if "sales" in feed.schema.names:
            staged.amount += pc.sum(result.accepted["sales"]).as_py() or 0
        if len(accepted) == _FLUSH:
            bench.append(name, accepted)
            accepted = []
            run.progress(f"reading {feed.relation}", staged.read)
    if accepted:
        bench.append(name, accepted)
    run.progress(f"reading {feed.relation}", staged.read)
    return staged


def one_a_key(bench: Workbench, source: Source, staged: Staged, max_rejected: float) -> Unique:
    """One row a key, the rest in the quarantine or counted; not too many rejected.

    Raises:
        ContractError: TOO_MANY_REJECTED.
        SourceError: SOURCE_QUERY_FAILED where the source has changed since.
    """
    rows = unique(bench, staged.feed, staged.name)
    for batch in quarantine.conflicting_rows(bench, source, staged.feed, rows):
        _reject(bench, staged, batch)
    quarantine.refuse_too_many(bench, staged.feed, staged.read, staged.rejected, max_rejected)
    return rows


def label_periods(bench: Workbench, tables: Iterable[str], frequency: Frequency) -> None:
    """Label each day that occurs in ``tables`` by its period, in the bench's ``periods``."""
    days = " UNION ".join(f"SELECT DISTINCT date FROM {name}" for name in tables)
    if PERIODS in bench.tables():
        days = f"({days}) EXCEPT SELECT day FROM {PERIODS}"
    frame: pl.DataFrame = pl.DataFrame(bench.rows(days))
    labelled = frame.select(day="date", label=frequency.labels(frequency.ordinals("date"))).cast(
        pl.Date
    )
    rows = labelled.to_arrow().cast(_PERIODS_SCHEMA).to_batches()
    bench.append(PERIODS, rows or _empty(_PERIODS_SCHEMA))


def _reject(bench: Workbench, staged: Staged, rows: pa.RecordBatch) -> None:
    if rows.num_rows == 0 and quarantine.TABLE in bench.tables():
        return
    staged.rejected += rows.num_rows
    feed = pa.array([staged.feed.name] * rows.num_rows, pa.string())
    bench.append(quarantine.TABLE, [rows.append_column("feed", feed)])


def _staged_name(feed: Feed) -> str:
    return "staged_" + "".join(c if c.isalnum() else "_" for c in feed.name)


def _ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches; the next is read while the last is worked on."""
    reader = ThreadPoolExecutor(1)
    try:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch
    finally:
        reader.shutdown(wait=True)
        if isinstance(batches, Generator):
            batches.close()


def _empty(schema: pa.Schema) -> list[pa.RecordBatch]:
    return [pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)]
