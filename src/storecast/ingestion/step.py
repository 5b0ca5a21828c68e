# ruff: noqa: S608 - the names in these statements are our own normalised ones
"""Ingestion: from the source to the feature tables, every row accounted for.

Everything is computed, and the equations checked, before the first table is committed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from storecast import runs
from storecast.core.calendar import Frequency
from storecast.errors import Code, ConfigurationError, ContractError, SourceError
from storecast.ingestion import quarantine
from storecast.ingestion.contract import Feed, Field, Kind, check
from storecast.ingestion.feeds import CovariateFeed, Feeds, checked, feeds_of
from storecast.ingestion.merge import (
    Change,
    Unique,
    Workbench,
    averaged,
    combined,
    difference,
    listed,
    quoted,
    settled,
    unique,
)
from storecast.ports import Relation, Source, Through

if TYPE_CHECKING:
    from storecast.config import LoadLog
    from storecast.project import Project

FEATURE_TABLES = (
    "transactions", "sales", "stores", "rejected_rows", "store_versions", "covariates",
    "covariates_by_date", "covariate_versions",
)  # fmt: skip
"""In the order of their commitment."""

_FLUSH = 4
_EXAMPLES = 5


@dataclass(frozen=True)
class IngestResult:
    """What an ingestion did.

    The counts are of the sales relation, at its own grain; ``feeds`` has those of the others.
    rows_read = inserted + updated + unchanged + rejected + deduplicated.
    """

    run_id: str
    rows_read: int
    rows_inserted: int
    rows_updated: int
    rows_unchanged: int
    rows_rejected: int
    rows_deduplicated: int
    rows_deleted: int
    through: date
    through_origin: str
    stores: int
    periods: int
    first_date: date
    last_date: date
    rejected: dict[str, int] = field(default_factory=dict)
    feeds: dict[str, dict[str, int]] = field(default_factory=dict)
    stores_without_row: int = 0
    stores_without_row_examples: tuple[str, ...] = ()
    tables: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For the JSON envelope."""
        plain = asdict(self)
        for name in ("through", "first_date", "last_date"):
            plain[name] = plain[name].isoformat()
        return plain

    def sentences(self) -> list[str]:
        """For people, the headline first."""
        changes = (
            f"{self.rows_inserted:,} new, {self.rows_updated:,} changed, "
            f"{self.rows_deleted:,} deleted, {self.rows_unchanged:,} unchanged"
        )
        lines = [
            f"{self.rows_read:,} rows read: {changes}",
            f"{self.stores:,} stores, {self.first_date} to {self.last_date}; "
            f"complete through {self.through} ({self.through_origin})",
        ]
        if self.rows_deduplicated:
            lines.append(f"{self.rows_deduplicated:,} rows were copies or older versions")
        if self.rejected:
            causes = ", ".join(f"{code} {count:,}" for code, count in self.rejected.items())
            lines.append(f"rejected: {causes} (storecast tables show rejected_rows)")
        if self.stores_without_row:
            shown = ", ".join(self.stores_without_row_examples)
            lines.append(
                f"{self.stores_without_row:,} stores with sales have no store row: {shown}"
            )
        return lines


def ingest(project: Project, *, full: bool = False) -> IngestResult:
    """Bring the source's rows into the feature tables.

    Args:
        project: what ``storecast.load`` gave.
        full: the source is right even where the tables have a newer version of a row.

    Raises:
        SourceError: the source cannot be read, or is empty.
        ContractError: too many rejected rows, identifiers that collide, sums that do not balance.
        ConfigurationError: CONFIG_CHANGED.
        StorecastError: PROJECT_BUSY.
    """
    with runs.begin(project, "ingest") as run, contextlib.ExitStack() as stack:
        _refuse_changes(project, run)
        source = stack.enter_context(contextlib.closing(project.open_source()))
        bench = Workbench(project.scratch() / run.run_id)
        stack.callback(bench.close)
        return _Ingestion(project, run, source, bench, full).carry_out()


def _refuse_changes(project: Project, run: runs.Run) -> None:
    """Refuse what the tables cannot follow, before anything is read; add new columns."""
    before = runs.newest(project, "ingest")
    frequency = project.config.series.frequency
    was = before["details"].get("frequency") if before is not None else None
    gone = [t for t in FEATURE_TABLES if run.has(t) and t not in project.specs]
    if (was is not None and was != frequency) or gone:
        raise ConfigurationError(
            Code.CONFIG_CHANGED,
            f"series.frequency was {was} and would be {frequency}"
            if was != frequency
            else f"the configuration has no table {', '.join(gone)} any more",
            where="storecast.yaml",
            expected="the frequency, keys and columns of the existing tables",
            found=frequency,
            next_step="take the change back, or ingest into another `schema:`",
        )
    for name in FEATURE_TABLES:
        if name in project.specs and project.tables.version(name) is not None:
            project.tables.create(project.specs[name])


@dataclass
class _Staged:
    """A feed whose rows lie in the bench's table ``name``."""

    feed: Feed
    name: str
    read: int = 0
    rejected: int = 0
    amount: Decimal = Decimal(0)


@dataclass
class _Ingestion:
    """One ingestion at work."""

    project: Project
    entry: runs.Run
    source: Source
    bench: Workbench
    full: bool
    changes: dict[str, Change] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)

    def carry_out(self) -> IngestResult:
        """Read, compute, check, commit; in this order."""
        feeds = checked(feeds_of(self.project.config), self.source)
        # Before the sales: what the log says is complete is complete in what is read after it.
        logged = self._logged_through()
        staged = {feed.name: self._stage(feed) for feed in feeds.all()}
        sales = staged["sales"]
        if sales.read == 0:
            raise SourceError(
                Code.SOURCE_EMPTY,
                f"{feeds.sales.relation} has no row",
                where="source.sales",
                expected="at least one sale",
                next_step="check source.sales",
            )
        self._refuse_collisions(feeds)
        rows = {name: self._unique(s) for name, s in staged.items()}
        # Nobody who writes to the source need wait for what follows.
        self.source.close()
        self._periods(staged)
        final = self._merge_sales(feeds, sales, rows)
        self._merge_stores(feeds, staged, rows)
        self._merge_covariates(feeds.covariates, staged, rows)
        self._merge_rejected()
        through = logged or self._newest_sale(final)
        result = self._result(feeds, rows, through)
        self._commit()
        return self._told(result)

    # ------------------------------------------------------------------ reading

    def _logged_through(self) -> Through | None:
        through = self.project.config.source.sales.through
        if through is None:
            return None
        if isinstance(through, date):
            return Through(through, "the configuration")
        return Through(_newest_logged(self.source, through), through.table)

    def _stage(self, feed: Feed) -> _Staged:
        name = _staged_name(feed)
        staged = _Staged(feed, name)
        self.bench.append(name, _empty(feed.schema))
        accepted: list[pa.RecordBatch] = []
        for batch in _ahead(self.source.read(feed.relation, feed.sources)):
            result = check(batch, feed)
            staged.read += batch.num_rows
            accepted.append(result.accepted)
            self._reject(staged, result.rejected)
            if "sales" in feed.schema.names:
                staged.amount += pc.sum(result.accepted["sales"]).as_py() or 0
            if len(accepted) == _FLUSH:
                self.bench.append(name, accepted)
                accepted = []
                self.entry.progress(f"reading {feed.relation}", staged.read)
        if accepted:
            self.bench.append(name, accepted)
        self.entry.progress(f"reading {feed.relation}", staged.read)
        return staged

    def _reject(self, staged: _Staged, rows: pa.RecordBatch) -> None:
        if rows.num_rows == 0 and quarantine.TABLE in self.bench.tables():
            return
        staged.rejected += rows.num_rows
        feed = pa.array([staged.feed.name] * rows.num_rows, pa.string())
        self.bench.append(quarantine.TABLE, [rows.append_column("feed", feed)])

    def _refuse_collisions(self, feeds: Feeds) -> None:
        names = [
            f"SELECT DISTINCT store_id FROM {_staged_name(feed)}"
            for feed in feeds.all()
            if "store_id" in feed.schema.names
        ]
        found: dict[str, str] = {}
        for store in self.bench.rows(" UNION ".join(names))["store_id"].to_pylist():
            other = found.setdefault(store.strip(), store)
            if other != store:
                raise ContractError(
                    Code.IDENTIFIERS_COLLIDE,
                    f"the store identifiers {other!r} and {store!r} are equal but for spaces",
                    where="store_id",
                    expected="identifiers that differ in more than spaces around them",
                    found=f"{other!r}, {store!r}",
                    next_step="trim the column in a view or `query:`, or correct the rows",
                )

    def _unique(self, staged: _Staged) -> Unique:
        """One row a key, the rest in the quarantine or counted; not too many rejected."""
        rows = unique(self.bench, staged.feed, staged.name)
        for batch in quarantine.conflicting_rows(self.bench, self.source, staged.feed, rows):
            self._reject(staged, batch)
        allowed = self.project.config.max_rejected
        quarantine.refuse_too_many(self.bench, staged.feed, staged.read, staged.rejected, allowed)
        return rows

    def _periods(self, staged: dict[str, _Staged]) -> None:
        """The period's label of each day that occurs."""
        frequency = Frequency(self.project.config.series.frequency)
        days = " UNION ".join(
            f"SELECT DISTINCT date FROM {s.name}"
            for s in staged.values()
            if "date" in s.feed.schema.names
        )
        frame: pl.DataFrame = pl.DataFrame(self.bench.rows(days))
        labelled = frame.select(
            day="date", label=frequency.labels(frequency.ordinals("date"))
        ).cast(pl.Date)
        self.bench.append(
            "periods", labelled.to_arrow().cast(_PERIODS).to_batches() or _empty(_PERIODS)
        )

    # ------------------------------------------------------------------ merging

    def _target(self, name: str) -> pa.RecordBatchReader | None:
        return self.entry.scan(name) if self.entry.has(name) else None

    def _difference(self, name: str, wanted: str, *, newer_holds: bool = False) -> Change:
        change = difference(
            self.bench,
            self.project.specs[name],
            wanted,
            self._target(name),
            newer_holds=newer_holds,
        )
        _balance(
            change.before + change.inserted - change.deleted,
            change.after,
            f"rows of {name}: before + inserted − deleted, and after",
        )
        self.changes[name] = change
        return change

    def _merge_sales(self, feeds: Feeds, sales: _Staged, rows: dict[str, Unique]) -> str:
        """Both tables of sales; returns the bench's table of the rows as they will be."""
        transactions = self.project.specs.get("transactions")
        final = rows["sales"].name
        if transactions is not None:
            holds = feeds.sales.watermark and not self.full
            change = self._difference("transactions", final, newer_holds=holds)
            final = settled(self.bench, change, rows["sales"].name)
            wanted = self._aggregated(final)
        else:
            wanted = final
        wanted = self._with_realised(feeds.covariates, rows, wanted)
        own = self._difference("sales", wanted)
        main = self.changes.get("transactions", own)
        self._check_equations(sales, rows["sales"], main, wanted)
        return final

    def _aggregated(self, rows: str) -> str:
        try:
            return self.bench.make("aggregated", "aggregated", rows=rows, periods="periods")
        except duckdb.ConversionException as fault:
            raise ContractError(
                Code.SALES_TOO_LARGE,
                "the sales of a store and period together do not fit DECIMAL(18,4)",
                where="sales",
                expected="less than 100,000,000,000,000",
                next_step="correct the amounts in the source",
            ) from fault

    def _check_equations(self, sales: _Staged, rows: Unique, change: Change, wanted: str) -> None:
        self.counts["sales"] = counts = _counts(sales, rows, change)
        _balance(
            counts["rows_read"],
            sum(counts[f"rows_{n}"] for n in ("inserted", "updated", "unchanged", "rejected",
                                              "deduplicated")),
            f"rows of {sales.feed.relation}: read, and accounted for",
        )  # fmt: skip
        given = sales.amount - self._sum(rows.judged, "sales", "row__verdict <> 'kept'")
        if change.held:
            given -= self._sum(change.name, "sales", "row__change = 'held'")
            given += self._sum(change.name, "before__sales", "row__change = 'held'")
        kept = self._sum(wanted, "sales")
        if given != kept:
            raise ContractError(
                Code.AMOUNTS_DO_NOT_BALANCE,
                f"the accepted amount of {sales.feed.relation} is not the amount in sales",
                where="sales",
                expected=str(given),
                found=str(kept),
                next_step="this is a fault of storecast: please report it",
            )

    def _sum(self, table: str | None, column: str, where: str = "TRUE") -> Decimal:
        if table is None:
            return Decimal(0)
        total = self.bench.value(f"SELECT SUM({column}) FROM {table} WHERE {where}")
        return Decimal(0) if total is None else Decimal(total)

    def _with_realised(
        self, covariates: Sequence[CovariateFeed], rows: dict[str, Unique], wanted: str
    ) -> str:
        spec = self.project.specs["sales"]
        columns = [c for c in spec.names if c not in ("store_id", "date", "sales", *_OWN)]
        if not columns:
            return wanted
        parts: list[tuple[str, Sequence[str]]] = []
        for covariate in covariates:
            if covariate.realised:
                latest = self._latest_days(covariate, rows[covariate.feed.name].name)
                table = averaged(
                    self.bench, f"realised_{len(parts)}", latest, ("store_id", "date"),
                    covariate.realised,
                )  # fmt: skip
                parts.append((table, covariate.realised))
        realised = combined(self.bench, "realised", parts, ("store_id", "date"), columns)
        return self.bench.make(
            "with_realised",
            "with_realised",
            sales=wanted,
            realised=realised,
            columns=listed(columns, "r."),
        )

    def _latest_days(self, covariate: CovariateFeed, rows: str) -> str:
        """One row a day: the newest version where versions are kept."""
        if not covariate.versions:
            return rows
        key = [k for k in covariate.feed.key if k != "known_at"]
        return self.bench.make(
            f"{rows}_latest",
            "latest",
            columns=listed(c for c in covariate.feed.schema.names if c != "known_at"),
            prefixed=listed(covariate.feed.schema.names, "w."),
            prefixed_key=listed(key, "w."),
            version="known_at",
            rows=rows,
        )

    def _merge_stores(
        self, feeds: Feeds, staged: dict[str, _Staged], rows: dict[str, Unique]
    ) -> None:
        if feeds.stores is None:
            # The table is there for all projects; without a source it stays empty.
            self._difference("stores", self._filled("stores", (), _NO_STORE))
            return
        name = rows["stores"].name
        have = feeds.stores.schema.names
        change = None
        if "valid_from" in have:
            versions = self._filled("store_versions", have, name)
            change = self._difference("store_versions", versions)
            name = self.bench.make(
                "latest_stores",
                "latest",
                columns=listed(c for c in have if c != "valid_from"),
                prefixed=listed(have, "w."),
                prefixed_key="w.store_id",
                version="valid_from",
                rows=name,
            )
        stores = self._difference("stores", self._filled("stores", have, name))
        self._count_feed(staged["stores"], rows["stores"], change or stores)

    def _filled(self, table: str, have: Iterable[str], rows: str) -> str:
        """``rows`` with every column of the table, null where the source has none."""
        spec, have = self.project.specs[table], set(have)
        columns = [c for c in spec.columns if c.name not in _OWN]
        selected = ", ".join(
            quoted(c.name)
            if c.name in have
            else f"CAST(NULL AS {_SQL_TYPES[c.type]}) AS {quoted(c.name)}"
            for c in columns
        )
        self.bench.sql.execute(
            f"CREATE OR REPLACE TEMP TABLE filled_{table} AS SELECT {selected} FROM {rows}"
        )
        return f"filled_{table}"

    def _merge_covariates(
        self,
        covariates: Sequence[CovariateFeed],
        staged: dict[str, _Staged],
        rows: dict[str, Unique],
    ) -> None:
        latest: dict[str, list[tuple[str, Sequence[str]]]] = {}
        versions: list[tuple[str, Sequence[str]]] = []
        for number, covariate in enumerate(c for c in covariates if c.known):
            own = rows[covariate.feed.name].name
            table = "covariates" if covariate.by_store else "covariates_by_date"
            key = self.project.specs[table].primary_key
            days = self._latest_days(covariate, own)
            name = averaged(self.bench, f"known_{number}", days, key, covariate.known)
            latest.setdefault(table, []).append((name, covariate.known))
            if covariate.versions:
                versions.append((self._versions(number, covariate, own), covariate.known))
        for table, parts in latest.items():
            self._merge_parts(table, parts)
        if versions:
            self._merge_parts("covariate_versions", versions)
        for covariate in covariates:
            self._count_feed(staged[covariate.feed.name], rows[covariate.feed.name], None)

    def _versions(self, number: int, covariate: CovariateFeed, rows: str) -> str:
        columns = list(covariate.known)
        if not covariate.by_store:
            self.bench.sql.execute(
                f"CREATE OR REPLACE TEMP VIEW for_all_{number} AS SELECT '' AS store_id, * "
                f"FROM {rows}"
            )
            rows = f"for_all_{number}"
        recorded = self.bench.make(
            f"recorded_{number}",
            "as_recorded",
            columns=listed(columns),
            prefixed=listed(columns, "w."),
            rows=rows,
            periods="periods",
        )
        key = ("store_id", "date", "known_at")
        return averaged(self.bench, f"versions_{number}", recorded, key, columns)

    def _merge_parts(self, table: str, parts: Sequence[tuple[str, Sequence[str]]]) -> None:
        spec = self.project.specs[table]
        columns = [c for c in spec.names if c not in spec.primary_key and c not in _OWN]
        name = combined(self.bench, f"wanted_{table}", parts, spec.primary_key, columns)
        self._difference(table, name)

    def _merge_rejected(self) -> None:
        spec = self.project.specs["rejected_rows"]
        target = self.entry.read(spec.name) if self.entry.has(spec.name) else spec.empty()
        with self.bench.viewed("quarantine", target):
            wanted = self.bench.make(
                "quarantined",
                "quarantined",
                rejected=quarantine.TABLE,
                target="quarantine",
                run_id=self.entry.run_id,
            )
        self._difference(spec.name, wanted)

    def _count_feed(self, staged: _Staged, rows: Unique, change: Change | None) -> None:
        counts = {
            "rows_read": staged.read,
            "rows_rejected": staged.rejected,
            "rows_deduplicated": rows.deduplicated,
        }
        if change is not None:
            counts |= {
                "rows_inserted": change.inserted,
                "rows_updated": change.updated,
                "rows_unchanged": change.unchanged,
                "rows_deleted": change.deleted,
            }
        self.counts[staged.feed.name] = counts

    # ------------------------------------------------------------------ committing

    def _newest_sale(self, final: str) -> Through:
        newest = self.bench.value(f"SELECT MAX(date) FROM {final}")
        if newest is None:
            raise SourceError(
                Code.SOURCE_THROUGH_INVALID,
                "no accepted sale says how far the source is complete",
                where="source.sales.through",
                next_step="mend the rejected rows, or set source.sales.through",
            )
        return Through(newest, "the newest sale")

    def _result(self, feeds: Feeds, rows: dict[str, Unique], through: Through) -> IngestResult:
        name = self.changes["sales"].wanted
        counts: dict[str, Any] = dict(self.counts["sales"])
        stores, periods, first, last = self.bench.tuples(
            f"SELECT COUNT(DISTINCT store_id), COUNT(*), MIN(date), MAX(date) FROM {name}"
        )[0]
        strangers = self._strangers(feeds, rows, name)
        return IngestResult(
            run_id=self.entry.run_id,
            **counts,
            through=through.day,
            through_origin=through.origin,
            stores=stores,
            periods=periods,
            first_date=first or through.day,
            last_date=last or through.day,
            rejected=quarantine.reasons(self.bench),
            feeds={n: c for n, c in self.counts.items() if n != "sales"},
            stores_without_row=len(strangers),
            stores_without_row_examples=tuple(strangers[:_EXAMPLES]),
        )

    def _strangers(self, feeds: Feeds, rows: dict[str, Unique], sales: str) -> list[str]:
        if feeds.stores is None:
            return []
        name = self.bench.make("strangers", "strangers", sales=sales, stores=rows["stores"].name)
        listed_stores: list[str] = self.bench.rows(f"SELECT store_id FROM {name} ORDER BY 1")[
            "store_id"
        ].to_pylist()
        return listed_stores

    def _commit(self) -> None:
        names = [name for name in self.project.specs if name in self.changes]
        for number, name in enumerate(names):
            self.entry.progress("writing the tables", number, len(names))
            change = self.changes[name]
            if change.nothing and self.entry.has(name):
                continue
            first = change.before == 0
            rows = self.bench.stream(self._rows(change))
            gone = None
            if change.deleted:
                rows = rows.read_all()
                gone = self.bench.rows(
                    f"SELECT {listed(change.spec.primary_key)} FROM {change.name} "
                    "WHERE row__change = 'deleted'"
                )
            self.entry.commit(change.spec, rows, gone, append=first)
        self.entry.progress("writing the tables", len(names), len(names))

    def _rows(self, change: Change) -> str:
        spec = change.spec
        stamps = {
            "ingested_at": f"CAST('{self.entry.started_at.isoformat()}' AS TIMESTAMPTZ)",
            "run_id": f"'{self.entry.run_id}'",
        }
        columns = ", ".join(f"{stamps[c]} AS {c}" if c in stamps else quoted(c) for c in spec.names)
        where = "TRUE" if change.whole else "row__change IN ('inserted', 'updated')"
        return f"SELECT {columns} FROM {change.name} WHERE {where}"

    def _told(self, result: IngestResult) -> IngestResult:
        run = self.entry
        run.count(**self.counts["sales"])
        run.through = result.through
        run.details |= {
            "frequency": self.project.config.series.frequency,
            "through_origin": result.through_origin,
            "rejected": result.rejected,
            "feeds": result.feeds,
            "stores_without_row": result.stores_without_row,
        }
        tables = {n: v for n in self.changes if (v := run.version(n)) is not None}
        return IngestResult(**{**vars(result), "tables": tables})


_OWN = ("ingested_at", "run_id")
_SQL_TYPES = {pa.string(): "VARCHAR", pa.date32(): "DATE", pa.float64(): "DOUBLE"}
_PERIODS = pa.schema([("day", pa.date32()), ("label", pa.date32())])
_NO_STORE = "(SELECT 1 AS nothing WHERE FALSE)"


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


def _counts(staged: _Staged, rows: Unique, change: Change) -> dict[str, int]:
    return {
        "rows_read": staged.read,
        "rows_inserted": change.inserted,
        "rows_updated": change.updated,
        "rows_unchanged": change.unchanged,
        "rows_rejected": staged.rejected,
        "rows_deduplicated": rows.deduplicated,
        "rows_deleted": change.deleted,
    }


def _balance(one: int, other: int, what: str) -> None:
    if one != other:
        raise ContractError(
            Code.ROWS_DO_NOT_BALANCE,
            f"{what} do not balance",
            expected=f"{one:,}",
            found=f"{other:,}",
            next_step="this is a fault of storecast: please report it",
        )


def _newest_logged(source: Source, log: LoadLog) -> date:
    """The newest date of a load log's column."""
    origin = Relation(log.table)
    names = [c.name for c in source.columns(origin)]
    if log.column not in names:
        raise SourceError(
            Code.SOURCE_COLUMN_NOT_FOUND,
            f"{log.table} has no column {log.column!r}",
            where="source.sales.through",
            expected=log.column,
            found=", ".join(names),
            next_step="correct the name in storecast.yaml",
        )
    column = Field("date", log.column, Kind.OPTIONAL_DATE)
    feed = Feed("sales.through", log.table, origin, (column,), ("date",))
    newest: date | None = None
    for batch in source.read(origin, [log.column]):
        result = check(batch, feed)
        if result.rejected.num_rows:
            raise _through_invalid(log, str(result.rejected["raw_row"][0].as_py()))
        here = pc.max(result.accepted["date"]).as_py()
        if here is not None and (newest is None or here > newest):
            newest = here
    if newest is None:
        raise _through_invalid(log, "no date")
    return newest


def _through_invalid(log: LoadLog, found: str) -> SourceError:
    return SourceError(
        Code.SOURCE_THROUGH_INVALID,
        f"{log.table}.{log.column} does not say how far the source is complete",
        where="source.sales.through",
        expected="dates YYYY-MM-DD",
        found=found,
        next_step="mend the load log, or set source.sales.through to a date or null",
    )
