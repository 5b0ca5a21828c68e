"""What is logged: the artefact's folder, the code that loads it, and what that code needs."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from storecast.artifact.load import check
from storecast.artifact.pyfunc import ARTIFACT, NO_BAR, signature
from storecast.artifact.requirements import requirements
from storecast.artifact.save import LOADER, loader

if TYPE_CHECKING:
    from mlflow.models.model import ModelInfo

    from storecast.artifact.unified import UnifiedForecaster


def log_model(folder: Path, forecaster: UnifiedForecaster) -> ModelInfo:
    """Log the artefact in ``folder`` to the active MLflow run.

    The loader is given the artefact's digest as ``model_config``, and checks it before anything
    is read. Whoever knows it from elsewhere, such as a registry's tag, loads with
    ``mlflow.pyfunc.load_model(uri, model_config={"digest": …})``.
    """
    import mlflow.pyfunc

    os.environ.setdefault(NO_BAR, "false")
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as scratch:
        # MLflow asks for type hints and an example; the signature is declared in full instead.
        warnings.simplefilter("ignore", UserWarning)
        code = Path(scratch) / LOADER
        code.write_bytes(loader())
        if folder.name != ARTIFACT:  # MLflow keeps the folder's name, and the loader looks there
            folder = Path(shutil.copytree(folder, Path(scratch) / ARTIFACT))
        info: ModelInfo = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(code),
            artifacts={ARTIFACT: str(folder)},
            signature=signature(forecaster.rules),
            pip_requirements=requirements(forecaster.recipe),
            model_config={"digest": check(folder)},
        )
    return info
