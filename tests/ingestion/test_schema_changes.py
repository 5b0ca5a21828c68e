"""The source's schema changes, and the configuration's: what is followed and what is refused.

Whatever is refused leaves each table at the version and with the columns that it had.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storecast import runs
from storecast.errors import Code, StorecastError
from storecast.history import load_history
from storecast.ingestion.step import ingest

from .chains import Chain

OLD, NEW = "2020-01-10 00:00:00", "2020-02-01 00:00:00"
WEEK = date(2020, 1, 12)


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a chain with everything that a table can come of, ingested once."""
    chain = _full(tmp_path_factory.mktemp("ingested"))
    ingest(chain.project())
    return chain.folder


@pytest.fixture
def full(ingested: Path, tmp_path: Path) -> Chain:
    """A copy of it."""
    shutil.copytree(ingested, tmp_path, dirs_exist_ok=True)
    return _full(tmp_path)


def _full(folder: Path) -> Chain:
    chain = Chain(folder)
    chain.lines(("x1", "a", "2020-01-06", 1, OLD), ("x2", "b", "2020-01-06", 2, OLD))
    chain.table(
        "shops",
        ("shop", "since", "town", "zip", "kind"),
        [("a", "2019-01-01", "Olinda", "053", "x"), ("b", "2019-01-01", "Recife", "051", None)],
    )
    chain.table(
        "promo",
        ("shop", "day", "entered", "promo", "price", "visits", "staff"),
        [
            ("a", "2020-01-06", "2020-01-01", 1, 2, 30, 4),
            ("b", "2020-01-06", "2020-01-01", 0, 3, 40, 5),
        ],
    )
    columns = ("day", "entered", "rain", "heat")
    chain.table("weather", columns, [("2020-01-06", "2020-01-01", 7, 20)])
    chain.source = {
        "stores": {"from": "shops", "columns": {"store_id": "shop"}, "attributes": ["town"]},
        "covariates": [
            {"from": "promo", "columns": {"store_id": "shop", "date": "day"}, "known": ["promo"],
             "realised": ["visits"]},
            {"from": "weather", "columns": {"date": "day"}, "known": ["rain"]},
        ],
    }  # fmt: skip
    return chain


def _tables(chain: Chain) -> dict[str, tuple[int | None, list[str]]]:
    tables = chain.project().tables
    return {n: (tables.version(n), tables.spec_of(n).names) for n in tables.names() if n != "runs"}


def _refused(chain: Chain, code: Code = Code.CONFIG_CHANGED) -> StorecastError:
    before, named = _tables(chain), runs.named_versions(chain.project())
    with pytest.raises(StorecastError) as caught:
        ingest(chain.project())
    assert caught.value.code is code, caught.value
    assert _tables(chain) == before
    assert runs.named_versions(chain.project()) == named
    return caught.value


def _sql(chain: Chain, *statements: str) -> None:
    with closing(sqlite3.connect(chain.database)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


# ------------------------------------------------------------------ the source's


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("ALTER TABLE lines DROP COLUMN amount", "lines has no column 'amount'"),
        ("ALTER TABLE lines RENAME COLUMN amount TO amounts", "(did you mean 'amounts'?)"),
        ("ALTER TABLE lines RENAME COLUMN store TO STORES", "lines has no column 'store'"),
        ("ALTER TABLE shops DROP COLUMN town", "shops has no column 'town'"),
        ("ALTER TABLE promo RENAME COLUMN visits TO visitors", "(did you mean 'visitors'?)"),
        ("ALTER TABLE lines RENAME COLUMN changed TO changed_at", "(did you mean 'changed_at'?)"),
    ],
)
def test_a_column_that_vanished_is_missed(full: Chain, statement: str, said: str) -> None:
    _sql(full, statement)
    assert said in _refused(full, Code.SOURCE_COLUMN_NOT_FOUND).message


def test_a_renamed_column_is_named_anew_and_nothing_else_changes(full: Chain) -> None:
    before = _tables(full)
    _sql(full, "ALTER TABLE lines RENAME COLUMN amount TO valor")
    full.sales["columns"] = {"store_id": "store", "date": "day", "sales": "valor"}
    result = ingest(full.project())
    assert (result.rows_unchanged, result.rows_updated, result.rows_deleted) == (2, 0, 0)
    assert _tables(full) == before


@pytest.mark.parametrize("table", ["lines", "shops", "promo"])
def test_a_table_renamed_between_runs_is_missed_with_the_nearest_name(
    full: Chain, table: str
) -> None:
    _sql(full, f"ALTER TABLE {table} RENAME TO {table}_2024")
    fault = _refused(full, Code.SOURCE_TABLE_NOT_FOUND)
    assert f"{table}_2024" in fault.message


def test_a_column_more_in_the_source_is_none_of_our_business(full: Chain) -> None:
    before = _tables(full)
    _sql(full, "ALTER TABLE lines ADD COLUMN discount", "ALTER TABLE shops ADD COLUMN manager")
    assert ingest(full.project()).rows_unchanged == 2
    assert _tables(full) == before


Columns = dict[str, pa.Array]
GIVEN: Columns = {
    "id": pa.array([1, 2]),
    "store": pa.array([7, 12345678901234567]),
    "day": pa.array(["2020-01-06", "2020-01-07"]),
    "amount": pa.array([Decimal("1.10"), Decimal("-2.00")]),
    "changed": pa.array([OLD, OLD]),
}


def _parquet(chain: Chain, **changes: pa.Array) -> None:
    pq.write_table(pa.table({**GIVEN, **changes}), chain.folder / "lines.parquet")
    chain.sales["from"] = "lines.parquet"
    chain.source |= {"type": "files", "path": "."}


@pytest.mark.parametrize(
    "changes",
    [
        {"store": GIVEN["store"].cast(pa.string())},
        {"store": GIVEN["store"].cast(pa.decimal128(38, 0))},
        {"id": GIVEN["id"].cast(pa.string())},
        {"id": GIVEN["id"].cast(pa.int16())},
        {"amount": GIVEN["amount"].cast(pa.string())},
        {"amount": GIVEN["amount"].cast(pa.float64())},
        {"amount": GIVEN["amount"].cast(pa.decimal128(38, 9))},
        {"day": GIVEN["day"].cast(pa.date32())},
        {"day": GIVEN["day"].cast(pa.date32()).cast(pa.timestamp("ns"))},
        {"changed": GIVEN["changed"].cast(pa.timestamp("s"))},
    ],
)
def test_another_type_for_the_same_values_is_the_same_rows(chain: Chain, changes: Columns) -> None:
    _parquet(chain)
    ingest(chain.project())
    before = _tables(chain)
    _parquet(chain, **changes)
    result = ingest(chain.project(), full=True)
    assert (result.rows_unchanged, result.rows_updated, result.rows_deleted) == (2, 0, 0)
    assert _tables(chain) == before
    assert [r[0] for r in chain.read("sales", "store_id")] == ["12345678901234567", "7"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"store": pa.array([7.0, 8.0])}, Code.IDENTIFIER_IS_FLOAT),
        ({"store": pa.array([True, False])}, Code.COLUMN_TYPE_INVALID),
        ({"day": pa.array([20200106, 20200107])}, Code.COLUMN_TYPE_INVALID),
        ({"amount": pa.array([True, False])}, Code.COLUMN_TYPE_INVALID),
        ({"changed": pa.array([1.5, 2.5])}, Code.COLUMN_TYPE_INVALID),
    ],
)
def test_a_type_that_cannot_hold_it_stops_the_run(
    chain: Chain, changes: Columns, code: Code
) -> None:
    _parquet(chain)
    ingest(chain.project())
    _parquet(chain, **changes)
    (name,) = changes
    fault = _refused(chain, code)
    assert name in fault.message
    assert fault.expected
    assert fault.next_step


# ------------------------------------------------------------------ the configuration's

Change = Callable[[Chain], None]


def _attributes(*names: str) -> Change:
    return lambda chain: chain.source["stores"].update(attributes=list(names))


def _without_watermark(chain: Chain) -> None:
    for key in ("watermark", "reconcile"):
        del chain.sales[key]


def _covariate(number: int, **keys: Any) -> Change:
    return lambda chain: chain.source["covariates"][number].update(keys)


def test_what_is_added_is_filled_at_the_next_ingestion_for_the_rows_that_are_there(
    full: Chain,
) -> None:
    for change in (_attributes("town", "zip", "kind"),
                   _covariate(0, known=["promo", "price"], realised=["visits", "staff"]),
                   _covariate(1, known=["rain", "heat"])):  # fmt: skip
        change(full)
    result = ingest(full.project())
    assert full.read("stores", "store_id", "town", "zip", "kind") == [
        ("a", "Olinda", "053", "x"), ("b", "Recife", "051", None),
    ]  # fmt: skip
    assert full.read("sales", "store_id", "sales", "visits", "staff") == [
        ("a", Decimal(1), 30.0, 4.0), ("b", Decimal(2), 40.0, 5.0),
    ]  # fmt: skip
    assert full.read("covariates", "promo", "price") == [(0.0, 3.0), (1.0, 2.0)]
    assert full.read("covariates_by_date", "rain", "heat") == [(7.0, 20.0)]
    assert (result.rows_inserted, result.rows_deleted) == (0, 0)
    assert ingest(full.project()).tables == result.tables
    with runs.begin(full.project(), "validate") as run:
        history = load_history(run, full.project())
    assert history.rules.attributes == ("town", "zip", "kind")


def test_an_added_column_that_is_null_throughout_is_added_once(full: Chain) -> None:
    _sql(full, "UPDATE shops SET kind = NULL")
    _attributes("town", "kind")(full)
    first = ingest(full.project())
    before = _tables(full)
    assert (
        before["stores"][1][-3:] == ["kind", "ingested_at", "run_id"]
        or "kind" in before["stores"][1]
    )
    assert runs.named_versions(full.project())["stores"] == before["stores"][0]
    assert ingest(full.project()).tables == first.tables
    assert _tables(full) == before
    assert full.read("stores", "kind") == [(None,), (None,)]


def test_a_watermark_is_added(chain: Chain) -> None:
    _without_watermark(chain)
    chain.lines(("x1", "a", "2020-01-06", 1, OLD), ("x2", "b", "2020-01-06", 2, OLD))
    ingest(chain.project())
    chain.sales["watermark"] = "changed"
    ingest(chain.project())
    marks = [r[0].date() for r in chain.read("transactions", "watermark")]
    assert marks == [date(2020, 1, 10)] * 2
    chain.lines(
        ("x1", "a", "2020-01-06", 5, "2020-01-09 00:00:00"), ("x2", "b", "2020-01-06", 2, OLD)
    )
    ingest(chain.project())
    assert chain.read("transactions", "id", "sales")[0] == ("x1", Decimal(1))


def test_versions_are_added(full: Chain) -> None:
    full.source["stores"]["valid_from"] = "since"
    _covariate(0, known={"promo": {"known_at": "entered"}})(full)
    ingest(full.project())
    assert len(full.read("store_versions")) == 2
    assert full.read("covariate_versions", "store_id", "known_at", "promo") == [
        ("a", date(2020, 1, 1), 1.0), ("b", date(2020, 1, 1), 0.0),
    ]  # fmt: skip
    _covariate(1, known={"rain": {"known_at": "entered"}})(full)
    ingest(full.project())
    assert ("", date(2020, 1, 1), None, 7.0) in full.read(
        "covariate_versions", "store_id", "known_at", "promo", "rain"
    )
    del full.source["stores"]["valid_from"]
    fault = _refused(full)
    assert "table store_versions would go" in fault.message
    assert "source.stores.valid_from" in fault.message


REFUSED: dict[str, tuple[Change, str]] = {
    "an attribute removed": (_attributes(), "column stores.town would go"),
    "an attribute renamed": (_attributes("zip"), "column stores.town would go"),
    "a covariate by store renamed": (
        _covariate(0, known=["price"]), "column covariates.promo would go"),
    "a covariate by date renamed": (
        _covariate(1, known=["heat"]), "column covariates_by_date.rain would go"),
    "a realised covariate removed": (_covariate(0, realised=[]), "column sales.visits would go"),
    "a realised covariate that becomes a known one": (
        _covariate(0, known=["promo", "visits"], realised=[]), "column sales.visits would go"),
    "a table of covariates removed": (
        lambda chain: chain.source["covariates"].pop(), "table covariates_by_date would go"),
    "the stores removed": (lambda chain: chain.source.pop("stores"), "column stores.town would go"),
    "the watermark removed": (
        _without_watermark, "column transactions.watermark would go"),
    "a key with a column more": (
        lambda chain: chain.sales.update(primary_key=["id", "store"]),
        "the key of transactions is (id) and would be (id, store_id)"),
    "another key": (
        lambda chain: chain.sales.update(primary_key=["amount", "store", "day"]),
        "column transactions.id would go"),
    "the days of the weeks": (
        lambda chain: chain.changes.update(series={"frequency": "D"}),
        "series.frequency was W-SUN and would be D"),
    "another day of the week": (
        lambda chain: chain.changes.update(series={"frequency": "W-SAT"}),
        "series.frequency was W-SUN and would be W-SAT"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_tables_cannot_follow_is_refused(full: Chain, name: str) -> None:
    change, said = REFUSED[name]
    change(full)
    fault = _refused(full)
    assert said in fault.message
    assert fault.exit_code == 2
    assert "schema" in str(fault.next_step)
    assert runs.ledger(full.project())[-1]["error_code"] == "CONFIG_CHANGED"


def test_a_change_that_is_half_good_changes_nothing(full: Chain) -> None:
    """The new columns of one table are not added where another table cannot follow."""
    _covariate(0, realised=["visits", "staff"])(full)
    _attributes("zip")(full)
    full.source["covariates"][1]["known"] = ["heat"]
    fault = _refused(full)
    for part in ("stores.town would go", "covariates_by_date.rain would go"):
        assert part in fault.message
    _attributes("town")(full)
    _covariate(1, known=["rain"])(full)
    ingest(full.project())
    assert full.read("sales", "staff") == [(4.0,), (5.0,)]


def test_store_days_do_not_become_transactions(chain: Chain) -> None:
    chain.sales |= {"primary_key": ["store", "day"]}
    _without_watermark(chain)
    chain.changes["series"] = {"frequency": "D"}
    chain.lines(("x1", "a", "2020-01-06", 1, OLD))
    ingest(chain.project())
    chain.sales["primary_key"] = ["id"]
    assert "primary_key was the store and the day" in _refused(chain).message
    chain.sales["primary_key"] = ["day", "store"]
    assert ingest(chain.project()).rows_unchanged == 1


@pytest.mark.parametrize("key", ["schema", "catalog"])
def test_another_schema_is_the_way_to_migrate(full: Chain, key: str) -> None:
    before = _tables(full)
    old = full.project()
    full.changes[key] = "elsewhere"
    full.changes["series"] = {"frequency": "MS"}
    _attributes("zip")(full)
    result = ingest(full.project())
    assert result.rows_inserted == 2
    assert full.read("sales", "date") == [(date(2020, 1, 1),)] * 2
    assert {n: v[0] for n, v in before.items()} == {n: old.tables.version(n) for n in before}
    assert runs.named_versions(old) == {n: v[0] for n, v in before.items()}


def test_a_column_taken_back_after_a_run_that_failed_is_gone(full: Chain) -> None:
    """The failed run has added it; what no completed run names is not there."""
    before = _tables(full)
    _attributes("town", "zip")(full)
    full.source["covariates"][0]["known"] = ["promo", "prices"]
    with pytest.raises(StorecastError):
        ingest(full.project())
    _attributes("town")(full)
    full.source["covariates"][0]["known"] = ["promo"]
    assert ingest(full.project()).rows_unchanged == 2
    assert {n: t[1] for n, t in _tables(full).items()} == {n: t[1] for n, t in before.items()}
