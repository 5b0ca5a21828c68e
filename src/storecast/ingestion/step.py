"""Ingestion: from the source to the feature tables, every row accounted for.

Everything is computed, and the equations checked, before the first table is committed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from storecast import runs
from storecast.core.calendar import Frequency
from storecast.ingestion import (
    collisions,
    covariates,
    evolution,
    gaps,
    quarantine,
    reconcile,
    sales,
    standing,
    stores,
    through,
)
from storecast.ingestion import extent as extents
from storecast.ingestion.bench import Workbench
from storecast.ingestion.changes import Changes
from storecast.ingestion.extent import Extent
from storecast.ingestion.feeds import Feeds, checked, feeds_of
from storecast.ingestion.merge import Unique
from storecast.ingestion.partial import Part, Reading, Seen, empty
from storecast.ingestion.result import IngestResult
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
        evolution.refuse(project, run, FEATURE_TABLES)
        source = stack.enter_context(contextlib.closing(project.open_source()))
        bench = Workbench(project.open_engine(run.run_id))
        stack.callback(bench.close)
        changes = Changes(bench, run, project.specs)
        return _carry_out(project, source, changes, full)


@dataclass(frozen=True)
class _Read:
    """What was read of each feed, by its name; ``part`` where not all sales were."""

    feeds: Feeds
    staged: Mapping[str, Staged]
    rows: Mapping[str, Unique]
    extent: Extent
    part: Part | None


def _carry_out(project: Project, source: Source, changes: Changes, full: bool) -> IngestResult:
    """Read, compute, check, commit; in this order."""
    bench, run, config = changes.bench, changes.run, project.config
    feeds = checked(feeds_of(config), source)
    # Before the sales: what the log says is complete is complete in what is read after it.
    said = through.said(source, config.source.sales.through)
    read = _read(project, source, changes, feeds, said, full)
    # Nobody who writes to the source need wait for what follows.
    source.close()
    staged, rows = read.staged, read.rows
    frequency = Frequency(config.series.frequency)
    dated = [s.name for s in staged.values() if "date" in s.feed.schema.names]
    label_periods(bench, dated, frequency)
    if read.part is None:
        after = sales.merge(changes, feeds, staged["sales"], rows, frequency, full=full)
    else:
        after = sales.merge_part(changes, feeds, read.part, rows, frequency)
    if feeds.stores is None:
        stores.merge_none(changes)
    else:
        stores.merge(changes, staged["stores"], rows["stores"])
    by_period = covariates.merge(changes, feeds.covariates, staged, rows)
    _merge_rejected(changes, read.part)
    complete = said or through.newest_sale(bench, after.days, run.started_at.date())
    strangers = (
        stores.without_row(bench, after.stores, rows["stores"]) if feeds.stores is not None else []
    )
    shops = changes.tables["stores"].wanted if feeds.stores is not None else None
    lacking = gaps.find(bench, by_period, after.stores, shops, config.rules(), complete.day)
    result = replace(
        _result(changes, read, after, complete, strangers), covariates_without_row=lacking
    )
    evolution.extend(project, changes.run, FEATURE_TABLES)
    changes.commit()
    return _told(changes, read, config.series.frequency, result)


def _read(
    project: Project,
    source: Source,
    changes: Changes,
    feeds: Feeds,
    said: Through | None,
    full: bool,
) -> _Read:
    bench, run, config, feed = changes.bench, changes.run, project.config, feeds.sales
    before = runs.newest(project, "ingest")
    there = run.has("sales") and run.has(feed.table) and run.has("rejected_rows")
    extent = extents.of_run(config, feed, before, there=there, full=full)
    seen = Seen(extent, feed)
    staged = {
        f.name: stage(bench, source, f, run, seen.reading() if f is feed and extent.since else None)
        for f in feeds.all()
    }
    part = None
    if extent.since is not None and before is not None:
        part = _settled(project, source, changes, staged["sales"], seen, before, said)
    elif staged["sales"].read == 0:
        raise empty(feed)
    known = _stores_before(changes) if part is not None else ()
    collisions.refuse(bench, source, [(s.feed, s.name) for s in staged.values()], known)
    rows = {
        name: part.rows
        if part is not None and one.feed is feed
        else one_a_key(bench, source, one, config.max_rejected)
        for name, one in staged.items()
    }
    return _Read(feeds, staged, rows, extent, part)


def _settled(
    project: Project,
    source: Source,
    changes: Changes,
    staged: Staged,
    seen: Seen,
    before: Mapping[str, Any],
    said: Through | None,
) -> Part:
    """Settle what the watermark gave, and what differs, against the table."""
    config, bench = project.config, changes.bench
    ends = [before["through"], *([said.day] if said is not None else [])]
    days = config.source.sales.reconcile
    part = Reading(
        bench,
        changes.run,
        source,
        staged,
        changes.specs[staged.feed.table],
        seen.extent,
        seen,
        since=reconcile.first_day(max(ends), days) if days is not None else None,
        known=reconcile.remembered(before["details"].get("sales", {})),
        held=standing.remembered(before["details"].get("sales", {})),
    ).settle()
    bad = staged.rejected + bench.count(part.kept)
    # Few rows may come: what counts is how much of all that the feed has is rejected.
    quarantine.refuse_too_many(bench, staged.feed, part.after + bad, bad, config.max_rejected)
    return part


def _stores_before(changes: Changes) -> list[str]:
    bench = changes.bench
    with bench.viewed("target", changes.run.scan("sales", ["store_id"])):
        bench.create("stores_before", "SELECT DISTINCT store_id FROM target")
    found: list[str] = bench.rows("SELECT store_id FROM stores_before")["store_id"].to_pylist()
    return found


def _merge_rejected(changes: Changes, part: Part | None) -> None:
    run, spec = changes.run, changes.specs["rejected_rows"]
    target = run.read(spec.name) if run.has(spec.name) else spec.empty()
    kept = part.kept if part is not None else None
    changes.find(spec.name, quarantine.quarantined(changes.bench, target, run.run_id, kept))


def _result(
    changes: Changes, read: _Read, after: sales.After, complete: Through, strangers: list[str]
) -> IngestResult:
    counts: dict[str, Any] = dict(changes.counts["sales"])
    number, periods, first, last = changes.bench.tuples(
        f"SELECT COUNT(*), SUM(periods), MIN(first_date), MAX(last_date) FROM {after.stores}"  # noqa: S608 - a table of the bench
    )[0]
    part = read.part
    return IngestResult(
        run_id=changes.run.run_id,
        **counts,
        through=complete.day,
        through_origin=complete.origin,
        stores=number,
        periods=int(periods or 0),
        first_date=first or complete.day,
        last_date=last or complete.day,
        mode="full" if part is None else "incremental",
        why_full=read.extent.why,
        since=read.extent.since,
        regions_compared=part.compared if part is not None else 0,
        regions_read_again=part.extracted if part is not None else 0,
        regions_standing=part.standing.regions if part is not None else 0,
        rows_held=after.main.held,
        rows_held_before=part.standing.held if part is not None else 0,
        watermark_ahead=_ahead(changes, read, after),
        rejected=quarantine.reasons(changes.bench),
        feeds={n: c for n, c in changes.counts.items() if n != "sales"},
        stores_without_row=len(strangers),
        stores_without_row_examples=tuple(strangers[:_EXAMPLES]),
    )


def _ahead(changes: Changes, read: _Read, after: sales.After) -> datetime | None:
    """The newest watermark that is later than this run by more than a zone can be."""
    if not read.feeds.sales.watermark:
        return None
    marks = f"SELECT watermark FROM {read.staged['sales'].name}"  # noqa: S608 - a table of the bench
    if after.main.held:
        marks += (
            f" UNION ALL SELECT before__watermark FROM {after.main.name} "  # noqa: S608 - the same
            "WHERE row__change = 'held'"
        )
    newest: datetime | None = changes.bench.rows(
        f"SELECT MAX(watermark) AS newest FROM ({marks}) AS marks "  # noqa: S608 - the same
        f"WHERE watermark > {_day_after(changes.run.started_at)}"
    )["newest"][0].as_py()
    return newest


def _day_after(start: datetime) -> str:
    return f"CAST('{(start + timedelta(days=1)).isoformat()}' AS TIMESTAMPTZ)"


def _told(changes: Changes, read: _Read, frequency: str, result: IngestResult) -> IngestResult:
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
        "covariates_without_row": {
            n: g.as_dict() for n, g in result.covariates_without_row.items()
        },
        "sales": _state(changes, read, result),
    }
    tables = {n: v for n in changes.tables if (v := run.version(n)) is not None}
    return replace(result, tables=tables)


def _state(changes: Changes, read: _Read, result: IngestResult) -> dict[str, Any]:
    """What was read, and what the next run has to know to read on from here."""
    extent, start, part = read.extent, changes.run.started_at, read.part
    newest, later = None, 0
    if read.feeds.sales.watermark:
        latest = _day_after(start)
        row = changes.bench.rows(
            f"SELECT MAX(CASE WHEN watermark <= {latest} THEN watermark END) AS newest, "  # noqa: S608 - a table of the bench
            f"COUNT(CASE WHEN watermark > {latest} THEN 1 END) AS later "
            f"FROM {read.staged['sales'].name}"
        ).to_pylist()[0]
        newest, later = row["newest"], row["later"]
    return {
        "mode": result.mode,
        "why_full": extent.why,
        "since": result.since,
        "regions_compared": result.regions_compared,
        "regions_read_again": result.regions_read_again,
        "regions_standing": result.regions_standing,
        "held": result.rows_held,
        "held_before": result.rows_held_before,
        "watermark_ahead": result.as_dict()["watermark_ahead"],
        "digest": extent.digest,
        "types": dict(extent.types),
        "watermark": extents.new_mark(extent, newest, later > 0, start),
        "differing": reconcile.to_remember(part.lasting) if part is not None else [],
        "held_in": standing.to_remember(part.standing) if part is not None else [],
    }
