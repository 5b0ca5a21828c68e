"""What every command shares: its options, its answer, its progress, its end by a signal."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import click

from storecast.core.written import visible
from storecast.errors import Code, Interruption, Refusal, StorecastError

STOPPING = (
    signal.SIGINT,
    signal.SIGTERM,
    # A terminal that is closed; Windows has none.
    *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()),
)
"""Signals that end a command with its tables whole."""


class Settings:
    """The options that every command takes."""

    def __init__(self) -> None:
        self.folder = Path()
        self.overrides: tuple[str, ...] = ()
        self.json = False
        self.debug = False
        self.run_id: str | None = None
        self.interrupted = False
        self.clear: Callable[[], None] = lambda: None
        """Takes a progress bar off the terminal, so that nothing is printed into it."""

    def load(self) -> Any:
        """The project; raises as ``storecast.load``."""
        import storecast

        return storecast.load(self.folder, self.overrides)

    def say(self, text: str = "") -> None:
        """Print for people; with ``--json`` nothing but the envelope is printed."""
        if not self.json:
            self.clear()
            _print(text)

    def show(self, lines: Iterable[tuple[str, str]]) -> None:
        """Print lines, each with its tone, in colours where a terminal has them."""
        if not self.json:
            self.clear()
            for text, tone in lines:
                _print(click.style(text, **_TONES.get(tone, {})) if _coloured() else text)


_TONES: dict[str, dict[str, Any]] = {
    "head": {"dim": True},
    "best": {"bold": True, "fg": "green"},
    "baseline": {"fg": "cyan"},
    "worse": {"dim": True},
    "leak": {"fg": "red"},
}


def _coloured() -> bool:
    """Whether colours are wanted: https://no-color.org."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def columns() -> int:
    """How many characters a line of the terminal takes; 120 where there is none."""
    return shutil.get_terminal_size((120, 24)).columns


def wrapped(sentence: str, indent: str = "  ") -> str:
    """A sentence that a terminal does not cut within a word; elsewhere it stays one line."""
    if not sys.stdout.isatty():
        return indent + sentence
    return textwrap.fill(
        sentence,
        min(columns(), _WIDEST),
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_on_hyphens=False,
        break_long_words=False,
    )


def answered(command: str, settings: Settings, body: Callable[[], Any]) -> int:
    """Run a command, answer on standard output, and give its exit code.

    ``body`` returns its result and the exit code, 0 or 3; what it raises becomes one message.
    """
    try:
        with _signals(settings), _listening(settings):
            result, code = body()
    except (KeyboardInterrupt, SystemExit, Exception) as fault:  # noqa: BLE001 - the last resort
        return failed(command, settings, _explained(fault, settings))
    if settings.json:
        status = {0: "done", 3: "unhealthy"}.get(code, "failed")
        _envelope(command, settings, status=status, exit_code=code, result=result)
    return int(code)


def _explained(fault: BaseException, settings: Settings) -> StorecastError:
    """The one message that a user gets.

    A signal that falls into a library's own code comes back as that library's error, so what
    counts is that there was one.
    """
    if settings.interrupted or isinstance(fault, KeyboardInterrupt):
        known: StorecastError = Interruption(
            Code.INTERRUPTED, "stopped; the tables are whole", next_step="run the command again"
        )
    elif isinstance(fault, StorecastError):
        return fault
    else:
        known = StorecastError(
            Code.INTERNAL,
            f"{type(fault).__name__}: {fault}",
            next_step="run it again with --debug and report what it prints",
        )
    known.__cause__ = fault
    return known


def failed(command: str, settings: Settings, fault: StorecastError) -> int:
    """Tell of a failure, as an envelope or in words, and give its exit code."""
    if settings.debug:
        traceback.print_exception(fault, file=sys.stderr)
    status = "refused" if isinstance(fault, Refusal) else "failed"
    if settings.json:
        # what ran well and says no has a result, too
        result = getattr(fault, "result", None)
        told = {} if result is None else {"result": result.as_dict()}
        _envelope(
            command,
            settings,
            status=status,
            exit_code=fault.exit_code,
            **told,
            error=fault.as_dict(),
        )
        return fault.exit_code
    click.echo(f"{status}: {fault.code.value}: {fault.message}", err=True)
    for name in ("where", "expected", "found", "next_step"):
        value = getattr(fault, name)
        if value:
            click.echo(f"  {name.replace('_', ' ')}: {value}", err=True)
    return fault.exit_code


def _envelope(command: str, settings: Settings, **fields: Any) -> None:
    envelope = {"command": command, "run_id": settings.run_id, **fields}
    _print(json.dumps(envelope, default=_plain, ensure_ascii=False, allow_nan=False))


def _print(text: str) -> None:
    """Print; a reader that has gone (``| head``) does not stop the work."""
    try:
        click.echo(text)
    except BrokenPipeError:
        # What is still to be printed, at the exit too, goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _plain(value: Any) -> Any:
    if isinstance(value, date | datetime):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)


def _heeded(number: signal.Signals) -> bool:
    return number.name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN


@contextlib.contextmanager
def _signals(settings: Settings) -> Iterator[None]:
    """Ctrl-C and a termination end a command alike: tables whole, exit code 130.

    But for a hang-up that it was told to ignore, by ``nohup``.
    """

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        settings.interrupted = True
        raise KeyboardInterrupt

    before = {s: signal.signal(s, interrupt) for s in STOPPING if _heeded(s)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[None]:
    """Show what runs report: a bar on a terminal, plain lines elsewhere, on standard error."""
    from storecast import runs

    for noisy in ("mlflow", "alembic", "darts", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    with _Display(sys.stderr.isatty() and not settings.json) as display:
        settings.clear = display.clear

        def heard(run_id: str, text: str, done: int, total: int, left: float | None) -> None:
            settings.run_id = run_id
            if text and not settings.json:
                display.show(text, done, total, left)

        with runs.listen(heard, interrupted=lambda: settings.interrupted):
            yield


class _Display:
    """Progress on standard error."""

    def __init__(self, terminal: bool) -> None:
        self._terminal = terminal
        self._progress: Any = None
        self._task: Any = None
        self._text = ""
        self._tenth = -1

    def __enter__(self) -> _Display:
        if self._terminal:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
            )

            self._progress = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                TimeElapsedColumn(), TextColumn("{task.fields[left]}"),
                console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._progress.start()
        return self

    def show(self, text: str, done: int, total: int, left: float | None = None) -> None:
        remains = "" if left is None or done >= total else f"about {duration(left)} left"
        if self._terminal:
            if text != self._text:
                if self._task is not None:
                    self._progress.remove_task(self._task)
                self._progress.start()
                self._task = self._progress.add_task(text, total=total or None, left="")
            self._progress.update(self._task, completed=done, total=total or None, left=remains)
        else:
            tenth = 10 * done // total if total else -1
            if text != self._text or tenth != self._tenth:
                counted = f" {done}/{total}" if total else ""
                click.echo(
                    f"{datetime.now():%H:%M:%S} {text}{counted}{remains and ', '}{remains}",
                    err=True,
                )
            self._tenth = tenth
        self._text = text

    def clear(self) -> None:
        """Off the terminal, until there is more to show."""
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._progress.stop()
            self._task, self._text = None, ""

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()


def duration(seconds: float) -> str:
    """A time as people say it: seconds, then minutes, then hours and minutes."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def readable(frame: Any) -> str:
    """Rows side by side where they fit the screen, else a block of lines for each."""
    texts = {
        c.name: ["" if v is None else f"{v:,.2f}" if isinstance(v, float) else str(v) for v in c]
        for c in frame.get_columns()
    }
    widths = {name: max(map(len, [name, *values])) for name, values in texts.items()}
    if sum(widths.values()) + 2 * len(widths) <= shutil.get_terminal_size((120, 24)).columns:
        right = {c.name for c in frame.get_columns() if c.dtype.is_numeric()}

        def line(cells: dict[str, str]) -> str:
            return "  ".join(
                cell.rjust(widths[name]) if name in right else cell.ljust(widths[name])
                for name, cell in cells.items()
            ).rstrip()

        rows = [dict(zip(texts, cells, strict=True)) for cells in zip(*texts.values(), strict=True)]
        return "\n".join([line({name: name for name in texts}), *map(line, rows)])
    longest = max(map(len, texts))
    blocks = [
        "\n".join(f"{name:<{longest}}  {values[i]}" for name, values in texts.items())
        for i in range(frame.height)
    ]
    return "\n\n".join(blocks)


def rejected(frame: Any) -> str:
    """Rows of the quarantine: of each the code, the reason with the remedy, and the row itself."""
    width = min(shutil.get_terminal_size((120, 24)).columns, _WIDEST)
    order = ("table_name", "reason_code", "reason", "row_hash", "occurrence")
    return "\n\n".join(_rejected(row, width) for row in frame.sort(order).iter_rows(named=True))


_WIDEST = 120
"""Columns of a line that is still easily read."""


def _rejected(row: dict[str, Any], width: int) -> str:
    copy = f", copy {row['occurrence']}" if row["occurrence"] > 1 else ""
    fields = json.loads(row["raw_row"])
    shown = "  ".join(f"{k}: {_value(v)}" for k, v in fields.items())
    runs = f"first rejected by run {row['first_run_id']}"
    if row["last_run_id"] != row["first_run_id"]:
        runs += f", last by {row['last_run_id']}"
    lines = [f"{row['reason_code']}, meant for {row['table_name']}{copy}"]
    for text, further in ((row["reason"], "  "), (f"→ {shown}", "    "), (runs, "  ")):
        lines += textwrap.wrap(
            text, width, initial_indent="  ", subsequent_indent=further, break_on_hyphens=False
        )
    return "\n".join(lines)


def _value(value: Any) -> str:
    """A value as JSON has it: a text in quotes, so that spaces, null and "" are seen."""
    return visible(json.dumps(value, ensure_ascii=False))


def program(name: str = "storecast") -> str:
    """How the user can start a program: by its name, or by its path where it is not on PATH."""
    beside = Path(sys.argv[0]).with_name(name)
    return name if shutil.which(name) or not beside.is_file() else str(beside)
