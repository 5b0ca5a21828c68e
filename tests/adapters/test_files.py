"""What is the files' own: delimiters, encodings, several files of one relation."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from storecast.adapters.sources.files import FilesSource
from storecast.errors import Code, SourceError
from storecast.ports import Relation


def _all(folder: Path, name: str) -> list[dict[str, object]]:
    source = FilesSource(folder)
    columns = [c.name for c in source.columns(Relation(name))]
    return [row for b in source.read(Relation(name), columns) for row in b.to_pylist()]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("bom", ["", "\ufeff"], ids=["plain", "bom"])
def test_delimiters_and_byte_order_marks(tmp_path: Path, delimiter: str, bom: str) -> None:
    lines = [["id", '"a,b;c|"'], ["001", ""], ["nan", '""'], ["NULL", '"x\ny"']]
    text = bom + "\r\n".join(delimiter.join(line) for line in lines) + "\r\n"
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert _all(tmp_path, "a.csv") == [
        {"id": "001", "a,b;c|": None},
        {"id": "nan", "a,b;c|": ""},
        {"id": "NULL", "a,b;c|": "x\ny"},
    ]


def test_several_files_of_one_schema(tmp_path: Path) -> None:
    (tmp_path / "s-1.csv").write_text("id,n\n1,2\n")
    (tmp_path / "s-2.csv").write_text("n,id\n4,3\n")
    (tmp_path / "other.csv").write_text("x\n1\n")
    assert _all(tmp_path, "s-*.csv") == [{"id": "1", "n": "2"}, {"id": "3", "n": "4"}]


@pytest.mark.parametrize(
    ("second", "code"),
    [
        (pa.table({"id": ["1"], "m": [1]}), Code.SOURCE_COLUMN_NOT_FOUND),
        (pa.table({"id": ["1"], "n": [1.5]}), Code.COLUMN_TYPE_INVALID),
    ],
)
def test_several_files_that_differ(tmp_path: Path, second: pa.Table, code: Code) -> None:
    pa.parquet.write_table(pa.table({"id": ["1"], "n": [1]}), tmp_path / "a.parquet")
    pa.parquet.write_table(second, tmp_path / "b.parquet")
    with pytest.raises(SourceError) as caught:
        _all(tmp_path, "*.parquet")
    assert caught.value.code is code
    assert "b.parquet" in str(caught.value.where)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", Code.SOURCE_EMPTY),
        ("id,n\né,1\n".encode("latin-1"), Code.SOURCE_QUERY_FAILED),
        ("id,n\n1,2\n".encode("utf-16"), Code.SOURCE_QUERY_FAILED),
        (b"id,n\n1,2\n3\n", Code.SOURCE_QUERY_FAILED),
        (b"id,n\n1,2,3\n", Code.SOURCE_QUERY_FAILED),
    ],
    ids=["empty", "latin-1", "utf-16", "short line", "long line"],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes, code: Code) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(SourceError) as caught:
        _all(tmp_path, "a.csv")
    assert caught.value.code is code
    assert "a.csv" in caught.value.message


def test_no_way_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("id\n1\n")
    inside = tmp_path / "in"
    inside.mkdir()
    for name in ("../secret.csv", str(tmp_path / "secret.csv"), "../*.csv"):
        with pytest.raises(SourceError) as caught:
            FilesSource(inside).columns(Relation(name))
        assert caught.value.code is Code.SOURCE_TABLE_NOT_FOUND


def test_broken_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(SourceError) as caught:
        _all(tmp_path, "a.parquet")
    assert caught.value.code is Code.SOURCE_QUERY_FAILED
