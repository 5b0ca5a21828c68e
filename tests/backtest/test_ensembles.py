"""An ensemble's windows: its weights from finished earlier ones alone, and the audit of it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

from storecast.backtest import ensembles
from storecast.backtest.audit import audit
from storecast.backtest.ensembles import learnt, taught, weighted, with_ensembles
from storecast.backtest.road import Road, calibrations, walk_forward
from storecast.backtest.tasks import Outcome, backtest
from storecast.core.panel import History
from storecast.models import base
from storecast.models.base import Recipe
from storecast.models.baselines import Baseline, SeasonalNaive
from storecast.models.ensemble import Weights, computed, with_members

from .backtest_chains import FAST, Broken, Forgetful, Here, Point, history_of, recipe, rich_history

NAIVE, LEVEL = recipe("seasonal_naive"), recipe("local_level")
LAST = date(2022, 10, 2)
CUTOFFS = [LAST - timedelta(weeks=w) for w in (8, 6, 4, 2, 0)]
HORIZON = 4


def of(*members: Recipe) -> Recipe:
    return with_members(Recipe("ensemble", "ensemble"), members)


def outcomes_of(
    history: History, recipes: list[Recipe], cutoffs: list[date] = CUTOFFS
) -> dict[tuple[str, date], Outcome]:
    told = backtest(history, computed(recipes), cutoffs, HORIZON, Here(), baseline=NAIVE)
    return {(o.recipe.name, o.cutoff): o for o in told}


def walked(history: History, recipes: list[Recipe]) -> pl.DataFrame:
    outcomes = outcomes_of(history, recipes)
    frames: list[pl.DataFrame] = walk_forward(outcomes, recipes, CUTOFFS, history.rules)
    return pl.concat(frames)


def by_windows(
    outcomes: Any, made: Recipe, windows: list[date], history: History, until: int
) -> Weights:
    told = [taught(outcomes, made, day, history.rules) for day in windows]
    return learnt(told, made, history.rules, until)


def noisy(stores: str = "abc", weeks: int = 60) -> History:
    chance = np.random.default_rng(1)
    return history_of({s: (weeks - 1, list(chance.gamma(2, 20, weeks))) for s in stores})


class Blunder(Baseline):
    kind: ClassVar[str] = "blunder"

    def predict(self, past: Any, future: Any) -> pl.DataFrame:
        return future.rows.select(
            "store_id", "date", "step", forecast=pl.lit(1e4), forecast_mean=pl.lit(1e4)
        )


class Regional(Baseline):
    """Perfect in one region, a blunder in the other; the past says which is which."""

    kind: ClassVar[str] = "regional"
    defaults: ClassVar[Any] = {"region": "n"}

    def predict(self, past: Any, future: Any) -> pl.DataFrame:
        naive = SeasonalNaive(Recipe("n", "seasonal_naive"))
        naive.fit(past)
        good = past.stores.filter(pl.col("region") == self.parameters["region"])["store_id"]
        return naive.predict(past, future).with_columns(
            pl.when(pl.col("store_id").is_in(good.to_list())).then("forecast").otherwise(1e4)
        )


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [Point(kind) for kind in (Blunder, Broken, Forgetful, Regional)]
    monkeypatch.setattr(base, "entry_points", lambda group: points)


@pytest.mark.usefixtures("offered")
def test_of_a_perfect_and_a_terrible_model_the_perfect_one_once_windows_are_complete() -> None:
    steady = history_of({s: (59, [7.0, 8.0, 9.0, 6.0] * 15) for s in "abc"})
    both = of(recipe("blunder"), NAIVE)
    frame = walked(steady, [both]).with_columns(missed=(pl.col("sales") - pl.col("forecast")).abs())
    by_cutoff = frame.group_by("cutoff").agg(pl.col("missed").mean()).sort("cutoff")
    first, *later = by_cutoff["missed"]
    # nothing is known at the first: both alike; two weeks on, half of its window is complete
    assert first == pytest.approx(5000, rel=0.01)
    assert later == [0.0] * 4
    assert set(frame["model"]) == {"ensemble"}


def chain_of_two_regions(values: Any) -> History:
    """Twenty stores in the north, twenty in the south; what each sold, by its number."""
    names = [f"{region}{i:02}" for region in "ns" for i in range(20)]
    stores = pl.DataFrame(
        {
            "store_id": names,
            "opened_on": pl.Series([None] * 40, dtype=pl.Date),
            "closed_on": pl.Series([None] * 40, dtype=pl.Date),
            "region": [name[0] for name in names],
        }
    )
    return history_of(
        {name: (59, values(i)) for i, name in enumerate(names)},
        stores,
        attributes=("region",),
        segments=("region",),
    )


@pytest.mark.usefixtures("offered")
def test_each_segment_takes_its_own_best() -> None:
    steady = chain_of_two_regions(lambda i: [7.0 + i, 8.0, 9.0, 6.0] * 15)
    north = Recipe("north", "regional", {"region": "n"})
    south = Recipe("south", "regional", {"region": "s"})
    frame = walked(steady, [of(north, south)])
    missed = frame.with_columns(missed=(pl.col("sales") - pl.col("forecast")).abs())
    first, *later = missed.group_by("cutoff").agg(pl.col("missed").mean()).sort("cutoff")["missed"]
    assert first > 1000
    assert later == [0.0] * 4


def test_the_packed_forecaster_says_what_the_backtest_does_to_the_bit() -> None:
    chance = np.random.default_rng(2)
    history = chain_of_two_regions(lambda i: list(chance.gamma(2, 5 + i, 60)))
    both = of(NAIVE, LEVEL, Recipe("trees", "lightgbm", FAST))
    outcomes = outcomes_of(history, [both])
    until = history.rules.frequency.ordinal(LAST)
    weights = by_windows(outcomes, both, CUTOFFS[:-1], history, until)
    assert len(weights.table) == 3
    told = with_ensembles(outcomes, [both], CUTOFFS, history.rules)["ensemble", LAST].frame
    (alone,) = backtest(history, [weights.put(both)], [LAST], HORIZON, Here(), baseline=NAIVE)
    columns = ["store_id", "date", "forecast", "forecast_mean", "origin"]
    assert alone.failure is None
    assert alone.frame.select(columns).equals(told.select(columns))


@pytest.mark.usefixtures("offered")
def test_what_a_member_leaves_out_is_filled_and_counted_and_one_that_fails_has_no_part() -> None:
    history = noisy()
    rows = walked(history, [NAIVE, of(recipe("forgetful"), NAIVE), recipe("forgetful")])
    own = rows.filter(pl.col("model") == "ensemble")
    filled = own.filter(pl.col("origin") == "filled")
    # only where the one that left them out counts
    assert set(filled["store_id"]) <= {"b", "c"}
    assert {"b", "c"} == set(filled.filter(pl.col("cutoff") == CUTOFFS[0])["store_id"])
    broken = walked(history, [NAIVE, of(recipe("broken"), NAIVE)])
    ours, theirs = (
        broken.filter(pl.col("model") == m).drop("model") for m in ("ensemble", "seasonal_naive")
    )
    assert set(ours["origin"]) == {"model"}
    assert ours["forecast"].to_list() == theirs["forecast"].to_list()


def test_it_is_calibrated_by_its_own_errors_and_equal_on_repeat() -> None:
    history = noisy()
    recipes = [NAIVE, LEVEL, of(NAIVE, LEVEL)]
    frame = walked(history, recipes)
    assert frame.equals(walked(history, recipes))
    own = frame.filter((pl.col("model") == "ensemble") & (pl.col("cutoff") == LAST))
    assert (own["q10"] < own["q90"]).all()
    outcomes = outcomes_of(history, recipes)
    until = history.rules.frequency.complete(history.through)
    told = calibrations(outcomes, recipes, CUTOFFS, history.rules, until)
    assert told["ensemble"].counts[0] > 0
    assert told["ensemble"] != told["local_level"]
    final = weighted(outcomes, recipes, CUTOFFS, history.rules, until)
    assert final[:2] == (NAIVE, LEVEL)
    assert Weights.of(final[2]) == by_windows(outcomes, recipes[2], CUTOFFS, history, until)
    assert sum(Weights.of(final[2]).table[()]) == pytest.approx(1)


def test_weights_follow_from_periods_up_to_the_cutoff_alone() -> None:
    """By hand: the newest window counts as far as it is complete, and no further."""
    history = noisy()
    both = of(NAIVE, LEVEL)
    outcomes = outcomes_of(history, [both])
    until = history.rules.frequency.ordinal(LAST)
    told = by_windows(outcomes, both, CUTOFFS[:-1], history, until)
    assert (outcomes["seasonal_naive", CUTOFFS[-2]].frame["period"] > until).any()
    cut = {
        key: o._replace(frame=o.frame.filter(pl.col("period") <= until))
        for key, o in outcomes.items()
    }
    far = 10**6
    assert by_windows(cut, both, CUTOFFS[:-1], history, far) == told
    wrong = {
        key: o._replace(
            frame=o.frame.with_columns(
                sales=pl.when(pl.col("period") > until).then(1e9).otherwise("sales")
            )
        )
        for key, o in outcomes.items()
    }
    assert by_windows(wrong, both, CUTOFFS[:-1], history, until) == told
    assert by_windows(wrong, both, CUTOFFS[:-1], history, far) != told


RECIPES = (of(NAIVE, LEVEL, Recipe("trees", "lightgbm", FAST)),)


def road(cutoff: date) -> Road:
    return Road(RECIPES, NAIVE, (cutoff - timedelta(weeks=2), cutoff), HORIZON)


def test_the_audit_passes_it_and_names_no_other_model() -> None:
    (found,) = audit(road(LAST), rich_history(), LAST)
    assert (found.model, found.status) == ("ensemble", "passed")


def test_the_audit_catches_weights_from_unfinished_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ensembles.learnt

    def leaky(windows: Any, made: Any, rules: Any, until: int) -> Weights:
        return real(windows, made, rules, until + HORIZON)

    monkeypatch.setattr(ensembles, "learnt", leaky)
    (found,) = audit(road(LAST), rich_history(), LAST)
    assert found.status == "leaking"
    assert "sales" in {leak.kind for leak in found.leaks}


def test_what_stands_already_is_not_made_again() -> None:
    history = noisy()
    both = of(NAIVE, LEVEL)
    once = with_ensembles(outcomes_of(history, [both]), [both], CUTOFFS, history.rules)
    again = with_ensembles(once, [both], CUTOFFS, history.rules)
    assert all(again[key] is outcome for key, outcome in once.items())
