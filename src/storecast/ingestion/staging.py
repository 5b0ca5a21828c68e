# ruff: noqa: S608 - the names in these statements are our own normalised ones
"""Reading: the source's rows through the contract, staged on the bench, one a key."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from storecast.core.calendar import Frequency
from storecast.ingestion import quarantine
from storecast.ingestion.bench import Workbench
from storecast.ingestion.contract import Feed, check, no_rejected
from storecast.ingestion.merge import Unique, unique
from storecast.ports import Source, Span
from storecast.runs import Run

_FLUSH = 4
_AHEAD = 4
"""Batches that may wait, so that neither the source nor the bench waits for the other."""
PERIODS = "periods"
"""The bench's table of each day's period."""

_PERIODS_SCHEMA = pa.schema([("day", pa.date32()), ("label", pa.date32())])


@dataclass(frozen=True)
class Pass:
    """One reading of a relation.

    Attributes:
        span: what the source is asked for; None is everything.
        keeps: which rows of a batch count, since a source may give more than it was asked for;
            None is all.
    """

    span: Span | None = None
    keeps: Callable[[pa.RecordBatch], pa.Array] | None = None

    def rows(self, source: Source, feed: Feed) -> Iterator[pa.RecordBatch]:
        """The rows that count, as the source has them."""
        for batch in source.read(feed.relation, feed.sources, self.span):
            kept = batch if self.keeps is None else batch.filter(self.keeps(batch))
            if kept.num_rows:
                yield kept


@dataclass
class Staged:
    """A feed whose rows lie in the bench's table ``name``.

    Attributes:
        passes: the readings that gave them.
        schema: of the rows as the source has them; None where none came.
        hashes: of the accepted rows' keys, 64 bits each.
    """

    feed: Feed
    name: str
    read: int = 0
    rejected: int = 0
    amount: Decimal = Decimal(0)
    passes: list[Pass] = field(default_factory=list)
    schema: pa.Schema | None = None
    hashes: list[npt.NDArray[np.uint64]] = field(default_factory=list, repr=False)

    def note(self, accepted: pa.RecordBatch) -> None:
        """Note accepted rows' keys, while the source is still being waited for."""
        keys: pl.DataFrame = pl.DataFrame(accepted.select(list(self.feed.key)))
        self.hashes.append(keys.hash_rows().to_numpy())

    def all_different(self) -> bool:
        """Whether no two accepted rows have one key; False where it cannot be told so easily."""
        hashes = np.sort(np.concatenate(self.hashes)) if self.hashes else np.empty(0, np.uint64)
        return not bool((hashes[1:] == hashes[:-1]).any())

    def again(self, source: Source) -> Iterator[pa.RecordBatch]:
        """The same rows once more, as the source has them."""
        for reading in self.passes:
            yield from reading.rows(source, self.feed)


def stage(
    bench: Workbench, source: Source, feed: Feed, run: Run, reading: Pass | None = None
) -> Staged:
    """Read a feed: what the contract accepts to the bench, the rest to the quarantine."""
    staged = Staged(feed, _staged_name(feed))
    bench.append(staged.name, _empty(feed.schema))
    if quarantine.TABLE not in bench.tables():
        _add(bench, staged, no_rejected())
    read_more(bench, source, staged, run, reading or Pass())
    return staged


def read_more(bench: Workbench, source: Source, staged: Staged, run: Run, reading: Pass) -> None:
    """Read more rows of a staged feed."""
    feed = staged.feed
    staged.passes.append(reading)
    accepted: list[pa.RecordBatch] = []
    for batch in _ahead(reading.rows(source, feed)):
        result = check(batch, feed)
        staged.schema = batch.schema
        staged.read += batch.num_rows
        accepted.append(result.accepted)
        staged.note(result.accepted)
        reject(bench, staged, result.rejected)
        if "sales" in feed.schema.names:
            staged.amount += pc.sum(result.accepted["sales"]).as_py() or 0
        if len(accepted) == _FLUSH:
            bench.append(staged.name, accepted)
            accepted = []
            run.progress(f"reading {feed.relation}", staged.read)
    if accepted:
        bench.append(staged.name, accepted)
    run.progress(f"reading {feed.relation}", staged.read)


def one_a_key(bench: Workbench, source: Source, staged: Staged, max_rejected: float) -> Unique:
    """One row a key, the rest in the quarantine or counted; not too many rejected.

    Raises:
        ContractError: TOO_MANY_REJECTED.
        SourceError: SOURCE_QUERY_FAILED where the source has changed since.
    """
    if staged.all_different():
        rows = Unique(staged.name, bench.count(staged.name))
    else:
        rows = unique(bench, staged.feed, staged.name)
    reject_conflicting(bench, source, staged, rows)
    quarantine.refuse_too_many(bench, staged.feed, staged.read, staged.rejected, max_rejected)
    return rows


def reject_conflicting(bench: Workbench, source: Source, staged: Staged, rows: Unique) -> None:
    """Rows in conflict to the quarantine.

    Raises:
        SourceError: SOURCE_QUERY_FAILED where the source has changed since.
    """
    if rows.conflicting:
        again = staged.again(source)
        for batch in quarantine.conflicting_rows(bench, again, staged.feed, rows):
            reject(bench, staged, batch)


def label_periods(bench: Workbench, tables: Iterable[str], frequency: Frequency) -> None:
    """Label each day that occurs in ``tables`` by its period, in the bench's ``periods``."""
    days = " UNION ".join(f"SELECT DISTINCT date FROM {name}" for name in tables)
    if PERIODS in bench.tables():
        days = f"({days}) EXCEPT SELECT day FROM {PERIODS}"
    label_days(bench, bench.rows(days)["date"], frequency)


def label_days(bench: Workbench, days: pa.Array | pa.ChunkedArray, frequency: Frequency) -> None:
    """Label each of ``days``, which have no label yet, by its period."""
    frame: pl.DataFrame = pl.DataFrame({"date": pl.Series(days, dtype=pl.Date)})
    labelled = frame.select(day="date", label=frequency.labels(frequency.ordinals("date"))).cast(
        pl.Date
    )
    rows = labelled.to_arrow().cast(_PERIODS_SCHEMA).to_batches()
    bench.append(PERIODS, rows or _empty(_PERIODS_SCHEMA))


def reject(bench: Workbench, staged: Staged, rows: pa.RecordBatch) -> None:
    """Rejected rows of a feed to the quarantine."""
    if rows.num_rows:
        staged.rejected += rows.num_rows
        _add(bench, staged, rows)


def _add(bench: Workbench, staged: Staged, rows: pa.RecordBatch) -> None:
    feed = pa.array([staged.feed.name] * rows.num_rows, pa.string())
    bench.append(quarantine.TABLE, [rows.append_column("feed", feed)])


def _staged_name(feed: Feed) -> str:
    return "staged_" + "".join(c if c.isalnum() else "_" for c in feed.name)


def _ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches; the next ones are read while the last is worked on."""
    reader = ThreadPoolExecutor(1)
    try:
        coming = deque(reader.submit(next, batches, None) for _ in range(_AHEAD))
        while (batch := coming.popleft().result()) is not None:
            coming.append(reader.submit(next, batches, None))
            yield batch
    finally:
        reader.shutdown(wait=True, cancel_futures=True)
        if isinstance(batches, Generator):
            batches.close()


def _empty(schema: pa.Schema) -> list[pa.RecordBatch]:
    return [pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)]
