# ruff: noqa: S608 - every name in these statements is quoted before it comes here
"""The statements that SQL Server is sent, and what its types are to us. Plain T-SQL of 2012."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from storecast.adapters.sources.mssql_query import Origin
from storecast.adapters.sources.sql import DAY_AFTER_LAST, FIRST_DAY, day_after, day_before
from storecast.ports import Span, Tallied

KINDS: Final = {
    "char": "text", "varchar": "text", "text": "text", "nchar": "text", "nvarchar": "text",
    "ntext": "text", "sysname": "text", "uniqueidentifier": "text", "tinyint": "integer",
    "smallint": "integer", "int": "integer", "bigint": "integer", "decimal": "decimal",
    "numeric": "decimal", "money": "decimal", "smallmoney": "decimal", "float": "float",
    "real": "float", "date": "date", "datetime": "timestamp", "datetime2": "timestamp",
    "smalldatetime": "timestamp", "datetimeoffset": "timestamp", "bit": "boolean",
}  # fmt: skip
FIXED_WIDTH: Final = ("char", "nchar")
COMPARED: Final = ("char", "varchar", "nchar", "nvarchar", "sysname")
DAYS: Final = ("date", "datetime", "datetime2", "smalldatetime", "datetimeoffset")
NUMBERS: Final = ("tinyint", "smallint", "int", "bigint", "decimal", "numeric", "money",
                  "smallmoney", "float", "real")  # fmt: skip

SNAPSHOTS: Final = (
    "SELECT CAST(snapshot_isolation_state AS int) FROM sys.databases WHERE name = DB_NAME()"
)
SNAPSHOT: Final = "SET TRANSACTION ISOLATION LEVEL SNAPSHOT"
COMMITTED: Final = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
STILL_THERE: Final = "SELECT 1 AS still_there"
DESCRIBED: Final = (
    "SELECT name, system_type_name, error_message "
    "FROM sys.dm_exec_describe_first_result_set(?, NULL, 0) ORDER BY column_ordinal"
)
_DAY_LIKE = "[12][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]"
_CLOCK_LIKE = "[01][0-9]:[0-5][0-9]:[0-5][0-9]"


def bracketed(*parts: str) -> str:
    """A name in brackets, its parts parted by dots."""
    return ".".join("[" + part.replace("]", "]]") + "]" for part in parts)


def tables(database: str | None) -> str:
    """The tables and views of a database (None: the current one), the user's schema first."""
    prefix = f"{bracketed(database)}." if database is not None else ""
    return (
        f"SELECT TABLE_SCHEMA, TABLE_NAME FROM {prefix}INFORMATION_SCHEMA.TABLES "
        "ORDER BY CASE WHEN TABLE_SCHEMA = SCHEMA_NAME() THEN 0 ELSE 1 END, "
        "TABLE_SCHEMA, TABLE_NAME"
    )


def table_columns(database: str | None) -> str:
    """Names and types of a table's columns; schema and table are bound."""
    prefix = f"{bracketed(database)}." if database is not None else ""
    return (
        f"SELECT COLUMN_NAME, DATA_TYPE FROM {prefix}INFORMATION_SCHEMA.COLUMNS "
        "WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION"
    )


def reading(
    origin: Origin, columns: Sequence[str], types: Mapping[str, str], span: Span | None
) -> str:
    """Each column in its own type, but where the driver's Arrow type would lose something."""
    values = ", ".join(_value(name, types.get(name, "")) for name in columns)
    return origin.select(values, _within(span, types))


def _value(name: str, kind: str) -> str:
    column = f"r.{bracketed(name)}"
    as_name = f" AS {bracketed(name)}"
    if kind == "datetimeoffset":
        # The driver gives the instant in UTC; the day that counts is the local one.
        return f"CONVERT(varchar(40), {column}, 121){as_name}"
    if kind in ("money", "smallmoney"):
        return f"CAST({column} AS decimal(19, 4)){as_name}"
    if kind == "sql_variant":
        return f"CAST({column} AS nvarchar(4000)){as_name}"
    return column


def _within(span: Span | None, types: Mapping[str, str]) -> str:
    kind = types.get(span.column) if span is not None else None
    if span is None or kind not in DAYS or (span.since is None and span.until is None):
        return ""
    column = f"r.{bracketed(span.column)}"
    since, until = span.since, span.until
    if kind == "datetimeoffset":
        # Compared as instants: the local day may be the one before or after.
        since = day_before(since) if since is not None else None
        until = day_after(until) if until is not None else None
    type_name = kind if kind in ("date", "datetimeoffset") else "datetime2"
    bounds = []
    if since is not None:
        bounds.append(f"{column} >= CAST('{since.isoformat()}' AS {type_name})")
    if until is not None:
        bounds.append(f"{column} < CAST('{until.isoformat()}' AS {type_name})")
    tests = [f"({' AND '.join(bounds)})"]
    tests += [f"r.{bracketed(name)} IS NULL" for name in (span.column, *span.or_null)]
    tests += _undated(span, types)
    return f" WHERE {' OR '.join(tests)}"


def _undated(span: Span, types: Mapping[str, str]) -> list[str]:
    """Tests for what is no day from 1900 to 2200; of text, all but plain days and seconds."""
    if span.or_undated is None:
        return []
    column, kind = f"r.{bracketed(span.or_undated)}", types.get(span.or_undated)
    if kind not in (*DAYS, *NUMBERS):
        # By its bytes: to some collations a superscript is a digit. LIKE passes over blanks at the
        # end of a varchar, not of an nvarchar.
        text = f"CAST({column} AS nvarchar(4000)) COLLATE Latin1_General_BIN2"
        return [
            f"({text} NOT LIKE N'{_DAY_LIKE}' AND {text} NOT LIKE N'{_DAY_LIKE}[T ]{_CLOCK_LIKE}')",
            f"TRY_CONVERT(date, LEFT({text}, 10), 23) IS NULL",
            f"{text} < N'{FIRST_DAY}'",
            f"{text} >= N'{DAY_AFTER_LAST}'",
        ]
    if kind in DAYS and span.or_undated == span.column:
        type_name = kind if kind in ("date", "datetimeoffset") else "datetime2"
        return [
            f"{column} < CAST('{day_after(FIRST_DAY)}' AS {type_name})",
            f"{column} >= CAST('{day_before(DAY_AFTER_LAST)}' AS {type_name})",
        ]
    return []


def tallying(origin: Origin, wanted: Tallied, types: Mapping[str, str]) -> str:
    """Rows and the sum of the amounts by store, year and month.

    Stores are grouped by their bytes: to a collation ``a`` may be ``A``, and to SQL Server
    ``a`` is always ``a`` with spaces behind it.
    """
    store = f"CAST(r.{bracketed(wanted.store_id)} AS nvarchar(4000))"
    day = f"CAST(r.{bracketed(wanted.day)} AS date)"
    since = wanted.since.isoformat() if wanted.since is not None else "1900-01-01"
    rows = (
        f"SELECT {store} AS store_id, YEAR({day}) AS y, MONTH({day}) AS m, "
        f"{_amount(f'r.{bracketed(wanted.sales)}', types.get(wanted.sales, ''))} AS a "
        f"FROM {origin.source} AS r WHERE r.{bracketed(wanted.store_id)} IS NOT NULL "
        f"AND {day} >= CAST('{since}' AS date) AND {day} < CAST('2201-01-01' AS date)"
    )
    return origin.around(
        "SELECT MIN(t.store_id) AS store_id, t.y AS y, t.m AS m, COUNT_BIG(*) AS n, "
        f"SUM(t.a) AS a FROM ({rows}) AS t "
        "GROUP BY CAST(t.store_id AS varbinary(8000)), t.y, t.m"
    )


def _amount(value: str, kind: str) -> str:
    """In 1/10000, halves rounded to even as the contract does; what is too large is nothing."""
    small = f"{value} > -100000000000000 AND {value} < 100000000000000"
    exact = f"CAST({value} AS decimal(38, 4))"
    if kind in ("decimal", "numeric"):
        cut = f"ROUND({value}, 4, 1)"
        tie = f"ABS({value} - {cut}) = 0.00005 AND ({cut} * 10000) % 2 = 0"
        exact = f"CASE WHEN {tie} THEN CAST({cut} AS decimal(38, 4)) ELSE {exact} END"
    return f"CASE WHEN {small} THEN {exact} ELSE 0 END"
