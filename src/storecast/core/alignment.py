"""``align: series_end``: each store's own end laid upon the chain's, for benchmarks alone.

Published tables often forecast the last periods of each series, wherever it ends. So that one
cutoff serves all stores, each store's dates are moved forward by as many periods as it ends before
the last one; what was forecast is moved back. A model of all stores then knows of some what came
after the cutoff of others: that is a leak across stores, and the reason to mark it. The calendar
that a model sees is that of the moved dates.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from storecast.core.calendar import PERIOD, Frequency
from storecast.core.panel import History

SERIES_END = "series_end"


def by_series_end(history: History) -> tuple[History, pl.DataFrame]:
    """Move every store so that its last sale lies in the chain's last period.

    A store's last period counts as complete. Openings and closures do not count: a store's rows
    say where it begins and ends.

    Returns:
        the moved history, and store_id with ``shift``, the periods by which it was moved (0 or
        more), sorted by store_id.
    """
    rules, frequency = history.rules, history.rules.frequency
    period = frequency.ordinals("date")
    last = frequency.ordinal(history.through)
    rows = history.sales.filter(period.is_between(rules.first_period, last))
    ends = rows.group_by("store_id").agg(_end=period.max()).sort("store_id")
    newest = ends["_end"].max()
    shifts = ends.select("store_id", shift=pl.lit(newest, dtype=PERIOD) - pl.col("_end"))
    end = newest if isinstance(newest, int) else last
    covariates = history.covariates
    by_date = history.covariates_by_date
    if by_date is not None and (shifts["shift"] != 0).any():
        covariates, by_date = _by_store(covariates, by_date, shifts), None
    stores = history.stores
    if stores is not None:
        dates = [n for n in ("opened_on", "closed_on") if n in stores.columns]
        stores = stores.with_columns(pl.lit(None, dtype=pl.Date).alias(n) for n in dates)
    moved = replace(
        history,
        sales=_moved(rows, shifts, frequency, 1),
        stores=stores,
        store_versions=None,
        covariates=None if covariates is None else _moved(covariates, shifts, frequency, 1),
        covariates_by_date=by_date,
        covariate_versions=None,
        through=frequency.last_day(end),
    )
    return moved, shifts


def moved_back(frame: pl.DataFrame, shifts: pl.DataFrame, frequency: Frequency) -> pl.DataFrame:
    """Forecasts at their stores' own dates: ``date`` and ``cutoff`` as the source has them."""
    own = frame.join(shifts, on="store_id", how="left", maintain_order="left").with_columns(
        cutoff=frequency.last_days(frequency.ordinals("cutoff") - pl.col("shift"))
    )
    return _moved(own.drop("shift"), shifts, frequency, -1)


def _moved(
    frame: pl.DataFrame, shifts: pl.DataFrame, frequency: Frequency, sign: int
) -> pl.DataFrame:
    return (
        frame.join(shifts, on="store_id", how="inner", maintain_order="left")
        .with_columns(date=frequency.labels(frequency.ordinals("date") + sign * pl.col("shift")))
        .drop("shift")
    )


def _by_store(
    own: pl.DataFrame | None, by_date: pl.DataFrame, shifts: pl.DataFrame
) -> pl.DataFrame:
    """Covariates of all stores as covariates of each, beside those that each has already."""
    spread = shifts.select("store_id").join(by_date, how="cross")
    if own is None:
        return spread
    return own.join(spread, on=["store_id", "date"], how="full", coalesce=True)
