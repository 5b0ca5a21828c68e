# ruff: noqa: S608 - the names in these statements are our own normalised ones
"""A reading of some of the sales, settled against the table: new rows, then what differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from storecast.core.schema import TableSpec
from storecast.errors import Code, SourceError
from storecast.ingestion import doubts, places, quarantine, reconcile, standing
from storecast.ingestion.bench import Workbench, joined, listed, quoted
from storecast.ingestion.contract import Feed
from storecast.ingestion.extent import Extent
from storecast.ingestion.merge import Change, Unique, difference, unique
from storecast.ingestion.reconcile import Numbers, Region
from storecast.ingestion.staging import Pass, Staged, read_more, reject_conflicting
from storecast.ingestion.standing import Standing
from storecast.ports import Source
from storecast.runs import Run

_ROUNDS = 20
"""Readings of what the last one left in doubt: two are usual where anything is; the next run goes
on where these do not do."""

_MANY = 1_000_000
"""Keys above which the table is streamed past them, not asked for them."""


@dataclass(frozen=True)
class Part:
    """Some of the sales, as the table will have them.

    Attributes:
        staged: what was read.
        rows: of these one a key.
        change: of the table, at the sales' own grain; only rows are looked at whose key came, or
            that lie in a region that was extracted.
        before: rows of the table.
        kept: the bench's table of the rows that stay in the quarantine without having come.
        compared: regions whose numbers were compared.
        extracted: how many regions were extracted again.
        lasting: those that differ all the same, and how: rows are in them that count for the
            source alone, such as copies.
        standing: what of these was not read again.
    """

    staged: Staged
    rows: Unique
    change: Change
    before: int
    kept: str
    compared: int = 0
    extracted: int = 0
    lasting: Mapping[Region, Numbers] = field(default_factory=dict)
    standing: Standing = field(default_factory=Standing)

    @property
    def after(self) -> int:
        """Rows that the table will have."""
        return self.before + self.change.inserted - self.change.deleted


class Seen:
    """Rows that a reading has given, by their hashes."""

    def __init__(self, extent: Extent, feed: Feed) -> None:
        self.extent, self._feed = extent, feed
        self._hashes: list[pl.Series] = []

    def reading(self) -> Pass:
        """The reading of what the watermark says is new."""
        return Pass(self.extent.span(self._feed), self._keeps)

    def _keeps(self, batch: pa.RecordBatch) -> pa.Array:
        mask = self.extent.reaches(batch, self._feed)
        self._hashes.append(_hashes(batch.filter(mask)))
        return mask

    def already(self) -> Callable[[pa.RecordBatch], pa.Array]:
        """Which rows of a batch were given.

        One that should have been and was not has come to the source in between.
        """
        given = pl.concat([pl.Series(dtype=pl.UInt64), *self._hashes]).unique()

        def seen(batch: pa.RecordBatch) -> pa.Array:
            inside = _hashes(batch).is_in(given.implode()).to_arrow()
            return pc.and_(self.extent.reaches(batch, self._feed), inside)

        return seen


def _hashes(batch: pa.RecordBatch) -> pl.Series:
    rows: pl.DataFrame = pl.DataFrame(batch)
    return rows.hash_rows(seed=1)


@dataclass
class Reading:
    """What a partial reading needs to know.

    Attributes:
        spec: the table of the sales' own grain.
        extent: of this run.
        seen: the rows that the watermark gave.
        since: from which day on the source is compared with the table; None: not at all.
        known: regions that differed in such a way when a run had read them.
        held: rows held back in them by then.
        done: regions that this run has read whole.
    """

    bench: Workbench
    run: Run
    source: Source
    staged: Staged
    spec: TableSpec
    extent: Extent
    seen: Seen
    since: date | None
    known: Mapping[Region, Numbers]
    held: Mapping[Region, int]
    done: set[Region] = field(default_factory=set, init=False)

    @property
    def feed(self) -> Feed:
        """The sales."""
        return self.staged.feed

    def settle(self) -> Part:
        """Settle what the watermark gave, then what differs by store and month.

        Raises:
            SourceError: SOURCE_EMPTY; SOURCE_QUERY_FAILED where the source changed meanwhile.
        """
        self._table_by_day()
        if self.staged.read == 0:
            self._refuse_empty()
        part = self._settled(set())
        if self.since is not None:
            part = self._reconciled(part, self.since)
        else:
            part = self._read_on(part, set(), set())
        reject_conflicting(self.bench, self.source, self.staged, part.rows)
        return part

    def _reconciled(self, part: Part, since: date) -> Part:
        self.run.progress("comparing with the source")
        tally = reconcile.tally_source(self.bench, self.source, self.feed, since)
        self._tally_table(since)
        table = self._known(part)
        found = reconcile.compare(self.bench, tally, [*table, *_left_out(part)], since)
        lasting = reconcile.compare(self.bench, tally, table, since).differing
        regions = reconcile.to_read(found.differing, lasting, self.known, self._unplaced(since))
        part = self._read_on(part, regions, set(found.differing) - regions)
        lasting = reconcile.compare(self.bench, tally, self._known(part), since).differing
        # Of a region that nobody has read nothing is known but that it differs.
        lasting = {
            region: numbers
            for region, numbers in lasting.items()
            if region in self.done or self.known.get(region) == numbers
        }
        there = standing.find(self.bench, part.change, lasting, self.done, self.held)
        return replace(part, compared=found.compared, lasting=lasting, standing=there)

    def _read_on(self, part: Part, regions: set[Region], passed_over: set[Region]) -> Part:
        """Read regions, then whatever what came leaves in doubt, until nothing does.

        Args:
            part: what the watermark gave.
            regions: those to read.
            passed_over: those that differ as they did when they were read last. Rows are in them
                that count for the source alone: an older version counts once the newer one is gone.
        """
        looked: pl.DataFrame | None = None
        extracted = 0
        for _ in range(_ROUNDS):
            new, keys = self._doubtful(part, looked)
            regions |= new
            if (part.change.deleted or self._vanished(part)) and passed_over:
                regions, passed_over = regions | passed_over, set()
            regions -= self.done
            if not regions and not len(keys):
                break
            extracted += len(regions)
            self._read(regions, keys)
            looked = keys if looked is None else pl.concat([looked, keys])
            part, regions = self._settled(self.done), set()
        return replace(part, extracted=extracted)

    def _doubtful(
        self, part: Part, looked: pl.DataFrame | None
    ) -> tuple[set[Region], pl.DataFrame]:
        since = self.extent.since
        found = doubts.find(self.bench, self.feed, part.rows.name, since or date.min)
        first = None if self.since is None else self.since.year * 12 + self.since.month - 1
        return doubts.apart(found, looked, self.done, first)

    def _vanished(self, part: Part) -> bool:
        return doubts.vanished(self.bench, self.feed, part.rows.name)

    def _read(self, regions: set[Region], keys: pl.DataFrame) -> None:
        already = self.seen.already()
        whole = reconcile.of_regions(self.feed, regions, self.done, already)
        readings = list(reconcile.passes(self.feed, regions, whole))
        there: set[Region] = set(keys.select(places.PLACE).unique().rows())
        single = reconcile.of_keys(self.feed, keys, already)
        readings += reconcile.passes(self.feed, there, single)
        for reading in readings:
            read_more(self.bench, self.source, self.staged, self.run, reading)
        quarantined = set(
            self.bench.tuples("SELECT DISTINCT row__store, row__month FROM quarantined")
        )
        self.done |= reconcile.widened(self.feed, regions, quarantined)

    def _refuse_empty(self) -> None:
        """Nothing new is usual; nothing at all is not."""
        first = next(self.source.read(self.feed.relation, self.feed.sources), None)
        if first is None:
            raise empty(self.feed)
        self.staged.schema = first.schema

    # ------------------------------------------------------------------ against the table

    def _settled(self, regions: set[Region]) -> Part:
        rows = unique(self.bench, self.feed, self.staged.name)
        self._rejected_now()
        key = listed(self.feed.key)
        self.bench.create(
            "came",
            f"SELECT {key} FROM {self.staged.name} UNION "
            f"SELECT {key} FROM rejected_now WHERE {quoted(self.feed.key[0])} IS NOT NULL",
        )
        there = self._there(regions)
        kept = self._kept(regions)
        change = difference(
            self.bench,
            self.spec,
            rows.name,
            there,
            newer_holds=True,
            columns=self.feed.schema.names,
        )
        before = int(self.bench.value("SELECT COALESCE(SUM(row__rows), 0) FROM days_before"))
        return Part(self.staged, rows, change, before, kept)

    def _there(self, regions: set[Region]) -> str:
        """The table's rows whose key came, and those of the regions."""
        came = f"SELECT {listed(self.feed.key)} FROM came"
        names = list(dict.fromkeys([*self.feed.key, *self.feed.schema.names]))
        same = joined(self.feed.key, "t", "c")
        among = self.bench.rows(came) if self.bench.count("came") <= _MANY else None
        with self.bench.viewed("target", self.run.scan(self.spec.name, names, among=among)):
            self.bench.create(
                "there_by_key",
                f"SELECT {listed(names, 't.')} FROM target AS t INNER JOIN came AS c ON {same}",
            )
        if not regions:
            return "there_by_key"
        reconcile.show(self.bench, regions)
        months = [m for _, m in regions if m != places.NO_MONTH]
        where = reconcile.within(min(months), max(months)) if months else "FALSE"
        with self.bench.viewed("target", self.run.scan(self.spec.name, names, where)):
            self.bench.create(
                "there_by_region",
                f"SELECT {listed(names, 't.')} FROM target AS t "
                f"INNER JOIN {reconcile.REGIONS} AS r ON r.row__store = t.store_id "
                f"AND r.row__month = {places.MONTH.format('t.date')} "
                f"LEFT JOIN came AS c ON {same} WHERE c.{quoted(self.feed.key[0])} IS NULL",
            )
        return self.bench.create(
            "there", "SELECT * FROM there_by_key UNION ALL SELECT * FROM there_by_region"
        )

    def _table_by_day(self) -> None:
        with self.bench.viewed("target", self.run.scan(self.spec.name, ["date"])):
            self.bench.create(
                "days_before", "SELECT date, COUNT(*) AS row__rows FROM target GROUP BY date"
            )

    # ------------------------------------------------------------------ the quarantine

    def _rejected_now(self) -> None:
        rows = self.bench.rows(
            f"SELECT raw_row FROM {quarantine.TABLE} WHERE feed = '{self.feed.name}'"
        )["raw_row"].to_pylist()
        self._described("rejected_now", rows)

    def _kept(self, regions: set[Region]) -> str:
        """Rows of the quarantine that did not come, and whose absence says nothing."""
        before = quarantine.of_feed(self.run, self.feed)
        self._described("quarantined", before["raw_row"].to_pylist(), before.drop(["raw_row"]))
        if regions:
            reconcile.show(self.bench, regions)
        none = "(SELECT '' AS row__store, 0 AS row__month WHERE FALSE)"
        return self.bench.make(
            "kept",
            "kept",
            quarantined="quarantined",
            came="came",
            same_key=joined(self.feed.key, "q", "c"),
            key=quoted(self.feed.key[0]),
            regions=reconcile.REGIONS if regions else none,
        )

    def _described(self, name: str, rows: Sequence[str], *more: pa.Table) -> None:
        table = places.described(rows, self.feed, self.extent, self.staged.schema)
        for extra in more:
            for column in extra.schema.names:
                table = table.append_column(column, extra[column])
        with self.bench.viewed("described", table):
            self.bench.create(name, "SELECT * FROM described")

    # ------------------------------------------------------------------ what we know of

    def _tally_table(self, since: date) -> None:
        where = reconcile.where("date", since)
        rows = self.run.scan(self.spec.name, ["store_id", "date", "sales"], where)
        with self.bench.viewed("target", rows):
            self.bench.create(
                "tally_table",
                "SELECT row__store, row__month, COUNT(*) AS row__rows, "
                "SUM(CAST(sales AS DECIMAL(38, 4))) AS row__sum FROM (SELECT store_id AS "
                f"row__store, {places.MONTH.format('date')} AS row__month, sales FROM target"
                ") AS placed GROUP BY row__store, row__month",
            )

    def _known(self, part: Part) -> list[str]:
        """Rows and sums of the table and of the quarantine as they will be."""
        return [
            "SELECT row__store, row__month, row__rows, row__sum FROM tally_table",
            _places_of(old_rows(part.change), -1),
            _places_of(new_rows(part.change), 1),
            *(
                f"SELECT row__store, row__month, 1, row__amount FROM {name}"
                for name in ("rejected_now", part.kept)
            ),
        ]

    def _unplaced(self, since: date) -> set[Region]:
        first = since.year * 12 + since.month - 1
        return set(
            self.bench.tuples(
                "SELECT DISTINCT row__store, row__month FROM kept "
                f"WHERE row__month = {places.NO_MONTH} "
                f"OR (row__store = '{places.NO_STORE}' AND row__month >= {first})"
            )
        )


def _left_out(part: Part) -> list[str]:
    """Rows and sums of what came and is in neither: copies, older versions, rows in conflict."""
    if part.rows.judged is None:
        return []
    rows = f"SELECT store_id, date, sales FROM {part.rows.judged} WHERE row__verdict <> 'kept'"
    return [_places_of(rows, 1)]


def _places_of(rows: str, sign: int) -> str:
    return (
        f"SELECT store_id, {places.MONTH.format('date')}, {sign}, "
        f"{sign} * CAST(sales AS DECIMAL(38, 4)) FROM ({rows}) AS moved"
    )


def old_rows(change: Change) -> str:
    """Store, date and sales of the rows that are updated or deleted, as they are."""
    return _rows_of(change, "before__", "'updated', 'deleted'")


def new_rows(change: Change) -> str:
    """Store, date and sales of the rows that are inserted or updated, as they will be."""
    return _rows_of(change, "", "'inserted', 'updated'")


def _rows_of(change: Change, prefix: str, kinds: str) -> str:
    columns = ", ".join(
        c if c in change.spec.primary_key else f"{prefix}{c} AS {c}"
        for c in ("store_id", "date", "sales")
    )
    return f"SELECT {columns} FROM {change.name} WHERE row__change IN ({kinds})"


def empty(feed: Feed) -> SourceError:
    """A source without a row."""
    return SourceError(
        Code.SOURCE_EMPTY,
        f"{feed.relation} has no row",
        where="source.sales",
        expected="at least one sale",
        next_step="check source.sales",
    )
