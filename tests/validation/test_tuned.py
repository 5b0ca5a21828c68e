"""validate with models to be tuned and an ensemble of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

import storecast
from storecast import runs
from storecast.adapters.local.compute import LocalCompute
from storecast.models.base import Recipe, recipes_of
from storecast.models.ensemble import Weights, members_of
from storecast.validation import leakage, recording

Make = Callable[..., Any]
MODELS = (
    "models=[seasonal_naive, "
    "{name: lightgbm, n_estimators: 4, lags: [1, 2, 4], tune: {trials: 5}}, ensemble]"
)


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """MLflow replaced, since its store takes seconds to make; what was to be recorded."""
    told: list[Any] = []
    monkeypatch.setattr(
        recording, "record_validation", lambda _, record: told.append(record) or "parent"
    )
    monkeypatch.setattr(recording, "finish", lambda *_: None)
    return told


def chain() -> dict[str, tuple[int, list[float]]]:
    chance = np.random.default_rng(1)
    return {s: (59, list(chance.gamma(2, 20, 60).round(4))) for s in ("001", "1", "é")}


def here(project: Any) -> Any:
    return dataclasses.replace(project, compute=LocalCompute(1))


def details(project: Any) -> dict[str, Any]:
    row = runs.newest(project, "validate")
    assert row is not None
    told: dict[str, Any] = row["details"]
    return told


def test_tuned_parameters_are_the_recipe_s_and_the_ensemble_has_them(
    project: Make, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    walked: list[Any] = []
    real = leakage.Road
    monkeypatch.setattr(leakage, "Road", lambda *all_: walked.append(real(*all_)) or walked[-1])
    made = here(project(chain(), MODELS))
    result = storecast.validate(made)
    told = details(made)
    tuning = told["tuning"]["lightgbm"]
    assert len(tuning["trials"]) == 5
    assert json.loads(logged[0].texts["tuning.json"]) == told["tuning"]
    shown = {model.name: model.parameters for model in logged[0].models}
    assert shown["ensemble"]["members"] == ["seasonal_naive", "lightgbm"]
    assert shown["lightgbm"].items() >= tuning["parameters"].items()
    recipes = {n: Recipe.from_json(json.dumps(r)) for n, r in told["recipes"].items()}
    trees, both = recipes["lightgbm"], recipes["ensemble"]
    own = {"n_estimators": 4, "lags": [1, 2, 4]}
    assert trees.parameters == {**own, **tuning["parameters"]}
    assert trees.tune == 0
    assert members_of(both)[1] == trees
    assert sum(Weights.of(both).table[()]) == pytest.approx(1)
    now = recipes_of(made.config.models, made.config.rules())
    assert told["configured"] == {recipe.name: recipe.digest for recipe in now}
    assert {line.model for line in result.leaderboard} == {r.name for r in now}
    # what was deployed is judged as it was found: the audit tunes anew, by fewer trials
    assert {v.status for v in result.audit.verdicts.values()} == {"passed"}
    (road,) = walked
    assert road.tuning.cutoffs == result.warmup[-1:]
    assert road.tuning.until == result.cutoffs[0]
    assert [r.tune for r in road.recipes] == [0, leakage.TRIALS, 0]
    again = storecast.validate(made)
    assert (again.reused, again.validation_id) == (True, result.validation_id)


def test_an_ensemble_alone_brings_its_members_and_other_windows_are_another_tuning(
    project: Make,
) -> None:
    made = here(project(chain(), MODELS))
    first = storecast.validate(made, audit="off", models=["ensemble"])
    once = details(made)
    assert {line.model for line in first.leaderboard} == {"seasonal_naive", "lightgbm", "ensemble"}
    told = pl.DataFrame(runs.read_table(made, "backtest_forecasts"))
    assert set(told["model"]) == {"seasonal_naive", "lightgbm", "ensemble"}
    other = here(storecast.load(made.root, [MODELS, "validation.warmup=1"]))
    storecast.validate(other, audit="off")
    assert details(other)["tuning"] != once["tuning"]
    assert len(list(made.finished_trials.iterdir())) == 2
