"""Our own samples against Darts': the same forecasts to 1e-9, recursive and direct."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from storecast.core.panel import Known
from storecast.core.window import Window, cut
from storecast.models.base import Recipe, checked, create
from storecast.models.panel_boosting import (
    MOST_SAMPLES,
    Samples,
    Shape,
    Targets,
    features,
    repeats,
    steps_of,
)
from storecast.models.trees import LIBRARIES, MEDIAN

from .small_chains import THROUGH, history_of, rules_of


def random_window(seed: int, code: str, stores: int = 12, length: int = 110) -> Window:
    """Gaps, unequal starts, statics, and every kind of covariate."""
    chance = np.random.default_rng(seed)
    values: dict[str, list[float | None]] = {"one": [7.0], "silent": [0.0] * 40, "none": [None]}
    for i in range(stores):
        told = 10 * (i + 1) * (1 + 0.5 * np.sin(np.arange(chance.integers(2, length)) / 4))
        told += chance.normal(size=told.size)
        values[f"{i:03}"] = [None if chance.random() < 0.15 else float(v) for v in told]
    rules = rules_of(
        code,
        attributes=("region",),
        known={"promotion": Known(), "weather": Known(3), "stock": Known(0)},
        realised=("visits",),
    )
    last = rules.frequency.complete(THROUGH)
    covariates = pl.DataFrame(
        [
            (store, rules.frequency.label(period), *chance.normal(size=3).round(1))
            for store in values
            for period in range(last - length, last + rules.horizon + 1)
        ],
        schema=["store_id", "date", *rules.known],
        orient="row",
    )
    history = history_of(values, rules, covariates=covariates)
    history = replace(
        history,
        sales=history.sales.with_columns(visits=pl.col("sales") + chance.normal()),
        stores=pl.DataFrame(
            {"store_id": list(values), "region": [f"r{i % 3}" for i in range(len(values))]}
        ),
    )
    return cut(history, rules.frequency.last_day(last), rules.horizon)


@pytest.mark.parametrize("kind", ["lightgbm", "xgboost"])
@pytest.mark.parametrize(("seed", "code"), [(1, "D"), (2, "W-SUN"), (3, "MS")])
def test_it_forecasts_as_darts_does_to_1e_9(kind: str, seed: int, code: str) -> None:
    made = random_window(seed, code)
    told = {}
    for engine in ("panel", "darts"):
        model = create(Recipe("b", kind, {"engine": engine, "n_estimators": 25}))
        model.fit(made.past)
        frame = checked(model.predict(made.past, made.future), made.future, made.past.rules)
        told[engine] = frame["forecast"].to_numpy()
    np.testing.assert_allclose(told["panel"], told["darts"], rtol=1e-9, atol=1e-9)
    assert len(np.unique(told["panel"])) > 50


@pytest.mark.parametrize("kind", ["lightgbm", "xgboost"])
@pytest.mark.parametrize("step", [1, 4])
def test_a_direct_sample_is_that_of_darts_own_model_for_the_step(kind: str, step: int) -> None:
    """At one step, a direct booster is Darts' with its output shifted by the steps before."""
    from darts import TimeSeries
    from darts.models import LightGBMModel, XGBModel

    chance = np.random.default_rng(step)
    values = chance.normal(size=(5, 90)).cumsum(axis=1)
    covariates = chance.normal(size=(5, 100, 2))
    library = LIBRARIES[kind]
    native = library.native(parameters(kind), values.size)

    shape = Shape(lags=(1, 2, 5), covariates=("a", "b"), horizon=step)
    start = max(shape.lags) + step - 1
    row, at = (x.ravel() for x in np.meshgrid(np.arange(5), np.arange(start, 90), indexing="ij"))
    past = Samples(row, at, np.full(row.size, step), list(covariates[row, at].T), np.empty((5, 0)))
    ahead = Samples(
        np.arange(5),
        np.full(5, 89 + step),
        np.full(5, step),
        list(covariates[:, 89 + step].T),
        np.empty((5, 0)),
    )
    x = features(shape, Targets.of(values, shape.reach), past)
    assert not np.isnan(x).any()
    trees = library.grow(library.bin(x, values[row, at], 0, native), native, MEDIAN)
    ours = trees.predict(features(shape, Targets.of(values, shape.reach, step), ahead))

    def series(first: int, told: Any) -> Any:
        times = pd.RangeIndex(first, first + len(told))
        return TimeSeries.from_times_and_values(times, told)

    model = (LightGBMModel if kind == "lightgbm" else XGBModel)(
        lags=[-5, -2, -1],
        lags_future_covariates=[0],
        output_chunk_length=1,
        output_chunk_shift=step - 1,
        **native,
    )
    targets, more = [series(0, v) for v in values], [series(0, c) for c in covariates]
    model.fit(targets, future_covariates=more)
    darts = model.predict(1, targets, future_covariates=more, show_warnings=False)
    np.testing.assert_allclose(ours, [d.values()[0, 0] for d in darts], rtol=1e-9, atol=1e-9)
    assert len(np.unique(ours)) > 2


def parameters(kind: str) -> dict[str, Any]:
    plain: dict[str, Any] = {"n_estimators": 20, "learning_rate": 0.1, "seed": 0, "max_bin": 255}
    if kind == "lightgbm":
        return {**plain, "objective": "l1", "min_child_samples": 5, "num_leaves": 15}
    return {**plain, "objective": "reg:absoluteerror", "min_child_weight": 5, "max_leaves": 15}


def test_an_aligned_lag_is_known_at_the_cutoff_and_of_the_same_place_in_the_season() -> None:
    values = np.arange(400.0)[None, :]
    shape = Shape(lags=(1,), horizon=20, aligned=(7, 14, 364), season=7)
    targets = Targets.of(values, shape.reach, 20)
    for step in range(1, 21):
        told = Samples(
            np.zeros(1, np.int64), np.array([399 + step]), np.array([step]), [], np.empty((1, 0))
        )
        last, given, week, fortnight, year = features(shape, targets, told)[0]
        assert (last, given, year) == (399, step, 399 + step - 364)
        assert week <= 399
        assert (399 + step - week) % 7 == 0
        assert fortnight == week - 7
        assert 399 - week < 7


def test_the_steps_are_even_whatever_the_day_of_the_week() -> None:
    at = np.arange(70_000)
    step = steps_of(np.full(at.size, 17, dtype=np.uint64), at, 28)
    assert (step.min(), step.max()) == (1, 28)
    for day in range(7):
        counts = np.bincount(step[at % 7 == day], minlength=29)[1:]
        assert np.abs(counts / counts.mean() - 1).max() < 0.25
    several = steps_of(np.full(8, 17, np.uint64), np.full(8, 3), 8, np.arange(8))
    assert set(several.tolist()) == set(range(1, 9))
    other = steps_of(np.full(at.size, 18, dtype=np.uint64), at, 28)
    assert (step == other).mean() < 0.1


def test_every_known_value_is_a_direct_sample_at_one_step_at_least() -> None:
    assert repeats(10, 8) == 8
    assert repeats(MOST_SAMPLES // 3, 8) == 3
    assert repeats(MOST_SAMPLES * 9, 8) == 1
