"""Runs: the ledger and the transaction over several tables.

Each table commits once, by key; the ``runs`` row, written last, names the committed versions
and is the commit point. What no completed run names is not there for any reader, and the next
run puts it back before it begins.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import logging
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import filelock
import pyarrow as pa

from storecast import disk
from storecast.core.schema import TableSpec, table_specs
from storecast.core.written import HIDDEN_FROM
from storecast.errors import Code, Refusal, StorecastError, TableError

if TYPE_CHECKING:
    from storecast.project import Project

COUNTS = (
    "rows_read", "rows_inserted", "rows_updated", "rows_unchanged", "rows_rejected",
    "rows_deduplicated", "rows_deleted",
)  # fmt: skip
COMPLETED = ("done", "unhealthy")
"""Statuses of runs whose versions count."""

CONFIGURATION = "configuration"
"""In ``details``: the whole configuration, in the first row that has its hash."""

_LEDGER = "runs"
_CLEAN_EVERY = 10
_log = logging.getLogger(__name__)

Listener = Callable[[str, str, int, int, float | None], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
_interrupted: ContextVar[Callable[[], bool]] = ContextVar("interrupted", default=lambda: False)


@contextlib.contextmanager
def listen(
    callback: Listener, *, interrupted: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Hear what runs report: ``callback(run_id, text, done, total, left)``.

    The text is "" at a beginning; ``left`` are the seconds still to go, None where unknown.
    ``interrupted`` says whether a signal came: inside a library's code it comes back as that
    library's error.
    """
    tokens = _listener.set(callback), _interrupted.set(interrupted)
    try:
        yield
    finally:
        _listener.reset(tokens[0])
        _interrupted.reset(tokens[1])


def _heard(run_id: str, text: str, done: int, total: int, left: float | None = None) -> None:
    callback = _listener.get()
    if callback is not None:
        callback(run_id, text, done, total, left)


@dataclass
class Run:
    """One command at work: what it reads, what it commits, what it counted.

    Attributes:
        run_id: sorts by time.
        command: the command's name.
        started_at: an aware UTC instant; the ``ingested_at`` of what is written.
        through: last complete day of the source, for an ingestion.
        status: what a completed run ends with, done or unhealthy.
        details: what the command adds to the ledger, JSON-able.
        tables_read: table to version.
        tables_written: table to committed version.
        gone: tables that completed runs wrote and that somebody has removed.
    """

    run_id: str
    command: str
    started_at: datetime
    project: Project = field(repr=False)
    through: date | None = None
    status: str = "done"
    details: dict[str, Any] = field(default_factory=dict)
    tables_read: dict[str, int] = field(default_factory=dict)
    tables_written: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    _named: dict[str, int] = field(default_factory=dict, repr=False)

    # ------------------------------------------------------------------ reading

    def version(self, table: str) -> int | None:
        """The version to read: what this run committed, else what a completed run named."""
        return self.tables_written.get(table, self._named.get(table))

    def has(self, table: str) -> bool:
        """Whether there is anything to read."""
        return self.version(table) is not None

    def scan(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        among: pa.Table | None = None,
    ) -> pa.RecordBatchReader:
        """Stream a table at the version to read; ``where`` and ``among`` as in ``TableStore.scan``.

        Raises:
            TableError: TABLE_EMPTY where no completed run wrote it.
        """
        version = self.version(table)
        if version is None:
            raise _nothing_there(self.project, table)
        self.tables_read.setdefault(table, version)
        return self.project.tables.scan(
            table, version=version, columns=columns, where=where, among=among
        )

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        among: pa.Table | None = None,
    ) -> pa.Table:
        """A table at the version to read, whole. As ``scan``."""
        return self.scan(table, columns, where, among).read_all()

    # ------------------------------------------------------------------ writing

    def commit(
        self,
        spec: TableSpec | str,
        rows: pa.Table | pa.RecordBatchReader | None,
        delete: pa.Table | None = None,
        *,
        append: bool = False,
    ) -> int:
        """Upsert ``rows`` by the key and remove the keys in ``delete``: one commit.

        The table is created where it is not there. Raises as ``TableStore.merge``.
        """
        spec = self._created(spec)
        given = spec.empty() if rows is None else rows
        return self._wrote(
            spec, self.project.tables.merge(spec, given, delete=delete, append=append)
        )

    def replace(self, spec: TableSpec | str, rows: pa.Table | pa.RecordBatchReader) -> int:
        """Make ``rows`` the whole content. Raises as ``TableStore.replace``."""
        spec = self._created(spec)
        return self._wrote(spec, self.project.tables.replace(spec, rows))

    def _created(self, spec: TableSpec | str) -> TableSpec:
        spec = self.project.specs[spec] if isinstance(spec, str) else spec
        self.project.tables.create(spec)
        return spec

    def _wrote(self, spec: TableSpec, version: int) -> int:
        if self.version(spec.name) == version:
            return version
        # What compaction makes is a version too, and the one to name.
        version = _compacted(self.project, spec.name, version)
        self.tables_written[spec.name] = version
        return version

    # ------------------------------------------------------------------ telling

    def count(self, **counts: int) -> None:
        """Set counts of the ledger, by their names there."""
        unknown = set(counts) - set(COUNTS)
        if unknown:
            raise ValueError(f"no such count: {sorted(unknown)}")
        self.counts.update(counts)

    def progress(self, text: str, done: int = 0, total: int = 0, left: float | None = None) -> None:
        """Tell whoever listens; ``total`` 0 where it is not known, ``left`` in seconds."""
        _heard(self.run_id, text, done, total, left)


@contextlib.contextmanager
def begin(project: Project, command: str) -> Iterator[Run]:
    """Begin a run; its row in ``runs`` is written when the block ends, well or not.

    Tables whose newest version no completed run names are put back first, and what killed runs
    left in the scratch folder is removed.

    Raises:
        StorecastError: PROJECT_BUSY where another command is at work in this project, DISK_FULL.
    """
    with _locked(project):
        started = datetime.now(UTC)
        run = Run(_run_id(started), command, started, project)
        _heard(run.run_id, "", 0, 0)
        try:
            _sweep(project)
            run._named = named_versions(project)
            run.gone = frozenset(told_versions(project).keys() - run._named)
            _put_back(run)
            yield run
        except BaseException as fault:
            told = disk.full(fault, str(project.root)) or fault
            _enter_failure(run, told)
            if told is not fault:
                raise told from fault
            raise
        _enter(run, None)
        for name, version in run.tables_written.items():
            _clean(project, name, run._named.get(name, -1), version)


def _run_id(started: datetime) -> str:
    return f"{started:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"


@contextlib.contextmanager
def _locked(project: Project) -> Iterator[None]:
    try:
        lock = filelock.FileLock(project.lock_file, timeout=0)
        lock.acquire()
    except filelock.Timeout as fault:
        raise StorecastError(
            Code.PROJECT_BUSY,
            "another storecast command is at work in this project",
            where=str(project.root),
            next_step="wait for it to end; tables can be read meanwhile",
        ) from fault
    except OSError as fault:
        raise disk.full(fault, str(project.root)) or fault from fault
    try:
        yield
    finally:
        lock.release()


def _sweep(project: Project) -> None:
    """Remove what killed runs left in the scratch folder; nobody else is at work."""
    for left in project.scratch().iterdir():
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _put_back(run: Run) -> None:
    """Restore what no completed run names, so that this run starts as an undisturbed one.

    A table that no completed run ever wrote is dropped: its first version would hold a later
    configuration to columns and a key that nobody has used.
    """
    tables = run.project.tables
    for name in tables.names():
        newest, named = tables.version(name), run._named.get(name)
        if name == _LEDGER or newest is None or newest == named or not tables.made(name):
            continue
        if named is not None and newest < named:
            # Removed, and begun anew by a run that did not end.
            run.gone |= {name}
            del run._named[name]
            named = None
        if named is None:
            tables.drop(name)
            continue
        if _restored_from(tables.history(name)[0]) != named:
            newest = tables.restore(name, named)
        # From here on the restored version is the one to build on, and named with the rest.
        run.tables_written[name] = newest


def _restored_from(commit: Mapping[str, Any]) -> int | None:
    if commit["operation"] != "RESTORE":
        return None
    version = commit["parameters"].get("version")
    return int(version) if version is not None else None


def _compacted(project: Project, name: str, version: int) -> int:
    """The version after upkeep, which may fail without harm: a later run tries again."""
    try:
        return project.tables.compact(name)
    except StorecastError as fault:
        _log.warning("table %s could not be compacted: %s", name, fault.found or fault.message)
        return version


def _clean(project: Project, name: str, before: int, now: int) -> None:
    """Delete what nobody needs, each time so many versions have come."""
    if before // _CLEAN_EVERY == now // _CLEAN_EVERY:
        return
    try:
        project.tables.clean(name)
    except StorecastError as fault:
        _log.warning("table %s could not be cleaned: %s", name, fault.found or fault.message)


def _enter_failure(run: Run, fault: BaseException) -> None:
    """Enter a failed run; what the user must hear is its fault, not that of the ledger."""
    try:
        _enter(run, fault)
    except StorecastError as other:
        _log.warning("run %s is not in the ledger: %s", run.run_id, other.message)


def _enter(run: Run, fault: BaseException | None) -> None:
    project = run.project
    code, message = _described(fault, project)
    status = run.status if fault is None else ("failed", "refused")[isinstance(fault, Refusal)]
    row: dict[str, Any] = {
        "run_id": run.run_id,
        "command": run.command,
        "started_at": run.started_at,
        "ended_at": datetime.now(UTC),
        "status": status,
        "error_code": code,
        "error": message,
        **{name: run.counts.get(name) for name in COUNTS},
        "through": run.through,
        "config_hash": project.config.hash(),
        "tables_read": json.dumps(run.tables_read, sort_keys=True),
        "tables_written": json.dumps(run.tables_written if fault is None else {}, sort_keys=True),
        "details": json.dumps(
            run.details | _configuration(run), sort_keys=True, default=str, ensure_ascii=False
        ),
        "package_version": package_version(),
    }
    spec = _ledger_spec()
    project.tables.create(spec)
    version = project.tables.merge(spec, pa.Table.from_pylist([row], spec.arrow), append=True)
    _clean(project, _LEDGER, version - 1, _compacted(project, _LEDGER, version))


def _configuration(run: Run) -> dict[str, Any]:
    """The configuration, in the first row of the ledger that has its hash."""
    config = run.project.config
    known = {row["config_hash"] for row in ledger(run.project)}
    return {} if config.hash() in known else {CONFIGURATION: _masked(config.plain())}


def _masked(value: Any) -> Any:
    """Without user and password in any address."""
    if isinstance(value, dict):
        return {name: _masked(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner) for inner in value]
    return re.sub(r"://[^/\s]*@", "://***@", value) if isinstance(value, str) else value


def _described(fault: BaseException | None, project: Project) -> tuple[str | None, str | None]:
    if fault is None:
        return None, None
    if isinstance(fault, KeyboardInterrupt) or _interrupted.get()():
        return Code.INTERRUPTED.value, "stopped by Ctrl-C or a signal"
    if isinstance(fault, StorecastError):
        return fault.code.value, _without_secrets(fault.message, project)
    return Code.INTERNAL.value, _without_secrets(f"{type(fault).__name__}: {fault}", project)


def _without_secrets(text: str, project: Project) -> str:
    password = project.config.source.password
    hidden = password.get_secret_value() if password is not None else ""
    # Each letter of a short one replaced would say what it is, and leave nothing to read.
    return (text.replace(hidden, "***") if len(hidden) >= HIDDEN_FROM else text)[:2000]


@cache
def package_version() -> str:
    """The version of storecast that is installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("storecast")
    except PackageNotFoundError:
        return "0+unknown"


@cache
def _ledger_spec() -> TableSpec:
    from storecast.core.schema import Layout

    return table_specs(Layout())[_LEDGER]


# ---------------------------------------------------------------------- looking


def ledger(project: Project) -> list[dict[str, Any]]:
    """Every run, oldest first, JSON columns decoded."""
    if project.tables.version(_LEDGER) is None:
        return []
    rows: list[dict[str, Any]] = project.tables.scan(_LEDGER).read_all().to_pylist()
    for row in rows:
        for name in ("tables_read", "tables_written", "details"):
            row[name] = json.loads(row[name]) if row[name] else {}
    return sorted(rows, key=lambda row: str(row["run_id"]))


def newest(project: Project, command: str) -> dict[str, Any] | None:
    """The newest completed run of a command, None where there is none."""
    runs = [r for r in ledger(project) if r["command"] == command and r["status"] in COMPLETED]
    return runs[-1] if runs else None


def configuration(project: Project, config_hash: str) -> dict[str, Any] | None:
    """The configuration that rows of the ledger name by its hash, secrets masked."""
    for row in ledger(project):
        if row["config_hash"] == config_hash and CONFIGURATION in row["details"]:
            return dict(row["details"][CONFIGURATION])
    return None


def named_versions(project: Project) -> dict[str, int]:
    """The version of each table that the newest completed run to write it names.

    Of the tables that are there: what somebody has removed is as if no run had written it.
    """
    there = set(project.tables.names())
    return {n: v for n, v in told_versions(project).items() if n in there}


def told_versions(project: Project) -> dict[str, int]:
    """As ``named_versions``, of the tables that somebody has removed too."""
    named: dict[str, int] = {}
    for row in ledger(project):
        if row["status"] in COMPLETED:
            named.update(row["tables_written"])
    return named


def _readable(project: Project) -> dict[str, int]:
    ledger_version = project.tables.version(_LEDGER)
    named = named_versions(project)
    return named if ledger_version is None else {**named, _LEDGER: ledger_version}


def tables(project: Project) -> list[dict[str, Any]]:
    """Every readable table: name, version, rows."""
    return [
        {"name": name, "version": version, "rows": _height(project, name, version)}
        for name, version in sorted(_readable(project).items())
    ]


def _height(project: Project, name: str, version: int) -> int:
    first = project.tables.spec_of(name).names[0]
    batches = project.tables.scan(name, version=version, columns=[first])
    return sum(batch.num_rows for batch in batches)


def read_table(project: Project, name: str, version: int | None = None) -> pa.Table:
    """A table at the version that completed runs name, or at another that exists.

    Raises:
        TableError: TABLE_NOT_FOUND with the nearest name, TABLE_EMPTY.
    """
    wanted = version if version is not None else _readable(project).get(name)
    if wanted is None:
        raise _nothing_there(project, name)
    return project.tables.scan(name, version=wanted).read_all()


def table_history(project: Project, name: str) -> list[dict[str, Any]]:
    """The commits of a table, newest first, with ``run_id`` where a run names the version."""
    writers = {
        row["tables_written"][name]: row["run_id"]
        for row in ledger(project)
        if name in row["tables_written"]
    }
    if project.tables.version(name) is None:
        raise _nothing_there(project, name)
    commits, writer = [], None
    for commit in project.tables.history(name):
        # Below a compaction lies the commit of the run that made both and names the upper one.
        writer = writers.get(commit["version"], writer)
        commits.append({**commit, "run_id": writer})
        writer = writer if commit["operation"] == "OPTIMIZE" else None
    return commits


def _nothing_there(project: Project, name: str) -> TableError:
    if name in project.specs:
        return TableError(
            Code.TABLE_EMPTY,
            f"no completed run has written {name} yet",
            where=name,
            next_step="storecast run",
        )
    names = sorted({*project.specs, *_readable(project)})
    near = difflib.get_close_matches(name, names, 1)
    return TableError(
        Code.TABLE_NOT_FOUND,
        f"there is no table {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
        where=name,
        expected=", ".join(names),
        next_step="`storecast tables list` shows what there is",
    )
