"""Features of a period's place in time, shared by models: known at any cutoff."""

from __future__ import annotations

import math
from typing import Final

import polars as pl

from storecast.core.calendar import Frequency

FEATURE_VERSION: Final = 2
"""Part of a recipe: raised with any change of what a model sees, its order and coding included."""
READABLE: Final = (2,)
"""Versions whose code is still here: a packed model of another one is refused by its number.

Whoever raises ``FEATURE_VERSION`` either keeps the older code, chosen by the recipe's
``feature_version``, and adds a golden artefact to the tests, or takes the older number away.
"""


def time_names(frequency: Frequency) -> tuple[str, ...]:
    """Columns of ``time_features``, in order."""
    year = ("year_sin", "year_cos", "month")
    own = {"D": ("weekday", "day_of_month", "days_to_month_end"), "W": ("week_of_year",), "M": ()}
    return (*own[frequency.kind], *year)


def time_features(rows: pl.DataFrame, frequency: Frequency) -> pl.DataFrame:
    """Where each period lies in the week, month and year.

    Args:
        rows: with ``period``, R rows of a past or a future.
        frequency: of the periods.

    Returns:
        the columns of ``time_names``, Float64, R rows in the same order: weekday (0 is Monday),
        day_of_month, days_to_month_end, week_of_year (ISO, 1 … 53, of the last day), month
        (1 … 12, of the last day), and the last day's place in the year as a sine and a cosine.
    """
    day = frequency.last_days("period")
    length = pl.when(day.dt.is_leap_year()).then(366.0).otherwise(365.0)
    angle = 2 * math.pi * day.dt.ordinal_day().cast(pl.Float64) / length
    made = {
        "weekday": day.dt.weekday().cast(pl.Float64) - 1,
        "day_of_month": day.dt.day(),
        "days_to_month_end": day.dt.days_in_month().cast(pl.Int32) - day.dt.day().cast(pl.Int32),
        "week_of_year": day.dt.week(),
        "month": day.dt.month(),
        "year_sin": angle.sin(),
        "year_cos": angle.cos(),
    }
    once = rows.select(pl.col("period").unique()).with_columns(
        made[name].cast(pl.Float64).alias(name) for name in time_names(frequency)
    )
    return (
        rows.select("period")
        .join(once, on="period", how="left", maintain_order="left")
        .drop("period")
    )


def store_age(rows: pl.DataFrame, starts: pl.DataFrame) -> pl.Series:
    """Periods since a store's first row, shape (R,), Float64; null for an unknown store.

    Args:
        rows: store_id and period of a past or a future.
        starts: store_id and start (ordinal of its first period), e.g. of ``first_periods``.
    """
    joined = rows.select("store_id", "period").join(
        starts, on="store_id", how="left", maintain_order="left"
    )
    return joined.select(
        (pl.col("period") - pl.col("start")).cast(pl.Float64).alias("age")
    ).to_series()


def first_periods(past_rows: pl.DataFrame) -> pl.DataFrame:
    """store_id and start: the ordinal of each store's first row, sorted by store_id."""
    return past_rows.group_by("store_id").agg(start=pl.col("period").min()).sort("store_id")
