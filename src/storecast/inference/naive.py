"""The seasonal naive with intervals of its own: the fallback that needs no artefact."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from storecast.artifact.unified import predicted
from storecast.core.panel import History
from storecast.core.window import Window, cut, unsold
from storecast.errors import Code, ModelError
from storecast.models.base import Recipe
from storecast.models.calibration import Conformal, store_scales

_WINDOWS = 4


def naive(history: History, window: Window) -> pl.DataFrame:
    """The seasonal naive with intervals from its own errors in the periods before the cutoff.

    Raises:
        ModelError: MODEL_FAILED where there is no store to forecast.
    """
    rules = window.past.rules
    recipe = Recipe(
        "seasonal_naive", "seasonal_naive", training_from=rules.training_from, mask=rules.mask
    )
    if window.future.rows.is_empty():
        raise ModelError(Code.MODEL_FAILED, "no store is open at the cutoff")
    errors = [_errors(recipe, earlier, window) for earlier in _earlier(history, window)]
    conformal = Conformal.learn(pl.concat(errors), rules) if errors else None
    return predicted(recipe, None, conformal, window, unsold(history, window))


def _earlier(history: History, window: Window) -> Iterator[Window]:
    frequency = window.past.rules.frequency
    last = frequency.ordinal(window.cutoff)
    first = window.past.rows["period"].min()
    for back in range(1, _WINDOWS + 1):
        ordinal = last - back * window.horizon
        if isinstance(first, int) and ordinal > first:
            yield cut(history, frequency.last_day(ordinal), window.horizon)


def _errors(recipe: Recipe, earlier: Window, window: Window) -> pl.DataFrame:
    """store_id, step, sales, forecast, scale of an earlier window; sales as ``window`` has them."""
    known = window.past.rows.select("store_id", "date", "sales")
    shape = {"store_id": pl.String, "step": pl.Int32, "sales": pl.Float64,
             "forecast": pl.Float64, "scale": pl.Float64}  # fmt: skip
    return (
        predicted(recipe, None, None, earlier)
        .join(known, on=["store_id", "date"], how="left")
        .join(store_scales(earlier.past), on="store_id", how="left")
        .select(pl.col(n).cast(t) for n, t in shape.items())
    )
