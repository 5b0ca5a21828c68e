"""What is the Delta tables' own: their names, their paths, their version."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest

from storecast.adapters.sources.table import TableSource
from storecast.errors import Code, SourceError
from storecast.ports import Relation, Span


def _write(folder: Path, table: pa.Table, **options: Any) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    deltalake.write_deltalake(str(folder), table, **options)


def _all(source: TableSource, name: str, column: str = "c", span: Span | None = None) -> list[Any]:
    return [v for b in source.read(Relation(name), [column], span) for v in b[column].to_pylist()]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vendas", 1), ("bronze.vendas", 2), ("outro.bronze.vendas", 3), ("`bronze`.`a.b`", 4),
        ("dados/vendas", 5), ("./dados/vendas", 5), ("main.lojas.vendas", 1),
    ],
)  # fmt: skip
def test_names_and_paths(tmp_path: Path, name: str, value: int) -> None:
    lakehouse = tmp_path / "lakehouse"
    places = ["main/lojas/vendas", "main/bronze/vendas", "outro/bronze/vendas", "main/bronze/a.b"]
    for n, place in enumerate(places, 1):
        _write(lakehouse / place, pa.table({"c": [n]}))
    _write(tmp_path / "dados" / "vendas", pa.table({"c": [5]}))
    with closing(TableSource(tmp_path, "main", "lojas")) as source:
        assert _all(source, name) == [value]
        assert _all(source, str(tmp_path / "dados" / "vendas")) == [5]


@pytest.mark.parametrize(
    ("name", "near"),
    [("venda", "'vendas'"), ("bronz.vendas", "'bronze.vendas'"), ("a.b.c.d", ""), ("no/where", ""),
     ("outro.vendas", "'bronze.vendas'")],
)  # fmt: skip
def test_a_table_that_is_not_there(tmp_path: Path, name: str, near: str) -> None:
    _write(tmp_path / "lakehouse/main/lojas/vendas", pa.table({"c": [1]}))
    _write(tmp_path / "lakehouse/main/bronze/vendas", pa.table({"c": [1]}))
    with closing(TableSource(tmp_path, "main", "lojas")) as source:
        with pytest.raises(SourceError) as caught:
            source.columns(Relation(name))
        assert caught.value.code is Code.SOURCE_TABLE_NOT_FOUND
        assert near in caught.value.message


def test_partitions_dates_and_times(tmp_path: Path) -> None:
    days = [date(2021, 1, 9), date(2021, 1, 10), date(2021, 1, 20), None, date(2021, 1, 20)]
    moments = [datetime(2021, 1, 9, 23, tzinfo=UTC), datetime(2021, 1, 10, tzinfo=UTC),
               datetime(2021, 1, 25, tzinfo=UTC), None,
               datetime(2021, 1, 20, 2, tzinfo=UTC)]  # fmt: skip
    table = pa.table({"c": range(5), "d": pa.array(days, pa.date32()),
                      "t": pa.array(moments, pa.timestamp("us", "UTC"))})  # fmt: skip
    _write(tmp_path / "p/q", table, partition_by=["d"])
    with closing(TableSource(tmp_path, "main", "lojas")) as source:
        columns = {c.name: c.kind for c in source.columns(Relation("p/q"))}
        assert columns == {"c": "integer", "d": "date", "t": "timestamp"}
        span = Span("d", date(2021, 1, 10), date(2021, 1, 20))
        assert sorted(_all(source, "p/q", span=span)) == [1, 3]
        # an instant may be of the local day beside
        span = Span("t", date(2021, 1, 10), date(2021, 1, 20), ("d",))
        assert sorted(_all(source, "p/q", span=span)) == [0, 1, 3, 4]


def test_what_is_no_delta_table(tmp_path: Path) -> None:
    log = tmp_path / "broken" / "t" / "_delta_log"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json").write_text("no")
    with closing(TableSource(tmp_path, "main", "lojas")) as source:
        with pytest.raises(SourceError) as caught:
            source.columns(Relation("broken/t"))
        assert caught.value.code is Code.SOURCE_QUERY_FAILED
        assert "the table is damaged" in str(caught.value.next_step)
        assert "<unknown>" not in str(caught.value.found)


def test_a_damaged_file_is_no_matter_for_spark(tmp_path: Path) -> None:
    _write(tmp_path / "a/t", pa.table({"c": [1]}))
    (file,) = (tmp_path / "a/t").glob("*.parquet")
    file.write_bytes(file.read_bytes()[:40])
    source = TableSource(tmp_path, "main", "lojas")
    with closing(source), pytest.raises(SourceError) as caught:
        _all(source, "a/t")
    assert caught.value.next_step == (
        "the table is damaged: bring it back from a copy, or write it anew"
    )


def test_far_off_names_are_not_guessed(tmp_path: Path) -> None:
    _write(tmp_path / "lakehouse/main/lojas/runs", pa.table({"c": [1]}))
    with closing(TableSource(tmp_path, "main", "lojas")) as source:
        for name, near in (("bronzz", False), ("rums", True)):
            with pytest.raises(SourceError) as caught:
                source.columns(Relation(name))
            assert ("did you mean" in caught.value.message) == near


def test_a_file_that_was_vacuumed(tmp_path: Path) -> None:
    _write(tmp_path / "a/t", pa.table({"c": [1]}))
    with closing(TableSource(tmp_path, "main", "lojas")) as source:
        source.columns(Relation("a/t"))
        for file in (tmp_path / "a/t").glob("*.parquet"):
            file.unlink()
        with pytest.raises(SourceError) as caught:
            _all(source, "a/t")
        assert caught.value.code is Code.SOURCE_QUERY_FAILED
        assert "vacuumed" in str(caught.value.next_step)
