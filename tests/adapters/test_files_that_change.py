"""Files that change while they are read: refused, however they change, in one reading or two."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from storecast.adapters.sources.files import FilesSource
from storecast.errors import Code, SourceError
from storecast.ports import Relation

LINES = 1_500_000
"""Of eight bytes: more than one block of the reader, and more than it reads ahead."""


def _line(i: int) -> str:
    return f"{i:07}\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "a.csv").write_text("id\n" + "".join(map(_line, range(LINES))))
    ids = pa.table({"id": [str(i) for i in range(300_000)]})
    pa.parquet.write_table(ids, folder / "a.parquet", row_group_size=50_000)
    return folder


def _cut_at_a_line(file: Path) -> None:
    """What is left is as good a file as before."""
    os.truncate(file, len("id\n") + (LINES - 100) * len(_line(0)))


def _cut_in_a_value(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 4)


def _appended(file: Path) -> None:
    with file.open("ab") as handle:
        handle.write(b"7654321\n")


def _written_over(file: Path) -> None:
    with file.open("r+b") as handle:
        handle.seek(-4, os.SEEK_END)
        handle.write(b"9")


def _replaced(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(file.read_bytes())
    was = file.stat()
    os.utime(other, ns=(was.st_atime_ns, was.st_mtime_ns))
    other.rename(file)


WAYS = (_cut_at_a_line, _cut_in_a_value, _appended, _written_over, _replaced, Path.unlink)


def _refused(read: Callable[[], object]) -> str:
    with pytest.raises(SourceError) as caught:
        read()
    assert caught.value.code is Code.SOURCE_INTERRUPTED, caught.value
    assert "changed while it was read" in caught.value.message
    return str(caught.value.found)


@pytest.mark.parametrize("change", WAYS)
@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_file_that_changes_while_it_is_read(
    tmp_path: Path, whole: Path, name: str, change: Callable[[Path], None]
) -> None:
    if change is _cut_at_a_line and name == "a.parquet":
        pytest.skip("a parquet file has no lines")
    file = tmp_path / name
    file.write_bytes((whole / name).read_bytes())
    batches = FilesSource(tmp_path).read(Relation(name), ["id"])
    next(batches)
    change(file)
    assert _refused(lambda: list(batches))


@pytest.mark.parametrize("change", [_appended, _written_over, _replaced, Path.unlink])
def test_a_file_that_changes_between_two_readings(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id\n0000001\n")
    source = FilesSource(tmp_path)
    assert sum(b.num_rows for b in source.read(Relation("a.csv"), ["id"])) == 1
    change(file)
    assert _refused(lambda: list(source.read(Relation("a.csv"), ["id"])))
    assert _refused(lambda: source.columns(Relation("a.csv")))


def test_a_pattern_names_the_same_files_for_the_whole_run(tmp_path: Path) -> None:
    (tmp_path / "a-1.csv").write_text("id\n1\n")
    source = FilesSource(tmp_path)
    source.columns(Relation("a-*.csv"))
    (tmp_path / "a-2.csv").write_text("id\n2\n")
    for opened, rows in ((source, 1), (FilesSource(tmp_path), 2)):
        assert sum(b.num_rows for b in opened.read(Relation("a-*.csv"), ["id"])) == rows


def test_no_file_is_left_open(whole: Path) -> None:
    batches = FilesSource(whole).read(Relation("a.csv"), ["id"])
    next(batches)
    assert whole / "a.csv" in _open_now()
    batches.close()  # type: ignore[attr-defined]  # a generator
    assert whole / "a.csv" not in _open_now()


def _open_now() -> set[Path]:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("this system does not say which files are open")
    return {d.resolve() for d in descriptors.iterdir()}
