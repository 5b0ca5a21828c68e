"""DuckDB: the SQL engine of a laptop, which spills to disk."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

_BATCH = 65_536
_MEMORY = "600MB"


class DuckDbEngine:
    """A DuckDB database of temporary tables.

    Args:
        folder: where it spills to; gone when it closes.
        memory: what it may hold before it spills, as DuckDB writes it.
    """

    def __init__(self, folder: Path, memory: str = _MEMORY) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._connection = duckdb.connect()
        for name, value in (
            ("temp_directory", str(folder)),
            ("memory_limit", memory),
            ("preserve_insertion_order", False),
            ("TimeZone", "UTC"),
            # A name in a statement is a table, never a Python variable of that name.
            ("python_enable_replacements", False),
        ):
            self._connection.execute(f"SET {name} = {_literal(value)}")
        self._made: set[str] = set()

    def create(self, name: str, select: str) -> None:
        """Make the table ``name`` of what ``select`` gives, in place of one that is there."""
        try:
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {select}")
        except duckdb.ConversionException as fault:
            raise OverflowError(str(fault)) from fault
        self._made.add(name)

    def append(self, name: str, batches: Sequence[pa.RecordBatch]) -> None:
        """Add rows to the table ``name``, made where it is not there."""
        self.register("incoming", pa.Table.from_batches(batches))
        try:
            if name in self._made:
                self._connection.execute(f"INSERT INTO {name} SELECT * FROM incoming")  # noqa: S608 - our own name
            else:
                self.create(name, "SELECT * FROM incoming")
        finally:
            self.forget("incoming")

    def register(self, name: str, rows: pa.Table | pa.RecordBatchReader) -> None:
        """Give rows a name, until ``forget``; those of a reader can be read once."""
        self._connection.register(name, rows)

    def forget(self, name: str) -> None:
        """Take back a registered name."""
        self._connection.unregister(name)

    def tables(self) -> set[str]:
        """Names of the tables there are."""
        return {row[0] for row in self.tuples("SHOW TABLES")}

    def tuples(self, query: str) -> list[tuple[Any, ...]]:
        """The few rows of a query, as Python values."""
        return list(self._connection.execute(query).fetchall())

    def stream(self, query: str) -> pa.RecordBatchReader:
        """The rows of a query; nothing else may run until they are read."""
        reader: pa.RecordBatchReader = self._connection.sql(query).to_arrow_reader(_BATCH)
        return reader

    def close(self) -> None:
        """Forget everything."""
        self._connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _literal(value: str | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "'" + value.replace("'", "''") + "'"
