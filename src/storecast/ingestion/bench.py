"""The workbench of a run: temporary tables in an SQL engine, made by the statements of ``sql/``.

Every statement is a SELECT, kept once for every engine. Its placeholders are names of tables and
lists of our own normalised columns, never a user's text. It is written in the SQL that DuckDB and
Spark share, with names in double quotes; an engine that spells something otherwise spells it anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from string import Template
from typing import Any

import pyarrow as pa

from storecast.ports import Engine


class Workbench:
    """Temporary tables, gone when the run ends.

    Args:
        engine: where they are; closed with the bench.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def close(self) -> None:
        """Forget everything."""
        self._engine.close()

    def make(self, name: str, statement: str, **parts: str) -> str:
        """Make the table ``name`` of what a file of ``sql/`` selects; returns the name.

        Raises:
            OverflowError: a value does not fit the type that it is cast to.
        """
        return self.create(name, Template(_statement(statement)).substitute(parts))

    def create(self, name: str, select: str) -> str:
        """Make the table ``name`` of what ``select`` gives; returns the name."""
        self._engine.create(name, select)
        return name

    def append(self, name: str, batches: Sequence[pa.RecordBatch]) -> None:
        """Add rows to the table ``name``, made where it is not there."""
        self._engine.append(name, batches)

    def tables(self) -> set[str]:
        """Names of the tables there are."""
        return self._engine.tables()

    def count(self, name: str, where: str = "TRUE") -> int:
        """Rows of a table."""
        return int(self.value(f"SELECT COUNT(*) FROM {name} WHERE {where}"))  # noqa: S608 - our own names

    def value(self, query: str) -> Any:
        """The one value of a query."""
        return self.tuples(query)[0][0]

    def tuples(self, query: str) -> list[tuple[Any, ...]]:
        """The few rows of a query, as Python values."""
        return self._engine.tuples(query)

    def stream(self, query: str) -> pa.RecordBatchReader:
        """The rows of a query; nothing else may run until they are read."""
        return self._engine.stream(query)

    def rows(self, query: str) -> pa.Table:
        """The rows of a query, whole."""
        return self.stream(query).read_all()

    @contextlib.contextmanager
    def viewed(self, name: str, batches: pa.RecordBatchReader | pa.Table) -> Iterator[Passing]:
        """Rows that pass under a name, once, and are counted."""
        passing = Passing()
        if isinstance(batches, pa.Table):
            passing.rows = batches.num_rows
            given: Any = batches
        else:
            given = pa.RecordBatchReader.from_batches(batches.schema, passing.counted(batches))
        self._engine.register(name, given)
        try:
            yield passing
        finally:
            self._engine.forget(name)


@dataclass
class Passing:
    """How many rows have passed."""

    rows: int = 0

    def counted(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same batches, counted."""
        for batch in batches:
            self.rows += batch.num_rows
            yield batch


@cache
def _statement(name: str) -> str:
    return (resources.files("storecast.ingestion") / "sql" / f"{name}.sql").read_text("utf-8")


# ---------------------------------------------------------------------- names in a statement


def quoted(name: str) -> str:
    """A name of our own as SQL has it: one that is a word of some dialect stays a name."""
    return f'"{name}"'


def listed(names: Iterable[str], prefix: str = "") -> str:
    """``"a", "b"``, or ``w."a", w."b"``."""
    return ", ".join(f"{prefix}{quoted(name)}" for name in names)


def joined(names: Iterable[str], left: str, right: str) -> str:
    """``l."a" = r."a" AND l."b" = r."b"``."""
    return " AND ".join(f"{left}.{quoted(n)} = {right}.{quoted(n)}" for n in names)


SQL_TYPES = {
    pa.string(): "STRING",
    pa.date32(): "DATE",
    pa.float64(): "DOUBLE",
    pa.int64(): "BIGINT",
    pa.decimal128(18, 4): "DECIMAL(18, 4)",
    pa.timestamp("us", tz="UTC"): "TIMESTAMPTZ",
}
"""The type's name in a statement, by the Arrow type."""
