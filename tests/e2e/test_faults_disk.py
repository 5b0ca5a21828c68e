"""A disk that is full, a real one: exit code 1, one clear message, and tables as before."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storecast import load, runs
from storecast.errors import Code, StorecastError
from storecast.platforms import open_engine
from storecast.project import Project
from tests.shops import configure

from .conftest import INSERT, Shop, Storecast, good_rows

pytestmark = pytest.mark.fault

MEGABYTE = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of three megabytes."""
    library = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    if not hasattr(library, "mount"):
        pytest.skip("this system has no mount()")
    place = tmp_path / "small"
    place.mkdir()
    options = f"size={3 * MEGABYTE}".encode()
    if library.mount(b"tmpfs", bytes(place), b"tmpfs", 0, options):
        pytest.skip(f"this process may not mount a tmpfs: {os.strerror(ctypes.get_errno())}")
    yield place
    library.umount2(bytes(place), 2)


@pytest.fixture
def crowded(small_disk: Path, tmp_path: Path) -> tuple[Shop, Path]:
    """An ingested project on the small disk, its source elsewhere; new sales have come since."""
    source = Shop(tmp_path)
    source.sql("CREATE TABLE vendas (id TEXT, loja TEXT, dia TEXT, valor)")
    source.sql(INSERT, good_rows(n=20))
    configure(small_disk, source__path=str(source.database))
    return source, small_disk


def _fill(folder: Path, room: int) -> Path:
    """Fill the disk but for ``room`` bytes."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        free = shutil.disk_usage(folder).free
        file.write(bytes(max(free - room, 0)))
    return filler


def _rows(project: Project) -> list[dict[str, object]]:
    columns = ["store_id", "date", "sales"]
    return sorted(runs.read_table(project, "sales").select(columns).to_pylist(), key=str)


@pytest.mark.parametrize("room", [0, 16 << 10, 64 << 10])
def test_an_ingestion_without_room(
    crowded: tuple[Shop, Path], storecast: Storecast, room: int
) -> None:
    source, disk = crowded
    assert storecast("ingest", "--project", disk).exit_code == 0
    before = _rows(load(disk))
    source.sql(INSERT, [(f"n{i}", f"{i:05}", "2021-06-07", i) for i in range(3000)])
    filler = _fill(disk, room)
    answer = storecast("ingest", "--project", disk, "--json")
    assert answer.exit_code == 1
    assert answer.code == "DISK_FULL"
    assert "make room" in str(answer.envelope["error"]["next_step"])
    assert "Traceback" not in answer.err
    assert _rows(load(disk)) == before
    filler.unlink()
    again = storecast("ingest", "--project", disk, "--json").envelope["result"]
    assert (again["rows_inserted"], again["stores"]) == (3000, 3002)
    assert len(_rows(load(disk))) == len(before) + 3000


def test_the_first_ingestion_without_room(crowded: tuple[Shop, Path], storecast: Storecast) -> None:
    _, disk = crowded
    filler = _fill(disk, 0)
    answer = storecast("ingest", "--project", disk, "--json")
    assert (answer.exit_code, answer.code) == (1, "DISK_FULL")
    filler.unlink()
    assert storecast("ingest", "--project", disk).exit_code == 0
    assert runs.read_table(load(disk), "sales").num_rows == 40


@pytest.mark.parametrize("option", ["--json", "--debug"])
def test_no_word_of_the_librarys_threads(
    crowded: tuple[Shop, Path], storecast: Storecast, option: str
) -> None:
    """They panic beside the error that is raised: shown to those who debug alone."""
    source, disk = crowded
    assert storecast("ingest", "--project", disk).exit_code == 0
    source.sql(INSERT, [(f"n{i}", f"{i:05}", "2021-06-07", i) for i in range(3000)])
    _fill(disk, 16 << 10)
    command = [sys.executable, "-m", "storecast.cli", "ingest", "--project", str(disk), option]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 1
    assert "DISK_FULL" in ended.stdout + ended.stderr
    assert ("panicked" in ended.stderr) == (option == "--debug")


def _spill(folder: Path) -> None:
    """Keep a gigabyte where there is memory for half of it."""
    with contextlib.closing(open_engine(folder)) as engine:
        engine.create("much", "SELECT hash(i) AS a, hash(-i) AS b FROM range(60000000) t(i)")


def test_a_run_that_spills_without_room(crowded: tuple[Shop, Path], storecast: Storecast) -> None:
    _, disk = crowded
    project = load(disk)
    with pytest.raises(StorecastError) as caught, runs.begin(project, "ingest") as run:
        _spill(project.scratch() / run.run_id)
    assert caught.value.code is Code.DISK_FULL
    assert list(project.scratch().iterdir()) == []
    (row,) = runs.ledger(project)
    assert row["error_code"] == "DISK_FULL"
    assert storecast("ingest", "--project", disk).exit_code == 0
