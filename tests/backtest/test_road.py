"""The road to final forecasts: what the baseline filled is the baseline's, intervals included."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from storecast.backtest.audit import audit
from storecast.backtest.road import Road
from storecast.core.panel import History
from storecast.models import base
from storecast.models.ensemble import with_members

from .backtest_chains import THROUGH, Broken, Forgetful, Point, history_of, recipe

CUTOFFS = tuple(THROUGH - timedelta(weeks=back) for back in (16, 10, 4))
NUMBERS = ["forecast", "forecast_mean", "q10", "q50", "q90"]


@pytest.fixture(autouse=True)
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed packages that offer models."""
    monkeypatch.setattr(base, "entry_points", lambda group: [Point(Broken), Point(Forgetful)])


def noisy() -> History:
    chance = np.random.default_rng(3)
    return history_of({name: (59, list(chance.gamma(9, 0.8, 60))) for name in "abc"})


def walked(*recipes: base.Recipe) -> pl.DataFrame:
    return Road(recipes, recipe("seasonal_naive"), CUTOFFS, 4)(noisy())


def of(frame: pl.DataFrame, model: str, *stores: str) -> pl.DataFrame:
    return frame.filter((pl.col("model") == model) & pl.col("store_id").is_in(stores))


def test_a_filled_share_has_the_intervals_of_the_baseline() -> None:
    told = walked(recipe("seasonal_naive"), recipe("broken"))
    naive, broken = of(told, "seasonal_naive", *"abc"), of(told, "broken", *"abc")
    assert (naive["q10"] < naive["q90"]).all()
    assert broken.select(NUMBERS).equals(naive.select(NUMBERS))
    assert set(broken["origin"]) == {"filled"}


def test_also_where_the_baseline_is_none_of_the_models() -> None:
    naive = of(walked(recipe("seasonal_naive")), "seasonal_naive", *"abc")
    assert (
        of(walked(recipe("broken")), "broken", *"abc").select(NUMBERS).equals(naive.select(NUMBERS))
    )


def test_row_by_row_and_what_the_model_said_itself_has_its_own() -> None:
    told = walked(recipe("seasonal_naive"), recipe("forgetful"))
    filled, naive = of(told, "forgetful", "b", "c"), of(told, "seasonal_naive", "b", "c")
    assert filled.select(NUMBERS).equals(naive.select(NUMBERS))
    own = of(told, "forgetful", "a")
    assert set(own["forecast"]) == {7.0}
    assert not own.select("q90").equals(of(told, "seasonal_naive", "a").select("q90"))


def test_the_filled_rows_of_an_ensemble_stay_its_own_mixture() -> None:
    members = [recipe("local_level"), recipe("forgetful")]
    mixed = with_members(recipe("ensemble"), members)
    # without earlier windows both count alike
    told = Road((*members, mixed), recipe("seasonal_naive"), CUTOFFS[-1:], 4)(noisy())
    b = of(told, "ensemble", "b")
    assert set(b["origin"]) == {"filled"}
    assert not b.select("forecast").equals(of(told, "forgetful", "b").select("forecast"))


def test_the_audit_passes_what_is_filled_in_part() -> None:
    road = Road((recipe("forgetful"),), recipe("seasonal_naive"), CUTOFFS, 4)
    (finding,) = audit(road, noisy(), CUTOFFS[-1])
    assert finding.leaks == ()
    assert finding.repeated
