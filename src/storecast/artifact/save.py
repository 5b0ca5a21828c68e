"""An artefact is a folder of plain files, and a manifest that answers for each of them.

::

    manifest.json     format number, package and feature version, requirements, and the SHA-256 of
                      every other file
    storecast-….whl   the storecast that wrote it, for a machine that has none
    recipe.json       which model, with what parameters and features
    rules.json        what a series is: frequency, calendar, known covariates, closed days, …
    holidays.json     those of the training's years and some after, where there is a country
    conformal.json    the quantile calibration, where one was learnt
    meta.json         cutoff, data fingerprint, the stores of the training
    model/            the model's own state: native weights and JSON, no pickle
    history/          what the tables said at the cutoff, one parquet file a table
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from storecast.artifact import wheel
from storecast.artifact.kinds import check_kind
from storecast.artifact.requirements import requirements
from storecast.artifact.unified import UnifiedForecaster
from storecast.core.calendar import free_days
from storecast.errors import Code, ModelError

FORMAT: Final = 1
"""Raised with any change that this loader, or an older one, would read wrongly."""
LOADER: Final = "loader.py"
MANIFEST = "manifest.json"
HOLIDAYS: Final = "holidays.json"
YEARS_AHEAD: Final = 5
"""Years after the cutoff's whose holidays are packed."""
FRAMES = ("sales", "stores", "store_versions", "covariates", "covariates_by_date",
          "covariate_versions")  # fmt: skip


def save(forecaster: UnifiedForecaster, folder: Path, *, code: bool = True) -> str:
    """Write ``forecaster`` into ``folder``, in place of what is there.

    Args:
        forecaster: fitted.
        folder: empty, new, or an older artefact's.
        code: whether to pack the storecast that is running; without it, the artefact needs one
            that is installed.

    Returns:
        The artefact's digest: the SHA-256 of its manifest, which holds every other digest.

    Raises:
        ModelError: MODEL_FAILED where the model has no state that plain files can hold;
            ARTIFACT_FILE_REFUSED where a file of its state is of a kind that is never read.
    """
    from storecast.artifact.pyfunc import signature  # which needs this module to load

    content = _content(forecaster)
    packed = wheel.build() if code else None
    if packed is not None:
        content[packed[0]] = packed[1]
    for name, told in content.items():
        check_kind(name, told)
    if folder.exists() and any(folder.iterdir()):
        shutil.rmtree(folder)
    for name, told in content.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(told)
    return seal(
        folder,
        {
            "features": forecaster.recipe.feature_version,
            "loader": hashlib.sha256(loader()).hexdigest(),
            "requirements": requirements(forecaster.recipe),
            "signature": signature(forecaster.rules).to_dict(),
            "wheel": packed[0] if packed is not None else None,
        },
    )


def loader() -> bytes:
    """The code that is logged beside an artefact, to load it."""
    return files("storecast.artifact").joinpath(LOADER).read_bytes()


def _content(forecaster: UnifiedForecaster) -> dict[str, bytes]:
    """Every file but the wheel and the manifest."""
    meta = {
        "cutoff": forecaster.cutoff.isoformat(),
        "through": forecaster.tail.through.isoformat(),
        "fingerprint": forecaster.fingerprint,
        "stores": list(forecaster.stores),
    }
    content = {
        "recipe.json": _text(forecaster.recipe.to_json()),
        "rules.json": _text(forecaster.rules.to_json()),
        "meta.json": _text(json.dumps(meta, ensure_ascii=False, indent=1)),
    }
    kept = free_days(
        forecaster.rules.calendar,
        forecaster.rules.training_from.year,
        forecaster.cutoff.year + YEARS_AHEAD,
    )
    if kept is not None:
        content[HOLIDAYS] = _text(kept.to_json())
    if forecaster.conformal is not None:
        content["conformal.json"] = _text(forecaster.conformal.to_json())
    content |= {f"model/{name}": told for name, told in _state(forecaster).items()}
    for name in FRAMES:
        frame = getattr(forecaster.tail, name)
        if frame is not None:
            held = BytesIO()
            frame.write_parquet(held)
            content[f"history/{name}.parquet"] = held.getvalue()
    return content


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


def seal(folder: Path, more: Mapping[str, Any]) -> str:
    """Write the manifest over the files that are there, with ``more`` in it. Returns the digest."""
    from storecast import __version__

    manifest: dict[str, Any] = {
        **more,
        "format": FORMAT,
        "package": "storecast",
        "version": __version__,
        "files": {name: digest(folder / name) for name in files_in(folder)},
    }
    told = _text(json.dumps(manifest, indent=1, sort_keys=True))
    (folder / MANIFEST).write_bytes(told)
    return hashlib.sha256(told).hexdigest()


def files_in(folder: Path) -> list[str]:
    """Every file below ``folder`` but the manifest, as sorted relative POSIX paths."""
    found = (f.relative_to(folder).as_posix() for f in folder.rglob("*") if not f.is_dir())
    return sorted(name for name in found if name != MANIFEST)


def digest(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _text(told: str) -> bytes:
    return f"{told}\n".encode()
