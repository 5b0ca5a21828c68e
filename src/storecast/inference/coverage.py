"""What became of each store: the ledger, whose counts add up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import polars as pl

from storecast.core.panel import History

FORECAST, FALLBACK, EXCLUDED = "forecast", "fallback", "excluded"


def everyone(history: History) -> pl.DataFrame:
    """store_id and closed_on of every store that the tables know, sorted."""
    seen = history.sales.select("store_id").unique()
    shape = {"store_id": pl.String, "closed_on": pl.Date}
    told = history.stores if history.stores is not None else pl.DataFrame(schema=shape)
    return (
        seen.join(told.select("store_id", "closed_on"), on="store_id", how="full", coalesce=True)
    ).sort("store_id")


def ledger(
    stores: pl.DataFrame,
    made: pl.DataFrame,
    *,
    horizon: int,
    cutoff: date,
    failure: str | None,
    fell_back: bool,
) -> pl.DataFrame:
    """One row a store: expected = forecast + fallback + excluded.

    Args:
        stores: store_id and closed_on of every store that the tables know.
        made: the forecast's rows, by store_id.
        horizon: periods that every store is expected to have.
        cutoff: last day that the forecast knows.
        failure: why the champion did not forecast, if it did not.
        fell_back: whether ``made`` comes from a fallback.

    Returns:
        store_id, status, reason, expected, forecast, fallback, excluded; sorted.
    """
    counted = made.group_by("store_id").agg(pl.len().cast(pl.Int64).alias("made"))
    every = (
        pl.concat([stores.select("store_id"), counted.select("store_id")])
        .unique()
        .join(stores.select("store_id", "closed_on"), on="store_id", how="left")
        .join(counted, on="store_id", how="left")
        .with_columns(pl.col("made").fill_null(0), pl.lit(horizon, pl.Int64).alias("expected"))
    )
    rows, nothing = pl.col("made"), pl.lit(0, pl.Int64)
    closed = pl.col("closed_on") <= cutoff
    absent = failure if failure is not None else "no sale known by the cutoff"
    left_out = (
        pl.when(closed)
        .then(pl.format("closed on {}", pl.col("closed_on")))
        .otherwise(pl.lit(absent))
    )
    return every.select(
        "store_id",
        pl.when(rows < pl.col("expected"))
        .then(pl.lit(EXCLUDED))
        .otherwise(pl.lit(FALLBACK if fell_back else FORECAST))
        .alias("status"),
        pl.when(rows < pl.col("expected"))
        .then(left_out)
        .otherwise(pl.lit(failure if fell_back else None, pl.String))
        .alias("reason"),
        "expected",
        (nothing if fell_back else rows).alias("forecast"),
        (rows if fell_back else nothing).alias("fallback"),
        (pl.col("expected") - rows).alias("excluded"),
    ).sort("store_id")


def balances(rows: pl.DataFrame) -> Mapping[str, int]:
    """Sums over the ledger: stores by status, periods by column."""
    total = {
        name: int(rows[name].sum()) for name in ("expected", "forecast", "fallback", "excluded")
    }
    if total["expected"] != total["forecast"] + total["fallback"] + total["excluded"]:
        raise AssertionError("the ledger does not add up")
    return total
