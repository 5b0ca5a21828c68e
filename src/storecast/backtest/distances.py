"""How far a refreshed model's forecasts lie from the serving one's, and from recent sales."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from storecast.backtest.judgement import Check

if TYPE_CHECKING:
    from storecast.core.calendar import Frequency

STORES_SHIFTED: Final = 0.1
"""The share of stores that may each be shifted by more than twice the chain's bound."""

_YEAR: Final = {"D": 364, "W": 52, "M": 12}
"""Periods to the same ones a year ago: the same weekday of days."""


def from_serving(new: pl.DataFrame, serving: pl.DataFrame, most: float) -> list[Check]:
    """Two checks on the dates and stores that both forecast: of the chain, and store by store.

    The distance is Σ|new − serving| / Σ|serving|. Where the serving forecasts are all zero it is
    undefined, unless the new ones are as well.

    Args:
        new: store_id, date, forecast.
        serving: the same.
        most: the bound for the chain; a store is shifted beyond twice of it.
    """
    both = new.select("store_id", "date", "forecast").join(
        serving.select("store_id", "date", _old="forecast"), on=["store_id", "date"]
    )
    sums = both.group_by("store_id", maintain_order=True).agg(
        _moved=(pl.col("forecast") - pl.col("_old")).abs().sum(), _level=pl.col("_old").abs().sum()
    )
    moved, level = float(sums["_moved"].sum()), float(sums["_level"].sum())
    value = moved / level if level else (0.0 if not moved and both.height else None)
    told = (
        "the new and the serving forecasts have no sale in common to be compared by"
        if value is None
        else f"the new forecasts lie {value:.1%} from the serving ones over "
        f"{sums.height:,} stores; {most:.0%} is the bound"
    )
    passed = None if value is None else value <= most
    chain = Check("shift", "overall", "all", value, None, None, (None, most), passed, told)
    return [chain, *_stores_shifted(sums, most)]


def _stores_shifted(sums: pl.DataFrame, most: float) -> list[Check]:
    if sums.is_empty():
        return []
    beyond = sums.filter(pl.col("_moved") > 2 * most * pl.col("_level"))
    share = beyond.height / sums.height
    passed = share <= STORES_SHIFTED
    worst = beyond.sort(-pl.col("_moved"), "store_id")["store_id"].head(3).to_list()
    named = f" (most of all {', '.join(worst)})" if worst and not passed else ""
    told = (
        f"{beyond.height:,} of {sums.height:,} stores are shifted by more than {2 * most:.0%}"
        f"{named}; {STORES_SHIFTED:.0%} of them is the bound"
    )
    bound = (None, STORES_SHIFTED)
    return [Check("shifted_stores", "overall", "all", share, None, None, bound, passed, told)]


def from_history(
    new: pl.DataFrame, history: pl.DataFrame, frequency: Frequency, most: float
) -> Check:
    """The forecasts' level beside two recent ones: the last periods', and those a year ago.

    Both are of the stores, and a year ago of the periods too, that are known. Between the two
    levels, seasons and growth explain anything; the value is the quotient to the nearer of them
    beyond that, 1 within.

    Args:
        new: store_id, date, forecast_mean, for the periods after a cutoff.
        history: store_id, date, sales up to the cutoff; null is unknown.
        frequency: of the periods.
        most: m passes values from 1 / (1 + m) to 1 + m.
    """
    bound = (1 / (1 + most), 1 + most)
    ahead = new.select("store_id", _ahead="forecast_mean", period=frequency.ordinals("date"))
    known = history.filter(pl.col("sales").is_not_null()).select(
        "store_id", "sales", period=frequency.ordinals("date")
    )
    ratios = {
        "the last periods'": _to_last(ahead, known),
        "a year ago's": _to_year_ago(ahead, known, _YEAR[frequency.kind]),
    }
    defined = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    if not defined:
        told = "no recent sales are known to which the forecasts' level could be compared"
        return Check("level", "overall", "all", None, None, None, bound, None, told)
    lowest, highest = min(defined.values()), max(defined.values())
    value = lowest if lowest > 1 else min(highest, 1.0)
    levels = " and ".join(f"{ratio:.2f} times {name}" for name, ratio in defined.items())
    told = (
        f"the forecasts' total is {levels} level; beyond both by at most {most:.0%} is in bounds"
        if len(defined) > 1
        else f"the forecasts' total is {levels} level; {most:.0%} beyond is in bounds"
    )
    passed = bound[0] <= value <= bound[1]
    return Check("level", "overall", "all", value, None, None, bound, passed, told)


def _to_last(ahead: pl.DataFrame, known: pl.DataFrame) -> float | None:
    """Forecast to sales, by means per store, where the last periods are as many as are ahead."""
    if ahead.is_empty():
        return None
    start = int(ahead["period"].min())  # type: ignore[arg-type]  # an Int32 column that has rows
    length = int(ahead["period"].max()) - start + 1  # type: ignore[arg-type]  # as above
    recent = known.filter(pl.col("period").is_between(start - length, start - 1))
    sold = recent.group_by("store_id").agg(pl.col("sales").mean())
    told = ahead.group_by("store_id").agg(pl.col("_ahead").mean())
    return _ratio(told.join(sold, on="store_id"))


def _to_year_ago(ahead: pl.DataFrame, known: pl.DataFrame, year: int) -> float | None:
    before = known.with_columns(pl.col("period") + year)
    return _ratio(ahead.join(before, on=["store_id", "period"]))


def _ratio(rows: pl.DataFrame) -> float | None:
    sold = float(rows["sales"].sum())
    return float(rows["_ahead"].sum()) / sold if sold > 0 else None
