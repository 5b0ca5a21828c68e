"""Versions registered without a validation, and ways to break them."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import polars as pl

from storecast import registry, runs
from storecast.artifact.packing import log_model
from storecast.artifact.save import save
from storecast.artifact.unified import UnifiedForecaster
from storecast.history import load_history
from storecast.models.base import Recipe
from storecast.models.calibration import Conformal
from storecast.project import Project
from storecast.registry import ModelVersion
from storecast.tracking import Tracking


def champion(
    project: Project, kind: str = "local_level", horizon: int | None = None
) -> ModelVersion:
    """Fit, pack, log, register and promote a model, as a deployment would."""
    import mlflow

    with runs.begin(project, "test") as run:
        history = load_history(run, project)
    rules = replace(history.rules, horizon=horizon or history.rules.horizon)
    history = replace(history, rules=rules)
    recipe = Recipe(kind, kind, training_from=rules.training_from)
    errors = pl.DataFrame(
        {
            "store_id": ["001"] * 210,
            "step": pl.Series([1 + i % rules.horizon for i in range(210)], dtype=pl.Int32),
            "sales": [100.0 + i % 21 for i in range(210)],
            "forecast": [110.0] * 210,
            "scale": [20.0] * 210,
        }
    )
    conformal = Conformal.learn(errors, rules)
    forecaster = UnifiedForecaster.fit(recipe, history, history.through, conformal)
    tracking = Tracking.of(project)
    with tempfile.TemporaryDirectory() as scratch, tracking.active() as client:
        digest = save(forecaster, Path(scratch) / "forecaster")
        begun = client.create_run(tracking.experiment_id(client)).info.run_id
        with mlflow.start_run(run_id=begun):
            info = log_model(Path(scratch) / "forecaster", forecaster)
    versions = registry.of(project)
    version = versions.register(info.model_uri, begun, {"digest": digest})
    versions.promote(version.number)
    return version


def rules_files(project: Project) -> list[Path]:
    """The packed rules of every version, in the order in which they were registered."""
    found = (project.root / "mlartifacts").rglob("rules.json")
    return sorted(found, key=lambda file: file.stat().st_mtime_ns)


def tampered(project: Project, version: int = -1) -> None:
    """Break a version (the newest): one byte of its packed rules."""
    file = rules_files(project)[version]
    times = file.stat()
    text = file.read_text("utf-8")
    file.write_text(text.replace('"horizon": 7', '"horizon": 8'), "utf-8")
    assert file.read_text("utf-8") != text
    _keep(file, times.st_mtime_ns)


def mended(project: Project, version: int = -1) -> None:
    """Undo it."""
    file = rules_files(project)[version]
    times = file.stat()
    file.write_text(file.read_text("utf-8").replace('"horizon": 8', '"horizon": 7'), "utf-8")
    _keep(file, times.st_mtime_ns)


def _keep(file: Path, time: int) -> None:
    import os

    os.utime(file, ns=(time, time))
