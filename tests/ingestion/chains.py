"""A small chain in a real SQLite file, and the project that ingests it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from storecast import runs
from storecast.configfile import parse_config
from storecast.platforms import assemble
from storecast.project import Project

LINES = ("id", "store", "day", "amount", "changed")


class Chain:
    """The source and the project around it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "chain.db"
        self.sales: dict[str, Any] = {
            "from": "lines",
            "primary_key": ["id"],
            "columns": {"store_id": "store", "date": "day", "sales": "amount"},
            "watermark": "changed",
            "reconcile": "9999d",
        }
        self.source: dict[str, Any] = {}
        self.changes: dict[str, Any] = {"series": {"frequency": "W-SUN"}, "max_rejected": 1}

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Write a table whole; without types, so that each value keeps its own."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(f'DROP TABLE IF EXISTS "{name}"')
            connection.execute(f'CREATE TABLE "{name}" ({", ".join(columns)})')
            marks = ", ".join("?" * len(columns))
            connection.executemany(f'INSERT INTO "{name}" VALUES ({marks})', rows)

    def lines(self, *rows: Sequence[Any]) -> None:
        self.table("lines", LINES, rows)

    def project(self) -> Project:
        source = {"type": "sqlite", "path": "chain.db", "sales": self.sales, **self.source}
        raw = {
            "project": "chain",
            "source": {key: value for key, value in source.items() if value is not None},
            "training": {"from": "2020-01-01"},
            "forecast": {"horizon": 4},
            "models": ["seasonal_naive"],
            **self.changes,
        }
        return assemble(parse_config(raw), self.folder)

    def read(self, name: str, *columns: str) -> list[tuple[Any, ...]]:
        """Rows of a table as the ledger names it, sorted."""
        table = runs.read_table(self.project(), name)
        wanted = columns or tuple(
            c for c in table.schema.names if c not in ("ingested_at", "run_id")
        )
        rows = zip(*(table[c].to_pylist() for c in wanted), strict=True)
        return sorted(rows, key=repr)
