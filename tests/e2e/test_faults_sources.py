"""Sources that die while they are read: nothing is written, the next run takes everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from storecast import load, runs

from .conftest import Shop, Storecast

pytestmark = pytest.mark.fault

MANY = 150_000
"""More lines than the driver hands over at a time."""


def _sold(shop: Shop) -> int:
    return runs.read_table(load(shop.root), "transactions").num_rows


@pytest.fixture
def long(shop: Shop) -> Shop:
    """An ingested shop; a long table takes the place of the short one."""
    shop.sql(
        "INSERT INTO vendas VALUES ('a', '001', '2021-01-04', 1);"
        "CREATE TABLE muitas AS WITH RECURSIVE n(i) AS "
        f"(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY}) "
        "SELECT 'n' || i AS id, '001' AS loja, date('2021-01-04', '+' || (i % 600) || ' days') "
        "AS dia, i AS valor FROM n;"
    )
    return shop


@pytest.mark.parametrize("how", ["cut off", "overwritten"])
def test_a_database_that_breaks_in_the_middle(long: Shop, storecast: Storecast, how: str) -> None:
    assert storecast("ingest", "--project", long.root).exit_code == 0
    long.configure(source__sales__from="muitas")
    whole = long.database.read_bytes()
    middle = len(whole) * 3 // 4
    rest = b"" if how == "cut off" else b"\xaa" * (len(whole) - middle)
    long.database.write_bytes(whole[:middle] + rest)
    answer = storecast("ingest", "--project", long.root, "--json")
    assert answer.exit_code == 1
    assert answer.code in ("SOURCE_QUERY_FAILED", "SOURCE_INTERRUPTED")
    assert "Traceback" not in answer.err
    assert _sold(long) == 1
    assert list(load(long.root).scratch().iterdir()) == []
    long.database.write_bytes(whole)
    result = storecast("ingest", "--project", long.root, "--json").envelope["result"]
    assert (result["rows_read"], result["rows_inserted"]) == (MANY, MANY)


@pytest.mark.parametrize(
    "end",
    [
        '6,001,2021-01-11,"10',
        '6,001,"2021-01-11,10\n7,001,2021-01-12,11\n',
        '6,001,2021-01-11,"10""',
        "6,001,2021-0",
    ],
    ids=["in the last field", "in a field before", "after an escaped quote", "in a line"],
)
def test_a_csv_that_ends_too_early(shop: Shop, storecast: Storecast, end: str) -> None:
    days = "".join(f'{i},001,2021-01-0{i + 3},"{i}"\n' for i in range(1, 6))
    file = Path(shop.root, "vendas.csv")
    file.write_text(f"id,loja,dia,valor\n{days}", "utf-8")
    shop.configure(source__type="files", source__path=".", source__sales__from="vendas.csv")
    assert storecast("ingest", "--project", shop.root).exit_code == 0
    file.write_text(f"id,loja,dia,valor\n{days}{end}", "utf-8")
    answer = storecast("ingest", "--project", shop.root, "--json")
    assert answer.exit_code == 1
    assert answer.code == "SOURCE_QUERY_FAILED"
    assert _sold(shop) == 5
    file.write_text(f"id,loja,dia,valor\n{days}6,001,2021-01-11,10", "utf-8")
    result = storecast("ingest", "--project", shop.root, "--json").envelope["result"]
    assert (result["rows_inserted"], _sold(shop)) == (1, 6)
