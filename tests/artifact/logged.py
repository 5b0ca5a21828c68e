"""A logged and registered model, as ``storecast deploy`` makes one, without a project."""

from __future__ import annotations

from pathlib import Path

from storecast.artifact.packing import log_model
from storecast.artifact.save import save
from storecast.artifact.unified import UnifiedForecaster
from storecast.registry import CHAMPION, Registry
from storecast.tracking import Tracking

NAME = "main.tests.forecaster"


def log(place: Path, forecaster: UnifiedForecaster) -> tuple[Path, str]:
    """Log in ``place`` and make it the champion: the logged model's folder, and the digest."""
    import mlflow

    digest = save(forecaster, place / "packed")
    tracking = Tracking(None, None, "test", place)
    with tracking.active() as client:
        run = client.create_run(tracking.experiment_id(client)).info.run_id
        with mlflow.start_run(run_id=run):
            info = log_model(place / "packed", forecaster)
    registry = Registry(tracking, NAME)
    version = registry.register(info.model_uri, run, {"digest": digest})
    registry.promote(version.number)
    assert registry.champion() is not None, CHAMPION
    (model,) = (place / "mlartifacts").rglob(f"{info.model_id}/artifacts/MLmodel")
    return model.parent, digest
