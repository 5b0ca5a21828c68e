from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from storecast.inference.coverage import balances, ledger

CUTOFF = date(2022, 1, 31)


def stores() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "store_id": ["a", "b", "closed", "silent"],
            "closed_on": [None, date(2022, 3, 1), date(2022, 1, 31), None],
        }
    )


def made(*names: str) -> pl.DataFrame:
    return pl.DataFrame(
        {"store_id": [n for n in names for _ in range(3)]}, schema={"store_id": pl.String}
    )


@pytest.mark.parametrize("failure", [None, "MODEL_FAILED: broken"])
def test_every_store_is_accounted_for(failure: str | None) -> None:
    rows = ledger(
        stores(), made("a", "b"), horizon=3, cutoff=CUTOFF, failure=failure,
        fell_back=failure is not None,
    )  # fmt: skip
    assert rows["store_id"].to_list() == ["a", "b", "closed", "silent"]
    for row in rows.iter_rows(named=True):
        assert row["expected"] == row["forecast"] + row["fallback"] + row["excluded"] == 3
    status = dict(zip(rows["store_id"], rows["status"], strict=True))
    worked = "fallback" if failure else "forecast"
    assert status == {"a": worked, "b": worked, "closed": "excluded", "silent": "excluded"}
    reasons = dict(zip(rows["store_id"], rows["reason"], strict=True))
    assert reasons["a"] == failure
    assert reasons["closed"] == "closed on 2022-01-31"
    assert reasons["silent"] == (failure or "no sale known by the cutoff")
    total = balances(rows)
    assert total["expected"] == 12
    assert total["excluded"] == 6


def test_an_empty_forecast_leaves_every_store_out_and_says_why() -> None:
    rows = ledger(stores(), made(), horizon=3, cutoff=CUTOFF, failure="X: y", fell_back=True)
    assert set(rows["status"]) == {"excluded"}
    assert rows["fallback"].sum() == 0


def test_a_ledger_that_does_not_add_up_is_not_written() -> None:
    rows = ledger(stores(), made("a"), horizon=3, cutoff=CUTOFF, failure=None, fell_back=False)
    with pytest.raises(AssertionError):
        balances(rows.with_columns(excluded=pl.col("excluded") + 1))
