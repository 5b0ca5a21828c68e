"""Days and instants as a user writes them: a format of ``strptime``'s numeric directives.

Read to the character, with no regard to any locale: a text that can be read in two ways is read
in none. And texts as a terminal may show them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import cached_property, lru_cache
from typing import Any, Final

_DIGITS: Final = {
    "d": ("day", 1, 2),
    "m": ("month", 1, 2),
    "Y": ("year", 4, 4),
    "y": ("short_year", 2, 2),
    "j": ("day_of_year", 3, 3),
    "H": ("hour", 1, 2),
    "M": ("minute", 1, 2),
    "S": ("second", 1, 2),
    "f": ("fraction", 1, 9),
}
"""Directive to its part, and from how many to how many digits it has."""

_OFFSET: Final = r"(?P<zone>Z|[+-]\d{2}(?::?\d{2})?)"
_OF_A_LOCALE: Final = "aAbBcpxXZ"
_READ: Final = ", ".join(f"%{letter}" for letter in (*_DIGITS, "z", "%"))
_PIVOT: Final = 69
"""Two digits of a year from here on are of the 20th century, as in POSIX."""
_LAST_HOUR: Final = 23
_LAST_MINUTE: Final = 59


@dataclass(frozen=True)
class DateFormat:
    """How days, or instants, are written: ``%d/%m/%Y``.

    Directives are %d %m %Y %y %j %H %M %S %f %z and %%. One digit may stand for two where a
    character that is no digit follows and comes before. All else stands for itself.
    """

    text: str
    _pattern: re.Pattern[str]

    @staticmethod
    @lru_cache(maxsize=64)
    def of(text: str) -> DateFormat:
        """The format that ``text`` names.

        Raises:
            ValueError: it has a directive that is not read, one twice, or does not say a day.
        """
        pieces = re.findall(r"%.?|[^%]+", text, re.DOTALL)
        letters = [piece[1:] for piece in pieces if piece[0] == "%"]
        _refuse(text, letters)
        pattern = "".join(
            _piece(piece, pieces[i - 1] if i else "", pieces[i + 1] if i + 1 < len(pieces) else "")
            for i, piece in enumerate(pieces)
        )
        return DateFormat(text, re.compile(pattern, re.ASCII))

    def read(self, text: str) -> datetime | None:
        """The instant that ``text`` says, with its offset where it has one.

        None where it is not written so, or there is no such instant. What is finer than a
        microsecond is cut.
        """
        found = self._pattern.fullmatch(text)
        return None if found is None else _instant(found.groupdict())

    @cached_property
    def example(self) -> str:
        """The 24th of November 2003, 18:05:09, written so; for messages."""
        parts = {
            "d": "24", "m": "11", "Y": "2003", "y": "03", "j": "328", "H": "18", "M": "05",
            "S": "09", "f": "000000", "z": "-0300", "%": "%",
        }  # fmt: skip
        return re.sub(r"%(.)", lambda found: parts[found[1]], self.text)


def _refuse(text: str, letters: list[str]) -> None:
    local = [f"%{c}" for c in letters if c and c in _OF_A_LOCALE]
    if local:
        raise ValueError(
            f"{text!r} has {', '.join(local)}, which reads differently from machine to machine "
            f"(by its locale); there are {_READ}"
        )
    strange = [f"%{c}" for c in letters if c not in (*_DIGITS, "z", "%")]
    if strange:
        raise ValueError(f"{text!r} has {', '.join(strange)}; there are {_READ}")
    named = [c for c in letters if c != "%"]
    if len(set(named)) < len(named):
        raise ValueError(f"{text!r} has one directive twice")
    given = set(named)
    year = len(given & {"Y", "y"}) == 1
    day = given & {"d", "m", "j"}
    if not year or day not in ({"d", "m"}, {"j"}):
        raise ValueError(f"{text!r} does not say a day: write e.g. %d/%m/%Y")
    if ("M" in given and "H" not in given) or ("S" in given and "M" not in given) or (
        "f" in given and "S" not in given
    ):  # fmt: skip
        raise ValueError(f"{text!r} does not say a time: write e.g. %H:%M:%S")


def _piece(piece: str, before: str, after: str) -> str:
    letter = piece[1:] if piece[0] == "%" else ""
    if letter == "z":
        return _OFFSET
    if letter not in _DIGITS:
        return re.escape("%" if letter == "%" else piece)
    name, fewest, most = _DIGITS[letter]
    if letter != "f" and (_ends_in_digit(before) or _begins_with_digit(after)):
        # 1112003 is the 1st of November or the 11th of January: only 01112003 is read.
        fewest = most
    return rf"(?P<{name}>\d{{{fewest},{most}}})"


def _ends_in_digit(piece: str) -> bool:
    return (piece[:1] == "%" and piece[1:] in _DIGITS) or piece[-1:].isdigit()


def _begins_with_digit(piece: str) -> bool:
    return (piece[:1] == "%" and piece[1:] in _DIGITS) or piece[:1].isdigit()


def _instant(parts: dict[str, Any]) -> datetime | None:
    hour, minute, second = (int(parts.get(name) or 0) for name in ("hour", "minute", "second"))
    microsecond = int((parts.get("fraction") or "0").ljust(6, "0")[:6])
    try:
        clock = time(hour, minute, second, microsecond, _zone(parts.get("zone")))
        return datetime.combine(_day(parts), clock)
    except ValueError:
        return None


def _day(parts: dict[str, Any]) -> date:
    """The day; raises ValueError where there is none such."""
    short = parts.get("short_year")
    if short is None:
        year = int(parts["year"])
    else:
        year = int(short) + (1900 if int(short) >= _PIVOT else 2000)
    number = parts.get("day_of_year")
    if number is None:
        return date(year, int(parts["month"]), int(parts["day"]))
    ordinal = date(year, 1, 1).toordinal() + int(number) - 1
    if not date(year, 1, 1).toordinal() <= ordinal <= date(year, 12, 31).toordinal():
        raise ValueError(f"no such day of {year}: {number}")
    return date.fromordinal(ordinal)


def _zone(text: str | None) -> timezone | None:
    """The offset; raises ValueError where no clock has it."""
    if text is None:
        return None
    if text == "Z":
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > _LAST_HOUR or minutes > _LAST_MINUTE:
        raise ValueError(f"no offset: {text}")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(offset if text[0] == "+" else -offset)


def visible(text: str) -> str:
    """``text`` with what cannot be seen, or would command a terminal, as Python escapes it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


HIDDEN_FROM: Final = 4
"""Characters that a secret has at least that is hidden in a message."""

_LONGEST: Final = 40
"""Characters of a value in a sentence."""


def short(value: object) -> str:
    """A value in a sentence: visible, and no longer than a sentence bears."""
    text = "null" if value is None else visible(str(value)) or "''"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
