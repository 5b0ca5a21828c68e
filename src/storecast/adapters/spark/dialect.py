"""Spark's spelling of the SQL that the statements are written in."""

from __future__ import annotations

import re

_TYPES = {"TIMESTAMPTZ": "TIMESTAMP"}
_PARTS = re.compile(
    r"""--[^\n]*                     # a comment
    | '(?:[^']|'')*'                 # a text
    | "(?P<name>(?:[^"]|"")*)"       # a name
    | \b(?P<type>TIMESTAMPTZ)\b      # a type of another name
    """,
    re.VERBOSE,
)


def spelt(statement: str) -> str:
    """The same statement as Spark reads it: names in backticks, its names of types."""
    return _PARTS.sub(_spelt_part, statement)


def _spelt_part(part: re.Match[str]) -> str:
    if part["name"] is not None:
        return "`" + part["name"].replace('""', '"').replace("`", "``") + "`"
    if part["type"] is not None:
        return _TYPES[part["type"]]
    return part[0]
