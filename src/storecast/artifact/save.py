"""An artefact is a folder of plain files, and a manifest that answers for each of them.

::

    manifest.json     format number, package version, SHA-256 of every other file
    recipe.json       which model, with what parameters and features
    rules.json        what a series is: frequency, calendar, known covariates, closed days, …
    conformal.json    the quantile calibration, where one was learnt
    meta.json         cutoff, data fingerprint, the stores of the training
    model/            the model's own state: native weights and JSON, no pickle
    history/          what the tables said at the cutoff, one parquet file a table
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from storecast.artifact.unified import UnifiedForecaster
from storecast.errors import Code, ModelError

FORMAT = 1
MANIFEST = "manifest.json"
FRAMES = ("sales", "stores", "store_versions", "covariates", "covariates_by_date",
          "covariate_versions")  # fmt: skip


def save(forecaster: UnifiedForecaster, folder: Path) -> str:
    """Write ``forecaster`` into an empty or new ``folder``.

    Returns:
        The artefact's digest: the SHA-256 of its manifest, which holds every other digest.

    Raises:
        ModelError: MODEL_FAILED where the model has no state that plain files can hold.
    """
    if folder.exists() and any(folder.iterdir()):
        shutil.rmtree(folder)
    for part in (folder, folder / "history"):
        part.mkdir(parents=True, exist_ok=True)
    _write(folder / "recipe.json", forecaster.recipe.to_json())
    _write(folder / "rules.json", forecaster.rules.to_json())
    if forecaster.conformal is not None:
        _write(folder / "conformal.json", forecaster.conformal.to_json())
    meta = {
        "cutoff": forecaster.cutoff.isoformat(),
        "through": forecaster.tail.through.isoformat(),
        "fingerprint": forecaster.fingerprint,
        "stores": list(forecaster.stores),
    }
    _write(folder / "meta.json", json.dumps(meta, ensure_ascii=False, indent=1))
    for name, content in _state(forecaster).items():
        file = folder / "model" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    for name in FRAMES:
        frame = getattr(forecaster.tail, name)
        if frame is not None:
            frame.write_parquet(folder / "history" / f"{name}.parquet")
    return _seal(folder)


def _state(forecaster: UnifiedForecaster) -> dict[str, bytes]:
    if forecaster.model is None:
        return {}
    state = getattr(forecaster.model, "state", None)
    if state is None:
        raise ModelError(
            Code.MODEL_FAILED,
            f"the model {forecaster.recipe.name!r} cannot be packed",
            expected="a model with state() and from_state()",
            found=f"kind {forecaster.recipe.kind!r} without them",
            next_step="deploy another model with `storecast deploy --model NAME`",
        )
    return dict(state())


def _seal(folder: Path) -> str:
    from storecast import __version__

    manifest: dict[str, Any] = {
        "format": FORMAT,
        "package": "storecast",
        "version": __version__,
        "files": {name: digest(folder / name) for name in files_in(folder)},
    }
    _write(folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True))
    return digest(folder / MANIFEST)


def files_in(folder: Path) -> list[str]:
    """Every file below ``folder`` but the manifest, as sorted relative POSIX paths."""
    found = (f.relative_to(folder).as_posix() for f in folder.rglob("*") if not f.is_dir())
    return sorted(name for name in found if name != MANIFEST)


def digest(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write(file: Path, text: str) -> None:
    file.write_text(text + "\n", encoding="utf-8", newline="\n")
