# ruff: noqa: S608 - the names in these statements are our own normalised ones
"""Covariates: the known in tables of their own, the realised beside the sales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from storecast.core.schema import TableSpec
from storecast.ingestion.bench import Workbench, listed
from storecast.ingestion.changes import Changes
from storecast.ingestion.feeds import CovariateFeed
from storecast.ingestion.merge import BOOKKEEPING, Unique, averaged, combined
from storecast.ingestion.staging import Staged

Part = tuple[str, Sequence[str]]
"""A table of the bench, and the covariates that it has."""


def merge(
    changes: Changes,
    covariates: Sequence[CovariateFeed],
    staged: Mapping[str, Staged],
    rows: Mapping[str, Unique],
) -> list[tuple[CovariateFeed, str]]:
    """Find what the tables of known covariates become; ``staged`` and ``rows`` by feed.

    Returns:
        the feeds that have known covariates, and the bench's table of each by period.
    """
    bench = changes.bench
    by_period = []
    latest: dict[str, list[Part]] = {}
    versions: list[Part] = []
    for number, covariate in enumerate(c for c in covariates if c.known):
        own = rows[covariate.feed.name].name
        table = "covariates" if covariate.by_store else "covariates_by_date"
        key = changes.specs[table].primary_key
        days = _latest_days(bench, covariate, own)
        name = averaged(bench, f"known_{number}", days, key, covariate.known)
        latest.setdefault(table, []).append((name, covariate.known))
        by_period.append((covariate, name))
        if covariate.versions:
            versions.append((_versions(bench, number, covariate, own), covariate.known))
    for table, parts in latest.items():
        _merge_parts(changes, table, parts)
    if versions:
        _merge_parts(changes, "covariate_versions", versions)
    for covariate in covariates:
        changes.count(staged[covariate.feed.name], rows[covariate.feed.name], None)
    return by_period


def with_realised(
    bench: Workbench,
    spec: TableSpec,
    covariates: Sequence[CovariateFeed],
    rows: Mapping[str, Unique],
    sales: str,
) -> str:
    """The sales with the realised covariates of ``spec``; returns the bench's table."""
    own = [c for c in spec.names if c in ("store_id", "date", "sales", "watermark")]
    columns = [c for c in spec.names if c not in own and c not in BOOKKEEPING]
    if not columns:
        return sales
    parts: list[Part] = []
    for covariate in covariates:
        if covariate.realised:
            latest = _latest_days(bench, covariate, rows[covariate.feed.name].name)
            table = averaged(
                bench, f"realised_{len(parts)}", latest, ("store_id", "date"), covariate.realised
            )
            parts.append((table, covariate.realised))
    realised = combined(bench, "realised", parts, ("store_id", "date"), columns)
    return bench.make(
        "with_realised",
        "with_realised",
        sales=sales,
        realised=realised,
        own=listed(own, "w."),
        columns=listed(columns, "r."),
    )


def _latest_days(bench: Workbench, covariate: CovariateFeed, rows: str) -> str:
    """One row a day: the newest version where versions are kept."""
    if not covariate.versions:
        return rows
    key = [k for k in covariate.feed.key if k != "known_at"]
    return bench.make(
        f"{rows}_latest",
        "latest",
        columns=listed(c for c in covariate.feed.schema.names if c != "known_at"),
        prefixed=listed(covariate.feed.schema.names, "w."),
        prefixed_key=listed(key, "w."),
        version="known_at",
        rows=rows,
    )


def _versions(bench: Workbench, number: int, covariate: CovariateFeed, rows: str) -> str:
    columns = list(covariate.known)
    if not covariate.by_store:
        rows = bench.create(f"for_all_{number}", f"SELECT '' AS store_id, * FROM {rows}")
    recorded = bench.make(
        f"recorded_{number}",
        "as_recorded",
        columns=listed(columns),
        prefixed=listed(columns, "w."),
        rows=rows,
        periods="periods",
    )
    key = ("store_id", "date", "known_at")
    return averaged(bench, f"versions_{number}", recorded, key, columns)


def _merge_parts(changes: Changes, table: str, parts: Sequence[Part]) -> None:
    spec = changes.specs[table]
    columns = [c for c in spec.names if c not in spec.primary_key and c not in BOOKKEEPING]
    name = combined(changes.bench, f"wanted_{table}", parts, spec.primary_key, columns)
    changes.find(table, name)
