# ruff: noqa: S608 - the names in these statements are our own normalised ones
"""Stores: their newest row, their versions, and those that sell and have none."""

from __future__ import annotations

from collections.abc import Iterable

from storecast.core.schema import TableSpec
from storecast.ingestion.bench import SQL_TYPES, Workbench, listed, quoted
from storecast.ingestion.changes import Changes
from storecast.ingestion.merge import BOOKKEEPING, Unique
from storecast.ingestion.staging import Staged

_NO_STORE = "(SELECT 1 AS nothing WHERE FALSE)"


def merge(changes: Changes, staged: Staged, rows: Unique) -> None:
    """Find what the stores become, and their versions where the source keeps them."""
    bench, specs, name = changes.bench, changes.specs, rows.name
    have = staged.feed.schema.names
    change = None
    if "valid_from" in have:
        versions = _filled(bench, specs["store_versions"], have, name)
        change = changes.find("store_versions", versions)
        name = bench.make(
            "latest_stores",
            "latest",
            columns=listed(c for c in have if c != "valid_from"),
            prefixed=listed(have, "w."),
            prefixed_key="w.store_id",
            version="valid_from",
            rows=name,
        )
    stores = changes.find("stores", _filled(bench, specs["stores"], have, name))
    changes.count(staged, rows, change or stores)


def merge_none(changes: Changes) -> None:
    """Empty the table: it is there for all projects, also for one that has no source of stores."""
    changes.find("stores", _filled(changes.bench, changes.specs["stores"], (), _NO_STORE))


def without_row(bench: Workbench, sales: str, stores: Unique) -> list[str]:
    """Stores that have sales and no row of their own, sorted."""
    name = bench.make("strangers", "strangers", sales=sales, stores=stores.name)
    found: list[str] = bench.rows(f"SELECT store_id FROM {name} ORDER BY 1")["store_id"].to_pylist()
    return found


def _filled(bench: Workbench, spec: TableSpec, have: Iterable[str], rows: str) -> str:
    """``rows`` with every column of the table, null where the source has none."""
    have = set(have)
    columns = [c for c in spec.columns if c.name not in BOOKKEEPING]
    selected = ", ".join(
        quoted(c.name)
        if c.name in have
        else f"CAST(NULL AS {SQL_TYPES[c.type]}) AS {quoted(c.name)}"
        for c in columns
    )
    return bench.create(f"filled_{spec.name}", f"SELECT {selected} FROM {rows}")
