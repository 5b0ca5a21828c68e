"""The run as the transaction: what no completed run names is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from storecast import runs
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
        run.progress("reading", 1, 2)
    assert heard == [(run.run_id, "", 0, 0), (run.run_id, "reading", 1, 2)]
    with runs.begin(project, "ingest") as run:
        run.progress("unheard")
    assert len(heard) == 2


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
