"""The run as the transaction: what no completed run names is not there."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from storecast import runs
from storecast.adapters.local import upkeep
from storecast.configfile import parse_config
from storecast.core.schema import TEXT, Column, TableSpec
from storecast.errors import Code, Refusal, StorecastError, TableError
from storecast.platforms import assemble
from storecast.project import Project
from tests.fills import settings

A, B = (
    TableSpec(n, (Column("k", TEXT, nullable=False), Column("v", pa.int64())), ("k",))
    for n in ("a", "b")
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return assemble(parse_config(settings()), tmp_path)


def _rows(**values: int) -> pa.Table:
    return pa.table({"k": list(values), "v": pa.array(list(values.values()), pa.int64())})


def _write(project: Project, fault: BaseException | None = None, **values: int) -> str:
    with runs.begin(project, "ingest") as run:
        run.commit(A, _rows(**values))
        if fault is not None:
            raise fault
        run.commit(B, _rows(**values))
        return run.run_id


def _content(project: Project, name: str) -> dict[str, Any]:
    rows = runs.read_table(project, name)
    return dict(zip(rows["k"].to_pylist(), rows["v"].to_pylist(), strict=True))


def test_a_completed_run_names_its_versions(project: Project) -> None:
    run_id = _write(project, x=1)
    (row,) = runs.ledger(project)
    assert (row["run_id"], row["status"], row["error_code"]) == (run_id, "done", None)
    assert row["tables_written"] == {"a": 1, "b": 1} == runs.named_versions(project)
    assert row["ended_at"] >= row["started_at"]
    assert row["config_hash"] == project.config.hash()
    assert [t["name"] for t in runs.tables(project)] == ["a", "b", "runs"]
    assert runs.table_history(project, "a")[0]["run_id"] == run_id


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (StorecastError(Code.SOURCE_EMPTY, "nothing"), "failed", "SOURCE_EMPTY"),
        (Refusal(Code.NO_CHAMPION, "no"), "refused", "NO_CHAMPION"),
        (KeyboardInterrupt(), "failed", "INTERRUPTED"),
        (RuntimeError("oops"), "failed", "INTERNAL"),
    ],
)
def test_a_run_that_fails_leaves_nothing_to_read(
    project: Project, fault: BaseException, status: str, code: str
) -> None:
    _write(project, x=1)
    with pytest.raises(type(fault)) as caught:
        _write(project, fault, x=2, y=3)
    assert caught.value is fault
    row = runs.ledger(project)[-1]
    assert (row["status"], row["error_code"], row["tables_written"]) == (status, code, {})
    assert project.tables.version("a") == 2
    assert _content(project, "a") == {"x": 1}


def test_the_next_run_starts_as_an_undisturbed_one(project: Project) -> None:
    _write(project, x=1)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            _write(project, RuntimeError(), y=2)
    with runs.begin(project, "ingest") as run:
        assert run.read("a").to_pydict() == {"k": ["x"], "v": [1]}
        run.commit(A, _rows(z=3))
    assert _content(project, "a") == {"x": 1, "z": 3}


def test_a_table_that_no_run_ever_named_begins_empty(project: Project) -> None:
    with pytest.raises(RuntimeError):
        _write(project, RuntimeError(), x=1)
    with pytest.raises(TableError):
        runs.read_table(project, "a")
    _write(project, y=2)
    assert _content(project, "a") == _content(project, "b") == {"y": 2}


def test_what_no_run_ever_named_holds_no_later_configuration(project: Project) -> None:
    with pytest.raises(RuntimeError):
        _write(project, RuntimeError("killed"), x=1)
    other = TableSpec("a", (Column("w", TEXT, nullable=False),), ("w",))
    with runs.begin(project, "ingest") as run:
        run.commit(other, pa.table({"w": ["x"]}))
    assert runs.read_table(project, "a").to_pydict() == {"w": ["x"]}


def test_a_table_of_the_users_beside_ours_is_theirs(project: Project) -> None:
    _write(project, x=1)
    theirs = project.root / "lakehouse" / project.config.catalog / project.config.schema_ / "theirs"
    for value in (1, 2):
        deltalake.write_deltalake(str(theirs), pa.table({"v": [value]}), mode="append")
    _write(project, x=2)
    assert DeltaTable(str(theirs)).version() == 1
    assert DeltaTable(str(theirs)).to_pyarrow_table()["v"].to_pylist() == [2, 1]


def test_what_is_put_back_is_put_back_once(project: Project) -> None:
    _write(project, x=1)
    with pytest.raises(RuntimeError):
        _write(project, RuntimeError(), y=2)
    versions = []
    for _ in range(4):
        with pytest.raises(RuntimeError), runs.begin(project, "ingest"):
            raise RuntimeError
        versions.append(project.tables.version("a"))
    assert versions == [3, 3, 3, 3]
    for _ in range(3):
        with runs.begin(project, "report"):
            pass
    assert project.tables.version("a") == 3
    assert runs.named_versions(project)["a"] == 3
    assert _content(project, "a") == {"x": 1}


def test_a_run_reads_what_it_wrote_and_nothing_written_is_not_named(project: Project) -> None:
    _write(project, x=1)
    with runs.begin(project, "ingest") as run:
        assert run.read("a")["v"].to_pylist() == [1]
        run.commit(A, _rows(x=5))
        run.commit(B, None)
        assert run.read("a")["v"].to_pylist() == [5]
        assert (run.tables_read, run.tables_written) == ({"a": 1}, {"a": 2})


def test_one_writer_at_a_time(project: Project) -> None:
    with runs.begin(project, "ingest"):
        with pytest.raises(StorecastError) as caught, runs.begin(project, "validate"):
            pass
        assert caught.value.code is Code.PROJECT_BUSY
    _write(project, x=1)


def test_who_listens_hears(project: Project) -> None:
    heard = []
    with runs.listen(lambda *told: heard.append(told)), runs.begin(project, "ingest") as run:
        run.progress("reading", 1, 2, left=3.0)
    assert heard == [(run.run_id, "", 0, 0, None), (run.run_id, "reading", 1, 2, 3.0)]
    with runs.begin(project, "ingest") as run:
        run.progress("unheard")
    assert len(heard) == 2


@pytest.mark.slow
def test_many_runs_leave_few_files_and_each_reads_few(project: Project) -> None:
    files, commits = [], []
    for number in range(60):
        with runs.begin(project, "ingest") as run:
            run.commit(A, _rows(**{f"k{number}": number}))
        table = DeltaTable(str(project.root / "lakehouse/demo/chain/a"))
        ledger = DeltaTable(str(project.root / "lakehouse/demo/chain/runs"))
        files.append(max(len(table.file_uris()), len(ledger.file_uris())))
        commits.append(max(_commits_to_read(project, n) for n in ("a", "runs")))
    assert max(files) <= 17
    assert max(commits) <= 10
    assert runs.named_versions(project) == {"a": project.tables.version("a")}
    assert _content(project, "a") == {f"k{n}": n for n in range(60)}
    assert [r["status"] for r in runs.ledger(project)] == ["done"] * 60
    # Nothing had to be put back, and every version that a run named is there to read.
    history = runs.table_history(project, "a")
    assert {c["operation"] for c in history} == {"CREATE TABLE", "WRITE", "OPTIMIZE"}
    assert len({c["run_id"] for c in history if c["run_id"]}) == 60
    assert all(c["run_id"] for c in history[:-1])
    tenth = runs.ledger(project)[9]["tables_written"]["a"]
    assert runs.read_table(project, "a", tenth).num_rows == 10


def _commits_to_read(project: Project, name: str) -> int:
    log = project.root / "lakehouse/demo/chain" / name / "_delta_log"
    last = max((int(p.name[:20]) for p in log.glob("*.checkpoint.parquet")), default=0)
    return sum(int(p.stem) > last for p in log.glob("*.json"))


def test_a_kill_after_a_compaction_is_put_back(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(project, x=1)
    monkeypatch.setattr(upkeep, "MANY", 0)
    with pytest.raises(KeyboardInterrupt):
        _write(project, KeyboardInterrupt(), y=2)
    assert project.tables.history("a")[0]["operation"] == "OPTIMIZE"
    assert _content(project, "a") == {"x": 1}
    monkeypatch.undo()
    _write(project, z=3)
    assert _content(project, "a") == _content(project, "b") == {"x": 1, "z": 3}


@pytest.mark.parametrize("what", ["compact", "clean"])
def test_upkeep_that_fails_fails_no_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    def fails(*_: Any) -> None:
        raise OSError("the disk has gone")

    monkeypatch.setattr(upkeep, what, fails)
    for number in range(6):
        _write(project, x=number)
    assert _content(project, "a") == {"x": 5}
    assert "the disk has gone" in caplog.text
    assert {r["status"] for r in runs.ledger(project)} == {"done"}


def test_the_scratch_of_killed_runs_is_removed(project: Project) -> None:
    left = project.scratch() / "killed" / "deeper"
    left.mkdir(parents=True)
    (left.parent / "spill.tmp").write_bytes(b"x")
    (project.scratch() / "file").write_bytes(b"x")
    with runs.begin(project, "ingest"):
        assert list(project.scratch().iterdir()) == []


def test_a_full_disk_is_told_as_such(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StorecastError) as caught, runs.begin(project, "ingest"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.code is Code.DISK_FULL
    assert runs.ledger(project)[-1]["error_code"] == "DISK_FULL"

    def full(*_: Any, **__: Any) -> None:
        raise OSError("Generic error: No space left on device (os error 28)")

    monkeypatch.setattr(deltalake, "write_deltalake", full)
    with pytest.raises(StorecastError) as caught, runs.begin(project, "ingest") as run:
        run.commit(A, _rows(x=1))
    assert caught.value.code is Code.DISK_FULL
    assert f"run {run.run_id} is not in the ledger: no room is left" in caplog.text


def test_run_ids_sort_by_time(project: Project) -> None:
    ids = [_write(project, x=i) for i in range(3)]
    assert ids == sorted(ids)


def test_counts_have_names(project: Project) -> None:
    with pytest.raises(ValueError, match="rows_reed"), runs.begin(project, "ingest") as run:
        run.count(rows_reed=1)


def test_names_that_are_not_there(project: Project) -> None:
    _write(project, x=1)
    with pytest.raises(TableError) as caught:
        runs.read_table(project, "salez")
    assert caught.value.code is Code.TABLE_NOT_FOUND
    assert "did you mean 'sales'" in caught.value.message
    for ask in (runs.read_table, runs.table_history):
        with pytest.raises(TableError) as caught:
            ask(project, "sales")
        assert caught.value.code is Code.TABLE_EMPTY


def test_a_signal_in_a_librarys_code_is_an_interruption_in_the_ledger(
    project: Project,
) -> None:
    with (
        pytest.raises(RuntimeError),
        runs.listen(lambda *_: None, interrupted=lambda: True),
        runs.begin(project, "ingest"),
    ):
        raise RuntimeError("Query interrupted")
    assert runs.ledger(project)[-1]["error_code"] == "INTERRUPTED"
