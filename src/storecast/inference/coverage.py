"""What became of each store: the ledger, whose counts add up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import polars as pl

from storecast.core.panel import History

FORECAST, FALLBACK, EXCLUDED = "forecast", "fallback", "excluded"
CHAMPION = "champion"


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
) -> pl.DataFrame:
    """One row a store: expected = forecast + fallback + excluded.

    Args:
        stores: store_id and closed_on of every store that the tables know.
        made: the forecast's rows: store_id, and origin (champion, or a link of the chain).
        horizon: periods that every store is expected to have.
        cutoff: last day that the forecast knows.
        failure: why the champion did not forecast, if it did not.

    Returns:
        store_id, status, reason, expected, forecast, fallback, excluded; sorted. A store of
        which a period is left out is ``excluded``.
    """
    counted = (
        made.group_by("store_id", "origin")
        .len("n")
        .sort("origin")
        .group_by("store_id")
        .agg(
            forecast=pl.col("n").filter(pl.col("origin") == CHAMPION).sum().cast(pl.Int64),
            fallback=pl.col("n").filter(pl.col("origin") != CHAMPION).sum().cast(pl.Int64),
            links=pl.format("{} {}", "origin", "n").str.join(", "),
        )
    )
    known = stores.select("store_id", "closed_on")
    every = (
        pl.concat([known.select("store_id"), counted.select("store_id")])
        .unique()
        .join(known, on="store_id", how="left")
        .join(counted, on="store_id", how="left")
        .with_columns(pl.col("forecast", "fallback").fill_null(0), expected=pl.lit(horizon))
        .with_columns(excluded=pl.col("expected") - pl.col("forecast") - pl.col("fallback"))
    )
    return every.select(
        "store_id",
        pl.when(pl.col("excluded") > 0)
        .then(pl.lit(EXCLUDED))
        .when(pl.col("fallback") > 0)
        .then(pl.lit(FALLBACK))
        .otherwise(pl.lit(FORECAST))
        .alias("status"),
        _reason(cutoff, failure).alias("reason"),
        *(pl.col(name).cast(pl.Int64) for name in ("expected", FORECAST, FALLBACK, EXCLUDED)),
    ).sort("store_id")


def _reason(cutoff: date, failure: str | None) -> pl.Expr:
    """Why a store has less than its whole forecast of the champion."""
    absent = failure if failure is not None else "no sale known by the cutoff"
    told = pl.lit(failure, pl.String)
    return (
        pl.when((pl.col("excluded") > 0) & (pl.col("closed_on") <= cutoff))
        .then(pl.format("closed on {}", pl.col("closed_on")))
        .when((pl.col("excluded") > 0) & (pl.col("fallback") > 0))
        .then(
            pl.format(
                "{}; {}; for {} periods no fallback", told, pl.col("links"), pl.col("excluded")
            )
        )
        .when(pl.col("excluded") > 0)
        .then(pl.lit(absent))
        .when(pl.col("fallback") > 0)
        .then(pl.format("{}; {}", told, pl.col("links")))
        .otherwise(pl.lit(None, pl.String))
    )


def balances(rows: pl.DataFrame) -> Mapping[str, int]:
    """Sums over the ledger: stores by status, periods by column."""
    total = {
        name: int(rows[name].sum()) for name in ("expected", "forecast", "fallback", "excluded")
    }
    if total["expected"] != total["forecast"] + total["fallback"] + total["excluded"]:
        raise AssertionError("the ledger does not add up")
    return total
