"""A user's query in the place of a table: what T-SQL allows there, and what it does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_PIECE = re.compile(
    r"""--[^\n]*|/\*|'(?:[^']|'')*'|"(?:[^"]|"")*"|\[(?:[^\]]|\]\])*\]"""
    r"""|0[xX][0-9a-fA-F]*|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]*)?"""
    r"""|(?:[^\W\d]|[@\#])[\w@\#$]*|\S""",
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_OTHER_LINE_ENDS = re.compile(r"\r(?!\n)|[\0\v\f\x85\u2028\u2029]")
_NUMBER = re.compile(r"[0-9.@(+*/%-]")
_ACTS = frozenset(
    ("ADD", "ALTER", "BACKUP", "BEGIN", "BREAK", "BULK", "CHECKPOINT", "CLOSE", "COMMIT",
     "CONTINUE", "CREATE", "DBCC", "DEALLOCATE", "DECLARE", "DELETE", "DENY", "DISK", "DROP",
     "DUMP", "EXEC", "EXECUTE", "EXTERNAL", "GOTO", "GRANT", "IF", "INSERT", "INTO", "KILL",
     "LINENO", "LOAD", "MERGE", "OPEN", "OPENDATASOURCE", "OPENQUERY", "OPENROWSET", "PRINT",
     "PROC", "PROCEDURE", "RAISERROR", "READTEXT", "RECONFIGURE", "RESTORE", "RETURN",
     "REVERT", "REVOKE", "ROLLBACK", "SAVE", "SET", "SETUSER", "SHUTDOWN", "TRAN",
     "TRANSACTION", "TRIGGER", "TRUNCATE", "UPDATE", "UPDATETEXT", "USE", "WAITFOR", "WHILE",
     "WRITETEXT")
)  # fmt: skip
"""Words that write or act. T-SQL reserves each: without brackets it is no name of a column."""
_HINTS = {"USE": ("HINT", "PLAN"), "MERGE": ("JOIN", "UNION")}
"""What makes a hint of such a word: OPTION (USE HINT (…)), INNER MERGE JOIN."""
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
    words = _top_level(query)
    end = words.pop()[1] if words and words[-1][0] == ";" else len(query)
    first = _behind_with(words)
    if first == len(words) or words[first][0] not in ("SELECT", "("):
        raise NotOneSelectError(
            "what follows WITH is no SELECT" if first else "it does not begin with SELECT or WITH"
        )
    body = words[first][1] if first else 0
    words = words[first:]
    names = [word for word, _ in words]
    option = _first(words, "OPTION", end)
    if option < end and names[names.index("OPTION") :] != ["OPTION", "("]:
        raise NotOneSelectError("something stands behind its OPTION (…)")
    ordered = _first(words, "ORDER", option)
    chooses = _skips(names) or ("TOP" in names and not _SETS & set(names))
    last = option if chooses else ordered
    return Origin(
        f"({query[body:last].rstrip()}\n)",
        f"{query[:body].rstrip()}\n" if body else "",
        f"\n{query[option:end].rstrip()}" if option < end else "",
    )


def inner(origin: Origin) -> str:
    """The query alone, as it stands inside."""
    return f"{origin.before}{origin.source[1:-1].rstrip()}"


def _first(words: list[tuple[str, int]], wanted: str, otherwise: int) -> int:
    return next((start for word, start in words if word == wanted), otherwise)


def _behind_with(words: list[tuple[str, int]]) -> int:
    """How many words WITH and its common table expressions are; they are that and no more.

    Raises:
        NotOneSelectError: something else stands there.
    """
    names = [word for word, _ in words]
    if names[:1] != ["WITH"]:
        return 0
    place = 1
    while True:
        forms = (["AS", "("], ["(", "AS", "("])
        found = next((f for f in forms if names[place + 1 : place + 1 + len(f)] == f), None)
        if names[place : place + 2] == ["XMLNAMESPACES", "("]:
            found = ["("]
        if found is None:
            raise NotOneSelectError("what follows WITH is not: name AS (SELECT …)")
        place += 1 + len(found)
        if names[place : place + 1] != [","]:
            return place
        place += 1


def _skips(names: list[str]) -> bool:
    """Whether it says OFFSET n ROWS; a column may have the name as well."""
    for place, name in enumerate(names):
        if name == "OFFSET":
            rest = names[place + 1 :]
            n = next((i for i, word in enumerate(rest) if not _NUMBER.match(word)), len(rest))
            if n and rest[n : n + 1] in (["ROW"], ["ROWS"]):
                return True
    return False


def _top_level(query: str) -> list[tuple[str, int]]:
    """Words and signs outside parentheses, quotes and comments, with their places.

    Raises:
        NotOneSelectError: parentheses that do not match, a quote or comment without end, a word
            that acts, or something behind a semicolon.
    """
    pieces = list(_pieces(query))
    _refuse_what_acts([piece.upper() for piece, _ in pieces])
    depth, found = 0, []
    for piece, start in pieces:
        depth += (piece == "(") - (piece == ")")
        if depth < 0:
            raise NotOneSelectError("a parenthesis is closed that none opens")
        if (depth == 0 and piece != ")") or (piece == "(" and depth == 1):
            found.append((piece.upper(), start))
    if depth:
        raise NotOneSelectError("a parenthesis is not closed")
    return found


def _refuse_what_acts(words: list[str]) -> None:
    cases = 0
    for place, word in enumerate(words):
        behind = words[place + 1] if place + 1 < len(words) else ""
        if word == ";" and behind:
            raise NotOneSelectError("it is more than one statement: ;")
        cases += (word == "CASE") - (word == "END")
        if cases < 0 or (word in _ACTS and behind not in _HINTS.get(word, ())):
            raise NotOneSelectError(f"{word} has no place in it")


def _pieces(query: str) -> Iterator[tuple[str, int]]:
    """Words, numbers, quoted texts and signs, without comments, which may be nested."""
    if _OTHER_LINE_ENDS.search(query):
        raise NotOneSelectError("it has a line end that is neither \\n nor \\r\\n")
    place = 0
    while found := _PIECE.search(query, place):
        piece, place = found.group(), found.end()
        if piece == "/*":
            place = _end_of_comment(query, place)
        elif piece in ("'", '"', "["):
            raise NotOneSelectError(f"the quote {piece} has no end")
        elif not piece.startswith("--"):
            yield piece, found.start()


def _end_of_comment(query: str, place: int) -> int:
    depth = 1
    for edge in _COMMENT_EDGE.finditer(query, place):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    raise NotOneSelectError("the comment /* has no end")
