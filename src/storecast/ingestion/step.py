"""Ingestion: from the source to the feature tables, every row accounted for.

Everything is computed, and the equations checked, before the first table is committed.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from storecast import runs
from storecast.core.calendar import Frequency
from storecast.errors import Code, SourceError
from storecast.ingestion import (
    collisions,
    covariates,
    evolution,
    quarantine,
    sales,
    stores,
    through,
)
from storecast.ingestion.bench import Workbench
from storecast.ingestion.changes import Changes
from storecast.ingestion.feeds import checked, feeds_of
from storecast.ingestion.staging import Staged, label_periods, one_a_key, stage
from storecast.ports import Source, Through

if TYPE_CHECKING:
    from storecast.project import Project

FEATURE_TABLES = (
    "transactions", "sales", "stores", "rejected_rows", "store_versions", "covariates",
    "covariates_by_date", "covariate_versions",
)  # fmt: skip
"""In the order of their commitment."""

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
            f"{self.stores:,} {'store' if self.stores == 1 else 'stores'}, "
            f"{self.first_date} to {self.last_date}; "
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
        evolution.follow(project, run, FEATURE_TABLES)
        source = stack.enter_context(contextlib.closing(project.open_source()))
        bench = Workbench(project.open_engine(run.run_id))
        stack.callback(bench.close)
        changes = Changes(bench, run, project.specs)
        return _carry_out(project, source, changes, full)


def _carry_out(project: Project, source: Source, changes: Changes, full: bool) -> IngestResult:
    """Read, compute, check, commit; in this order."""
    bench, run, config = changes.bench, changes.run, project.config
    feeds = checked(feeds_of(config), source)
    # Before the sales: what the log says is complete is complete in what is read after it.
    said = through.said(source, config.source.sales.through)
    staged = {feed.name: stage(bench, source, feed, run) for feed in feeds.all()}
    _refuse_empty(staged["sales"])
    collisions.refuse(bench, source, [(s.feed, s.name) for s in staged.values()])
    rows = {n: one_a_key(bench, source, s, config.max_rejected) for n, s in staged.items()}
    # Nobody who writes to the source need wait for what follows.
    source.close()
    dated = [s.name for s in staged.values() if "date" in s.feed.schema.names]
    frequency = Frequency(config.series.frequency)
    label_periods(bench, dated, frequency)
    final = sales.merge(changes, feeds, staged["sales"], rows, frequency, full=full)
    if feeds.stores is None:
        stores.merge_none(changes)
    else:
        stores.merge(changes, staged["stores"], rows["stores"])
    covariates.merge(changes, feeds.covariates, staged, rows)
    _merge_rejected(changes)
    complete = said or through.newest_sale(bench, final, run.started_at.date())
    strangers = (
        stores.without_row(bench, changes.tables["sales"].wanted, rows["stores"])
        if feeds.stores is not None
        else []
    )
    result = _result(changes, complete, strangers)
    changes.commit()
    return _told(changes, config.series.frequency, result)


def _refuse_empty(staged: Staged) -> None:
    if staged.read == 0:
        raise SourceError(
            Code.SOURCE_EMPTY,
            f"{staged.feed.relation} has no row",
            where="source.sales",
            expected="at least one sale",
            next_step="check source.sales",
        )


def _merge_rejected(changes: Changes) -> None:
    run, spec = changes.run, changes.specs["rejected_rows"]
    target = run.read(spec.name) if run.has(spec.name) else spec.empty()
    changes.find(spec.name, quarantine.quarantined(changes.bench, target, run.run_id))


def _result(changes: Changes, complete: Through, strangers: list[str]) -> IngestResult:
    name = changes.tables["sales"].wanted
    counts: dict[str, Any] = dict(changes.counts["sales"])
    number, periods, first, last = changes.bench.tuples(
        f"SELECT COUNT(DISTINCT store_id), COUNT(*), MIN(date), MAX(date) FROM {name}"  # noqa: S608 - a table of the bench
    )[0]
    return IngestResult(
        run_id=changes.run.run_id,
        **counts,
        through=complete.day,
        through_origin=complete.origin,
        stores=number,
        periods=periods,
        first_date=first or complete.day,
        last_date=last or complete.day,
        rejected=quarantine.reasons(changes.bench),
        feeds={n: c for n, c in changes.counts.items() if n != "sales"},
        stores_without_row=len(strangers),
        stores_without_row_examples=tuple(strangers[:_EXAMPLES]),
    )


def _told(changes: Changes, frequency: str, result: IngestResult) -> IngestResult:
    """Tell the ledger; returns the result with the versions committed."""
    run = changes.run
    run.count(**changes.counts["sales"])
    run.through = result.through
    run.details |= {
        "frequency": frequency,
        "through_origin": result.through_origin,
        "rejected": result.rejected,
        "feeds": result.feeds,
        "stores_without_row": result.stores_without_row,
    }
    tables = {n: v for n in changes.tables if (v := run.version(n)) is not None}
    return replace(result, tables=tables)
