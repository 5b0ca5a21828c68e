"""ETS and Theta: store by store, whatever the store's history looks like."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from storecast.core.window import Window
from storecast.errors import Code, ModelError
from storecast.models.base import Recipe, checked, create, restore
from storecast.models.statistical import without_gaps

BOTH = pytest.mark.parametrize("kind", ["ets", "theta"])


def forecasts(made: Window, kind: str, **parameters: Any) -> dict[str, list[float]]:
    model = create(Recipe("m", kind, parameters))
    model.fit(made.past)
    told = checked(model.predict(made.past, made.future), made.future, made.past.rules)
    assert model.stateless
    back = restore(model.recipe, model.state())
    assert back.predict(made.past, made.future).equals(told)
    return dict(told.group_by("store_id").agg("forecast").iter_rows())


@BOTH
def test_a_weekly_pattern_and_a_level_are_found(window: Callable[..., Window], kind: str) -> None:
    week = [10.0, 11, 12, 13, 20, 40, 0]
    chance = np.random.default_rng(1)
    values = [week[t % 7] + chance.normal(0, 0.3) for t in range(140)]
    made = window({"a": values, "b": [7.0 + 0.01 * (t % 2) for t in range(140)]}, code="D")
    told = forecasts(made, kind)
    np.testing.assert_allclose(told["a"], [week[t % 7] for t in range(8)], atol=1.5)
    np.testing.assert_allclose(told["b"], 7.0, atol=0.1)


@BOTH
@pytest.mark.parametrize("code", ["D", "W-SUN", "MS"])
def test_any_history_gets_finite_forecasts_without_a_warning(
    window: Callable[..., Window], kind: str, code: str
) -> None:
    chance = np.random.default_rng(0)
    values: dict[str, list[float | None]] = {
        "long": [float(v) for v in chance.poisson(20, 90)],
        "one": [12.0],
        "seven": [12.0] * 7,
        "short": [float(v) for v in chance.poisson(20, 11)],
        "zeros": [0.0] * 60,
        "constant": [5.0] * 60,
        "unknown": [None, None],
        "holes": [None if i % 3 else 5.0 for i in range(60)],
        "negative": [float(v) for v in chance.normal(0, 5, 60)],
        "rare": [0.0 if i % 20 else 30.0 for i in range(60)],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = forecasts(window(values, code=code), kind)
    assert set(told) == set(values)
    assert told["one"] == told["seven"] == [12.0] * 8
    np.testing.assert_allclose(told["constant"], 5.0, atol=0.01)
    np.testing.assert_allclose(told["holes"], 5.0, atol=0.01)
    np.testing.assert_allclose(told["zeros"], 0.0, atol=1e-6)


def test_a_gap_repeats_its_season_and_a_long_one_ends_the_series() -> None:
    nan = np.nan
    gap = np.array([nan, 1.0, 2, 3, nan, nan, 6, nan])
    np.testing.assert_array_equal(without_gaps(gap, 3), [1, 2, 3, 1, 2, 6, 1])
    np.testing.assert_array_equal(without_gaps(gap, 1), [1, 2, 3, 3, 3, 6, 6])
    broken = np.array([100.0] * 30 + [nan] * 20 + [5.0] * 20)
    np.testing.assert_array_equal(without_gaps(broken, 7), [5.0] * 20)
    assert without_gaps(broken[:-10], 7).size == 60  # too little follows the gap
    assert without_gaps(np.array([nan, nan]), 7).size == 0


@BOTH
def test_what_lies_before_the_window_is_not_seen(window: Callable[..., Window], kind: str) -> None:
    recent = [float(v) for v in np.random.default_rng(3).poisson(9, 40)]
    one = forecasts(window({"a": [1.0] * 50 + recent}), kind, window=40)
    other = forecasts(window({"a": [900.0] * 50 + recent}), kind, window=40)
    assert one == other
    assert one != forecasts(window({"a": [900.0] * 50 + recent}), kind, window=60)


@BOTH
def test_a_form_that_the_library_has_not_is_refused(kind: str) -> None:
    for wrong in ("XYZ", "stm", ""):
        with pytest.raises(ModelError, match="model") as caught:
            create(Recipe("m", kind, {"model": wrong}))
        assert caught.value.code is Code.MODEL_FAILED
