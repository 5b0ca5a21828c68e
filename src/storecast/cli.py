"""The command line: parse, call, print."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from types import FrameType
from typing import Any

# One numeric thread per process, before any library that would start more: as many threads as
# cores slow each other down ten-fold beside any other busy process.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import click

from storecast.errors import Code, ConfigurationError, NotServedError, Refusal, StorecastError

_INTERRUPTED = 130


class _Settings:
    """The options that every command takes."""

    def __init__(self) -> None:
        self.folder = Path()
        self.overrides: tuple[str, ...] = ()
        self.json = False
        self.debug = False
        self.run_id: str | None = None
        self.interrupted = False

    def load(self) -> Any:
        import storecast

        return storecast.load(self.folder, self.overrides)

    def say(self, text: str = "") -> None:
        if not self.json:
            click.echo(text)


def _common(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--project", "folder", type=click.Path(path_type=Path), default=Path(),
                     help="The project folder (default: the current one)."),
        click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE",
                     help="Override a key of storecast.yaml."),
        click.option("--json", "as_json", is_flag=True,
                     help="Print one JSON envelope and nothing else."),
        click.option("--debug", is_flag=True, help="Show the traceback of a failure."),
    ):  # fmt: skip
        function = option(function)
    return function


def _command(group: click.Group, name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Register a command whose body returns (result, status); failures become an envelope."""

    def register(body: Callable[..., Any]) -> click.Command:
        def call(**arguments: Any) -> int:
            settings = _Settings()
            settings.folder = arguments.pop("folder")
            settings.overrides = arguments.pop("overrides")
            settings.json = arguments.pop("as_json")
            settings.debug = arguments.pop("debug")
            return _answered(full, settings, lambda: body(settings, **arguments))

        full = name if group is cli else f"{group.name} {name}"
        call.__doc__ = body.__doc__
        call.__click_params__ = getattr(body, "__click_params__", [])  # type: ignore[attr-defined]
        return group.command(name, help=body.__doc__)(_common(call))

    return register


def _answered(command: str, settings: _Settings, body: Callable[[], Any]) -> int:
    try:
        with _signals(settings), _listening(settings):
            result, code = body()
    except (StorecastError, KeyboardInterrupt, Exception) as fault:  # noqa: BLE001 - the last resort
        return _failed(command, settings, _explained(fault, settings))
    if settings.json:
        status = {0: "done", 3: "unhealthy"}.get(code, "failed")
        _envelope(command, settings, status=status, exit_code=code, result=result)
    return int(code)


class _Interrupted(StorecastError):
    """Ctrl-C or a termination."""

    exit_code = _INTERRUPTED


def _explained(fault: BaseException, settings: _Settings) -> StorecastError:
    """The one message that a user gets.

    A signal that falls into a library's own code comes back as that library's error, so what
    counts is that there was one.
    """
    if settings.interrupted or isinstance(fault, KeyboardInterrupt):
        known: StorecastError = _Interrupted(
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


def _failed(command: str, settings: _Settings, fault: StorecastError) -> int:
    if settings.debug:
        traceback.print_exception(fault, file=sys.stderr)
    status = "refused" if isinstance(fault, Refusal) else "failed"
    if settings.json:
        _envelope(
            command, settings, status=status, exit_code=fault.exit_code, error=fault.as_dict()
        )
        return fault.exit_code
    click.echo(f"{status}: {fault.code.value}: {fault.message}", err=True)
    for name in ("where", "expected", "found", "next_step"):
        value = getattr(fault, name)
        if value:
            click.echo(f"  {name.replace('_', ' ')}: {value}", err=True)
    return fault.exit_code


def _envelope(command: str, settings: _Settings, **fields: Any) -> None:
    envelope = {"command": command, "run_id": settings.run_id, **fields}
    click.echo(json.dumps(envelope, default=_plain, ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, date | datetime):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)


@contextlib.contextmanager
def _signals(settings: _Settings) -> Iterator[None]:
    """Ctrl-C and a termination end a command alike: tables whole, exit code 130."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        settings.interrupted = True
        raise KeyboardInterrupt

    before = {s: signal.signal(s, interrupt) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _listening(settings: _Settings) -> Iterator[None]:
    """Show what runs report: a bar on a terminal, plain lines elsewhere, on standard error."""
    from storecast import runs

    for noisy in ("mlflow", "alembic", "darts", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    with _Display(sys.stderr.isatty() and not settings.json) as display:

        def heard(run_id: str, text: str, done: int, total: int) -> None:
            settings.run_id = run_id
            if text and not settings.json:
                display.show(text, done, total)

        with runs.listen(heard):
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
                TimeRemainingColumn,
            )

            self._progress = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                TimeElapsedColumn(), TimeRemainingColumn(),
                console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._progress.start()
        return self

    def show(self, text: str, done: int, total: int) -> None:
        if self._terminal:
            if text != self._text:
                if self._task is not None:
                    self._progress.remove_task(self._task)
                self._task = self._progress.add_task(text, total=total or None)
            self._progress.update(self._task, completed=done, total=total or None)
        else:
            tenth = 10 * done // total if total else -1
            if text != self._text or tenth != self._tenth:
                counted = f" {done}/{total}" if total else ""
                click.echo(f"{datetime.now():%H:%M:%S} {text}{counted}", err=True)
            self._tenth = tenth
        self._text = text

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()


class _Group(click.Group):
    """A group that suggests the nearest command."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as fault:
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), 1)
            if not near:
                raise
            raise click.UsageError(f"{fault.message} Did you mean '{near[0]}'?", ctx) from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="storecast")
def cli() -> None:
    """Forecast the sales of a chain's stores: ingest, validate, deploy, forecast, report."""


@_command(cli, "init")
@click.argument("directory", type=click.Path(path_type=Path), required=False)
@click.option("--demo", metavar="NAME", help="A demo with real data: iowa.")
@click.option("--from", "file", type=click.Path(path_type=Path), help="A CSV or parquet file.")
@click.option("--advance", type=click.IntRange(min=1), metavar="N", help="Deliver N more periods.")
def _init(
    settings: _Settings, directory: Path | None, demo: str | None, file: Path | None,
    advance: int | None,
) -> Any:  # fmt: skip
    """Write a project: a demo's (--demo), or from a file of yours (--from)."""
    from storecast.setup import init

    target = directory or settings.folder
    if sum(x is not None for x in (demo, file)) > 1:
        raise ConfigurationError(Code.USAGE, "--demo and --from exclude each other")
    if advance is not None:
        if file is not None:
            raise ConfigurationError(Code.USAGE, "--advance goes with a demo, not with --from")
        delivered = init.advance_demo(target, advance)
        settings.say(
            f"delivered {delivered.delivered} more: {delivered.lines_added:,} lines added, "
            f"{delivered.lines_corrected:,} corrected, {delivered.lines_cancelled:,} cancelled"
        )
        settings.say(
            f"the source is complete through {delivered.complete_through}; "
            f"{delivered.remaining} deliveries remain"
        )
        settings.say(f"next: {_program()} run {_at(target)}".rstrip())
        return dataclasses.asdict(delivered), 0
    if demo is None and file is None:
        raise ConfigurationError(
            Code.USAGE,
            "init needs to know what from",
            expected="--demo iowa, or --from sales.csv",
        )
    made = init.init_from(target, file) if file else init.init_demo(target, str(demo))
    settings.say(f"project written to {target}")
    for note in getattr(made, "notes", ()):
        settings.say(f"  {note}")
    settings.say(f"next: look at {target / 'storecast.yaml'}, then {_program()} run {_at(target)}")
    return dataclasses.asdict(made), 0


def _at(folder: Path) -> str:
    return "" if folder == Path() else f"--project {folder}"


@_command(cli, "doctor")
def _doctor(settings: _Settings) -> Any:
    """Check configuration, source, tables, registry and versions; say how to mend each."""
    from storecast.setup import doctor

    diagnosis = doctor.check(settings.folder, settings.overrides)
    signs = {"ok": "ok     ", "warning": "warning", "failed": "FAILED "}
    for finding in diagnosis.findings:
        settings.say(f"{signs[finding.status]} {finding.name}: {finding.sentence}")
        if finding.next_step:
            settings.say(f"        → {finding.next_step}")
    return dataclasses.asdict(diagnosis), 0 if diagnosis.healthy else 3


@_command(cli, "ingest")
@click.option("--full", is_flag=True, help="Read everything again.")
def _ingest(settings: _Settings, full: bool) -> Any:
    """Bring the source's rows into the feature tables."""
    import storecast

    result = storecast.ingest(settings.load(), full=full)
    _say_result(settings, "ingest", result)
    return result.as_dict(), 0


@_command(cli, "validate")
@click.option("--models", metavar="A,B", help="Only these of the configured models.")
@click.option(
    "--audit-leakage",
    is_flag=False,
    flag_value="true",
    metavar="[full|off]",
    help="Not served yet: prove that no forecast depends on what came later.",
)
def _validate(settings: _Settings, models: str | None, audit_leakage: str | None) -> Any:
    """Backtest every configured model by strict walk-forward; print the leaderboard."""
    import storecast

    if audit_leakage is not None:
        raise NotServedError.of("validate --audit-leakage")
    chosen = [m.strip() for m in models.split(",") if m.strip()] if models else None
    result = storecast.validate(settings.load(), models=chosen)
    _say_result(settings, "validate", result)
    return result.as_dict(), 0


@_command(cli, "deploy")
@click.option("--model", metavar="NAME", help="This validated model instead of the best.")
@click.option("--force", is_flag=True, help="Deploy what was not validated all the same.")
def _deploy(settings: _Settings, model: str | None, force: bool) -> Any:
    """Fit on the whole span, pack, register, and move the alias Champion."""
    import storecast

    result = storecast.deploy(settings.load(), model=model, force=force)
    _say_result(settings, "deploy", result)
    return result.as_dict(), 0


@_command(cli, "forecast")
@click.option("--as-of", metavar="DATE", help="As if it were that day (YYYY-MM-DD).")
@click.option("--input", "file", type=click.Path(path_type=Path),
              help="Not served yet: rows to score instead of the tables.")  # fmt: skip
@click.option("--strict", is_flag=True, help="A forecast from a fallback is a failure.")
def _forecast(settings: _Settings, as_of: str | None, file: Path | None, strict: bool) -> Any:
    """Score with Champion into the forecast tables."""
    import storecast

    if file is not None:
        raise NotServedError.of("forecast --input")
    result = storecast.forecast(settings.load(), as_of=_day(as_of), strict=strict)
    _say_result(settings, "forecast", result)
    return result.as_dict(), 0


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as fault:
        raise ConfigurationError(
            Code.USAGE, f"--as-of {text!r} is not a date", expected="YYYY-MM-DD", found=text
        ) from fault


@_command(cli, "monitor")
def _monitor(settings: _Settings) -> Any:  # noqa: ARG001 - every command takes them
    """Not served yet: realised accuracy, coverage, drift and freshness."""
    raise NotServedError.of("monitor")


@_command(cli, "report")
@click.option("--open", "open_it", is_flag=True, help="Open it in the browser.")
def _report(settings: _Settings, open_it: bool) -> Any:
    """Write one self-contained HTML file."""
    import storecast

    result = storecast.report(settings.load())
    _say_result(settings, "report", result)
    if open_it:
        click.launch(str(result.path))
    return result.as_dict(), 0


@_command(cli, "run")
def _run(settings: _Settings) -> Any:
    """Ingest, validate, deploy, forecast, monitor and report, in order."""
    from storecast import pipeline

    def heard(name: str, result: Any) -> None:
        if isinstance(result, str):
            settings.say(f"{name}: passed over: {result}")
        elif result is not None:
            _say_result(settings, name, result)

    result = pipeline.run(settings.load(), listen=heard)
    _say_next(settings)
    return result.as_dict(), 0


def _say_result(settings: _Settings, name: str, result: Any) -> None:
    for number, sentence in enumerate(result.sentences()):
        settings.say(f"{name}: {sentence}" if number == 0 else f"  {sentence}")


def _say_next(settings: _Settings) -> None:
    from storecast.setup import init

    at = _at(settings.folder)
    project = settings.load()
    settings.say("\nnext:")
    if init.remaining_deliveries(project.root):
        settings.say(f"  {_program()} init --advance 1 {at}   # the next week's delivery")
        settings.say(f"  {_program()} run {at}")
    store = project.config.mlflow.tracking_uri or f"sqlite:///{project.root / 'mlflow.db'}"
    settings.say(f"  {_program('mlflow')} ui --backend-store-uri '{store}'")
    settings.say(f"  {_program()} tables export forecasts_latest --to forecasts.xlsx {at}".rstrip())


def _program(name: str = "storecast") -> str:
    """How the user can start a program: by its name, or by its path where it is not on PATH."""
    import shutil

    beside = Path(sys.argv[0]).with_name(name)
    return name if shutil.which(name) or not beside.is_file() else str(beside)


@cli.group("models", cls=_Group)
def _models() -> None:
    """The registry: list, show; promote and rollback are not served yet."""


@_command(_models, "list")
def _models_list(settings: _Settings) -> Any:
    """Every registered version and its aliases."""
    from storecast import registry

    versions = registry.of(settings.load()).versions()
    for v in versions:
        aliases = ", ".join(v["aliases"])
        settings.say(
            f"{v['version']:>4}  {v['created_at']}  {v['tags'].get('model', '')}  {aliases}"
        )
    if not versions:
        settings.say("no version is registered yet: storecast deploy")
    return {"versions": versions}, 0


@_command(_models, "show")
@click.argument("version", required=False)
def _models_show(settings: _Settings, version: str | None) -> Any:
    """One version (default: Champion): what it is and where it comes from."""
    from storecast import registry

    shown = registry.of(settings.load()).show(version)
    for key, value in shown.items():
        settings.say(f"{key}: {value}")
    return shown, 0


@_command(_models, "promote")
@click.argument("version")
def _models_promote(settings: _Settings, version: str) -> Any:  # noqa: ARG001
    """Not served yet: move Champion to a version."""
    raise NotServedError.of("models promote")


@_command(_models, "rollback")
def _models_rollback(settings: _Settings) -> Any:  # noqa: ARG001
    """Not served yet: give Champion back to the version before."""
    raise NotServedError.of("models rollback")


@cli.group("tables", cls=_Group)
def _tables() -> None:
    """The tables: list, show, history, export."""


@_command(_tables, "list")
def _tables_list(settings: _Settings) -> Any:
    """Every table with its version and rows, as completed runs left it."""
    from storecast import runs

    shown = runs.tables(settings.load())
    for row in shown:
        settings.say(f"{row['name']:<22} version {row['version']:>3}  {row['rows']:>10,} rows")
    return {"tables": shown}, 0


@_command(_tables, "show")
@click.argument("name")
@click.option("--limit", type=click.IntRange(min=1), default=20, help="Rows to show.")
@click.option("--version", type=int, help="As it was at a version.")
def _tables_show(settings: _Settings, name: str, limit: int, version: int | None) -> Any:
    """The first rows of a table."""
    import polars as pl

    from storecast import runs

    table = runs.read_table(settings.load(), name, version=version)
    frame = pl.DataFrame(table.slice(0, limit))
    settings.say(_readable(frame))
    settings.say(f"{min(limit, table.num_rows):,} of {table.num_rows:,} rows")
    return {"name": name, "n_rows": table.num_rows, "rows": frame.to_dicts()}, 0


def _readable(frame: Any) -> str:
    """Rows side by side where they fit the screen, else a block of lines for each."""
    import shutil

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


@_command(_tables, "history")
@click.argument("name")
def _tables_history(settings: _Settings, name: str) -> Any:
    """The commits of a table, newest first, with the run that made each."""
    from storecast import runs

    commits = runs.table_history(settings.load(), name)
    for c in commits:
        settings.say(
            f"{c['version']:>4}  {c['timestamp']}  {c['operation']:<24} {c.get('run_id') or ''}"
        )
    return {"name": name, "history": commits}, 0


@_command(_tables, "export")
@click.argument("name")
@click.option("--to", "target", type=click.Path(path_type=Path), required=True,
              help="A .csv, .parquet or .xlsx file.")  # fmt: skip
def _tables_export(settings: _Settings, name: str, target: Path) -> Any:
    """Write a table to CSV, parquet or Excel."""
    from storecast import runs
    from storecast.export import export

    rows = export(runs.read_table(settings.load(), name), target)
    settings.say(f"{rows:,} rows of {name} written to {target}")
    return {"name": name, "path": str(target), "n_rows": rows}, 0


def main(arguments: list[str] | None = None) -> None:
    """The entry point: exits with the code of SPEC.md."""
    wants_json = "--json" in (sys.argv[1:] if arguments is None else arguments)
    try:
        code = cli.main(args=arguments, prog_name="storecast", standalone_mode=False)
    except click.exceptions.Abort:
        code = _INTERRUPTED
    except click.ClickException as fault:
        code = _misused(fault, wants_json)
    if arguments is None:
        # What the command did is done: a late signal shall not make it look like a failure.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    sys.exit(code if isinstance(code, int) else 0)


def _misused(fault: click.ClickException, wants_json: bool) -> int:
    known = ConfigurationError(
        Code.USAGE, fault.format_message().replace("\n", " "), next_step="storecast --help"
    )
    context = getattr(fault, "ctx", None)
    command = context.command_path.partition(" ")[2] if context is not None else ""
    settings = _Settings()
    settings.json = wants_json
    return _failed(command, settings, known)


if __name__ == "__main__":
    main()
