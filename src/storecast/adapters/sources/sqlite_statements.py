# ruff: noqa: S608 - every name in these statements is quoted before it comes here
"""The statements that SQLite is sent: its columns have no types, so each value is looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, auto

from storecast.adapters.sources.sql import (
    DAY_AFTER_LAST,
    FIRST_DAY,
    day_after,
    day_before,
    quoted,
)
from storecast.ports import Span, Tallied

_DIGIT = "[0-9]"
_DAY = f"{_DIGIT * 4}-{_DIGIT * 2}-{_DIGIT * 2}*"


def as_table(origin: str) -> str:
    """No row of a relation: what is no query fails, and does not act."""
    return f"SELECT * FROM {origin} AS r LIMIT 0"


class Shape(Enum):
    """How a column's values are sent.

    ``PLAIN`` is text as it is. ``FRACTIONS`` is two columns: the general form without the text of
    fractions, and the fractions, 0.0 where the value is none.
    """

    PLAIN = auto()
    FRACTIONS = auto()


def reading(
    origin: str, columns: Sequence[str], shapes: Mapping[str, Shape], span: Span | None
) -> str:
    """Each value as text behind a letter; in the columns of ``shapes`` in theirs."""
    # Through the alias: a bare name in double quotes that is no column would be a text.
    values = ", ".join(_sent(f"r.{quoted(c)}", shapes.get(c)) for c in columns)
    return f"SELECT {values} FROM {origin} AS r{_within(span)}"


def _sent(column: str, shape: Shape | None) -> str:
    if shape is Shape.PLAIN:
        return f"CAST({column} AS TEXT)"
    if shape is Shape.FRACTIONS:
        letters = _lettered(column, "'r'")
        # Never anything but a fraction: the driver types the column by its first rows.
        return f"{letters}, CASE typeof({column}) WHEN 'real' THEN {column} ELSE 0.0 END"
    return _lettered(column, f"'r' || {column}")


def _lettered(column: str, real: str) -> str:
    """The value as text behind the first letter of its storage class: n, i, r, t or b.

    ``real`` is what stands for a fraction, its letter in front.

    A blob is no text: the control character in front of its bytes keeps it from passing for an
    identifier, a number or a date, so that the row is rejected.
    """
    return (
        f"CASE typeof({column}) WHEN 'text' THEN 't' || {column} "
        f"WHEN 'real' THEN {real} WHEN 'integer' THEN 'i' || {column} "
        f"WHEN 'blob' THEN 'b' || char(1) || hex({column}) ELSE 'n' END"
    )


def _within(span: Span | None) -> str:
    """Text days compare as they are written.

    A text with an offset from UTC may be of the day before or after; what is no such text comes
    too.
    """
    if span is None or (span.since is None and span.until is None):
        return ""
    column = f"r.{quoted(span.column)}"
    near, wide = [], [f"substr({column}, 11) GLOB '*[+-]*'"]
    if span.since is not None:
        near.append(f"{column} >= '{span.since.isoformat()}'")
        wide.insert(0, f"{column} >= '{day_before(span.since).isoformat()}'")
    if span.until is not None:
        near.append(f"{column} < '{span.until.isoformat()}'")
        wide.insert(0, f"{column} < '{day_after(span.until).isoformat()}'")
    tests = [
        f"({' AND '.join(near)})",
        f"({' AND '.join(wide)})",
        # Numbers lie before every text, and blobs behind: a look at the type takes longer.
        f"{column} IS NULL OR {column} < '' OR {column} >= x''",
        f"{column} NOT GLOB '{_DAY}'",
        *(f"r.{quoted(name)} IS NULL" for name in span.or_null),
    ]
    if span.or_undated is not None:
        tests.append(_undated(f"r.{quoted(span.or_undated)}"))
    return f" WHERE {' OR '.join(tests)}"


def _undated(column: str) -> str:
    """Whether a value is no day from 1900 to 2200; true of days with an offset and the like too.

    A plain day is told from others by one call, a day with a time by two more.
    """
    instant, fraction = f"substr({column}, 1, 19)", f"substr({column}, 20)"
    return (
        f"{column} < '{FIRST_DAY}' OR {column} >= '{DAY_AFTER_LAST}' "
        f"OR (date({column}) IS NOT {column} "
        f"AND (datetime({instant}) IS NOT replace({instant}, 'T', ' ') "
        # To SQLite 24:00 is an hour.
        f"OR substr({column}, 12, 2) > '23' OR ({fraction} <> '' "
        f"AND ({fraction} NOT GLOB '.[0-9]*' OR substr({column}, 21) GLOB '*[^0-9]*'))))"
    )


def has_written_days(origin: str, column: str) -> str:
    """Whether any value is text that begins like a day, and whether there is any at all."""
    day = f"r.{quoted(column)}"
    return (
        f"SELECT EXISTS (SELECT 1 FROM {origin} AS r WHERE {_is_day(day)}), "
        f"EXISTS (SELECT 1 FROM {origin} AS r WHERE {day} IS NOT NULL)"
    )


def _is_day(column: str) -> str:
    return f"typeof({column}) = 'text' AND {column} GLOB '{_DAY}'"


def tallying(origin: str, wanted: Tallied) -> str:
    """Rows, and the sum of the amounts in 1/10000, by store and month.

    The sum comes as millions and the rest, so that no 64-bit sum can overflow. A float of 10¹¹
    or more may differ from the rules' amount by its rounding.
    """
    store, day = f"r.{quoted(wanted.store_id)}", f"r.{quoted(wanted.day)}"
    value = f"r.{quoted(wanted.sales)}"
    since = wanted.since.isoformat() if wanted.since is not None else "1900-01-01"
    rows = (
        f"SELECT CAST({store} AS TEXT) COLLATE BINARY AS store_id, "
        f"substr({day}, 1, 7) || '-01' AS month, "
        # A float is what its text says, to the rules as well.
        f"CASE typeof({value}) WHEN 'real' THEN {_shortest(value)} ELSE {value} END AS v "
        f"FROM {origin} AS r WHERE {day} >= '{since}' AND {day} < '2201' AND {_is_day(day)} "
        f"AND date(substr({day}, 1, 10)) = substr({day}, 1, 10) AND {store} IS NOT NULL"
    )
    return (
        # Materialized, or SQLite would work out a value anew wherever it is named.
        f"WITH looked_at AS MATERIALIZED ({rows}), parted AS MATERIALIZED ({_PARTED}) "
        "SELECT store_id, month, COUNT(*), SUM(u / 1000000), SUM(u % 1000000) "
        f"FROM (SELECT store_id, month, {_UNITS} AS u FROM parted) "
        "GROUP BY store_id COLLATE BINARY, month"
    )


def _shortest(value: str) -> str:
    """The shortest text that is this very float.

    CAST writes 17 digits where 15 will not do; in amounts below 10⁸ that is past the places that
    count.
    """
    digits = [f"printf('%!.{n}g', {value})" for n in (15, 16)]
    enough = " ".join(f"WHEN CAST({text} AS REAL) = {value} THEN {text}" for text in digits)
    cast = f"CAST({value} AS TEXT)"
    return f"CASE WHEN abs({value}) < 1e8 THEN {cast} {enough} ELSE {cast} END"


# Compared with a number, a text that is one becomes it; '1x' stays a text.
_PARTED = (
    "SELECT store_id, month, v, CASE typeof(v) "
    "WHEN 'integer' THEN CASE WHEN v BETWEEN -99999999999999 AND 99999999999999 THEN 'i' END "
    "WHEN 'text' THEN CASE WHEN NOT (v NOT GLOB '*[^0-9.eE+-]*' AND v = CAST(v AS NUMERIC)) "
    "THEN NULL WHEN v GLOB '*[eE]*' THEN 'e' "
    "WHEN length(ltrim(substr(v, 1, instr(v || '.', '.') - 1), '+-0')) <= 14 THEN 't' END "
    "END AS kind, instr(v || '.', '.') AS point FROM looked_at"
)
"""Each amount with its kind: whole, text, text with an exponent, or none that can be read."""
_FOUR_PLACES = (
    "CAST(substr(v, 1, point - 1) || substr(substr(v, point + 1) || '0000', 1, 4) AS INTEGER)"
)
_REST = "rtrim(substr(v, point + 5), '0')"
_UNITS = (
    "CASE kind WHEN 'i' THEN v * 10000 "
    f"WHEN 't' THEN {_FOUR_PLACES} + CASE WHEN v GLOB '-*' THEN -1 ELSE 1 END * "
    f"CASE WHEN {_REST} > '5' THEN 1 WHEN {_REST} = '5' THEN abs({_FOUR_PLACES}) % 2 ELSE 0 END "
    "WHEN 'e' THEN CASE WHEN abs(CAST(v AS REAL)) < 1e14 "
    "THEN CAST(round(CAST(v AS REAL) * 10000.0) AS INTEGER) ELSE 0 END ELSE 0 END"
)
"""The amount in 1/10000; halves are rounded to even, as the rules do."""
