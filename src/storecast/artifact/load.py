"""Reading an artefact: the manifest is checked before anything else is read."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from storecast.artifact.save import FORMAT, FRAMES, MANIFEST, digest, files_in
from storecast.artifact.unified import UnifiedForecaster
from storecast.core.features import FEATURE_VERSION
from storecast.core.panel import History, SeriesRules
from storecast.errors import Code, ModelError
from storecast.models.base import Recipe, create, restore
from storecast.models.calibration import Conformal


def load(folder: Path) -> UnifiedForecaster:
    """Read the artefact in ``folder``.

    Raises:
        ModelError: ARTIFACT_TAMPERED where a file is missing, added or not the one packed;
            ARTIFACT_FORMAT_UNKNOWN where a newer storecast wrote it, or one with other features.
    """
    check(folder)
    recipe = Recipe.from_json(_text(folder, "recipe.json"))
    if recipe.feature_version != FEATURE_VERSION:
        raise ModelError(
            Code.ARTIFACT_FORMAT_UNKNOWN,
            "the model was fitted on other features than this storecast makes",
            where=str(folder),
            expected=f"feature version {FEATURE_VERSION}",
            found=f"feature version {recipe.feature_version}",
            next_step="install the storecast that wrote it, or validate and deploy again",
        )
    rules = SeriesRules.from_json(_text(folder, "rules.json"))
    meta = json.loads(_text(folder, "meta.json"))
    frames: dict[str, Any] = {name: _frame(folder, name) for name in FRAMES}
    calibration = folder / "conformal.json"
    stateless = create(recipe).stateless
    return UnifiedForecaster(
        recipe=recipe,
        model=None if stateless else restore(recipe, _state(folder)),
        conformal=Conformal.from_json(_text(folder, "conformal.json"))
        if calibration.exists()
        else None,
        rules=rules,
        tail=History(**frames, through=date.fromisoformat(meta["through"]), rules=rules),
        cutoff=date.fromisoformat(meta["cutoff"]),
        fingerprint=meta["fingerprint"],
        stores=tuple(meta["stores"]),
    )


def recipe_of(folder: Path) -> Recipe:
    """The recipe packed in ``folder``, whatever features it is for; no model is read.

    Raises:
        ModelError: as ``check``.
    """
    check(folder)
    return Recipe.from_json(_text(folder, "recipe.json"))


def check(folder: Path) -> str:
    """Compare every file with the manifest, reading nothing else. Returns the digest.

    Raises:
        ModelError: as ``load``.
    """
    manifest = _manifest(folder)
    if manifest["format"] != FORMAT:
        raise ModelError(
            Code.ARTIFACT_FORMAT_UNKNOWN,
            "the artefact has a format that this storecast does not read",
            where=str(folder),
            expected=f"format {FORMAT}",
            found=f"format {manifest['format']}, written by storecast {manifest.get('version')}",
            next_step="install the storecast that wrote it, or deploy again",
        )
    packed: dict[str, str] = manifest["files"]
    there = set(files_in(folder))
    for name in sorted(there | set(packed)):
        if name not in there:
            raise _tampered(folder, name, "the file is missing")
        if name not in packed:
            raise _tampered(folder, name, "the file was added later")
        if digest(folder / name) != packed[name]:
            raise _tampered(folder, name, "its SHA-256 differs from the manifest's")
    return digest(folder / MANIFEST)


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(_text(folder, MANIFEST))
    except (OSError, ValueError) as fault:
        raise _tampered(folder, MANIFEST, "it cannot be read as JSON") from fault
    whole = (
        isinstance(manifest, dict)
        and isinstance(manifest.get("format"), int)
        and isinstance(manifest.get("files"), dict)
    )
    if not whole:
        raise _tampered(folder, MANIFEST, "it has no format number or no list of files")
    return dict(manifest)


def _tampered(folder: Path, name: str, found: str) -> ModelError:
    return ModelError(
        Code.ARTIFACT_TAMPERED,
        f"{name} of the artefact is not the file that was packed",
        where=str(folder / name),
        expected="the file named in the manifest, byte for byte",
        found=found,
        next_step="restore the model version from a backup, or `storecast deploy` again",
    )


def _text(folder: Path, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")


def _state(folder: Path) -> dict[str, bytes]:
    root = folder / "model"
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


def _frame(folder: Path, name: str) -> pl.DataFrame | None:
    file = folder / "history" / f"{name}.parquet"
    return pl.read_parquet(file) if file.exists() else None
