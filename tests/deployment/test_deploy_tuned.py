"""Models whose recipe is not the configuration's alone, from their windows to the forecasts."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from storecast import registry, runs
from storecast.adapters.local.compute import LocalCompute
from storecast.artifact.unified import UnifiedForecaster
from storecast.deployment.step import deploy
from storecast.history import load_history
from storecast.inference.step import forecast
from storecast.models.base import Recipe
from storecast.models.calibration import Conformal
from storecast.project import Project
from storecast.validation.step import validate
from tests.engines import needs

# MLflow and SQLAlchemy warn about themselves
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

GIVEN = {"n_estimators": 5, "lags": [1, 2, 7]}
TREES = {"name": "lightgbm", **GIVEN, "tune": {"trials": 3}}


class Counting(LocalCompute):
    """Compute in this process, the tasks counted."""

    def __init__(self) -> None:
        super().__init__(1)
        self.tasks = 0

    def run_tasks(self, function: Any, tasks: Any, **more: Any) -> Iterator[Any]:
        self.tasks += len(tasks)
        return super().run_tasks(function, tasks, **more)


def newest(project: Project) -> dict[str, Any]:
    row = runs.newest(project, "validate")
    assert row is not None
    told: dict[str, Any] = row["details"]
    return told


def served(project: Project) -> pl.DataFrame:
    numbers = ["store_id", "date", "forecast", "forecast_mean", "q10", "q50", "q90"]
    told = pl.DataFrame(runs.read_table(project, "forecasts"))
    return told.select(numbers).sort("store_id", "date")


def here(project: Project, model: str) -> pl.DataFrame:
    """The same forecasts by the validated recipe, in Python."""
    told = newest(project)
    recipe = Recipe.from_json(json.dumps(told["recipes"][model]))
    conformal = Conformal.from_json(json.dumps(told["conformals"][model]))
    with runs.begin(project, "deploy") as run:
        history = load_history(run, project)
    cutoff = history.rules.frequency.last_day(history.rules.frequency.complete(history.through))
    made = UnifiedForecaster.fit(recipe, history, cutoff, conformal).forecast()
    return made.select(served(project).columns)


def test_what_is_deployed_and_forecasts_has_the_tuned_parameters(
    filled: Callable[..., Project],
) -> None:
    compute = Counting()
    project = dataclasses.replace(filled(models=["seasonal_naive", TREES]), compute=compute)
    found = validate(project)
    assert found.audit.status("lightgbm") == "passed"
    told = newest(project)["tuning"]["lightgbm"]
    recipe = Recipe.from_json(json.dumps(newest(project)["recipes"]["lightgbm"]))
    assert recipe.parameters == {**GIVEN, **told["trials"][told["best"]]["parameters"]}

    # five trees do not beat the baseline, so that the gate would deploy that one
    first = deploy(project, model="lightgbm", force=True, reason="its recipe is looked at")
    champion = registry.of(project).version()
    assert champion.tags["recipe"] == recipe.digest
    forecast(project)
    assert served(project).equals(here(project, "lightgbm"))

    # once more, unchanged: nothing is computed, tuned, registered or written again
    before, compute.tasks = served(project), 0
    assert validate(project).reused
    assert compute.tasks == 0
    again = deploy(project, model="lightgbm")
    assert (again.unchanged, again.version) == (True, first.version)
    forecast(project)
    assert served(project).equals(before)


def test_weights_are_looked_for_in_the_project_folder_wherever_the_command_runs(
    filled: Callable[..., Project], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("torch")
    from tests.models.test_darts_models import chronos

    elsewhere, weights = tmp_path / "elsewhere", tmp_path / "weights" / "tiny"
    for folder in (elsewhere, weights):
        folder.mkdir(parents=True)
    chronos(weights)
    monkeypatch.chdir(elsewhere)
    tiny = {
        "name": "tiny", "darts": "Chronos2Model", "weights": "weights/tiny",
        "input_chunk_length": 16,
    }  # fmt: skip
    both = {"name": "both", "kind": "ensemble", "members": ["seasonal_naive", "tiny"]}
    project = filled(models=["seasonal_naive", tiny, both])
    found = validate(dataclasses.replace(project, compute=LocalCompute(1)), audit="off")
    assert found.failures == {}
    assert newest(project)["recipes"]["tiny"]["parameters"]["weights"] == "weights/tiny"
    # other weights are another validation, though the recipe is the same
    os.utime(weights / "model.safetensors", (1, 1))
    other = validate(dataclasses.replace(project, compute=LocalCompute(1)), audit="off")
    assert (found.reused, other.reused) == (False, False)
    for model in ("tiny", "both"):
        assert deploy(project, model=model, force=True).model == model
    forecast(project)
