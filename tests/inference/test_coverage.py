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


def made(*names: str, origin: str = "champion", periods: int = 3) -> pl.DataFrame:
    ids = [n for n in names for _ in range(periods)]
    return pl.DataFrame(
        {"store_id": ids, "origin": [origin] * len(ids)},
        schema={"store_id": pl.String, "origin": pl.String},
    )


@pytest.mark.parametrize("failure", [None, "MODEL_FAILED: broken"])
def test_every_store_is_accounted_for(failure: str | None) -> None:
    by = "seasonal_naive" if failure else "champion"
    rows = ledger(stores(), made("a", "b", origin=by), horizon=3, cutoff=CUTOFF, failure=failure)
    assert rows["store_id"].to_list() == ["a", "b", "closed", "silent"]
    for row in rows.iter_rows(named=True):
        assert row["expected"] == row["forecast"] + row["fallback"] + row["excluded"] == 3
    status = dict(zip(rows["store_id"], rows["status"], strict=True))
    worked = "fallback" if failure else "forecast"
    assert status == {"a": worked, "b": worked, "closed": "excluded", "silent": "excluded"}
    reasons = dict(zip(rows["store_id"], rows["reason"], strict=True))
    assert reasons["a"] == (failure and f"{failure}; seasonal_naive 3")
    assert reasons["closed"] == "closed on 2022-01-31"
    assert reasons["silent"] == (failure or "no sale known by the cutoff")
    total = balances(rows)
    assert total["expected"] == 12
    assert total["excluded"] == 6


def test_an_empty_forecast_leaves_every_store_out_and_says_why() -> None:
    rows = ledger(stores(), made(), horizon=3, cutoff=CUTOFF, failure="X: y")
    assert set(rows["status"]) == {"excluded"}
    assert rows["fallback"].sum() == 0


def test_a_store_of_several_links_says_so_and_adds_up() -> None:
    parts = [
        made("a", "b", origin="last_forecast", periods=2),
        made("a", origin="seasonal_naive", periods=1),
    ]
    rows = ledger(stores(), pl.concat(parts), horizon=3, cutoff=CUTOFF, failure="X: y")
    a, b = rows.filter(pl.col("store_id").is_in(["a", "b"])).to_dicts()
    assert (a["status"], a["fallback"], a["excluded"]) == ("fallback", 3, 0)
    assert a["reason"] == "X: y; last_forecast 2, seasonal_naive 1"
    assert (b["status"], b["fallback"], b["excluded"]) == ("excluded", 2, 1)
    assert b["reason"] == "X: y; last_forecast 2; for 1 periods no fallback"
    balances(rows)


def test_a_ledger_that_does_not_add_up_is_not_written() -> None:
    rows = ledger(stores(), made("a"), horizon=3, cutoff=CUTOFF, failure=None)
    with pytest.raises(AssertionError):
        balances(rows.with_columns(excluded=pl.col("excluded") + 1))
