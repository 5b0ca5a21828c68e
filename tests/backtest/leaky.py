"""Roads that leak, each with its honest twin: the same work on nothing but the past."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from storecast.backtest.tasks import backtest, calibration_errors
from storecast.core.panel import History
from storecast.core.window import Window, cut

from .backtest_chains import Here, recipe

HORIZON = 4
Road = Callable[[History], pl.DataFrame]
Make = Callable[[date, bool], Road]


def dying(history: History) -> pl.DataFrame:
    """A road that ends the process in which it is walked."""
    os._exit(9)


def said(window: Window, forecast: dict[str, float]) -> pl.DataFrame:
    """One number a store, for each row of the future."""
    return window.future.rows.select(
        "store_id",
        "date",
        model=pl.lit("own"),
        forecast=pl.col("store_id").replace_strict(forecast, default=0.0, return_dtype=pl.Float64),
    )


def rows_of(history: History, cutoff: date, leaky: bool) -> pl.DataFrame:
    """Known sales with the stores' attributes: all there are, or those known at the cutoff."""
    whole = history.panel().drop_nulls("sales")
    if history.stores is not None:
        whole = whole.join(history.stores, on="store_id", how="left", maintain_order="left")
    last = history.rules.frequency.ordinal(cutoff)
    return whole if leaky else whole.filter(pl.col("period") <= last)


def newest(history: History, cutoff: date) -> pl.DataFrame:
    """store_id and the last value known at the cutoff."""
    return (
        rows_of(history, cutoff, leaky=False)
        .sort("period")
        .group_by("store_id")
        .agg(value=pl.col("sales").last())
        .sort("store_id")
    )


def column(frame: pl.DataFrame, name: str) -> np.ndarray:
    return frame[name].to_numpy().reshape(-1, 1)


def scaler(cutoff: date, leaky: bool) -> Road:
    """Scaled by the mean and deviation of everything."""

    def road(history: History) -> pl.DataFrame:
        fitted = StandardScaler().fit(column(rows_of(history, cutoff, leaky), "sales"))
        known = newest(history, cutoff)
        scaled = np.tanh(fitted.transform(column(known, "value")))[:, 0]
        return said(
            cut(history, cutoff, HORIZON), dict(zip(known["store_id"], scaled, strict=True))
        )

    return road


def centred_rolling_mean(cutoff: date, leaky: bool) -> Road:
    """A mean of the period before, the period and the one after, made before the cut."""

    def road(history: History) -> pl.DataFrame:
        rows = rows_of(history, cutoff, leaky).sort("store_id", "period")
        smooth = rows.with_columns(
            sales=pl.col("sales").rolling_mean(3, center=True, min_samples=1).over("store_id")
        )
        last = history.rules.frequency.ordinal(cutoff)
        told = smooth.filter(pl.col("period") == last)
        return said(
            cut(history, cutoff, HORIZON), dict(zip(told["store_id"], told["sales"], strict=True))
        )

    return road


def lag_off_by_one(cutoff: date, leaky: bool) -> Road:
    """The lag of the first step is the value of that step itself."""

    def road(history: History) -> pl.DataFrame:
        last = history.rules.frequency.ordinal(cutoff)
        told = rows_of(history, cutoff, leaky=True).filter(pl.col("period") == last + leaky)
        return said(
            cut(history, cutoff, HORIZON), dict(zip(told["store_id"], told["sales"], strict=True))
        )

    return road


def target_encoding(cutoff: date, leaky: bool) -> Road:
    """A region is its mean of sales, over all rows."""

    def road(history: History) -> pl.DataFrame:
        rows = rows_of(history, cutoff, leaky)
        code = rows.group_by("region").agg(pl.col("sales").mean())
        told = rows.select("store_id", "region").unique().join(code, on="region")
        return said(
            cut(history, cutoff, HORIZON), dict(zip(told["store_id"], told["sales"], strict=True))
        )

    return road


def bins(cutoff: date, leaky: bool) -> Road:
    """Bins whose edges are quantiles of all data."""

    def road(history: History) -> pl.DataFrame:
        told = rows_of(history, cutoff, leaky)["sales"].to_numpy()
        edges = np.unique(np.quantile(told, np.linspace(0, 1, 65)))
        known = newest(history, cutoff)
        number = np.digitize(known["value"].to_numpy(), edges).astype(float)
        return said(
            cut(history, cutoff, HORIZON), dict(zip(known["store_id"], number, strict=True))
        )

    return road


def vocabulary(cutoff: date, leaky: bool) -> Road:
    """Codes of regions, those of later stores among them, beside the last value."""

    def road(history: History) -> pl.DataFrame:
        window = cut(history, cutoff, HORIZON)
        stores = window.past.stores
        taught = history.stores if leaky else stores
        assert taught is not None
        encoder = OrdinalEncoder().fit(column(taught.drop_nulls("region"), "region"))
        known = newest(history, cutoff).join(stores.select("store_id", "region"), on="store_id")
        codes = encoder.transform(column(known, "region"))[:, 0]
        forecast = known["value"].to_numpy() + codes
        return said(window, dict(zip(known["store_id"], forecast, strict=True)))

    return road


def ensemble_weights(cutoff: date, leaky: bool) -> Road:
    """Two models weighted by their errors in the window before, which is not over yet."""

    def road(history: History) -> pl.DataFrame:
        rules = history.rules
        before = cutoff - timedelta(weeks=2)
        models = [recipe("seasonal_naive"), recipe("local_level")]
        told = {
            (o.recipe.name, o.cutoff): o.frame
            for o in backtest(history, models, [before, cutoff], HORIZON, Here())  # type: ignore[arg-type]
        }
        until = rules.frequency.ordinal(cutoff) + (HORIZON if leaky else 0)
        weights = []
        for model in models:
            errors = calibration_errors([told[model.name, before]], until)
            missed = (errors["sales"] - errors["forecast"]).abs().mean()
            assert isinstance(missed, float)
            weights.append(1 / (missed + 1e-9))
        frames = [
            told[model.name, cutoff].filter(pl.col("segment") != "cold_start") for model in models
        ]
        mixed = sum(
            w / sum(weights) * f["forecast"].to_numpy()
            for w, f in zip(weights, frames, strict=True)
        )
        return frames[0].select("store_id", "date", model=pl.lit("own"), forecast=pl.Series(mixed))

    return road


def labels_at_the_start(cutoff: date, leaky: bool) -> Road:
    """What is known on the morning after the cutoff, by labels instead of last days."""

    def road(history: History) -> pl.DataFrame:
        morning = cutoff + timedelta(days=1)
        frequency = history.rules.frequency
        day = pl.col("date") if leaky else frequency.last_days("period")
        rows = rows_of(history, cutoff, leaky=True).filter(day <= morning)
        told = rows.sort("period").group_by("store_id").agg(pl.col("sales").last())
        return said(
            cut(history, cutoff, HORIZON), dict(zip(told["store_id"], told["sales"], strict=True))
        )

    return road


ROADS: dict[str, Make] = {
    "a scaler fitted on everything": scaler,
    "a centred rolling mean": centred_rolling_mean,
    "a lag off by one": lag_off_by_one,
    "target encoding on all rows": target_encoding,
    "bins from all data": bins,
    "an encoder vocabulary with later stores": vocabulary,
    "ensemble weights from unfinished windows": ensemble_weights,
}

# ------------------------------------------------ one number of what came later, by its kind


def _total(frame: pl.DataFrame | None, rows: pl.Expr, value: pl.Expr) -> float:
    assert frame is not None
    return float(frame.filter(rows).select(value.cast(pl.Float64).fill_null(0).sum()).item())


def later_number(history: History, cutoff: date, kind: str) -> float:
    """Something that a model must not know, and that only one kind of later rows decides."""
    rules = history.rules
    last = rules.frequency.ordinal(cutoff)
    period = rules.frequency.ordinals("date")
    old = pl.col("store_id") == "s2"
    numbers: dict[str, Callable[[], float]] = {
        "sales": lambda: _total(history.sales, old & (period > last), pl.col("sales")),
        "realised_covariates": lambda: _total(
            history.sales, old & (period <= last + 1), pl.col("visits")
        ),
        "openings_and_closures": lambda: _total(
            history.stores, pl.col("closed_on") > cutoff, pl.col("closed_on").dt.ordinal_day()
        ),
        "covariates_recorded_later": lambda: _total(
            history.covariate_versions,
            old & (period == last) & (pl.col("known_at") > cutoff),
            pl.col("promo"),
        ),
        "covariates_beyond_ahead": lambda: _total(
            history.covariate_versions,
            old & (period == last + 3) & (pl.col("known_at") <= cutoff),
            pl.col("price"),
        ),
        "attribute_versions": lambda: _total(
            history.store_versions, pl.col("valid_from") > cutoff, pl.col("region").str.len_chars()
        ),
        "stores_born_later": lambda: float(history.sales["store_id"].n_unique()),
    }
    return numbers[kind]()


def knows_later(cutoff: date, kind: str) -> Road:
    """The honest last value, and the number of a kind added."""

    def road(history: History) -> pl.DataFrame:
        known = newest(history, cutoff)
        forecast = known["value"].to_numpy() + later_number(history, cutoff, kind)
        return said(
            cut(history, cutoff, HORIZON), dict(zip(known["store_id"], forecast, strict=True))
        )

    return road


def blind(cutoff: date) -> Road:
    """Ignores the past."""
    return lambda history: said(cut(history, cutoff, HORIZON), {})


def restless(cutoff: date) -> Road:
    """Says something else each time."""
    chance = np.random.default_rng(0)

    def road(history: History) -> pl.DataFrame:
        window = cut(history, cutoff, HORIZON)
        return said(window, {s: chance.random() for s in window.past.stores["store_id"]})

    return road


def closes_over(told: Any, cutoff: date) -> Road:
    """Asks a history that it brought along, not the one that it is given."""
    return lambda _history: said(cut(told, cutoff, HORIZON), dict(newest(told, cutoff).iter_rows()))
