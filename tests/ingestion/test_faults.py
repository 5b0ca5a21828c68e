"""Whatever breaks: tables are as before, and the next run ends where an undisturbed one would."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from storecast import runs
from storecast.adapters.local.tables import LocalTables
from storecast.adapters.sources.sqlite import SqliteSource
from storecast.errors import Code, SourceError, StorecastError, TableError
from storecast.ingestion.step import ingest

from . import children
from .chains import Chain

pytestmark = pytest.mark.fault

OLD, NEW = "2020-01-10 00:00:00", "2020-02-01 00:00:00"
TABLES = ("transactions", "sales", "stores", "rejected_rows")


def _first(chain: Chain) -> None:
    chain.lines(
        ("x1", "a", "2020-01-06", 1, OLD), ("x2", "b", "2020-01-06", 2, OLD),
        ("x3", "b", "2020-01-06", "?", OLD), ("x6", "a", "2020-01-07", 8, OLD),
    )  # fmt: skip
    chain.table("shops", ("shop", "town"), [("a", "Olinda"), ("b", "Recife")])
    children.with_stores(chain)


def _second(chain: Chain) -> None:
    """New, corrected, rejected and cancelled lines: each table changes."""
    chain.lines(
        ("x1", "a", "2020-01-13", 5, NEW), ("x2", "b", "2020-01-06", 2, OLD),
        ("x3", "b", "2020-01-06", "?", OLD), ("x4", "c", "2020-01-13", 4, NEW),
        ("x5", "c", "x", 4, NEW),
    )  # fmt: skip
    chain.table("shops", ("shop", "town"), [("a", "Olinda"), ("c", "Natal")])


def _content(chain: Chain) -> dict[str, Any]:
    """What a reader sees; None of a table that no run has completed."""
    own = ("row_hash", "occurrence", "reason_code")
    content: dict[str, Any] = {}
    for name in TABLES:
        try:
            content[name] = chain.read(name, *(own if name == "rejected_rows" else ()))
        except TableError as fault:
            if fault.code is not Code.TABLE_EMPTY:
                raise
            content[name] = None
    return content


def _ledger(chain: Chain, status: str = "done") -> list[dict[str, Any]]:
    """Counts of each run that ended so."""
    rows = [row for row in runs.ledger(chain.project()) if row["status"] == status]
    return [{name: row[name] for name in runs.COUNTS} for row in rows]


@dataclass
class Undisturbed:
    """A project before a run, and what the run makes of it where nothing happens."""

    name: str
    folder: Path
    before: dict[str, Any]
    after: dict[str, Any]
    ledger: list[dict[str, Any]]

    @property
    def full(self) -> bool:
        return self.name == "full"

    def disturbed(self, folder: Path) -> Chain:
        """The same project before the run, in another place."""
        shutil.copytree(self.folder / "before", folder, dirs_exist_ok=True)
        return children.with_stores(Chain(folder))


FIRST, INCREMENTAL, FULL = "first", "incremental", pytest.param("full", marks=pytest.mark.slow)


def _of(*kinds: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("undisturbed", kinds, indirect=True)


@pytest.fixture(scope="module")
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    chain = Chain(folder / "at work")
    chain.folder.mkdir()
    _first(chain)
    if request.param != "first":
        ingest(chain.project())
        _second(chain)
    before = _content(chain)
    shutil.copytree(chain.folder, folder / "before")
    ingest(chain.project(), full=request.param == "full")
    return Undisturbed(request.param, folder, before, _content(chain), _ledger(chain))


@_of(FIRST, INCREMENTAL, FULL)
def test_the_disturbed_runs_change_every_table(undisturbed: Undisturbed) -> None:
    changed = [t for t in TABLES if undisturbed.before[t] != undisturbed.after[t]]
    assert changed == list(TABLES)


@pytest.mark.slow
@_of(FIRST, INCREMENTAL, FULL)
def test_a_kill_at_each_commit_restore_and_compaction(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    chain = undisturbed.disturbed(tmp_path)
    kills = 0
    while (content := _content(chain)) != undisturbed.after:
        assert content == undisturbed.before
        kills += 1
        ended = children.exit_code(children.killed_after, tmp_path, kills, undisturbed.full)
        assert ended in (-signal.SIGKILL, 0)
    # Four tables and the ledger; each run begins with the restores that the one before needs.
    assert kills >= 5
    assert _ledger(chain) == undisturbed.ledger
    assert len(runs.ledger(chain.project())) == len(undisturbed.ledger)
    ingest(chain.project(), full=undisturbed.full)
    assert _content(chain) == undisturbed.after
    assert list(chain.project().scratch().iterdir()) == []


def test_what_a_killed_run_wrote_and_the_source_has_no_more(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    _first(chain)
    ingest(chain.project())
    before = _content(chain)
    _second(chain)
    assert children.exit_code(children.killed_after, tmp_path, 4, False) == -signal.SIGKILL
    _first(chain)
    ingest(chain.project())
    assert _content(chain) == before
    # Of the files too: whatever else reads them sees the newest version.
    for name, version in runs.named_versions(chain.project()).items():
        assert chain.project().tables.version(name) == version


@pytest.mark.slow
@_of(FIRST, INCREMENTAL)
def test_kills_at_any_time(tmp_path: Path, undisturbed: Undisturbed) -> None:
    chain = undisturbed.disturbed(tmp_path)
    for tenths in range(1, 16):
        ended = children.exit_code(children.killed_by_time, tmp_path, 0.05 * tenths)
        assert ended in (-signal.SIGALRM, 0)
        assert _content(chain) in (undisturbed.before, undisturbed.after)
    ingest(chain.project(), full=undisturbed.full)
    assert _content(chain) == undisturbed.after
    assert list(chain.project().scratch().iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("undisturbed", "fault"),
    [(FIRST, KeyboardInterrupt()), (INCREMENTAL, OSError("the drive is gone"))],
    indirect=["undisturbed"],
)
def test_a_fault_before_each_commit(
    tmp_path: Path,
    undisturbed: Undisturbed,
    monkeypatch: pytest.MonkeyPatch,
    fault: BaseException,
) -> None:
    chain = undisturbed.disturbed(tmp_path)
    merge = LocalTables.merge
    for commit in (1, 2, 3, 4, 5):
        left = commit

        def breaks(self: LocalTables, *arguments: Any, **options: Any) -> int:
            nonlocal left
            left -= 1
            if left == 0:
                raise fault
            return merge(self, *arguments, **options)

        with monkeypatch.context() as broken:
            broken.setattr(LocalTables, "merge", breaks)
            with pytest.raises(type(fault)):
                ingest(chain.project(), full=undisturbed.full)
        assert _content(chain) == undisturbed.before
    # The fifth is the ledger's own: such a run is not in it.
    assert len(_ledger(chain, "failed")) == 4
    ingest(chain.project(), full=undisturbed.full)
    assert _content(chain) == undisturbed.after
    assert _ledger(chain) == undisturbed.ledger


# ---------------------------------------------------------------------- two at once


@pytest.fixture
def half(tmp_path: Path, undisturbed: Undisturbed) -> Iterator[Chain]:
    """A project before a run; afterwards it must be as an undisturbed one."""
    chain = undisturbed.disturbed(tmp_path)
    yield chain
    assert _content(chain) == undisturbed.after
    assert _ledger(chain)[: len(undisturbed.ledger)] == undisturbed.ledger
    assert {row["status"] for row in runs.ledger(chain.project())} == {"done"}


@_of(INCREMENTAL)
def test_another_process_is_first(half: Chain, undisturbed: Undisturbed) -> None:
    ready, go = children.CONTEXT.Event(), children.CONTEXT.Event()
    other = children.child(children.held, half.folder, ready, go)
    assert ready.wait(60)
    with pytest.raises(StorecastError) as caught:
        ingest(half.project())
    assert caught.value.code is Code.PROJECT_BUSY
    assert _content(half) == undisturbed.before
    go.set()
    other.join(60)
    assert other.exitcode == 0
    ingest(half.project())


@_of(INCREMENTAL)
def test_another_process_is_second(half: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    merge, ends = LocalTables.merge, []

    def met(*arguments: Any, **options: Any) -> int:
        if not ends:
            ends.append(children.exit_code(children.attempted, half.folder))
        return merge(*arguments, **options)

    monkeypatch.setattr(LocalTables, "merge", met)
    ingest(half.project())
    assert ends == [children.BUSY]


@_of(INCREMENTAL)
def test_two_processes_begin_at_one_moment(half: Chain) -> None:
    barrier = children.CONTEXT.Barrier(2)
    both = [children.child(children.attempted, half.folder, barrier) for _ in range(2)]
    for process in both:
        process.join(60)
    # The slower one may begin after the other has ended.
    assert sorted(p.exitcode for p in both) in ([0, children.BUSY], [0, 0])


# ---------------------------------------------------------------------- no room


@_of(FIRST, INCREMENTAL)
def test_no_file_may_grow(tmp_path: Path, undisturbed: Undisturbed) -> None:
    chain = undisturbed.disturbed(tmp_path)
    told = children.CONTEXT.Queue()
    assert children.exit_code(children.starved, tmp_path, 900, told) == 0
    code, message, heard = told.get(timeout=10)
    assert code == "DISK_FULL"
    assert "no room is left" in message
    assert any("is not in the ledger" in line for line in heard)
    assert _content(chain) == undisturbed.before
    ingest(chain.project(), full=undisturbed.full)
    assert _content(chain) == undisturbed.after
    assert _ledger(chain) == undisturbed.ledger


# ---------------------------------------------------------------------- the source


def test_a_source_that_dies_in_mid_stream(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    _first(chain)
    ingest(chain.project())
    before, named = _content(chain), runs.named_versions(chain.project())
    _second(chain)
    read = SqliteSource.read

    def dies(self: SqliteSource, *arguments: Any) -> Iterator[pa.RecordBatch]:
        yield from read(self, *arguments)
        raise SourceError(Code.SOURCE_QUERY_FAILED, "the connection was lost")

    monkeypatch.setattr(SqliteSource, "read", dies)
    with pytest.raises(SourceError) as caught:
        ingest(chain.project())
    assert caught.value.code is Code.SOURCE_QUERY_FAILED
    assert _content(chain) == before
    assert {n: chain.project().tables.version(n) for n in named} == named
    assert list(chain.project().scratch().iterdir()) == []


def test_a_source_that_changes_between_two_readings(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain.lines(("x", "a", "2020-01-06", 1, NEW), ("x", "a", "2020-01-06", 2, NEW))
    read, readings = SqliteSource.read, 0

    def mended(self: SqliteSource, *arguments: Any) -> Iterator[pa.RecordBatch]:
        nonlocal readings
        readings += 1
        for batch in read(self, *arguments):
            yield batch.slice(readings - 1)

    monkeypatch.setattr(SqliteSource, "read", mended)
    with pytest.raises(SourceError) as caught:
        ingest(chain.project())
    assert "changed while it was read" in caught.value.message
