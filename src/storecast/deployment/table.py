"""The gate's checks as a table in the terminal, as wide as the terminal is."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from storecast.backtest.judgement import Bound, Check

Tone = Literal["head", "baseline", "leak", ""]
"""What a line is, for those who can show it in colours."""

_VERDICTS: dict[bool | None, tuple[str, Tone]] = {
    True: ("passed", ""),
    False: ("REFUSED", "leak"),
    None: ("not clear", "baseline"),
}
_HEAD = ("check", "of", "found", "interval", "asked for", "verdict")
_GAP = "  "
_COUNTED = ("windows", "shifted_stores")
"""Checks whose value is a number of things, not a share."""


def table(checks: Sequence[Check], width: int) -> list[tuple[str, Tone]]:
    """A head, a line a check, and below each that did not pass its sentence.

    A column that tells nothing, or for which there is no room, is left out.
    """
    if not checks:
        return []
    cells = [_HEAD, *(_cells(check) for check in checks)]
    shown = [i for i in range(len(_HEAD)) if any(row[i] for row in cells[1:])]
    if _width(cells, shown) > width:
        shown = [i for i in shown if _HEAD[i] != "interval"]
    widths = {i: max(len(row[i]) for row in cells) for i in shown}
    told: list[tuple[str, Tone]] = [(_row(_HEAD, widths), "head")]
    for check, row in zip(checks, cells[1:], strict=True):
        tone = _VERDICTS[check.passed][1]
        told.append((_row(row, widths), tone))
        if not check.passed:
            told += [(line, tone) for line in _wrapped(check.sentence, width)]
    return told


def _width(cells: Sequence[Sequence[str]], shown: Sequence[int]) -> int:
    return sum(max(len(row[i]) for row in cells) + len(_GAP) for i in shown)


def _row(cells: Sequence[str], widths: dict[int, int]) -> str:
    texts = [
        cells[i].rjust(room) if _HEAD[i] in ("found", "interval") else cells[i].ljust(room)
        for i, room in widths.items()
    ]
    return _GAP.join(texts).rstrip()


def _wrapped(sentence: str, width: int) -> list[str]:
    return textwrap.wrap(
        sentence, max(width, 40), initial_indent="  → ", subsequent_indent="    ",
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip


def _cells(check: Check) -> tuple[str, ...]:
    def number(value: float) -> str:
        return f"{value:,.0f}" if check.name in _COUNTED else f"{value:.1%}"

    interval = (
        ""
        if check.low is None or check.high is None
        else (f"{number(check.low)} to {number(check.high)}")
    )
    return (
        check.name.replace("_", " "),
        "all" if check.scope == "overall" else check.member,
        "" if check.value is None else number(check.value),
        interval,
        _asked(check.bound, number),
        _VERDICTS[check.passed][0],
    )


def _asked(bound: Bound, number: Callable[[float], str]) -> str:
    low, high = bound
    if low is not None and high is not None:
        return f"{number(low)} to {number(high)}"
    if low is not None:
        return f"at least {number(low)}" if low else "above 0%"
    return f"at most {number(high)}" if high is not None else ""
