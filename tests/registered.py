"""Registered versions without a validation: one packed naive, under as many numbers as wanted."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import mlflow

from storecast import lineage, registry, runs
from storecast.artifact.packing import log_model
from storecast.artifact.pyfunc import ARTIFACT
from storecast.artifact.save import save
from storecast.artifact.unified import UnifiedForecaster, fingerprint
from storecast.history import load_history
from storecast.models.base import Recipe
from storecast.project import Project
from storecast.tracking import Tracking


def deployed(project: Project, *versions: Mapping[str, str]) -> registry.Registry:
    """Register a version for each mapping of further tags; each in turn becomes the champion.

    Each leaves the ledger's row of a deployment.
    """
    there = registry.of(project)
    source, mlflow_run, tags = _logged(project)
    for further in versions:
        with runs.begin(project, "deploy") as run:
            load_history(run, project)
            told = {**tags, "run_id": run.run_id, **lineage.of_deployment(run, project), **further}
            version = there.register(source, mlflow_run, told)
            before = there.promote(version.number).before
            run.details.update(
                {"model_name": there.name, "champion": version.number, "from": before}
            )
    return there


def _logged(project: Project) -> tuple[str, str, dict[str, str]]:
    tracking = Tracking.of(project)
    with runs.begin(project, "nothing") as run:
        history = load_history(run, project)
    cutoff = history.through
    recipe = Recipe("seasonal_naive", "seasonal_naive", training_from=project.config.training.from_)
    forecaster = UnifiedForecaster.fit(recipe, history, cutoff, None)
    with tempfile.TemporaryDirectory() as scratch, tracking.active() as client:
        folder = Path(scratch) / ARTIFACT
        digest = save(forecaster, folder)
        begun = client.create_run(tracking.experiment_id(client)).info.run_id
        with mlflow.start_run(run_id=begun):
            address = log_model(folder, forecaster).model_uri
    return address, begun, {
        "model": recipe.name,
        "kind": recipe.kind,
        "recipe": recipe.digest,
        "validation_id": "none",
        "validated": "true",
        "audit": "passed",
        "cutoff": cutoff.isoformat(),
        "fingerprint": fingerprint(history, cutoff),
        "stores": str(len(forecaster.stores)),
        "digest": digest,
    }  # fmt: skip
