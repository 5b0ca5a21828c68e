"""The leaderboard as lines of text, as wide as the terminal is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from storecast.validation.leaderboard import Line
    from storecast.validation.result import ValidationResult

Tone = Literal["head", "best", "baseline", "worse", "leak", ""]
"""What a line is, for those who can show it in colours."""

_VERDICTS = {"better": "better", "worse": "worse", "not_told_apart": "noise", None: "–"}
_GAP = "  "
_MORE = ("mase", "rmsse")
"""Metrics that are shown where there is room."""


@dataclass(frozen=True)
class Column:
    """A column of the leaderboard: its title, a cell for each line, and whether it can go."""

    title: str
    cells: tuple[str, ...]
    needed: bool = True

    @property
    def width(self) -> int:
        """Characters of the widest cell."""
        return max(map(len, (self.title, *self.cells)))


def board(result: ValidationResult, width: int) -> list[tuple[str, Tone]]:
    """The leaderboard, a head and a line a model, of at most ``width`` characters from 72 on.

    A name that is too long stands on a line of its own, above its figures. Columns that tell less
    are left out where there is no room for them.
    """
    lines = result.leaderboard
    names = [f"{line.model} (pretrained)" if line.pretrained else line.model for line in lines]
    longest = max(map(len, ("model", *names)))
    columns = _fitting(_columns(result), longest, width)
    room = min(longest, max(5, width - sum(column.width + len(_GAP) for column in columns)))
    ranks = columns[0]
    told: list[tuple[str, Tone]] = [(_row("model", room, columns, None), "head")]
    for number, (line, name) in enumerate(zip(lines, names, strict=True)):
        tone = _tone(result, line)
        if len(name) > room:
            told.append((f"{ranks.cells[number].rjust(ranks.width)}{_GAP}{name}", tone))
        told.append((_row(name if len(name) <= room else "", room, columns, number), tone))
    return told


def _row(name: str, room: int, columns: Sequence[Column], number: int | None) -> str:
    rank, *others = columns
    shown = [c.title if number is None else c.cells[number] for c in columns]
    first = "" if number is not None and not name else shown[0]
    cells = [text.rjust(column.width) for text, column in zip(shown[1:], others, strict=True)]
    return _GAP.join([first.rjust(rank.width), name.ljust(room), *cells]).rstrip()


def _fitting(columns: Sequence[Column], longest: int, width: int) -> list[Column]:
    """All the columns, or as many of those that can go as there is room for."""
    kept = list(columns)
    for column in reversed(columns):
        if longest + sum(c.width + len(_GAP) for c in kept) <= width:
            break
        if not column.needed:
            kept.remove(column)
    return kept


def _columns(result: ValidationResult) -> list[Column]:
    metric, lines = result.metric, result.leaderboard

    def column(title: str, cell: Callable[[Line], str], *, needed: bool = True) -> Column:
        return Column(title, tuple(cell(line) for line in lines), needed)

    ranks = Column("", tuple(_ranks(result)))
    columns = [
        ranks,
        column(metric.upper(), lambda line: _number(getattr(line, metric))),
        column("min–max", _spread),
        column("gain", lambda line: _signed(None if line.model == result.baseline else line.gain)),
        column("verdict", lambda line: _verdict(result, line)),
        column("p", lambda line: _number(line.p_value), needed=False),
        column("bias", lambda line: _signed(line.bias)),
        column("inside", lambda line: _percent(line.coverage)),
    ]
    columns += [
        column(name.upper(), lambda line, name=name: _number(getattr(line, name)), needed=False)  # type: ignore[misc]
        for name in _MORE
        if name != metric
    ]
    if any(line.n_filled for line in lines):
        columns.append(column("filled", lambda line: _percent(line.filled)))
    return columns


def _ranks(result: ValidationResult) -> list[str]:
    """Places from 1 on; a model that the leak audit failed has none."""
    failed = [result.audit.failed(line.model) for line in result.leaderboard]
    return ["–" if bad else str(place) for place, bad in enumerate(failed, start=1)]


def _verdict(result: ValidationResult, line: Line) -> str:
    if result.audit.failed(line.model):
        return "LEAK"
    return "baseline" if line.model == result.baseline else _VERDICTS[line.verdict]


def _tone(result: ValidationResult, line: Line) -> Tone:
    if result.audit.failed(line.model):
        return "leak"
    if line.model == result.best:
        return "best"
    if line.model == result.baseline:
        return "baseline"
    return "worse" if line.verdict == "worse" else ""


def _spread(line: Line) -> str:
    return f"{line.spread[0]:.3f}–{line.spread[1]:.3f}" if line.spread else "–"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _signed(share: float | None) -> str:
    return "–" if share is None else f"{share:+.1%}"


def _percent(share: float | None) -> str:
    if share is None:
        return "–"
    return "<1%" if 0 < share < 0.01 else f"{share:.0%}"
