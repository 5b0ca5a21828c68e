"""Whatever breaks: tables are as before, and the next run ends where an undisturbed one would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import storecast
from storecast import runs
from storecast.adapters.local.tables import LocalTables
from storecast.adapters.sources.sqlite import SqliteSource
from storecast.errors import Code, SourceError
from storecast.ingestion.step import ingest

from .chains import Chain

pytestmark = pytest.mark.fault

OLD, NEW = "2020-01-10 00:00:00", "2020-02-01 00:00:00"
TABLES = ("transactions", "sales", "stores", "rejected_rows")


def _first(chain: Chain) -> None:
    chain.lines(
        ("x1", "a", "2020-01-06", 1, OLD), ("x2", "b", "2020-01-06", 2, OLD),
        ("x3", "b", "2020-01-06", "?", OLD),
    )  # fmt: skip
    chain.table("shops", ("shop", "town"), [("a", "Olinda"), ("b", "Recife")])
    chain.source["stores"] = {
        "from": "shops", "columns": {"store_id": "shop"}, "attributes": ["town"]
    }  # fmt: skip


def _second(chain: Chain) -> None:
    chain.lines(
        ("x1", "a", "2020-01-13", 5, NEW), ("x4", "c", "2020-01-13", 4, NEW),
        ("x5", "c", "x", 4, NEW),
    )  # fmt: skip
    chain.table("shops", ("shop", "town"), [("a", "Olinda"), ("c", "Natal")])


def _content(chain: Chain) -> dict[str, Any]:
    own = ("row_hash", "occurrence", "reason_code")
    return {t: chain.read(t, *(own if t == "rejected_rows" else ())) for t in TABLES}


def _counts(chain: Chain) -> dict[str, Any]:
    row = runs.ledger(chain.project())[-1]
    return {name: row[name] for name in runs.COUNTS}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    chain = Chain(tmp_path_factory.mktemp("undisturbed"))
    _first(chain)
    ingest(chain.project())
    before = _content(chain)
    _second(chain)
    ingest(chain.project())
    return before, _content(chain), _counts(chain)


@pytest.mark.parametrize("commit", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_fault_at_each_commit(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, undisturbed: Any, commit: int, when: str
) -> None:
    _first(chain)
    ingest(chain.project())
    _second(chain)
    done = 0
    merge = LocalTables.merge

    def break_off(self: LocalTables, *arguments: Any, **options: Any) -> int:
        nonlocal done
        done += 1
        if done == commit and when == "before":
            raise OSError("no space left on device")
        version = merge(self, *arguments, **options)
        if done == commit and when == "after":
            raise KeyboardInterrupt
        return version

    with monkeypatch.context() as broken:
        broken.setattr(LocalTables, "merge", break_off)
        with pytest.raises((OSError, KeyboardInterrupt)):
            ingest(chain.project())
    before, after, counts = undisturbed
    # The fifth commit is the ledger's own: after it the run is complete, whatever follows.
    complete = commit == 5 and when == "after"
    assert _content(chain) == (after if complete else before)
    ingest(chain.project())
    assert _content(chain) == after
    if not complete:
        assert _counts(chain) == counts


_KILLED = """
import os, signal, sys
import storecast
from storecast.adapters.local.tables import LocalTables
merge, left = LocalTables.merge, [int(sys.argv[2])]
def kill(self, *arguments, **options):
    version = merge(self, *arguments, **options)
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return version
LocalTables.merge = kill
sys.path.insert(0, sys.argv[1])
from tests.ingestion.test_faults import project_of
storecast.ingest(project_of(sys.argv[3]))
"""


def project_of(folder: str) -> Any:
    """The project of a chain whose second state is written already."""
    chain = Chain(Path(folder))
    chain.source["stores"] = {
        "from": "shops", "columns": {"store_id": "shop"}, "attributes": ["town"]
    }  # fmt: skip
    return chain.project()


@pytest.mark.parametrize("commit", [1, 3])
def test_a_kill_at_a_commit(chain: Chain, undisturbed: Any, commit: int) -> None:
    _first(chain)
    ingest(chain.project())
    _second(chain)
    root = Path(__file__).parents[2]
    path = [str(Path(storecast.__file__).parents[1]), str(root), str(root / "tests")]
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(root), str(commit), str(chain.folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        check=False,
        timeout=120,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    before, after, counts = undisturbed
    assert _content(chain) == before
    ingest(chain.project())
    assert (_content(chain), _counts(chain)) == (after, counts)


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
