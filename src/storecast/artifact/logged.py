"""A logged model, checked whole before MLflow runs any of its code.

``MLmodel`` tells MLflow which code to run. What it may say is therefore fixed: the loader that was
logged, and nothing else. MLflow is then given a copy made of the bytes that were checked. Compiled
code that lies beside the loader, links, and files that change in the meantime are no part of it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from storecast.artifact.load import Packed, opened, read, tampered
from storecast.artifact.save import LOADER, MANIFEST
from storecast.errors import ModelError

MLMODEL: Final = "MLmodel"
_ARTIFACT: Final = "forecaster"
_PLACE: Final = f"artifacts/{_ARTIFACT}"
_FLAVOUR: Final = "python_function"
_CODE_MODEL: Final = "mlflow.pyfunc.loaders.code_model"
_ENVIRONMENT: Final = ("conda.yaml", "python_env.yaml", "requirements.txt")
_THERE: Final = {
    "": (MLMODEL, LOADER, *_ENVIRONMENT, "registered_model_meta"),
    "artifacts": (_ARTIFACT,),
    "metadata": (MLMODEL, *_ENVIRONMENT),  # a second copy, that Databricks makes
}
"""What MLflow and Databricks keep, by folder."""
_ABOUT: Final = {
    "artifact_path", "databricks_runtime", "mlflow_version", "model_id", "model_size_bytes",
    "model_uuid", "run_id", "utc_time_created",
}  # fmt: skip
"""Keys of MLmodel that say where it comes from; nothing is run or read by them."""
_ABOUT_FLAVOUR: Final = {"cloudpickle_version", "env", "python_version"}


def check_logged(folder: Path, digest: str | None = None) -> Path:
    """Check a whole logged model. Returns the artefact's folder.

    Args:
        folder: the logged model's, with MLmodel in it.
        digest: what the artefact's digest has to be, as the registry has it; None: not known.

    Raises:
        ModelError: as ``load.opened``; ARTIFACT_TAMPERED where the loader or MLmodel is not as it
            was logged, or a file lies in the folder that neither storecast nor MLflow puts there.
    """
    _checked(folder, digest)
    return folder / _PLACE


@contextmanager
def checked_copy(folder: Path, digest: str | None = None) -> Iterator[Path]:
    """A copy of a logged model, made of what was checked; it ends with the block.

    The arguments and errors are as ``check_logged`` has them. This is the folder to give to
    ``mlflow.pyfunc.load_model``.
    """
    content = _checked(folder, digest)
    with tempfile.TemporaryDirectory(prefix="storecast-") as scratch:
        for name, told in content.items():
            file = Path(scratch, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(told)
        yield Path(scratch)


def _checked(folder: Path, digest: str | None) -> dict[str, bytes]:
    """Everything that MLflow needs, by its path in the logged model's folder."""
    packed = opened(folder / _PLACE, digest)
    _only_known_files(folder)
    loader, told = read(folder, LOADER), read(folder, MLMODEL)
    wanted = packed.manifest.get("loader")
    if wanted and hashlib.sha256(loader).hexdigest() != wanted:
        raise tampered(folder, LOADER, "its SHA-256 differs from the manifest's")
    _check_mlmodel(folder, told, packed)
    required = "".join(f"{line}\n" for line in packed.manifest.get("requirements", ()))
    return {
        MLMODEL: told,
        LOADER: loader,
        "requirements.txt": required.encode(),
        f"{_PLACE}/{MANIFEST}": packed.written,
        **{f"{_PLACE}/{name}": content for name, content in packed.files.items()},
    }


def _only_known_files(folder: Path) -> None:
    for inside, known in _THERE.items():
        place = folder / inside
        there = {entry.name for entry in place.iterdir()} if place.is_dir() else set()
        # Python's own, of a loader that MLflow ran here: it is not copied
        extra = there - {*known, *(() if inside else (*_THERE, "__pycache__"))}
        for name in sorted(extra):
            raise tampered(folder, f"{inside}/{name}".lstrip("/"), "the file was added later")


def _check_mlmodel(folder: Path, content: bytes, packed: Packed) -> None:
    """Raises ARTIFACT_TAMPERED where MLmodel says anything that a deployment does not."""
    try:
        told = yaml.safe_load(content)
    except yaml.YAMLError as fault:
        raise tampered(folder, MLMODEL, "it cannot be read as YAML") from fault
    flavours = told.get("flavors") if isinstance(told, dict) else None
    flavour = flavours.get(_FLAVOUR) if isinstance(flavours, dict) and len(flavours) == 1 else None
    if not isinstance(flavour, dict):
        raise _said(folder, "flavors", flavours, f"{_FLAVOUR} alone")
    signature = packed.manifest.get("signature", told.get("signature"))
    _as_logged(folder, told, {"flavors": flavours, "signature": signature}, _ABOUT)
    code, stored = flavour.get("model_code_path"), flavour.get("artifacts")
    if not isinstance(code, str) or os.path.basename(code) != LOADER:  # noqa: PTH119 - as MLflow
        raise _said(folder, "model_code_path", code, LOADER)
    if not _is_the_artefact(stored):
        raise _said(folder, "artifacts", stored, f"{_ARTIFACT}: {{path: {_PLACE}}}")
    wanted = {
        "loader_module": _CODE_MODEL,
        "model_code_path": code,
        "artifacts": stored,
        "config": {"digest": packed.digest},
    }
    _as_logged(folder, flavour, wanted, _ABOUT_FLAVOUR)


def _is_the_artefact(stored: Any) -> bool:
    if not isinstance(stored, dict) or set(stored) != {_ARTIFACT}:
        return False
    place = stored[_ARTIFACT]
    return isinstance(place, dict) and place.get("path") == _PLACE and set(place) <= {"path", "uri"}


def _as_logged(
    folder: Path, told: Mapping[str, Any], wanted: Mapping[str, Any], free: set[str]
) -> None:
    """Every key has its value; one that is neither wanted nor free says nothing."""
    for key in sorted({*told, *wanted} - free, key=str):
        said, expected = told.get(key), wanted.get(key)
        if said != expected and (key in wanted or said):
            raise _said(folder, key, said, "nothing" if expected is None else str(expected))


def _said(folder: Path, key: str, said: object, expected: str) -> ModelError:
    return tampered(folder, MLMODEL, f"{key}: {said}", f"{key}: {expected}")
