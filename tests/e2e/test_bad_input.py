"""Bad input through the command line, on a real source: a code each, never half a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import INSERT, Shop, Storecast, good_rows


def lakehouse(root: Path) -> list[str]:
    return sorted(
        str(p.relative_to(root)) for p in (root / "lakehouse").rglob("*.parquet")
        if "runs" not in p.parts
    )  # fmt: skip


def refused(storecast: Storecast, shop: Shop, code: str, exit_code: int = 1) -> dict[str, str]:
    before = lakehouse(shop.root)
    answer = storecast("ingest", "--project", shop.root, "--json")
    assert (answer.code, answer.exit_code) == (code, exit_code), answer.out
    assert lakehouse(shop.root) == before
    error = answer.envelope["error"]
    assert error["message"]
    return dict(error)


def test_a_missing_database(storecast: Storecast, shop: Shop) -> None:
    shop.database.unlink()
    error = refused(storecast, shop, "SOURCE_UNREACHABLE")
    assert "vendas.db" in error["message"] + error["where"]
    assert not shop.database.exists()


def test_a_missing_table_suggests_the_nearest(storecast: Storecast, shop: Shop) -> None:
    shop.sql("ALTER TABLE vendas RENAME TO vendas_2024")
    error = refused(storecast, shop, "SOURCE_TABLE_NOT_FOUND")
    assert "vendas_2024" in str(error)


def test_a_missing_column_suggests_the_nearest(storecast: Storecast, shop: Shop) -> None:
    shop.sql("ALTER TABLE vendas RENAME COLUMN valor TO valores")
    error = refused(storecast, shop, "SOURCE_COLUMN_NOT_FOUND")
    assert "valor" in error["message"]
    assert "valores" in str(error)


def test_an_empty_source(storecast: Storecast, shop: Shop) -> None:
    refused(storecast, shop, "SOURCE_EMPTY")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("x", "001", "04/01/2021", 1), "DATE_NOT_ISO"),
        (("x", "001", "2021-02-30", 1), "DATE_NOT_ISO"),
        (("x", "001", "1753-01-01", 1), "DATE_OUT_OF_RANGE"),
        (("x", "001", None, 1), "NULL_DATE"),
        (("x", None, "2021-01-04", 1), "NULL_KEY"),
        (("x", "", "2021-01-04", 1), "NULL_KEY"),
        ((None, "001", "2021-01-04", 1), "NULL_KEY"),
        (("x", "001", "2021-01-04", None), "NULL_SALES"),
        (("x", "001", "2021-01-04", "12,50"), "SALES_NOT_NUMBER"),
        (("x", "001", "2021-01-04", float("inf")), "SALES_NOT_FINITE"),
        (("x", "001", "2021-01-04", "NaN"), "SALES_NOT_FINITE"),
        (("x", "001", "2021-01-04", 1e15), "SALES_TOO_LARGE"),
        (("x", "001", "2021-01-04", b"12"), "SALES_NOT_NUMBER"),
        (("x", b"001", "2021-01-04", 1), "IDENTIFIER_INVALID"),
        (("x", "001", b"2021-01-04", 1), "DATE_NOT_ISO"),
    ],
)
def test_a_bad_row_is_quarantined_with_its_reason(
    storecast: Storecast, shop: Shop, row: tuple[object, ...], reason: str
) -> None:
    shop.sql(INSERT, [*good_rows(n=100), row])
    answer = storecast("ingest", "--project", shop.root, "--json")
    assert answer.exit_code == 0, answer.out
    result = answer.envelope["result"]
    assert (result["rows_read"], result["rows_inserted"], result["rows_rejected"]) == (201, 200, 1)
    shown = storecast("tables", "show", "rejected_rows", "--project", shop.root, "--json")
    (rejected,) = shown.envelope["result"]["rows"]
    assert rejected["reason_code"] == reason
    assert rejected["reason"]
    again = storecast("ingest", "--project", shop.root, "--json").envelope["result"]
    assert (again["rows_unchanged"], again["rows_rejected"]) == (200, 1)


def test_a_date_column_of_strings_stops_before_the_commit(storecast: Storecast, shop: Shop) -> None:
    shop.sql(INSERT, [(i, s, "13/01/2021", v) for i, s, _, v in good_rows()])
    error = refused(storecast, shop, "TOO_MANY_REJECTED")
    assert "DATE_NOT_ISO" in str(error)
    assert "13/01/2021" in str(error)


def test_identifiers_that_are_floats(storecast: Storecast, shop: Shop) -> None:
    shop.sql("DROP TABLE vendas; CREATE TABLE vendas (id TEXT, loja REAL, dia TEXT, valor)")
    shop.sql(INSERT, [(i, 1.0, d, v) for i, _, d, v in good_rows(["001"])])
    refused(storecast, shop, "IDENTIFIER_IS_FLOAT")


def test_duplicate_keys(storecast: Storecast, shop: Shop) -> None:
    rows = good_rows(n=150)
    shop.sql(INSERT, [*rows, rows[0], ("k", "001", "2021-01-04", 1), ("k", "001", "2021-01-04", 2)])
    result = storecast("ingest", "--project", shop.root, "--json").envelope["result"]
    assert result["rows_deduplicated"] == 1
    assert result["rows_rejected"] == 2
    assert result["rows_inserted"] == 300


def test_one_shop_with_one_row(storecast: Storecast, shop: Shop) -> None:
    shop.sql(INSERT, [("1", "001", "2021-01-04", 5)])
    assert storecast("ingest", "--project", shop.root).exit_code == 0
    answer = storecast("validate", "--project", shop.root, "--json")
    assert (answer.code, answer.exit_code) == ("HISTORY_TOO_SHORT", 1)


def test_all_zeros(storecast: Storecast, shop: Shop) -> None:
    shop.sql(INSERT, [(i, s, d, 0) for i, s, d, _ in good_rows()])
    assert storecast("ingest", "--project", shop.root).exit_code == 0
    answer = storecast("validate", "--project", shop.root, "--json")
    assert (answer.code, answer.exit_code) == ("NO_VARIATION", 1)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["validate"], "NOTHING_INGESTED"),
        (["deploy"], "NOT_VALIDATED"),
        (["forecast"], "NO_CHAMPION"),
        (["report"], "NOTHING_TO_REPORT"),
        (["tables", "show", "sales"], "TABLE_EMPTY"),
        (["tables", "show", "sale"], "TABLE_NOT_FOUND"),
    ],
)
def test_a_stage_before_its_time(
    storecast: Storecast, shop: Shop, command: list[str], code: str
) -> None:
    answer = storecast(*command, "--project", shop.root, "--json")
    assert (answer.code, answer.exit_code) == (code, 1), answer.out
    assert answer.envelope["error"]["next_step"]


def test_a_sale_in_the_future_does_not_say_how_far_the_source_is_complete(
    storecast: Storecast, shop: Shop
) -> None:
    shop.sql(INSERT, [*good_rows(), ("x", "001", "2093-04-29", 1)])
    answer = storecast("ingest", "--project", shop.root, "--json")
    assert answer.envelope["result"]["through"] == good_rows()[-1][2]
    assert "1 dated in the future" in answer.envelope["result"]["through_origin"]


def test_a_header_that_is_no_line(storecast: Storecast, tmp_path: Path) -> None:
    project = Shop(tmp_path)
    project.configure(source__type="files", source__path="in", source__sales__from="v.csv")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "v.csv").write_text('id,loja,dia,"valor\nx"\n1,001,2021-01-04,5\n')
    refused(storecast, project, "SOURCE_QUERY_FAILED")
