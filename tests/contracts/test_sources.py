"""What every source keeps to, whatever lies behind it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from storecast.adapters.sources.files import FilesSource
from storecast.adapters.sources.sqlite import SqliteSource
from storecast.errors import Code, SourceError
from storecast.ports import Relation, Source

IDS = ["001", "1", "1e5", "NULL", "nan", "12345678901234567890", "São João", "a", "A", "x'y\"z"]
Given = Callable[[dict[str, pa.Array]], tuple[Source, Relation]]


def _sqlite(folder: Path, columns: dict[str, pa.Array]) -> tuple[Source, Relation]:
    with closing(sqlite3.connect(folder / "chain.db")) as connection, connection:
        names = ", ".join(f'"{name}"' for name in columns)
        connection.execute(f"CREATE TABLE rows ({names})")
        marks = ", ".join("?" * len(columns))
        connection.executemany(
            f"INSERT INTO rows VALUES ({marks})",
            zip(*(c.to_pylist() for c in columns.values()), strict=True),
        )
    return SqliteSource(folder / "chain.db"), Relation("rows")


def _csv(folder: Path, columns: dict[str, pa.Array]) -> tuple[Source, Relation]:
    pyarrow.csv.write_csv(pa.table(columns), folder / "rows.csv")
    return FilesSource(folder), Relation("rows.csv")


def _parquet(folder: Path, columns: dict[str, pa.Array]) -> tuple[Source, Relation]:
    pyarrow.parquet.write_table(pa.table(columns), folder / "rows.parquet", row_group_size=3)
    return FilesSource(folder), Relation("rows.parquet")


@pytest.fixture(params=[_sqlite, _csv, _parquet], ids=["sqlite", "csv", "parquet"])
def given(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Given]:
    opened: list[Source] = []

    def make(columns: dict[str, pa.Array]) -> tuple[Source, Relation]:
        source, relation = request.param(tmp_path, columns)
        opened.append(source)
        return source, relation

    yield make
    for source in opened:
        source.close()
        source.close()


def _rows(source: Source, relation: Relation, columns: list[str]) -> dict[str, list[Any]]:
    read: dict[str, list[Any]] = {name: [] for name in columns}
    for batch in source.read(relation, columns):
        assert batch.schema.names == columns
        assert batch.num_rows > 0
        for name in columns:
            read[name] += batch[name].to_pylist()
    return read


def test_identifiers_come_as_they_are(given: Given) -> None:
    source, relation = given({"id": pa.array(IDS)})
    assert sorted(_rows(source, relation, ["id"])["id"]) == sorted(IDS)


def test_a_null_is_not_an_empty_text(given: Given) -> None:
    source, relation = given({"n": pa.array([1, 2, 3]), "id": pa.array([None, "", "x"])})
    read = _rows(source, relation, ["n", "id"])
    assert dict(zip(map(int, read["n"]), read["id"], strict=True)) == {1: None, 2: "", 3: "x"}


def test_a_text_may_come_after_thousands_of_nulls(given: Given) -> None:
    column = pa.array([None] * 70_000 + ["late"])
    source, relation = given({"n": pa.array(range(70_001)), "id": column})
    read = _rows(source, relation, ["n", "id"])["id"]
    assert len(read) == 70_001
    assert [v for v in read if v is not None] == ["late"]


def test_an_empty_relation_has_columns_and_no_rows(given: Given) -> None:
    source, relation = given({"id": pa.array([], pa.string()), "n": pa.array([], pa.int64())})
    assert [c.name for c in source.columns(relation)] == ["id", "n"]
    assert list(source.read(relation, ["id"])) == []


def test_columns_are_read_in_the_order_asked(given: Given) -> None:
    source, relation = given(
        {"a b": pa.array(["1"]), "ç": pa.array(["2"]), "from": pa.array(["3"])}
    )
    assert [c.name for c in source.columns(relation)] == ["a b", "ç", "from"]
    assert _rows(source, relation, ["from", "a b"]) == {"from": ["3"], "a b": ["1"]}


def test_a_relation_that_is_not_there_names_the_nearest(given: Given) -> None:
    source, relation = given({"id": pa.array(["1"])})
    with pytest.raises(SourceError) as caught:
        source.columns(Relation(str(relation.table).replace("rows", "rowz")))
    assert caught.value.code is Code.SOURCE_TABLE_NOT_FOUND
    assert f"did you mean {relation.table!r}" in caught.value.message


def test_a_place_that_is_not_there_is_not_made(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for source in (SqliteSource(tmp_path / "none.db"), FilesSource(tmp_path / "none")):
        with pytest.raises(SourceError) as caught:
            source.columns(Relation("rows"))
        assert caught.value.code is Code.SOURCE_UNREACHABLE
        assert list(tmp_path.iterdir()) == []
