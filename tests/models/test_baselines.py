"""Baselines against slow loops, and on chains that break weaker ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storecast.core.window import Window
from storecast.models.base import Recipe, checked, create
from storecast.models.baselines import recent_level, seasonal_naive

from .small_chains import rules_of

cells = st.one_of(st.just(float("nan")), st.floats(-100, 100))


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.integers(1, 30).flatmap(
            lambda t: st.lists(st.lists(cells, min_size=t, max_size=t), min_size=n, max_size=n)
        )
    ),
    st.integers(1, 12),
    st.integers(1, 15),
)
@settings(max_examples=150, deadline=None)
def test_the_seasonal_naive_is_the_slow_loop(
    values: list[list[float]], season: int, horizon: int
) -> None:
    made = seasonal_naive(np.array(values), season, horizon)
    for i, told in enumerate(values):
        known = [v for v in told if not np.isnan(v)]
        for h in range(horizon):
            at = len(told) + h
            while at >= len(told):
                at -= season
            while at >= 0 and np.isnan(told[at]):
                at -= season
            expected = told[at] if at >= 0 else np.median(known[-8:]) if known else np.nan
            np.testing.assert_equal(made[i, h], expected)


def test_the_recent_level_is_the_median_of_the_last_known_values() -> None:
    nan = float("nan")
    values = np.array([[9.0, 1, 2, 30, nan, 4], [nan, nan, nan, nan, nan, 5], [nan] * 6])
    np.testing.assert_equal(recent_level(values, 4), [3.0, 5.0, nan])


@pytest.mark.parametrize("kind", ["seasonal_naive", "local_level"])
@pytest.mark.parametrize("code", ["D", "W-WED", "MS", "ME"])
def test_every_store_gets_a_forecast(window: Callable[..., Window], kind: str, code: str) -> None:
    made = window(
        {
            "001": [float(i % 7) for i in range(200)],
            "1": [5.0],
            "zeros": [0.0] * 60,
            "nothing known": [None, None],
            "holes": [None, 3.0, None, 4.0, None],
        },
        code=code,
    )
    model = create(Recipe(kind, kind))
    model.fit(made.past)
    frame = checked(model.predict(made.past, made.future), made.future, rules_of(code))
    by_store = dict(frame.group_by("store_id").agg("forecast").iter_rows())
    assert set(by_store) == {"001", "1", "zeros", "nothing known", "holes"}
    if kind == "seasonal_naive":
        assert by_store["1"] == [5.0] * 8
    assert 3 < np.mean(by_store["1"]) < 8
    assert by_store["zeros"] == [0.0] * 8
    assert by_store["nothing known"] == [
        float(np.median([by_store[s][h] for s in ("001", "1", "zeros", "holes")])) for h in range(8)
    ]
    assert model.state() == {}


def test_the_level_takes_a_season_only_where_the_past_has_one(
    window: Callable[..., Window],
) -> None:
    chance = np.random.default_rng(5)
    week = [1.0, 1, 1, 1, 2, 9, 5]
    last = window({"x": [1.0] * 20}, code="D").past.cutoff.weekday()
    seasonal = {
        f"s{i}": [(i + 1) * week[(d + last + 1) % 7] + chance.normal() * 0.1 for d in range(280)]
        for i in range(5)
    }
    flat = {f"s{i}": list(10 + chance.normal(size=280)) for i in range(5)}
    for values, is_seasonal in ((seasonal, True), (flat, False)):
        made = window(values, code="D", horizon=7)
        model = create(Recipe("local_level", "local_level"))
        frame = model.predict(made.past, made.future)
        spread = frame.group_by("store_id").agg(s=frame["forecast"].max() - frame["forecast"].min())
        if not is_seasonal:
            # each store's own season, learnt from chance, would be above 1
            assert spread["s"].max() < 0.7
        else:
            assert spread["s"].max() > 5
            told = made.past.rows.sort("store_id", "period").group_by("store_id").tail(7)
            truth = told.sort("store_id", "period")["sales"].to_numpy()
            assert np.abs(frame["forecast"].to_numpy() - truth).max() < 1.0


def test_a_longer_window_is_a_parameter(window: Callable[..., Window]) -> None:
    made = window({"a": [10.0] * 30 + [2.0] * 10})
    told = {
        n: create(Recipe("l", "local_level", {"window": n})).predict(made.past, made.future)
        for n in (10, 40)
    }
    assert told[10]["forecast"].to_list() == [2.0] * 8
    assert told[40]["forecast"].to_list() == [10.0] * 8
