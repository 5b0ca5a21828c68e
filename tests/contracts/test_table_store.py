"""What every table store keeps to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from storecast.adapters.local import rewrite
from storecast.adapters.local.tables import LocalTables
from storecast.core.schema import AMOUNT, DAY, INSTANT, TEXT, Column, TableSpec
from storecast.errors import Code, ConfigurationError, StorecastError, TableError
from storecast.ports import TableStore

SPEC = TableSpec(
    "lines",
    (
        Column("store_id", TEXT, nullable=False, description="the store"),
        Column("date", DAY, nullable=False),
        Column("sales", AMOUNT, nullable=False),
        Column("step", pa.int32()),
        Column("seen_at", INSTANT),
    ),
    ("store_id", "date"),
    "lines for a test",
    checks=(("step_positive", "step > 0"),),
)
DAY_ONE = date(2020, 2, 29)


def _rows(*stores: str | None, **values: Any) -> pa.Table:
    row = {
        "date": DAY_ONE,
        "sales": Decimal("99999999999999.9999"),
        "step": 3,
        "seen_at": datetime(2020, 1, 1, 12, 30, 0, 123456, UTC),
        **values,
    }
    return pa.Table.from_pylist([{"store_id": s, **row} for s in stores], SPEC.arrow)


def _keys(*stores: str) -> pa.Table:
    return pa.table({"store_id": list(stores), "date": pa.array([DAY_ONE] * len(stores))})


@pytest.fixture
def tables(tmp_path: Path) -> TableStore:
    store = LocalTables(tmp_path / "catalog" / "schema", 400)
    store.create(SPEC)
    return store


def _stores(tables: TableStore, version: int | None = None) -> list[str]:
    return sorted(tables.scan("lines", version=version).read_all()["store_id"].to_pylist())


def test_types_and_nullability_come_back(tables: TableStore) -> None:
    rows = _rows("001", "1e5", "São João")
    tables.merge(SPEC, rows, append=True)
    read = tables.scan("lines").read_all()
    assert read.schema.equals(SPEC.arrow)
    assert tables.spec_of("lines").equals(SPEC.arrow)
    assert read.sort_by("store_id").to_pylist() == rows.sort_by("store_id").to_pylist()


def test_upsert_and_removal_are_one_commit(tables: TableStore) -> None:
    before = tables.merge(SPEC, _rows("a", "b", "c"), append=True)
    after = tables.merge(SPEC, _rows("b", "d", step=7), delete=_keys("a", "not there"))
    assert after == before + 1
    rows = {r["store_id"]: r["step"] for r in tables.scan("lines").read_all().to_pylist()}
    assert rows == {"b": 7, "c": 3, "d": 7}


@pytest.fixture
def _few_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrite, "MOST", 1)


@pytest.mark.usefixtures("_few_in_memory")
@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "table"])
def test_more_rows_than_memory_should_hold_are_merged_alike(
    tables: TableStore, streamed: bool
) -> None:
    before = tables.merge(SPEC, _rows("a", "b", "c"), append=True)
    rows = _rows("b", "d", "e", step=7)
    after = tables.merge(
        SPEC, rows.to_reader(1) if streamed else rows, delete=_keys("a", "not there")
    )
    assert after == before + 1
    read = tables.scan("lines").read_all()
    assert read.schema.equals(SPEC.arrow)
    found = {r["store_id"]: (r["step"], r["seen_at"]) for r in read.to_pylist()}
    at = rows["seen_at"][0].as_py()
    assert found == {"b": (7, at), "c": (3, at), "d": (7, at), "e": (7, at)}
    for wrong in (_rows("f", "f", "g"), _rows("f", None, "g"), _rows("f", "g", step=0)):
        with pytest.raises(TableError):
            tables.merge(SPEC, wrong)
    assert tables.version("lines") == after
    assert tables.merge(SPEC, _rows("h", "i"), delete=_keys("b", "c", "d", "e")) == after + 1
    assert _stores(tables) == ["h", "i"]


def test_time_travel(tables: TableStore) -> None:
    first = tables.merge(SPEC, _rows("a"), append=True)
    second = tables.merge(SPEC, _rows("b"))
    third = tables.replace(SPEC, _rows("c"))
    assert [_stores(tables, v) for v in (first, second, third)] == [["a"], ["a", "b"], ["c"]]
    restored = tables.restore("lines", first)
    assert restored == third + 1
    assert _stores(tables) == ["a"]
    assert _stores(tables, third) == ["c"]


def test_a_dropped_table_is_gone_and_can_be_made_anew(tables: TableStore) -> None:
    tables.merge(SPEC, _rows("a"), append=True)
    assert tables.made("lines")
    tables.drop("lines")
    assert tables.names() == []
    assert tables.version("lines") is None
    with pytest.raises(TableError):
        tables.drop("lines")
    tables.create(replace(SPEC, primary_key=("store_id", "step")))
    assert _stores(tables) == []


def test_nothing_to_write_commits_nothing(tables: TableStore) -> None:
    version = tables.version("lines")
    nothing = SPEC.empty()
    assert tables.merge(SPEC, nothing) == version
    assert tables.merge(SPEC, nothing, append=True) == version
    assert tables.merge(SPEC, nothing, delete=_keys()) == version


@pytest.mark.parametrize("append", [True, False], ids=["append", "merge"])
@pytest.mark.parametrize(
    ("rows", "code"),
    [
        (_rows("a", "a"), Code.TABLE_KEY_VIOLATION),
        (_rows("a", None), Code.TABLE_KEY_VIOLATION),
        (_rows("a", sales=None), Code.TABLE_CONSTRAINT_VIOLATION),
        (_rows("a", step=0), Code.TABLE_CONSTRAINT_VIOLATION),
        (_rows("a").drop_columns(["step"]), Code.TABLE_SCHEMA_MISMATCH),
        (_rows("a").append_column("more", pa.array([1])), Code.TABLE_SCHEMA_MISMATCH),
    ],
    ids=["double key", "null key", "null", "check", "column missing", "column too many"],
)
def test_what_breaks_a_rule_leaves_the_table_as_it_was(
    tables: TableStore, rows: pa.Table, code: Code, append: bool
) -> None:
    version = tables.merge(SPEC, _rows("z"), append=True)
    with pytest.raises(TableError) as caught:
        tables.merge(SPEC, rows, append=append)
    assert caught.value.code is code
    assert tables.version("lines") == version


def test_a_key_twice_in_far_apart_batches_is_refused(tables: TableStore) -> None:
    many = _rows(*(str(i) for i in range(3_000)), "0")

    def batches() -> Iterator[pa.RecordBatch]:
        yield from many.to_batches(max_chunksize=500)

    version = tables.version("lines")
    with pytest.raises(TableError) as caught:
        tables.merge(SPEC, pa.RecordBatchReader.from_batches(SPEC.arrow, batches()), append=True)
    assert caught.value.code is Code.TABLE_KEY_VIOLATION
    assert tables.version("lines") == version


def test_a_stream_that_dies_is_raised_as_it_was(tables: TableStore) -> None:
    fault = StorecastError(Code.SOURCE_QUERY_FAILED, "the line broke")

    def batches() -> Iterator[pa.RecordBatch]:
        yield from _rows("a").to_batches()
        raise fault

    version = tables.version("lines")
    with pytest.raises(StorecastError) as caught:
        tables.merge(SPEC, pa.RecordBatchReader.from_batches(SPEC.arrow, batches()), append=True)
    assert caught.value is fault
    assert tables.version("lines") == version


def test_scan_takes_columns_and_a_condition(tables: TableStore) -> None:
    tables.merge(SPEC, _rows("a", "b'"), append=True)
    rows = tables.scan("lines", columns=["step"], where="store_id = 'b''' AND date > '2020-01-01'")
    assert rows.read_all().to_pydict() == {"step": [3]}
    with pytest.raises(TableError) as caught:
        tables.scan("lines", columns=["stepp"])
    assert caught.value.code is Code.TABLE_SCHEMA_MISMATCH


def test_scan_takes_rows_to_be_among(tables: TableStore) -> None:
    tables.merge(SPEC, _rows("a", "b", "c"), append=True)
    tables.merge(SPEC, _rows("a", "d", date=date(2021, 1, 1)))
    days = [DAY_ONE, date(2021, 1, 1), DAY_ONE]
    among = pa.table({"date": pa.array(days), "store_id": ["a", "d", "d"]})
    rows = tables.scan("lines", columns=["sales", "store_id"], among=among)
    assert sorted(rows.read_all()["store_id"].to_pylist()) == ["a", "d"]
    rows = tables.scan("lines", among=among, where="date < DATE '2021-01-01'", columns=["step"])
    assert rows.read_all().to_pydict() == {"step": [3]}
    rows = tables.scan("lines", among=among.slice(0, 0))
    assert rows.schema.equals(SPEC.arrow)
    assert rows.read_all().num_rows == 0
    with pytest.raises(TableError) as caught:
        tables.scan("lines", among=pa.table({"shop": ["a"]}))
    assert caught.value.code is Code.TABLE_SCHEMA_MISMATCH


@pytest.mark.parametrize("name", ["plain", "São João", "a*b", "a?b", "100%", "it's", "#1"])
def test_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    store = LocalTables(tmp_path / name, 400)
    store.create(SPEC)
    store.merge(SPEC, _rows("a"), append=True)
    store.merge(SPEC, _rows("a", "b"))
    assert _stores(store) == ["a", "b"]


@pytest.mark.parametrize("name", ["a[1]", "a^b", "a|b"])
def test_a_folder_whose_name_the_library_cannot_take(tmp_path: Path, name: str) -> None:
    with pytest.raises(TableError) as caught:
        LocalTables(tmp_path / name, 400).create(SPEC)
    assert caught.value.code is Code.TABLE_WRITE_FAILED
    assert "any of [ ] ^ |" in str(caught.value.expected)


def test_a_configuration_may_add_nullable_columns_only(tables: TableStore) -> None:
    tables.merge(SPEC, _rows("a"), append=True)
    wider = TableSpec("lines", (*SPEC.columns, Column("city", TEXT)), SPEC.primary_key)
    tables.create(wider)
    assert tables.scan("lines").read_all()["city"].to_pylist() == [None]
    tables.merge(wider, tables.scan("lines").read_all(), delete=_keys("b"))
    tables.create(TableSpec("lines", (*wider.columns, Column("built", INSTANT)), SPEC.primary_key))
    assert tables.scan("lines", where="city IS NULL").read_all()["built"].to_pylist() == [None]
    wider = TableSpec("lines", (*wider.columns, Column("built", INSTANT)), SPEC.primary_key)
    others = [
        TableSpec("lines", wider.columns[:-2], SPEC.primary_key),
        TableSpec("lines", wider.columns, ("store_id",)),
        TableSpec("lines", wider.columns, ("date", "store_id")),
        TableSpec("lines", (*wider.columns[:-1], Column("built", DAY)), SPEC.primary_key),
        TableSpec("lines", (*wider.columns, Column("zip", TEXT, nullable=False)), SPEC.primary_key),
    ]
    version = tables.version("lines")
    for other in others:
        with pytest.raises(ConfigurationError) as caught:
            tables.create(other)
        assert caught.value.code is Code.CONFIG_CHANGED
    assert tables.version("lines") == version


def test_upkeep_changes_no_content_and_no_time_travel(tables: TableStore) -> None:
    stores = [f"{i:02}" for i in range(30)]
    written = []
    for store in stores:
        tables.merge(SPEC, _rows(store))
        written.append(tables.compact("lines"))
    tables.clean("lines")
    assert tables.version("lines") == written[-1]
    assert written == sorted(set(written))
    assert _stores(tables) == stores
    for number in (0, 14, 20, 28):
        assert _stores(tables, written[number]) == stores[: number + 1]
    tables.restore("lines", written[2])
    assert _stores(tables) == stores[:3]


def test_names_versions_and_history(tables: TableStore) -> None:
    assert tables.names() == ["lines"]
    assert tables.version("other") is None
    version = tables.merge(SPEC, _rows("a"), append=True)
    history = tables.history("lines")
    assert [commit["version"] for commit in history] == list(range(version, -1, -1))
    assert datetime.fromisoformat(history[0]["timestamp"]).tzinfo is not None
    for ask in (tables.spec_of, tables.scan, tables.history):
        with pytest.raises(TableError) as caught:
            ask("linez")
        assert caught.value.code is Code.TABLE_NOT_FOUND
        assert "did you mean 'lines'" in caught.value.message
    with pytest.raises(TableError):
        tables.scan("lines", version=version + 1)


def test_names_with_quotes_are_values_not_sql(tables: TableStore) -> None:
    stores = ["'; DROP TABLE lines; --", 'a"b', "NULL", "nan", "12345678901234567890"]
    tables.merge(SPEC, _rows(*stores), append=True)
    tables.merge(SPEC, _rows(stores[0], step=9), delete=_keys(stores[1]))
    assert _stores(tables) == sorted(set(stores) - {stores[1]})
