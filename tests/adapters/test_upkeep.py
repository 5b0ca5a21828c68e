"""Small files and old ones: few are left, whatever the number of commits."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from storecast.adapters.local import upkeep
from storecast.adapters.local.tables import LocalTables
from storecast.core.schema import COUNT, TEXT, Column, TableSpec
from storecast.errors import TableError

SPEC = TableSpec("t", (Column("k", TEXT, nullable=False), Column("v", COUNT)), ("k",))


def _row(number: int) -> pa.Table:
    return pa.Table.from_pylist([{"k": str(number), "v": number}], SPEC.arrow)


def _written(store: LocalTables, commits: int) -> list[int]:
    """The live files after each of so many commits of one row."""
    store.create(SPEC)
    files = []
    for number in range(commits):
        store.merge(SPEC, _row(number))
        store.compact("t")
        files.append(len(_live(store)))
    return files


def _live(store: LocalTables) -> list[str]:
    return DeltaTable(str(store._root / "t")).file_uris()


def test_live_files_do_not_grow_with_commits(tmp_path: Path) -> None:
    store = LocalTables(tmp_path, 400)
    files = _written(store, 40)
    assert max(files) <= upkeep.MANY + 1
    # Amortised: not at every commit.
    operations = [c["operation"] for c in store.history("t")]
    assert 1 <= operations.count("OPTIMIZE") <= 3
    rows = store.scan("t").read_all()
    assert sorted(rows["v"].to_pylist()) == list(range(40))


def test_files_of_full_size_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalTables(tmp_path, 400)
    _written(store, 10)
    monkeypatch.setattr(upkeep, "SMALL", 0)
    monkeypatch.setattr(upkeep, "MANY", 1)
    version = store.version("t")
    assert store.compact("t") == version


def test_a_reader_of_the_log_reads_few_commits(tmp_path: Path) -> None:
    store = LocalTables(tmp_path, 400)
    _written(store, 25)
    log = tmp_path / "t" / "_delta_log"
    last = max(int(p.name.split(".")[0]) for p in log.glob("*.checkpoint.parquet"))
    version = store.version("t")
    assert version is not None
    assert version - last <= upkeep.CHECKPOINT_EVERY


def test_versions_within_the_retention_stay(tmp_path: Path) -> None:
    store = LocalTables(tmp_path, 7)
    _written(store, 20)
    store.clean("t")
    for version in (1, 8, 15):
        rows = store.scan("t", version=version).read_all()
        assert sorted(rows["v"].to_pylist()) == list(range(version))


def test_what_no_version_within_the_retention_has_is_deleted(tmp_path: Path) -> None:
    store = LocalTables(tmp_path, 0)
    _written(store, 20)
    folder = tmp_path / "t"
    version = store.version("t")
    assert len(list(folder.glob("*.parquet"))) > 20
    store.clean("t")
    assert sorted(map(str, folder.glob("*.parquet"))) == sorted(_live(store))
    assert store.version("t") == version
    assert store.scan("t").read_all().num_rows == 20
    # Of the first the log is gone, of the other the files.
    for version in (5, 17):
        with pytest.raises(TableError) as caught:
            store.scan("t", version=version)
        assert f"version {version} of table t is older than" in caught.value.message


def test_commits_older_than_the_retention_leave_the_log(tmp_path: Path) -> None:
    store = LocalTables(tmp_path, 7)
    _written(store, 15)
    log = tmp_path / "t" / "_delta_log"
    for file in log.iterdir():
        os.utime(file, (1e9, 1e9))
    _written(store, 15)
    assert min(int(p.stem) for p in log.glob("*.json")) >= upkeep.CHECKPOINT_EVERY - 1
    assert store.scan("t").read_all().num_rows == 15


def test_what_a_killed_write_left_goes_when_it_is_old(tmp_path: Path) -> None:
    store = LocalTables(tmp_path, 7)
    _written(store, 1)
    folder = tmp_path / "t"
    left = [folder / "part-1.parquet", folder / "part-2.parquet#1", folder / "_delta_log/9.json#1"]
    for file in left:
        file.write_bytes(b"x")
    store.clean("t")
    assert [f.exists() for f in left] == [True, True, True]
    long_ago = time.time() - 8 * 86_400
    for file in left:
        os.utime(file, (long_ago, long_ago))
    store.clean("t")
    assert [f.exists() for f in left] == [False, False, False]
    assert store.scan("t").read_all().num_rows == 1
