"""From a real SQLite file to Delta tables: what is kept, changed, refused and told."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from storecast import runs
from storecast.errors import Code, StorecastError
from storecast.history import load_history
from storecast.ingestion.step import ingest

from .chains import Chain

OLD, NEW = "2020-01-10 00:00:00", "2020-02-01 00:00:00"
IDS = ["001", "1", "1e5", "NULL", "nan", "12345678901234567890", "São João", "a", "A", "x'y\"z"]


def _refused(chain: Chain, **options: Any) -> StorecastError:
    with pytest.raises(StorecastError) as caught:
        ingest(chain.project(), **options)
    return caught.value


def test_rows_are_kept_and_summed_by_period(chain: Chain) -> None:
    chain.lines(
        ("x1", "001", "2020-01-06", 10.25, OLD),
        ("x2", "001", "2020-01-12", "-0.0001", OLD),
        ("x3", "1", "2020-01-13 23:59:59", 7, OLD),
    )
    result = ingest(chain.project())
    assert chain.read("transactions", "id", "store_id", "date", "sales") == [
        ("x1", "001", date(2020, 1, 6), Decimal("10.25")),
        ("x2", "001", date(2020, 1, 12), Decimal("-0.0001")),
        ("x3", "1", date(2020, 1, 13), Decimal(7)),
    ]
    assert chain.read("sales") == [
        ("001", date(2020, 1, 12), Decimal("10.2499")),
        ("1", date(2020, 1, 19), Decimal(7)),
    ]
    assert (result.rows_read, result.rows_inserted, result.stores, result.periods) == (3, 3, 2, 2)
    assert (result.through, result.through_origin) == (date(2020, 1, 13), "the newest sale")
    assert result.as_dict()["through"] == "2020-01-13"
    assert result.sentences()[0].startswith("3 rows read: 3 new")


def test_twice_is_once(chain: Chain) -> None:
    chain.lines(("x1", "a", "2020-01-06", 1, OLD), ("x2", "b", "2020-01-06", 2, None))
    first = ingest(chain.project())
    second = ingest(chain.project())
    assert second.tables == first.tables == runs.named_versions(chain.project())
    assert (second.rows_unchanged, second.rows_inserted, second.rows_updated) == (2, 0, 0)
    assert runs.ledger(chain.project())[-1]["tables_written"] == {}


def test_identifiers_pass_unchanged_and_time_travel_sees_the_past(chain: Chain) -> None:
    chain.lines(*((f"x{i}", store, "2020-01-06", 1, OLD) for i, store in enumerate(IDS)))
    before = ingest(chain.project()).tables["transactions"]
    chain.lines(("x0", "001", "2020-01-06", 5, NEW))
    ingest(chain.project())
    assert [r[0] for r in chain.read("sales", "store_id")] == ["001"]
    then = runs.read_table(chain.project(), "transactions", before)
    assert sorted(then["store_id"].to_pylist()) == sorted(IDS)


def test_a_corrected_row_moves_and_a_vanished_one_goes(chain: Chain) -> None:
    chain.lines(("x1", "a", "2020-01-06", 1, OLD), ("x2", "a", "2020-01-07", 2, OLD))
    ingest(chain.project())
    chain.lines(("x1", "b", "2020-01-13", 5, NEW), ("x3", "c", "2020-01-13", 4, NEW))
    result = ingest(chain.project())
    assert (result.rows_updated, result.rows_inserted, result.rows_deleted) == (1, 1, 1)
    week = date(2020, 1, 19)
    assert chain.read("sales") == [("b", week, Decimal(5)), ("c", week, Decimal(4))]


def test_a_table_of_which_much_changes_is_written_anew(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storecast.ingestion.changes._MUCH", 1)
    chain.lines(*((f"x{i}", "a", "2020-01-06", 1, OLD) for i in range(5)))
    before = ingest(chain.project()).tables["transactions"]
    rows = [(f"x{i}", "b", "2020-01-13", 2, NEW) for i in range(1, 6)]
    chain.lines(*rows, ("x0", "z", "2020-01-06", 9, None))
    # Another name is another configuration: everything is read, and a newer row holds.
    chain.sales["from"] = "main.lines"
    result = ingest(chain.project())
    assert (result.rows_updated, result.rows_inserted, result.rows_unchanged) == (4, 1, 1)
    assert chain.project().tables.history("transactions")[0]["operation"] == "WRITE"
    assert chain.read("sales") == [
        ("a", date(2020, 1, 12), Decimal(1)), ("b", date(2020, 1, 19), Decimal(10)),
    ]  # fmt: skip
    assert len(chain.read("transactions")) == 6
    assert runs.read_table(chain.project(), "transactions", before).num_rows == 5


def test_an_older_version_never_overwrites_a_newer(chain: Chain) -> None:
    chain.lines(("x1", "a", "2020-01-06", 9, NEW), ("x2", "a", "2020-01-06", 1, NEW))
    ingest(chain.project())
    chain.lines(("x1", "b", "2020-01-06", 5, OLD), ("x2", "a", "2020-01-06", 2, None))
    result = ingest(chain.project())
    assert (result.rows_unchanged, result.rows_updated) == (2, 0)
    assert chain.read("sales", "store_id", "sales") == [("a", Decimal(10))]
    result = ingest(chain.project(), full=True)
    assert result.rows_updated == 2
    assert chain.read("sales", "store_id", "sales") == [("a", Decimal(2)), ("b", Decimal(5))]


def test_of_two_versions_in_one_load_the_newer_holds(chain: Chain) -> None:
    chain.lines(
        ("x1", "a", "2020-01-06", 1, OLD),
        ("x1", "a", "2020-01-06", 2, NEW),
        ("x1", "a", "2020-01-06", 2.0, NEW),
        ("x1", "a", "2020-01-06", 3, None),
        ("x2", "a", "2020-01-06", 4, OLD),
    )
    result = ingest(chain.project())
    assert (result.rows_read, result.rows_inserted, result.rows_deduplicated) == (5, 2, 3)
    assert chain.read("transactions", "id", "sales") == [("x1", Decimal(2)), ("x2", Decimal(4))]


def test_versions_of_one_moment_that_differ_are_all_quarantined(chain: Chain) -> None:
    chain.lines(
        ("x1", "a", "2020-01-06", 1, OLD),
        ("x1", "a", "2020-01-06", "2.50", NEW),
        ("x1", "b", "2020-01-06", 3, NEW),
        ("x1", "b", "2020-01-06", 3, NEW),
        ("x2", "a", "2020-01-06", 4, None),
    )
    result = ingest(chain.project())
    assert result.rejected == {"CONFLICTING_DUPLICATE": 3}
    assert (result.rows_deduplicated, result.rows_inserted) == (1, 1)
    twice = f'{{"id": "x1", "store": "b", "day": "2020-01-06", "amount": "3", "changed": "{NEW}"}}'
    assert chain.read("rejected_rows", "occurrence", "raw_row") == [
        (1, '{"id": "x1", "store": "a", "day": "2020-01-06", "amount": "2.50", "changed": '
            f'"{NEW}"}}'),
        (1, twice),
        (2, twice),
    ]  # fmt: skip


def test_the_quarantine_keeps_a_row_once_until_it_is_mended(chain: Chain) -> None:
    bad, worse = ("x1", "a", "06/01/2020", 1, OLD), ("x2", "a", "2020-01-06", "1,5", OLD)
    good = ("x3", "a", "2020-01-06", 1, OLD)
    chain.lines(bad, worse, good)
    first = ingest(chain.project())
    assert first.rejected == {"DATE_NOT_ISO": 1, "SALES_NOT_NUMBER": 1}
    second = ingest(chain.project())
    assert chain.read("rejected_rows", "reason_code", "first_run_id", "last_run_id") == [
        (code, first.run_id, second.run_id) for code in ("DATE_NOT_ISO", "SALES_NOT_NUMBER")
    ]
    chain.lines(bad, ("x2", "a", "2020-01-06", "1.5", NEW), good)
    third = ingest(chain.project())
    assert chain.read("rejected_rows", "reason_code", "last_run_id") == [
        ("DATE_NOT_ISO", third.run_id)
    ]
    assert chain.read("sales", "sales") == [(Decimal("2.5"),)]


def test_a_row_that_turns_bad_leaves_the_table(chain: Chain) -> None:
    chain.lines(("x1", "a", "2020-01-06", 1, OLD), ("x2", "a", "2020-01-06", 2, OLD))
    ingest(chain.project())
    chain.lines(("x1", "a", "2020-01-06", None, NEW), ("x2", "a", "2020-01-06", 2, OLD))
    result = ingest(chain.project())
    assert (result.rows_rejected, result.rows_deleted) == (1, 1)
    assert chain.read("sales", "sales") == [(Decimal(2),)]


def test_too_many_rejected_rows_stop_the_run_before_it_writes(chain: Chain) -> None:
    chain.changes["max_rejected"] = 0.25
    good = [(f"x{i}", "a", "2020-01-06", 1, OLD) for i in range(3)]
    chain.lines(*good, ("y", "a", "2020-01-06", "inf", OLD))
    ingest(chain.project())
    before = runs.named_versions(chain.project())
    chain.lines(*good[:2], ("y", "a", "2020-01-06", "inf", OLD), ("z", "", "2020-01-06", 1, OLD))
    fault = _refused(chain)
    assert fault.code is Code.TOO_MANY_REJECTED
    assert "2 of 4 rows of lines" in fault.message
    assert "NULL_KEY 1, SALES_NOT_FINITE 1" in fault.message
    assert '"amount": "inf"' in str(fault.found)
    assert runs.named_versions(chain.project()) == before
    assert {n: chain.project().tables.version(n) for n in before} == before


def test_the_example_of_a_reason_is_the_row_that_it_names(chain: Chain) -> None:
    """`1:` comes behind `10:`, and `1"` before `10"`."""
    chain.changes["max_rejected"] = 0
    chain.lines(*((key, "a", "2020-01-06", "much", OLD) for key in ("1", "10")))
    fault = _refused(chain)
    (named,) = re.findall(r"row id = (\d+)", str(fault.next_step))
    assert f'"id": "{named}"' in str(fault.found)


def test_a_store_that_cannot_be_seen_is_told_visibly(chain: Chain) -> None:
    chain.lines(("x1", "\u200b", "2020-01-06", 1, OLD), ("x2", "b" * 500, "2020-01-06", 1, OLD))
    chain.table("shops", ("shop",), [])
    chain.source["stores"] = {"from": "shops", "columns": {"store_id": "shop"}}
    (line,) = [s for s in ingest(chain.project()).sentences() if "no store row" in s]
    assert line.endswith(f"no store row: {'b' * 39}\u2026, \\u200b")


def test_every_missing_column_is_named_at_once(chain: Chain) -> None:
    chain.lines(("x1", "a", "2020-01-06", 1, OLD))
    chain.table("shops", ("shop", "city"), [])
    chain.sales["columns"] = {"store_id": "stor", "date": "day", "sales": "value"}
    chain.source["stores"] = {
        "from": "shops", "columns": {"store_id": "shop"}, "attributes": ["town", "city"]
    }  # fmt: skip
    fault = _refused(chain)
    assert fault.code is Code.SOURCE_COLUMN_NOT_FOUND
    assert fault.message == (
        "lines has no column 'stor' (did you mean 'store'?); lines has no column 'value'; "
        "shops has no column 'town'"
    )
    assert fault.found == "lines: id, store, day, amount, changed; shops: shop, city"


def test_a_name_that_is_far_from_every_column_is_not_guessed(chain: Chain) -> None:
    chain.table("lines", ("id", "store", "day", "alt"), [("x1", "a", "2020-01-06", 1)])
    chain.sales["columns"] = {"store_id": "store", "date": "day", "sales": "valor"}
    for name in ("watermark", "reconcile"):
        chain.sales.pop(name)
    assert _refused(chain).message == "lines has no column 'valor'"


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([], Code.SOURCE_EMPTY),
        ([("x", 1.0, "2020-01-06", 1, OLD)], Code.IDENTIFIER_IS_FLOAT),
        ([("x", "a", "2020-01-06", 1, OLD), ("y", "a ", "2020-01-06", 1, OLD)],
         Code.IDENTIFIERS_COLLIDE),
        ([("x", "a", "x", 1, OLD)], Code.SOURCE_THROUGH_INVALID),
        ([(str(i), "a", "2020-01-06", "99999999999999", OLD) for i in range(9)],
         Code.SALES_TOO_LARGE),
    ],
)  # fmt: skip
def test_sources_that_stop_a_run(chain: Chain, rows: list[Any], code: Code) -> None:
    chain.lines(*rows)
    assert _refused(chain).code is code
    assert chain.project().tables.names() == ["runs"]
    assert runs.ledger(chain.project())[-1]["error_code"] == code.value


def test_a_column_that_is_declared_a_float_is_no_identifier(chain: Chain) -> None:
    chain.lines()
    chain.table("lines", ("id", "store REAL", "day", "amount", "changed"), [])
    assert _refused(chain).code is Code.IDENTIFIER_IS_FLOAT


def test_a_query_with_two_columns_of_one_name(chain: Chain) -> None:
    chain.lines(("x1", "a", "2020-01-06", 1, OLD))
    del chain.sales["from"]
    chain.sales["query"] = "SELECT *, store FROM lines"
    assert _refused(chain).code is Code.SOURCE_COLUMN_AMBIGUOUS


def test_a_query_with_two_columns_that_are_one_to_sqlite(chain: Chain) -> None:
    """Asked for `amount`, it would give the first of them: every sale would be 1."""
    chain.lines(("x1", "a", "2020-01-06", 7, OLD))
    del chain.sales["from"]
    chain.sales["query"] = "SELECT id, store, day, changed, 1 AS AMOUNT, amount FROM lines"
    fault = _refused(chain)
    assert fault.code is Code.SOURCE_COLUMN_AMBIGUOUS
    assert fault.message == (
        "query has columns whose names are one to the source: 'AMOUNT', 'amount'"
    )
    # Beside a column that nobody asks for, or one that differs to SQLite too, there is no doubt.
    chain.sales["query"] = "SELECT *, 1 AS x, 2 AS X, 'b' AS \"É\", 'b' AS \"é\" FROM lines"
    chain.sales["columns"] = {**chain.sales["columns"], "store_id": "é"}
    assert ingest(chain.project()).rows_inserted == 1


@pytest.mark.parametrize(
    ("through", "said"),
    [
        ("2030-01-01", "but the sales end with 2020-01-12: what lies between counts as no sales"),
        ("1999-01-01", "but the sales begin with 2020-01-12: none of them is complete"),
        ("2020-01-20", None),
        (None, None),
    ],
)
def test_a_day_that_can_hardly_be_meant_is_told(
    chain: Chain, through: str | None, said: str | None
) -> None:
    chain.lines(("x1", "a", "2020-01-06", 1, OLD))
    chain.sales["through"] = through
    told = [line for line in ingest(chain.project()).sentences() if "but the sales" in line]
    assert len(told) == (said is not None)
    if said is not None:
        assert told[0].startswith(f"the configuration says complete through {through}, {said}")


def test_how_far_the_source_is_complete(chain: Chain) -> None:
    chain.lines(("x1", "a", "2020-01-06", 1, OLD))
    chain.sales["through"] = "2020-01-05"
    assert ingest(chain.project()).through == date(2020, 1, 5)
    chain.sales["through"] = {"from": "log", "column": "until"}
    chain.table("log", ("until",), [("2020-01-09",), (None,), ("2020-01-12 22:00:00",)])
    result = ingest(chain.project())
    assert (result.through, result.through_origin) == (date(2020, 1, 12), "log")
    for rows in ([], [(None,)], [("2020-01-12",), ("soon",)]):
        chain.table("log", ("until",), rows)
        assert _refused(chain).code is Code.SOURCE_THROUGH_INVALID
    chain.sales["through"] = {"from": "log", "column": "untill"}
    assert _refused(chain).code is Code.SOURCE_COLUMN_NOT_FOUND
    with runs.begin(chain.project(), "validate") as run:
        assert load_history(run, chain.project()).through == date(2020, 1, 12)


def test_stores_and_sales_of_stores_without_a_row(chain: Chain) -> None:
    chain.lines(*((f"x{s}", s, "2020-01-06", 1, OLD) for s in ("a", "b", "c")))
    chain.table("shops", ("shop", "opened", "town"),
                [("a", "2019-05-01", "Olinda")] * 2 + [("z", "", None)])  # fmt: skip
    chain.source["stores"] = {
        "from": "shops", "columns": {"store_id": "shop", "opened_on": "opened"},
        "attributes": ["town"],
    }  # fmt: skip
    result = ingest(chain.project())
    assert chain.read("stores") == [
        ("a", date(2019, 5, 1), None, "Olinda"), ("z", None, None, None),
    ]  # fmt: skip
    assert (result.stores_without_row, result.stores_without_row_examples) == (2, ("b", "c"))
    assert result.feeds["stores"]["rows_deduplicated"] == 1
    with runs.begin(chain.project(), "validate") as run:
        history = load_history(run, chain.project())
    assert history.sales.columns == ["store_id", "date", "sales"]
    assert history.stores is not None
    assert history.stores["town"].to_list().count("Olinda") == 1


def test_versions_of_stores(chain: Chain) -> None:
    chain.lines(("x1", "a", "2020-01-06", 1, OLD))
    chain.table("shops", ("shop", "since", "town"),
                [("a", "2019-01-01", "Olinda"), ("a", "2020-01-01", "Recife")])  # fmt: skip
    chain.source["stores"] = {
        "from": "shops", "columns": {"store_id": "shop"}, "attributes": ["town"],
        "valid_from": "since",
    }  # fmt: skip
    ingest(chain.project())
    assert chain.read("stores", "store_id", "town") == [("a", "Recife")]
    assert chain.read("store_versions", "valid_from", "town") == [
        (date(2019, 1, 1), "Olinda"), (date(2020, 1, 1), "Recife"),
    ]  # fmt: skip
    assert ingest(chain.project()).feeds["stores"]["rows_unchanged"] == 2


def test_covariates_are_averaged_over_their_period(chain: Chain) -> None:
    chain.lines(("x1", "a", "2020-01-06", 1, OLD), ("x2", "b", "2020-01-06", 1, OLD))
    chain.table("promo", ("shop", "day", "promo", "visits"), [
        ("a", "2020-01-06", "1", 10), ("a", "2020-01-07", "0.5", None), ("a", "2020-01-20", 1, 8),
    ])  # fmt: skip
    chain.table("weather", ("day", "rain"), [("2020-01-06", 0.1), ("2020-01-07", 0.2)])
    chain.source["covariates"] = [
        {"from": "promo", "columns": {"store_id": "shop", "date": "day"}, "known": ["promo"],
         "realised": ["visits"]},
        {"from": "weather", "columns": {"date": "day"}, "known": ["rain"]},
    ]  # fmt: skip
    result = ingest(chain.project())
    week, later = date(2020, 1, 12), date(2020, 1, 26)
    assert chain.read("covariates") == [("a", week, 0.75), ("a", later, 1.0)]
    assert chain.read("covariates_by_date") == [(week, pytest.approx(0.15))]
    assert chain.read("sales", "store_id", "visits") == [("a", 10.0), ("b", None)]
    assert result.feeds["covariates[0]"]["rows_read"] == 3
    again = ingest(chain.project())
    assert again.tables == result.tables


def test_versions_of_covariates(chain: Chain) -> None:
    chain.lines(("x1", "a", "2020-01-06", 1, OLD))
    chain.table("promo", ("day", "entered", "promo"), [
        ("2020-01-06", "2019-12-01", 1), ("2020-01-07", "2019-12-01", 1),
        ("2020-01-07", "2019-12-15", 0),
    ])  # fmt: skip
    chain.source["covariates"] = [
        {"from": "promo", "columns": {"date": "day"},
         "known": {"promo": {"ahead": 2, "known_at": "entered"}}},
    ]  # fmt: skip
    ingest(chain.project())
    week = date(2020, 1, 12)
    assert chain.read("covariates_by_date") == [(week, 0.5)]
    assert chain.read("covariate_versions") == [
        ("", week, date(2019, 12, 1), 1.0), ("", week, date(2019, 12, 15), 0.5),
    ]  # fmt: skip


def test_store_days_need_no_transactions(chain: Chain) -> None:
    chain.sales["primary_key"] = ["day", "store"]
    chain.changes["series"] = {"frequency": "D"}
    chain.lines(
        ("x1", "a", "2020-01-06", 1, OLD),
        ("x2", "a", "2020-01-06 12:00", 2, NEW),
        ("x3", "a", "2020-01-07", 3, OLD),
    )
    result = ingest(chain.project())
    assert "transactions" not in result.tables
    assert result.rows_deduplicated == 1
    assert chain.read("sales", "date", "sales") == [
        (date(2020, 1, 6), Decimal(2)), (date(2020, 1, 7), Decimal(3)),
    ]  # fmt: skip
    assert ingest(chain.project()).rows_unchanged == 2


def test_changes_of_configuration(chain: Chain) -> None:
    chain.lines(("x1", "a", "2020-01-06", 1, OLD))
    chain.table("shops", ("shop", "town", "zip"), [("a", "Olinda", "053")])
    stores = {"from": "shops", "columns": {"store_id": "shop"}, "attributes": ["town"]}
    chain.source["stores"] = stores
    ingest(chain.project())
    stores["attributes"] = ["town", "zip"]
    ingest(chain.project())
    assert chain.read("stores", "town", "zip") == [("Olinda", "053")]
    before = runs.named_versions(chain.project())
    stores["attributes"] = ["zip"]
    assert _refused(chain).code is Code.CONFIG_CHANGED
    stores["attributes"] = ["town", "zip"]
    for series in ({"frequency": "D"}, {"frequency": "MS"}):
        chain.changes["series"] = series
        assert _refused(chain).code is Code.CONFIG_CHANGED
    chain.changes["series"] = {"frequency": "W-SUN"}
    chain.sales["primary_key"] = ["id", "store"]
    assert _refused(chain).code is Code.CONFIG_CHANGED
    assert runs.named_versions(chain.project()) == before


def test_names_that_are_words_of_sql_or_of_our_own(chain: Chain) -> None:
    """Reserved words, quotes, accents; and aliases of the statements in ``sql/``."""
    chain.table(
        "order by",
        ('"select"', '"código da loja"', '"it\'s"', '"at"', '"age"', '"w"'),
        [("1", "'; DROP TABLE sales; --", "2020-01-06", 2, "x", OLD),
         ("1", "b", "2020-01-06", 3, "x", NEW)],
    )  # fmt: skip
    chain.table("shops", ("shop", "at", "age", "label", "change", '"offset"', "before_sales"),
                [("b", "1", "2", "3", "4", "5", "6")])  # fmt: skip
    chain.table("known", ("shop", "at", "age", "label", "day", "value"),
                [("b", 1, 2, 3, "2020-01-06", 4), ("b", 1, 2, 3, "2020-01-07", 6)])  # fmt: skip
    chain.sales = {
        "from": "order by",
        "primary_key": ["select", "age", "it's"],
        "columns": {"store_id": "código da loja", "date": "it's", "sales": "at"},
        "watermark": "w",
    }
    chain.source["stores"] = {
        "from": "shops", "columns": {"store_id": "shop"},
        "attributes": ["at", "age", "label", "change", "offset", "before_sales"],
    }  # fmt: skip
    chain.source["covariates"] = [
        {"from": "known", "columns": {"store_id": "shop", "date": "day"},
         "known": ["at", "age", "label"], "realised": ["value"]},
    ]  # fmt: skip
    ingest(chain.project())
    assert chain.read("stores") == [("b", None, None, "1", "2", "3", "4", "5", "6")]
    assert chain.read("sales", "store_id", "sales", "value") == [("b", Decimal(3), 5.0)]
    chain.table("shops", ("shop", "at", "age", "label", "change", '"offset"', "before_sales"),
                [("b", "1", "2", "3", "4", "5", "7"), ("c", *"123456")])  # fmt: skip
    assert ingest(chain.project()).feeds["stores"]["rows_updated"] == 1


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files(chain: Chain, kind: str) -> None:
    folder = chain.folder / "in"
    folder.mkdir()
    rows = pa.table({"id": ["1", "2"], "store": ["001", "nan"], "day": ["2020-01-06"] * 2,
                     "amount": ["1.5", "2"], "changed": [None, OLD]})  # fmt: skip
    if kind == "csv":
        (folder / "lines.csv").write_text(
            f"id;store;day;amount;changed\n1;001;2020-01-06;1.5;\n2;nan;2020-01-06;2;{OLD}\n"
        )
    else:
        pa.parquet.write_table(rows, folder / "lines.parquet")
    chain.sales["from"] = f"lines.{kind}"
    chain.source |= {"type": "files", "path": "in"}
    ingest(chain.project())
    assert chain.read("sales", "store_id", "sales") == [
        ("001", Decimal("1.5")), ("nan", Decimal(2)),
    ]  # fmt: skip


def test_parquet_with_float_identifiers(chain: Chain) -> None:
    pa.parquet.write_table(
        pa.table({"id": [1], "store": [1.0], "day": [date(2020, 1, 6)], "amount": [1.0]}),
        chain.folder / "lines.parquet",
    )
    del chain.sales["watermark"], chain.sales["reconcile"]
    chain.sales["from"] = "lines.parquet"
    chain.source |= {"type": "files", "path": "."}
    assert _refused(chain).code is Code.IDENTIFIER_IS_FLOAT


def test_nothing_ingested(chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(StorecastError) as caught, runs.begin(chain.project(), "validate") as run:
        load_history(run, chain.project())
    assert caught.value.code is Code.NOTHING_INGESTED
