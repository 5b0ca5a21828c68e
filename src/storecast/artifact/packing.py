"""What is logged: the artefact's folder, the code that loads it, and what that code needs."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from storecast.artifact.pyfunc import ARTIFACT, NO_BAR, signature
from storecast.models.ensemble import computed

if TYPE_CHECKING:
    from mlflow.models.model import ModelInfo

    from storecast.artifact.unified import UnifiedForecaster
    from storecast.models.base import Recipe

_LOADER = Path(__file__).with_name("loader.py")
_NEEDED = ("storecast", "mlflow", "numpy", "pandas", "polars", "pyarrow", "holidays")
_NEURAL = ("darts", "torch", "pytorch-lightning", "safetensors", "scikit-learn")
_NEEDED_BY = {
    "lightgbm": ("lightgbm", "scikit-learn"),
    "xgboost": ("xgboost", "scikit-learn"),
    "ets": ("statsforecast",),
    "theta": ("statsforecast",),
    "nbeats": _NEURAL,
    "tft": _NEURAL,
    "darts": (*_NEURAL, "statsforecast"),
}
_ALSO_NAMED = {"xgboost": "xgboost-cpu"}
"""The same module in another distribution: named where that is the one installed."""


def log_model(folder: Path, forecaster: UnifiedForecaster) -> ModelInfo:
    """Log the artefact in ``folder`` to the active MLflow run."""
    import mlflow.pyfunc

    os.environ.setdefault(NO_BAR, "false")
    with warnings.catch_warnings():
        # MLflow asks for type hints and an example; the signature is declared in full instead.
        warnings.simplefilter("ignore", UserWarning)
        info: ModelInfo = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(_LOADER),
            artifacts={ARTIFACT: str(folder)},
            signature=signature(forecaster.rules),
            pip_requirements=_requirements(forecaster.recipe),
        )
    return info


def _requirements(recipe: Recipe) -> list[str]:
    kinds = [made.kind for made in computed([recipe])]
    needed = dict.fromkeys((*_NEEDED, *(n for kind in kinds for n in _NEEDED_BY.get(kind, ()))))
    return [_pinned(name) for name in needed]


def _pinned(name: str) -> str:
    for distribution in (_ALSO_NAMED.get(name, name), name):
        with suppress(PackageNotFoundError):
            # without the local part: no index has torch 2.13.0+cpu under that name
            return f"{distribution}=={version(distribution).partition('+')[0]}"
    return name
