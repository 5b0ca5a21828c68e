from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import partial

import polars as pl
import pytest

from storecast.backtest.audit import Leak, Status, Verdict
from storecast.deployment.choice import Choice, Validated, check_audit, choose
from storecast.errors import Code, ConfigurationError, ModelError, Refusal
from storecast.models.base import Recipe

NAIVE, LEVEL, TREES = (
    Recipe("seasonal_naive", "seasonal_naive"),
    Recipe("local_level", "local_level"),
    Recipe("lightgbm", "lightgbm", {"n_estimators": 50}),
)
ALL = [NAIVE, LEVEL, TREES]
DAYS = (date(2022, 1, 2), date(2022, 2, 6))


def validated(*scores: float | None, recipes: list[Recipe] = ALL) -> Validated:
    return Validated(
        validation_id="v1",
        recipes={r.name: r for r in recipes},
        conformals={},
        scores=pl.DataFrame(
            [
                {"model": r.name, "scope": "cutoff", "member": day.isoformat(), "wape": told}
                for r, score in zip(recipes, scores, strict=True)
                # the last window, which the gate keeps, says the contrary
                for day, told in zip(DAYS, (score, score and 1 - score), strict=True)
            ],
            schema={"model": pl.String, "scope": pl.String, "member": pl.String, "wape": float},
        ),
        cutoffs=DAYS,
    )


def chosen(told: Validated, model: str | None = None, force: bool = False) -> Choice:
    return choosing(told, ALL, model=model, force=force)


choosing = partial(choose, metric="wape", baseline="seasonal_naive", choosing=DAYS[:1])


def test_the_best_of_those_that_beat_the_baseline() -> None:
    assert chosen(validated(0.3, 0.2, 0.1)).recipe is TREES
    assert chosen(validated(0.3, 0.1, 0.2)).recipe is LEVEL


@pytest.mark.parametrize("scores", [(0.1, 0.2, 0.3), (0.1, 0.1, 0.1), (0.1, None, None)])
def test_the_baseline_where_nothing_beats_it_and_it_is_said(scores: tuple[float, ...]) -> None:
    choice = chosen(validated(*scores))
    assert choice.recipe is NAIVE
    assert "no model was more accurate than the baseline" in choice.reason


def test_the_windows_that_choose_are_those_before_the_gates() -> None:
    told = replace(validated(0.3, 0.2, 0.1), cutoffs=(date(2021, 12, 5), *DAYS), warmup=1)
    assert (told.split(1).choosing, told.split(1).kept) == (DAYS[:1], DAYS[1:])


def test_a_recipe_that_changed_since_is_not_the_validated_one() -> None:
    other = [NAIVE, LEVEL, Recipe("lightgbm", "lightgbm", {"n_estimators": 51})]
    told = validated(0.3, 0.2, 0.1, recipes=other)
    assert chosen(told).recipe is LEVEL
    with pytest.raises(ModelError) as refused:
        chosen(told, "lightgbm")
    assert refused.value.code is Code.RECIPE_NOT_VALIDATED
    forced = chosen(told, "lightgbm", force=True)
    assert (forced.recipe, forced.validated) == (TREES, False)


def test_a_recipe_with_what_was_learnt_beside_is_found_by_how_it_was_configured() -> None:
    told = validated(0.3, 0.2, 0.1)
    asked = replace(TREES, tune=3)
    learnt = replace(TREES, parameters={"n_estimators": 50, "num_leaves": 9})
    now = [NAIVE, LEVEL, asked]
    told = replace(
        told,
        recipes={**told.recipes, "lightgbm": learnt},
        configured={"lightgbm": asked.digest},
    )
    for model in (None, "lightgbm"):
        choice = choosing(told, now, model=model)
        assert (choice.recipe, choice.validated) == (learnt, True)
    # as configured before, without the tuning, it is another
    assert chosen(told).recipe is LEVEL
    with pytest.raises(ModelError) as refused:
        chosen(told, "lightgbm")
    assert refused.value.code is Code.RECIPE_NOT_VALIDATED


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


def audited(told: Validated, **verdicts: Status) -> Validated:
    leaks = (Leak("sales", "altered", 3, "007"),)
    return replace(
        told,
        verdicts={
            n: Verdict(s, ("2022-01-02",), 5, ("sales",), leaks) for n, s in verdicts.items()
        },
    )


def test_a_model_that_leaks_is_not_chosen_however_good_it_seems() -> None:
    told = audited(validated(0.3, 0.2, 0.1), lightgbm="leaking", local_level="passed")
    assert chosen(told).recipe is LEVEL
    assert chosen(audited(validated(0.3, 0.4, 0.1), lightgbm="unmoved")).recipe is NAIVE
    # what could not be proven is chosen, and refused
    assert chosen(audited(validated(0.3, 0.2, 0.1), lightgbm="unproven")).recipe is TREES


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("leaking", Code.LEAK_FOUND),
        ("unmoved", Code.LEAK_FOUND),
        ("unrepeatable", Code.LEAK_FOUND),
        ("unproven", Code.LEAK_AUDIT_MISSING),
        (None, Code.LEAK_AUDIT_MISSING),
    ],
)
def test_only_a_passed_audit_lets_a_model_be_deployed(status: Status | None, code: Code) -> None:
    told = validated(0.3, 0.2, 0.1)
    if status is not None:
        told = audited(told, lightgbm=status)
    with pytest.raises(Refusal) as refused:
        check_audit(told, "lightgbm")
    assert (refused.value.code, refused.value.exit_code) == (code, 3)
    assert refused.value.next_step is not None
    check_audit(audited(told, lightgbm="passed"), "lightgbm")
