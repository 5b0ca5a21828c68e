from __future__ import annotations

import polars as pl
import pytest

from storecast.deployment.choice import Choice, Validated, choose
from storecast.errors import Code, ConfigurationError, ModelError
from storecast.models.base import Recipe

NAIVE, LEVEL, TREES = (
    Recipe("seasonal_naive", "seasonal_naive"),
    Recipe("local_level", "local_level"),
    Recipe("lightgbm", "lightgbm", {"n_estimators": 50}),
)
ALL = [NAIVE, LEVEL, TREES]


def validated(*scores: float | None, recipes: list[Recipe] = ALL) -> Validated:
    return Validated(
        validation_id="v1",
        recipes={r.name: r for r in recipes},
        conformals={},
        scores=pl.DataFrame(
            {"model": [r.name for r in recipes], "wape": scores},
            schema={"model": pl.String, "wape": pl.Float64},
        ),
    )


def chosen(told: Validated, model: str | None = None, force: bool = False) -> Choice:
    return choose(told, ALL, metric="wape", baseline="seasonal_naive", model=model, force=force)


def test_the_best_of_those_that_beat_the_baseline() -> None:
    assert chosen(validated(0.3, 0.2, 0.1)).recipe is TREES
    assert chosen(validated(0.3, 0.1, 0.2)).recipe is LEVEL


@pytest.mark.parametrize("scores", [(0.1, 0.2, 0.3), (0.1, 0.1, 0.1), (0.1, None, None)])
def test_the_baseline_where_nothing_beats_it_and_it_is_said(scores: tuple[float, ...]) -> None:
    choice = chosen(validated(*scores))
    assert choice.recipe is NAIVE
    assert "no model was more accurate than the baseline" in choice.reason


def test_a_recipe_that_changed_since_is_not_the_validated_one() -> None:
    other = [NAIVE, LEVEL, Recipe("lightgbm", "lightgbm", {"n_estimators": 51})]
    told = validated(0.3, 0.2, 0.1, recipes=other)
    assert chosen(told).recipe is LEVEL
    with pytest.raises(ModelError) as refused:
        chosen(told, "lightgbm")
    assert refused.value.code is Code.RECIPE_NOT_VALIDATED
    forced = chosen(told, "lightgbm", force=True)
    assert (forced.recipe, forced.validated) == (TREES, False)


def test_a_model_that_was_asked_for() -> None:
    told = validated(0.3, 0.2, 0.1)
    assert chosen(told, "local_level").recipe is LEVEL
    for force in (False, True):
        with pytest.raises(ConfigurationError) as wrong:
            chosen(told, "prophet", force)
        assert wrong.value.code is Code.MODEL_UNKNOWN
    part = validated(0.3, 0.2, recipes=[NAIVE, LEVEL])
    with pytest.raises(ModelError) as refused:
        chosen(part, "lightgbm")
    assert refused.value.code is Code.RECIPE_NOT_VALIDATED


def test_without_a_score_of_the_baseline_nothing_is_chosen() -> None:
    with pytest.raises(ModelError) as refused:
        chosen(validated(None, 0.2, 0.1))
    assert refused.value.code is Code.NOT_VALIDATED
