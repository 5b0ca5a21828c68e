"""What MLflow runs to load a model: text, logged beside the artefact. Nothing here is a pickle.

An installed storecast reads the artefact, or refuses it by name. Where none is installed, the one
that wrote it does: a wheel in the artefact, once its SHA-256 is the one in the manifest. Two
artefacts with different wheels in one process would be one running on the other's code: refused.
"""

import hashlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path

from mlflow.models import ModelConfig, set_model

_FOLDER = Path(__file__).with_name("artifacts") / "forecaster"
_MANIFEST = "manifest.json"


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "no such file"


def _must(known: str | None, found: str, code: str, what: str) -> None:
    if known != found:
        raise RuntimeError(f"{code}: {what}; expected: {known}; found: {found}; where: {_FOLDER}")


def _find_storecast() -> None:
    """Leave an installed storecast where it is, or put the packed one on ``sys.path``."""
    spec = find_spec("storecast")
    origin = None if spec is None else spec.origin  # a bare folder of that name has none
    wheels = [p for p in Path(origin or "").parents if p.suffix == ".whl"]
    packed = [p for p in wheels if p.with_name(_MANIFEST).is_file() or not p.exists()]
    if origin and not packed:
        return
    known = ModelConfig().get("digest")  # type: ignore[no-untyped-call]  # MLflow's
    _must(known, _sha256(_FOLDER / _MANIFEST), "ARTIFACT_TAMPERED", "it is not the one logged")
    manifest = json.loads((_FOLDER / _MANIFEST).read_bytes())
    wheel = _FOLDER / (manifest["wheel"] or "no wheel")
    known = manifest["files"].get(wheel.name)
    _must(known, _sha256(wheel), "ARTIFACT_TAMPERED", f"{wheel.name} is not the one packed")
    if packed:
        what = f"this process runs the storecast of {packed[0].parent}: load it in another process"
        _must(known, _sha256(packed[0]), "ARTIFACT_CODE_MIXED", what)
    else:
        sys.path.append(str(wheel))


_find_storecast()

from storecast.artifact.pyfunc import StoreForecaster

set_model(StoreForecaster())
