"""A user's query in the place of a table: what T-SQL allows there, and what it does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_PIECE = re.compile(
    r"""--[^\n]*|/\*.*?\*/|/\*|'(?:[^']|'')*'|"(?:[^"]|"")*"|\[(?:[^\]]|\]\])*\]"""
    r"""|[^\W\d][\w@\#$]*|\S""",
    re.DOTALL,
)
_SETS = frozenset(("UNION", "EXCEPT", "INTERSECT"))


class NotOneSelectError(ValueError):
    """The text is not one SELECT."""


@dataclass(frozen=True)
class Origin:
    """What stands behind FROM, and what has to stand before and behind the whole statement."""

    source: str
    before: str = ""
    behind: str = ""

    def select(self, values: str, rest: str = "") -> str:
        """``SELECT values FROM … AS r rest``."""
        return self.around(f"SELECT {values} FROM {self.source} AS r{rest}")  # noqa: S608 - quoted

    def around(self, statement: str) -> str:
        """A statement that reads from ``source``, with what has to stand around it."""
        return f"{self.before}{statement}{self.behind}"


def origin_of(query: str) -> Origin:
    """A query as a derived table.

    Its common table expressions go before the statement, its OPTION behind it. An ORDER BY that
    chooses no rows (no TOP, no OFFSET) is not allowed in a derived table, and left out.

    Raises:
        NotOneSelectError: it is anything but one SELECT.
    """
    words = list(_top_level(query))
    end = next((start for word, start in words if word == ";"), len(query))
    words = [(word, start) for word, start in words if start < end]
    names = [word for word, _ in words]
    if not names or names[0] not in ("SELECT", "WITH", "("):
        raise NotOneSelectError("it does not begin with SELECT or WITH")
    if names[0] == "WITH" and "SELECT" not in names:
        raise NotOneSelectError("what follows WITH is no SELECT")
    body = 0 if names[0] != "WITH" else _first(words, "SELECT")
    option = _first(words, "OPTION", end)
    ordered = _first(words, "ORDER", option)
    chooses = "OFFSET" in names or ("TOP" in names and not _SETS & set(names))
    last = option if chooses else ordered
    return Origin(
        f"({query[body:last].rstrip()}\n)",
        f"{query[:body].rstrip()}\n" if body else "",
        f"\n{query[option:end].rstrip()}" if option < end else "",
    )


def inner(origin: Origin) -> str:
    """The query alone, as it stands inside."""
    return f"{origin.before}{origin.source[1:-1].rstrip()}"


def _first(words: list[tuple[str, int]], wanted: str, otherwise: int = 0) -> int:
    return next((start for word, start in words if word == wanted), otherwise)


def _top_level(query: str) -> Iterator[tuple[str, int]]:
    """Words and signs outside parentheses, quotes and comments, with their places.

    Raises:
        NotOneSelectError: parentheses that do not match, a quote or comment without end, or
            something behind the last semicolon.
    """
    depth, ended = 0, False
    for found in _PIECE.finditer(query):
        piece = found.group()
        if piece == "/*":
            raise NotOneSelectError("the comment /* has no end")
        if piece.startswith(("--", "/*")):
            continue
        if ended and piece != ";":
            raise NotOneSelectError("it is more than one statement")
        if piece in ("'", '"', "["):
            raise NotOneSelectError(f"the quote {piece} has no end")
        depth += (piece == "(") - (piece == ")")
        if depth < 0:
            raise NotOneSelectError("a parenthesis is closed that none opens")
        if depth == 0 or (piece == "(" and depth == 1):
            ended = ended or piece == ";"
            yield piece.upper(), found.start()
    if depth:
        raise NotOneSelectError("a parenthesis is not closed")
