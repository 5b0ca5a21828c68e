"""What makes a candidate the same work again, and what makes it the champion's recipe."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from storecast.deployment.candidate import Candidate
from storecast.deployment.choice import Choice
from storecast.deployment.windows import beside
from storecast.models.base import Recipe
from storecast.registry import ModelVersion

MADE = {
    "model": "ensemble", "recipe": "weights of May", "configured": "its members",
    "validation_id": "v", "cutoff": "2025-05-31", "fingerprint": "f",
}  # fmt: skip
CANDIDATE = Candidate(Choice(Recipe("ensemble", "ensemble"), True, ""), date(2025, 5, 31), MADE)


def version(**tags: str | None) -> ModelVersion:
    told = {name: value for name, value in {**MADE, **tags}.items() if value is not None}
    return ModelVersion("a.b.c", "1", datetime(2025, 1, 1, tzinfo=UTC), None, (), told)


@pytest.mark.parametrize("name", ["model", "recipe", "validation_id", "cutoff", "fingerprint"])
def test_the_same_work_has_the_same_recipe_validation_data_and_cutoff(name: str) -> None:
    assert CANDIDATE.is_(version())
    assert not CANDIDATE.is_(version(**{name: "other"}))


def test_what_a_recipe_learns_anew_does_not_make_it_another() -> None:
    assert CANDIDATE.refreshes(version(recipe="weights of April", cutoff="2025-04-30"))
    assert not CANDIDATE.refreshes(version(configured="other members"))
    # of an older storecast only the recipe itself is known
    assert CANDIDATE.refreshes(version(configured=None, recipe="its members"))
    assert not CANDIDATE.refreshes(version(configured=None))


def test_recipes_of_other_spans_are_compared_where_both_have_rows(rules: object) -> None:
    days = [date(2025, 1, 1), date(2025, 1, 2)]
    mine = pl.DataFrame({
        "store_id": ["1", "1"], "date": days, "cutoff": [days[0]] * 2, "sales": [None, 2.0],
        "forecast": [1.0, 2.0], "forecast_mean": [1.0, 2.0], "q50": [1.0, 2.0],
        "origin": ["model", "filled"],
    })  # fmt: skip
    other = pl.DataFrame({
        "store_id": ["1", "2"], "date": days, "cutoff": [days[0]] * 2, "sales": [5.0, 6.0],
        "forecast": [7.0, 8.0], "forecast_mean": [7.0, 8.0], "q50": [7.0, 8.0],
        "origin": ["model", "model"],
    })  # fmt: skip
    theirs, ours = beside(mine, other, rules)  # type: ignore[arg-type]
    assert theirs["store_id"].to_list() == ours["store_id"].to_list() == ["1"]
    assert (theirs["sales"].item(), ours["sales"].item()) == (5.0, 5.0)
    assert (theirs["forecast"].item(), ours["forecast"].item()) == (1.0, 7.0)
    assert (theirs["q50"].item(), theirs["origin"].item()) == (1.0, "model")
    assert theirs.height == beside(mine, other, rules)[1].height  # type: ignore[arg-type]


@pytest.fixture
def rules() -> object:
    from storecast.configfile import parse_config
    from tests.fills import settings

    return parse_config(settings(forecast={"horizon": 7, "quantiles": [0.5]})).rules()
