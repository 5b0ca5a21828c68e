"""What sources that speak SQL share: quoting, parts of statements, and what is said of a name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Final

from storecast.errors import Code, SourceError

WRITTEN_DAY: Final = (
    "^(19[0-9]{2}|2[01][0-9]{2}|2200)-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
    "|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"
    "([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.,][0-9]+)?)?"
    " ?(Z|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)?)?$"
)
"""ISO 8601 days from 1900 to 2200, perhaps with a time; not the 29th of February, which no pattern
knows to be there or not."""

Pair = tuple[str, str]
_AT_ONCE: Final = 400
"""Pairs in one statement: SQLite has room for conditions 1,000 deep, SQL Server for 2,100 marks."""

FIRST_DAY: Final = date(1900, 1, 1)
DAY_AFTER_LAST: Final = date(2201, 1, 1)


def quoted(name: str) -> str:
    """An identifier in double quotes, as the standard has it."""
    return '"' + name.replace('"', '""') + '"'


def text_literal(text: str) -> str:
    """A text in single quotes; for texts of our own making, not of the user's."""
    return "'" + text.replace("'", "''") + "'"


def derived(query: str) -> str:
    """A query in the place of a table. The line end closes a comment in its last line."""
    return f"({query.strip().rstrip(';').rstrip()}\n)"


def equality(origin: str, column: str, marks: Sequence[str]) -> str:
    """How many different values of a column are equal to both texts of a pair.

    Only the different values are compared, and no condition is put on the rows before: so many
    pairs cost little more than one.

    Args:
        origin: a table or a query in parentheses, ready for FROM.
        column: the quoted column.
        marks: the mark or expression of each text, pair after pair.
    """
    either = " OR ".join(
        f"(r.{column} = {one} AND r.{column} = {other})"
        for one, other in zip(marks[::2], marks[1::2], strict=True)
    )
    return (
        f"SELECT COUNT(CASE WHEN {either} THEN 1 END) "  # noqa: S608 - quoted, and marks for values
        f"FROM (SELECT DISTINCT s.{column} FROM {origin} AS s) AS r"
    )


def first_equal(pairs: Sequence[Pair], ask: Callable[[Sequence[str]], int]) -> Pair | None:
    """The first pair whose texts are equal; None where none is.

    Args:
        pairs: of texts.
        ask: puts the question of ``equality`` with the texts of some pairs.
    """
    for start in range(0, len(pairs), _AT_ONCE):
        among = pairs[start : start + _AT_ONCE]
        if not ask(_texts(among)):
            continue
        while len(among) > 1:
            half = len(among) // 2
            among = among[:half] if ask(_texts(among[:half])) else among[half:]
        return among[0]
    return None


def _texts(pairs: Sequence[Pair]) -> list[str]:
    return [text for pair in pairs for text in pair]


def day_before(day: date) -> date:
    """The day before, but for the first of all."""
    return day - timedelta(days=1) if day > date.min else day


def day_after(day: date) -> date:
    """The day after, but for the last of all."""
    return day + timedelta(days=1) if day < date.max else day


def table_not_found(name: str, there: Sequence[str], place: str, where: str) -> SourceError:
    """SOURCE_TABLE_NOT_FOUND, with the nearest name that there is."""
    lowered = {t.lower(): t for t in reversed(there)}
    near = difflib.get_close_matches(name.lower(), lowered, 1, 0.5)
    return SourceError(
        Code.SOURCE_TABLE_NOT_FOUND,
        f"there is no table or view {name!r} in {place}"
        + (f"; did you mean {lowered[near[0]]!r}?" if near else ""),
        where=where,
        expected=", ".join(there[:20]) or "at least one table",
        found=name,
        next_step="correct the name after `from:` in storecast.yaml",
    )


def name_parts(name: str, opening: str = '"', closing: str = '"') -> list[str]:
    """The parts of a dotted name, each as it is once its quotes are off.

    A dot within quotes parts nothing, a doubled closing quote is one: ``[a.b].[c]]d]`` is
    ``a.b`` and ``c]d``.
    """
    parts, part, place, inside = [], "", 0, False
    while place < len(name):
        letter = name[place]
        if inside:
            if letter == closing and name[place + 1 : place + 2] == closing:
                part, place = part + closing, place + 1
            elif letter == closing:
                inside = False
            else:
                part += letter
        elif letter == opening and not part.strip():
            part, inside = "", True
        elif letter == ".":
            parts.append(part)
            part = ""
        else:
            part += letter
        place += 1
    return [p for p in [*parts, part] if p]


def resolved(
    parts: Sequence[str], there: Sequence[tuple[str, str]], database: str
) -> tuple[str, str] | None:
    """The (schema, table) that a name means: to the letter, or but for case.

    Args:
        parts: of the name.
        there: what there is, what a bare name means first.
        database: the one that the tables are in.

    A name with dots and without quotes is understood too, whatever its dots mean.
    """
    wanted = ".".join(parts)
    for exact in (True, False):
        for schema, table in there:
            forms = (table, f"{schema}.{table}", f"{database}.{schema}.{table}")
            if wanted in forms if exact else wanted.lower() in (f.lower() for f in forms):
                return schema, table
    return None
