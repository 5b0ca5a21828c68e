"""A winning ensemble, from its windows to the table of forecasts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from storecast import registry, runs
from storecast.artifact.unified import UnifiedForecaster
from storecast.deployment.step import deploy
from storecast.history import load_history
from storecast.inference.step import forecast
from storecast.models.base import Recipe
from storecast.models.calibration import Conformal
from storecast.models.ensemble import Weights
from storecast.project import Project
from storecast.validation.step import validate

# MLflow and SQLAlchemy warn about themselves
pytestmark = pytest.mark.filterwarnings("default")

TREES = {"name": "lightgbm", "n_estimators": 5, "lags": [1, 2, 7]}
MODELS = ["seasonal_naive", "local_level", TREES, "ensemble"]


def details(project: Project) -> dict[str, Any]:
    row = runs.newest(project, "validate")
    assert row is not None
    told: dict[str, Any] = row["details"]
    return told


@pytest.mark.slow
def test_an_ensemble_is_packed_with_members_and_weights_and_forecasts_as_python_does(
    filled: Callable[..., Project],
) -> None:
    project = filled(models=MODELS)
    found = validate(project)
    assert len(found.leaderboard) == len(MODELS)
    assert found.audit.status("ensemble") == "passed"
    told = details(project)
    recipe = Recipe.from_json(json.dumps(told["recipes"]["ensemble"]))
    assert Weights.of(recipe) != Weights.equal(Weights.of(recipe).members)
    tested = pl.DataFrame(runs.read_table(project, "backtest_forecasts"))
    assert tested.filter(pl.col("model") == "ensemble").height * 4 == tested.height

    result = deploy(project, model="ensemble")
    assert (result.model, result.kind, result.audit) == ("ensemble", "ensemble", "passed")
    assert deploy(project, model="ensemble").unchanged
    champion = registry.of(project).version()
    assert champion.tags["recipe"] == recipe.digest
    forecast(project)
    served = pl.DataFrame(runs.read_table(project, "forecasts"))

    with runs.begin(project, "deploy") as run:
        history = load_history(run, project)
    conformal = Conformal.from_json(json.dumps(told["conformals"]["ensemble"]))
    here = UnifiedForecaster.fit(recipe, history, result.cutoff, conformal).forecast()
    numbers = ["store_id", "date", "forecast", "forecast_mean", "q10", "q50", "q90"]
    assert served.select(numbers).sort("store_id", "date").equals(here.select(numbers))
    assert (here["q10"] < here["q90"]).all()
