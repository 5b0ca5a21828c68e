# ruff: noqa: S608 - every name in these statements is quoted before it comes here
"""The statements that PostgreSQL is sent, and what its types are to us."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from storecast.adapters.sources.sql import (
    DAY_AFTER_LAST,
    FIRST_DAY,
    WRITTEN_DAY,
    day_after,
    day_before,
    quoted,
)
from storecast.ports import Span, Tallied

KINDS: Final = {
    "text": "text", "varchar": "text", "bpchar": "text", "name": "text", "citext": "text",
    "uuid": "text", "char": "text", "int2": "integer", "int4": "integer", "int8": "integer",
    "numeric": "decimal", "money": "decimal", "float4": "float", "float8": "float",
    "date": "date", "timestamp": "timestamp", "timestamptz": "timestamp", "bool": "boolean",
}  # fmt: skip
DAYS: Final = ("date", "timestamp", "timestamptz")
NUMBERS: Final = ("int2", "int4", "int8", "numeric", "money", "float4", "float8")
_TEXTS = ("text", "varchar", "bpchar", "citext", "name")
_AS_THEY_ARE = frozenset(
    ("text", "varchar", "bpchar", "name", "char", "int2", "int4", "int8", "numeric", "float4",
     "float8", "bool", "bytea", "time")
)  # fmt: skip

BEGINNING: Final = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "SAVEPOINT storecast",
)
TAKING_BACK: Final = "ROLLBACK TO SAVEPOINT storecast"
ZONE: Final = "SELECT pg_catalog.current_setting('TimeZone')"
TABLES: Final = (
    "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class AS c "
    "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
    "WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f') "
    "AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%' "
    "ORDER BY pg_catalog.pg_table_is_visible(c.oid) DESC, 1, 2"
)


def reading(
    origin: str,
    columns: Sequence[str],
    types: Mapping[str, str],
    span: Span | None,
    *,
    written: bool = False,
) -> str:
    """Each column in its own type, or as text where Arrow has no such type.

    ``written`` asks for timestamptz as ISO 8601 text, in the session's time zone.
    """
    values = ", ".join(_value(name, types.get(name, ""), written) for name in columns)
    return f"SELECT {values} FROM {origin} AS r{_within(span, types)}"


def _value(name: str, kind: str, written: bool) -> str:
    column = f"r.{quoted(name)}"
    if kind in DAYS:
        if kind == "timestamptz" and written:
            # Years with four digits alone look like ISO 8601, those before Christ too.
            return (
                f"CASE WHEN {column} >= DATE '0001-01-01' AND {column} < DATE '10000-01-01' "
                f"THEN to_char({column}, 'YYYY-MM-DD HH24:MI:SS.USTZH:TZM') "
                f"ELSE {column}::text END AS {quoted(name)}"
            )
        # Infinity becomes a day of the years in ``LAST_YEARS``, in any time zone.
        return (
            f"CASE WHEN {column} >= DATE '29999-01-01' THEN DATE '29999-12-30' "
            f"WHEN {column} < DATE '4712-01-01 BC' THEN DATE '4713-01-03 BC' "
            f"ELSE {column} END AS {quoted(name)}"
        )
    if kind in _AS_THEY_ARE:
        return column
    return f"{column}::{'numeric' if kind == 'money' else 'text'} AS {quoted(name)}"


def _within(span: Span | None, types: Mapping[str, str]) -> str:
    if span is None or (span.since is None and span.until is None):
        return ""
    column, kind = f"r.{quoted(span.column)}", types.get(span.column)
    if kind in DAYS:
        tests = [_between(span, column, "DATE ")]
    elif kind in _TEXTS:
        tests = _written(span, f'{column}::text COLLATE "C"')
    else:
        return ""
    tests += [f"r.{quoted(name)} IS NULL" for name in (span.column, *span.or_null)]
    tests += _undated(span, types)
    return f" WHERE {' OR '.join(tests)}"


def _undated(span: Span, types: Mapping[str, str]) -> list[str]:
    if span.or_undated is None:
        return []
    column, kind = f"r.{quoted(span.or_undated)}", types.get(span.or_undated)
    if kind not in (*DAYS, *NUMBERS):
        return [f"{column}::text COLLATE \"C\" !~ '{WRITTEN_DAY}'"]
    if kind in DAYS and span.or_undated == span.column:
        return [f"{column} < DATE '{FIRST_DAY}'", f"{column} >= DATE '{DAY_AFTER_LAST}'"]
    return []


def _between(span: Span, column: str, literal: str) -> str:
    bounds = []
    if span.since is not None:
        bounds.append(f"{column} >= {literal}'{span.since.isoformat()}'")
    if span.until is not None:
        bounds.append(f"{column} < {literal}'{span.until.isoformat()}'")
    return f"({' AND '.join(bounds)})"


def _written(span: Span, column: str) -> list[str]:
    """Text days compare as they are written; one with an offset may be of a day beside."""
    wider = Span(
        span.column,
        day_before(span.since) if span.since is not None else None,
        day_after(span.until) if span.until is not None else None,
    )
    return [
        _between(span, column, ""),
        f"({_between(wider, column, '')} AND substr({column}, 11) ~ '[+-]')",
        f"{column} !~ '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}'",
    ]


def tallying(origin: str, wanted: Tallied, types: Mapping[str, str]) -> str:
    """Rows and the sum of the amounts by store and month; halves are rounded to even."""
    day = f"r.{quoted(wanted.day)}"
    since = "" if wanted.since is None else f" AND {day} >= DATE '{wanted.since.isoformat()}'"
    amount = f"r.{quoted(wanted.sales)}"
    kind = types[wanted.sales]
    exact = f"{amount}::text::numeric" if kind in ("float4", "float8") else f"{amount}::numeric"
    number = f"{amount}::numeric" if kind == "money" else amount
    small = f"{number} > -1e14 AND {number} < 1e14"
    rows = (
        f'SELECT r.{quoted(wanted.store_id)}::text COLLATE "C" AS store_id, '
        f"date_trunc('month', {day})::date AS month, "
        f"CASE WHEN {small} THEN {exact} ELSE 0 END AS a "
        f"FROM {origin} AS r WHERE r.{quoted(wanted.store_id)} IS NOT NULL "
        f"AND {day} BETWEEN DATE '1900-01-01' AND TIMESTAMP '2200-12-31 23:59:59.999999'{since}"
    )
    rounded = (
        "CASE WHEN abs(a - trunc(a, 4)) = 0.00005 AND mod(trunc(a, 4) * 10000, 2) = 0 "
        "THEN trunc(a, 4) ELSE round(a, 4) END"
    )
    return (
        f"SELECT store_id, month, count(*), sum({rounded}) FROM ({rows}) AS rows "
        "GROUP BY store_id, month"
    )


def type_of(origin: str, column: str) -> str:
    """A column's type by name, and its category: S is text."""
    value = f"SELECT pg_catalog.pg_typeof(r.{quoted(column)})::oid FROM {origin} AS r LIMIT 1"
    return (
        "SELECT pg_catalog.format_type(t.oid, NULL), t.typcategory::text "
        f"FROM pg_catalog.pg_type AS t WHERE t.oid = ({value})"
    )


def places(kind: str, modifier: bytes) -> int | None:
    """The decimal places of ``numeric(p, s)`` that Arrow can hold; None where it cannot."""
    packed = int(modifier) - 4
    if kind != "numeric" or packed < 0:
        return None
    precision, scale = packed >> 16 & 0xFFFF, packed & 0x7FF
    return scale if precision <= 38 and scale <= precision else None
