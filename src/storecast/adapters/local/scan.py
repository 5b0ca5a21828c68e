"""Reading the files of a Delta table with DuckDB, which skips what a condition rules out.

Its statistics of each row group leave most of a table unread where the rows lie in the order of
their dates, as those of a shop's database do; Arrow's own reader takes a hundred times as long.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

_BATCH = 65_536
_THREADS = 4
"""More threads hold more row groups at a time, and a disk does not read faster for them."""


def live(table: DeltaTable) -> pa.Table:
    """The files that hold the rows of a version, with their sizes."""
    # Not by `pa.table`, which imports pandas to see whether it is given a frame of it.
    return pa.RecordBatchReader.from_stream(table.get_add_actions()).read_all()


def paths(table: DeltaTable, folder: Path) -> list[str]:
    """The files that hold the rows of a version, with their folder."""
    return [str(folder / unquote(path)) for path in live(table)["path"].to_pylist()]


def rows(
    files: Sequence[str], columns: Sequence[str], where: str | None, among: pa.Table | None
) -> Iterator[pa.RecordBatch]:
    """Stream the named columns of the rows that meet ``where`` and occur in ``among``."""
    if not files:
        return
    with _connected() as connection:
        origin = viewed(connection, files, columns, _semi_join(connection, among))
        query = f"SELECT {listed(columns)} FROM {origin}"  # noqa: S608 - our own names
        if where is not None:
            query += f" WHERE {where}"
        yield from connection.sql(query).to_arrow_reader(_BATCH)


def bounds(
    files: Sequence[str], among: pa.Table, column: str | None
) -> list[tuple[object, object]]:
    """Of each file with a row in ``among``: the least and greatest ``column`` of such rows.

    Pairs of None where no column is given; no pair where no row occurs there.
    """
    if not files:
        return []
    needed = [*among.schema.names, *([column] if column is not None else ())]
    with _connected() as connection:
        join = _semi_join(connection, among)
        origin = viewed(connection, files, [*dict.fromkeys(needed)], join, "scanned.filename")
        least, most = (f"{f}({_quoted(column)})" if column else "NULL" for f in ("MIN", "MAX"))
        query = f"SELECT {least}, {most} FROM {origin} GROUP BY filename ORDER BY 1"  # noqa: S608 - our own names
        return [(row[0], row[1]) for row in connection.sql(query).fetchall()]


def _connected() -> duckdb.DuckDBPyConnection:
    return _database().cursor()


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """One for the process: an own one for each of many small readings would cost 20 ms each."""
    connection = duckdb.connect()
    for name, value in (
        ("TimeZone", "'UTC'"),
        ("temp_directory", "''"),
        # Files are read once or twice: kept, they would take as much memory as they are long.
        ("enable_external_file_cache", "false"),
        ("threads", str(min(_THREADS, os.cpu_count() or 1))),
        # A name in a condition is a column, never a Python variable of that name.
        ("python_enable_replacements", "false"),
    ):
        connection.execute(f"SET GLOBAL {name} = {value}")
    return connection


def viewed(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[str],
    columns: Sequence[str],
    join: str = "",
    *more: str,
) -> str:
    """Something to select from: the columns of the files, joined as ``joined`` has it."""
    listed = ", ".join(literal(_escaped(file)) for file in files)
    origin = f"read_parquet([{listed}], union_by_name = true, filename = true)"
    have = set(connection.sql(f"SELECT * FROM {origin}").columns)  # noqa: S608 - literals
    # A column that came later is in none of the older files, and may be in no file at all.
    values = [f"scanned.{_quoted(c)}" if c in have else f"NULL AS {_quoted(c)}" for c in columns]
    return f"(SELECT {', '.join([*values, *more])} FROM {origin} AS scanned {join})"  # noqa: S608 - our own names


def joined(how: str, relation: str, columns: Sequence[str]) -> str:
    """``SEMI JOIN`` or ``ANTI JOIN`` with a relation that has the columns."""
    same = " AND ".join(f"scanned.{_quoted(c)} = a.{_quoted(c)}" for c in columns)
    return f"{how} {relation} AS a ON {same}"


def _semi_join(connection: duckdb.DuckDBPyConnection, among: pa.Table | None) -> str:
    if among is None:
        return ""
    connection.register("among", among)
    return joined("SEMI JOIN", "among", among.schema.names)


def listed(columns: Sequence[str]) -> str:
    """Names of columns as SQL has them."""
    return ", ".join(_quoted(column) for column in columns)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def _escaped(path: str) -> str:
    """The path as a pattern that only itself fits."""
    return "".join(f"[{c}]" if c in "[*?" else c for c in path)
