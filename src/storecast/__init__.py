"""storecast: sales forecasts for the physical stores of a chain, end to end."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from storecast.artifact.unified import UnifiedForecaster
    from storecast.deployment.step import deploy
    from storecast.errors import StorecastError
    from storecast.inference.step import forecast
    from storecast.ingestion.step import ingest
    from storecast.lineage.tracing import trace
    from storecast.pipeline import run
    from storecast.project import Project, load
    from storecast.promotion.step import promote, rollback
    from storecast.reporting.step import report
    from storecast.validation.step import validate

__version__ = "0.1.0"

_HOMES = {
    "Project": "storecast.project",
    "StorecastError": "storecast.errors",
    "UnifiedForecaster": "storecast.artifact.unified",
    "deploy": "storecast.deployment.step",
    "forecast": "storecast.inference.step",
    "ingest": "storecast.ingestion.step",
    "load": "storecast.project",
    "promote": "storecast.promotion.step",
    "report": "storecast.reporting.step",
    "rollback": "storecast.promotion.step",
    "run": "storecast.pipeline",
    "trace": "storecast.lineage.tracing",
    "validate": "storecast.validation.step",
}

__all__ = [
    "Project",
    "StorecastError",
    "UnifiedForecaster",
    "__version__",
    "deploy",
    "forecast",
    "ingest",
    "load",
    "promote",
    "report",
    "rollback",
    "run",
    "trace",
    "validate",
]


def __getattr__(name: str) -> Any:
    """Import a public name where it is first used: importing storecast starts nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'storecast' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
