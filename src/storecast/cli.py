"""The command line: parse, call, print."""

from __future__ import annotations

import atexit
import dataclasses
import gc
import os
import shlex
import signal
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, Literal

# One numeric thread per process, before any library that would start more: as many threads as
# cores slow each other down ten-fold beside any other busy process.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import click

from storecast.console import (
    STOPPING,
    Settings,
    answered,
    columns,
    failed,
    program,
    readable,
    rejected,
    wrapped,
)
from storecast.errors import (
    Code,
    ConfigurationError,
    Interruption,
    NotServedError,
    StorecastError,
)

_FEWER_COLLECTIONS = 100_000
"""Objects made between two looks for garbage; Python's own 700 is for programs that live long."""


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
            settings = Settings()
            settings.folder = arguments.pop("folder")
            settings.overrides = arguments.pop("overrides")
            settings.json = arguments.pop("as_json")
            settings.debug = arguments.pop("debug")
            return answered(full, settings, lambda: body(settings, **arguments))

        full = name if group is cli else f"{group.name} {name}"
        call.__doc__ = body.__doc__
        # Arguments and options that the body declares below its name become the command's.
        call.__click_params__ = getattr(body, "__click_params__", [])  # type: ignore[attr-defined]
        return group.command(name, help=body.__doc__)(_common(call))

    return register


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
    settings: Settings, directory: Path | None, demo: str | None, file: Path | None,
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
        settings.say(f"next: {program()} run {_at(target)}".rstrip())
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
    settings.say(f"next: look at {target / 'storecast.yaml'}, then {program()} run {_at(target)}")
    return dataclasses.asdict(made), 0


def _at(folder: Path) -> str:
    return "" if folder == Path() else f"--project {shlex.quote(str(folder))}"


@_command(cli, "doctor")
def _doctor(settings: Settings) -> Any:
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
def _ingest(settings: Settings, full: bool) -> Any:
    """Bring the source's rows into the feature tables."""
    import storecast

    result = storecast.ingest(settings.load(), full=full)
    _say_result(settings, "ingest", result)
    return result.as_dict(), 0


_AUDITS: dict[str | None, Literal["off", "fast", "every", "full"]] = {
    None: "fast",
    "every": "every",
    "full": "full",
    "off": "off",
}


@_command(cli, "validate")
@click.option("--models", metavar="A,B", help="Only these of the configured models.")
@click.option(
    "--audit-leakage",
    is_flag=False,
    flag_value="every",
    metavar="[full|off]",
    help="Prove that no forecast depends on what came later: every model at three cutoffs (alone), "
    "everything (=full), or nothing (=off). Without it, the fast models at one cutoff.",
)
def _validate(settings: Settings, models: str | None, audit_leakage: str | None) -> Any:
    """Backtest every configured model by strict walk-forward; print the leaderboard."""
    import storecast

    if audit_leakage not in _AUDITS:
        raise ConfigurationError(
            Code.USAGE,
            f"--audit-leakage={audit_leakage} is no level",
            expected="--audit-leakage, --audit-leakage=full or --audit-leakage=off",
            found=str(audit_leakage),
        )
    chosen = [m.strip() for m in models.split(",") if m.strip()] if models else None
    result = storecast.validate(settings.load(), models=chosen, audit=_AUDITS[audit_leakage])
    _say_validation(settings, result)
    return result.as_dict(), 3 if result.leaking else 0


@_command(cli, "deploy")
@click.option("--model", metavar="NAME", help="This validated model instead of the best.")
@click.option("--force", is_flag=True, help="Deploy it all the same: what was not validated or "
              "audited, or what the gate refuses. Who and why are recorded.")  # fmt: skip
@click.option("--reason", metavar="TEXT", help="Why it is forced.")
def _deploy(settings: Settings, model: str | None, force: bool, reason: str | None) -> Any:
    """Fit on the whole span, pack, register, put through the gate, and move Champion."""
    import storecast
    from storecast.deployment.result import GateRefusal

    if reason is not None and not force:
        raise ConfigurationError(
            Code.USAGE, "--reason says why a deployment is forced", expected="--force beside it"
        )
    try:
        result = storecast.deploy(settings.load(), model=model, force=force, reason=reason)
    except GateRefusal as refusal:
        _say_deployment(settings, refusal.result)
        raise
    _say_deployment(settings, result)
    return result.as_dict(), 0


def _say_deployment(settings: Settings, result: Any) -> None:
    """What came of it, and the table of the gate's checks."""
    from storecast.deployment.table import table

    first, *others = result.sentences()
    settings.say(wrapped(f"deploy: {first}", ""))
    for sentence in others:
        settings.say(wrapped(sentence))
    if result.checks:
        settings.say(wrapped(result.gate_says()))
    settings.show((f"    {line}", tone) for line, tone in table(result.checks, columns() - 4))


@_command(cli, "forecast")
@click.option("--as-of", metavar="DATE", help="As if it were that day (YYYY-MM-DD).")
@click.option("--input", "file", type=click.Path(path_type=Path),
              help="Rows to score instead of the tables, CSV or parquet.")  # fmt: skip
@click.option("--strict", is_flag=True, help="A forecast from a fallback is a failure.")
def _forecast(settings: Settings, as_of: str | None, file: Path | None, strict: bool) -> Any:
    """Score with Champion into the forecast tables."""
    import storecast

    result = storecast.forecast(settings.load(), as_of=_day(as_of), input=file, strict=strict)
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
def _monitor(settings: Settings) -> Any:  # noqa: ARG001 - every command takes them
    """Not served yet: realised accuracy, coverage, drift and freshness."""
    raise NotServedError.of("monitor")


@_command(cli, "report")
@click.option("--open", "open_it", is_flag=True, help="Open it in the browser.")
def _report(settings: Settings, open_it: bool) -> Any:
    """Write one self-contained HTML file."""
    import storecast

    result = storecast.report(settings.load())
    _say_result(settings, "report", result)
    if open_it:
        click.launch(str(result.path))
    return result.as_dict(), 0


@_command(cli, "run")
def _run(settings: Settings) -> Any:
    """Ingest, validate, deploy, forecast, monitor and report, in order."""
    from storecast import pipeline

    def heard(name: str, result: Any) -> None:
        if isinstance(result, str):
            settings.say(f"{name}: passed over: {result}")
        elif name == "validate" and result is not None:
            _say_validation(settings, result)
        elif name == "deploy" and result is not None:
            _say_deployment(settings, result)
        elif result is not None:
            _say_result(settings, name, result)

    result = pipeline.run(settings.load(), listen=heard)
    _say_next(settings)
    return result.as_dict(), 0


def _say_result(settings: Settings, name: str, result: Any) -> None:
    for number, sentence in enumerate(result.sentences()):
        settings.say(f"{name}: {sentence}" if number == 0 else f"  {sentence}")


def _say_validation(settings: Settings, result: Any) -> None:
    """The leaderboard between what came out and what to know of it."""
    from storecast.validation.board import board

    settings.say(wrapped(f"validate: {result.headline()}", ""))
    settings.say()
    settings.show([(f"  {line}", tone) for line, tone in board(result, columns() - 2)])
    settings.say()
    for sentence in result.remarks():
        settings.say(wrapped(sentence))


def _say_next(settings: Settings) -> None:
    from storecast.setup import init

    at = _at(settings.folder)
    project = settings.load()
    settings.say("\nnext:")
    if init.remaining_deliveries(project.root):
        settings.say(f"  {program()} init --advance 1 {at}   # the next week's delivery")
        settings.say(f"  {program()} run {at}")
    store = project.config.mlflow.tracking_uri or f"sqlite:///{project.root / 'mlflow.db'}"
    settings.say(f"  {program('mlflow')} ui --backend-store-uri '{store}'")
    settings.say(f"  {program()} tables export forecasts_latest --to forecasts.xlsx {at}".rstrip())


@cli.group("models", cls=_Group)
def _models() -> None:
    """The registry: list, show, promote, rollback."""


@_command(_models, "list")
def _models_list(settings: Settings) -> Any:
    """Every registered version, newest first, with its aliases and what the gate said."""
    from storecast import registry

    versions = registry.of(settings.load())
    listed = versions.versions()
    if listed:
        settings.say(readable(registry.table(listed)))
    else:
        settings.say("no version is registered yet: storecast deploy")
    return {"model_name": versions.name, "versions": listed}, 0


@_command(_models, "show")
@click.argument("version", required=False)
@click.option("--forecast", "forecast_id", metavar="FORECAST_ID",
              help="The version behind a forecast, and the forecast's own run.")  # fmt: skip
def _models_show(settings: Settings, version: str | None, forecast_id: str | None) -> Any:
    """One version (a number or an alias; default: Champion) and everything that it comes from."""
    import storecast
    from storecast.lineage.wording import lines

    if version is not None and forecast_id is not None:
        raise ConfigurationError(Code.USAGE, "VERSION and --forecast exclude each other")
    lineage = storecast.trace(settings.load(), version, forecast_id=forecast_id)
    for line in lines(lineage):
        settings.say(line)
    return lineage.as_dict(), 0


_WHY = (
    click.option("--force", is_flag=True, help="Do it whatever speaks against it."),
    click.option("--reason", metavar="TEXT", help="Why; kept in the table runs."),
)


def _with_why(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in _WHY:
        function = option(function)
    return function


@_command(_models, "promote")
@click.argument("version")
@_with_why
def _models_promote(settings: Settings, version: str, force: bool, reason: str | None) -> Any:
    """Move Champion to a version (a number or an alias)."""
    import storecast

    result = storecast.promote(settings.load(), version, force=force, reason=reason)
    _say_result(settings, "promote", result)
    return result.as_dict(), 0


@_command(_models, "rollback")
@_with_why
def _models_rollback(settings: Settings, force: bool, reason: str | None) -> Any:
    """Give Champion back to the version that had it before."""
    import storecast

    result = storecast.rollback(settings.load(), force=force, reason=reason)
    _say_result(settings, "rollback", result)
    return result.as_dict(), 0


@cli.group("tables", cls=_Group)
def _tables() -> None:
    """The tables: list, show, history, export."""


@_command(_tables, "list")
def _tables_list(settings: Settings) -> Any:
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
def _tables_show(settings: Settings, name: str, limit: int, version: int | None) -> Any:
    """The first rows of a table."""
    import polars as pl

    from storecast import runs

    table = runs.read_table(settings.load(), name, version=version)
    frame = pl.DataFrame(table.slice(0, limit))
    settings.say(rejected(frame) if name == "rejected_rows" else readable(frame))
    settings.say(f"{min(limit, table.num_rows):,} of {table.num_rows:,} rows")
    return {"name": name, "n_rows": table.num_rows, "rows": frame.to_dicts()}, 0


@_command(_tables, "history")
@click.argument("name")
def _tables_history(settings: Settings, name: str) -> Any:
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
def _tables_export(settings: Settings, name: str, target: Path) -> Any:
    """Write a table to CSV, parquet or Excel."""
    from storecast import runs
    from storecast.export import export

    rows = export(runs.read_table(settings.load(), name), target)
    settings.say(f"{rows:,} rows of {name} written to {target}")
    return {"name": name, "path": str(target), "n_rows": rows}, 0


def main(arguments: list[str] | None = None) -> None:
    """The entry point: exits with the code of SPEC.md."""
    wants_json = "--json" in (sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        # What imports make stays: to look through it again and again is an eighth of their time.
        gc.set_threshold(_FEWER_COLLECTIONS)
    try:
        code = cli.main(args=arguments, prog_name="storecast", standalone_mode=False)
    except click.exceptions.Abort:
        code = Interruption.exit_code
    except click.ClickException as fault:
        code = _misused(fault, wants_json)
    if arguments is None:
        # What the command did is done: a late signal shall not make it look like a failure.
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)
        _leave(code if isinstance(code, int) else 0)
    sys.exit(code if isinstance(code, int) else 0)


def _leave(code: int) -> None:
    """End the process without taking the interpreter apart.

    That would take a tenth of an ingestion's time, and threads of native libraries, which know
    nothing of it, have been seen to abort the process meanwhile, after all was done.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            pass  # whoever read it has gone: what it did not want is not missed
        except OSError:
            code = code or StorecastError.exit_code
    os._exit(code)


def _misused(fault: click.ClickException, wants_json: bool) -> int:
    known = ConfigurationError(
        Code.USAGE, fault.format_message().replace("\n", " "), next_step="storecast --help"
    )
    context = getattr(fault, "ctx", None)
    command = context.command_path.partition(" ")[2] if context is not None else ""
    settings = Settings()
    settings.json = wants_json
    return failed(command, settings, known)


if __name__ == "__main__":
    main()
