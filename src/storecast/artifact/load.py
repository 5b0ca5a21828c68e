"""Reading an artefact: the manifest is checked before anything else is read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from storecast.artifact.kinds import KINDS, check_kind
from storecast.artifact.save import FORMAT, FRAMES, HOLIDAYS, MANIFEST, files_in
from storecast.artifact.unified import UnifiedForecaster
from storecast.core.features import FEATURE_VERSION, READABLE
from storecast.core.free_days import FreeDays
from storecast.core.panel import History, SeriesRules
from storecast.errors import Code, ModelError
from storecast.models.base import Recipe, create, restore
from storecast.models.calibration import Conformal
from storecast.models.ensemble import KIND as ENSEMBLE
from storecast.models.ensemble import computed


@dataclass(frozen=True)
class Packed:
    """What a folder holds, once all of it is what was packed.

    Attributes:
        folder: where it lies.
        digest: the SHA-256 of the manifest.
        manifest: as JSON has it.
        written: the manifest's bytes.
        files: the bytes that were checked, by name; nothing is read a second time.
    """

    folder: Path
    digest: str
    manifest: Mapping[str, Any]
    written: bytes
    files: Mapping[str, bytes]


def load(folder: Path, digest: str | None = None) -> UnifiedForecaster:
    """Read the artefact in ``folder``. The arguments and errors are as ``opened`` has them.

    Raises:
        ModelError: FEATURE_VERSION_UNKNOWN where the model was fitted on other features than
            this storecast makes.
    """
    return forecaster_of(opened(folder, digest))


def check(folder: Path, digest: str | None = None) -> str:
    """Compare every file with the manifest, building nothing. Returns the digest.

    The arguments and errors are as ``opened`` has them.
    """
    return opened(folder, digest).digest


def recipe_of(folder: Path) -> Recipe:
    """The recipe packed in ``folder``, whatever features it is for; no model is built.

    Raises:
        ModelError: as ``opened``.
    """
    return Recipe.from_json(_text(opened(folder), "recipe.json"))


def opened(folder: Path, digest: str | None = None) -> Packed:
    """Read every file once, and make sure that it is the one packed.

    Args:
        folder: of the artefact.
        digest: what the manifest's SHA-256 has to be, as the registry has it; None: not known.

    Raises:
        ModelError: ARTIFACT_TAMPERED where a file is missing, added or not the one packed;
            ARTIFACT_FORMAT_UNKNOWN where a newer storecast wrote it; ARTIFACT_FILE_REFUSED where
            a file is of a kind that is never read.
    """
    written = read(folder, MANIFEST)
    found = hashlib.sha256(written).hexdigest()
    if digest and digest != found:
        raise ModelError(
            Code.ARTIFACT_TAMPERED,
            "the artefact is not the one that was registered",
            where=str(folder / MANIFEST),
            expected=f"digest {digest}",
            found=f"digest {found}",
            next_step="promote another version, or `storecast deploy` again",
        )
    manifest = _manifest(folder, written)
    packed: dict[str, str] = manifest["files"]
    _only_their_folders(folder, packed)
    there = set(files_in(folder))
    files: dict[str, bytes] = {}
    for name in sorted(there | set(packed)):
        if name not in there:
            raise tampered(folder, name, "the file is missing")
        if name not in packed:
            raise tampered(folder, name, "the file was added later")
        if PurePosixPath(name).suffix not in KINDS:
            check_kind(name, b"")
        files[name] = read(folder, name)
        if hashlib.sha256(files[name]).hexdigest() != packed[name]:
            raise tampered(folder, name, "its SHA-256 differs from the manifest's")
        check_kind(name, files[name])
    return Packed(folder, found, manifest, written, files)


def forecaster_of(packed: Packed) -> UnifiedForecaster:
    """Build the forecaster. Raises as ``load``."""
    recipe = Recipe.from_json(_text(packed, "recipe.json"))
    _check_features(packed, recipe)
    there = HOLIDAYS in packed.files  # older artefacts have none
    kept = FreeDays.from_json(_text(packed, HOLIDAYS)) if there else None
    rules = SeriesRules.from_json(_text(packed, "rules.json"), kept)
    meta = json.loads(_text(packed, "meta.json"))
    frames: dict[str, Any] = {name: _frame(packed, name) for name in FRAMES}
    stateless = create(recipe).stateless
    return UnifiedForecaster(
        recipe=recipe,
        model=None if stateless else restore(recipe, _state(packed)),
        conformal=Conformal.from_json(_text(packed, "conformal.json"))
        if "conformal.json" in packed.files
        else None,
        rules=rules,
        tail=History(**frames, through=date.fromisoformat(meta["through"]), rules=rules),
        cutoff=date.fromisoformat(meta["cutoff"]),
        fingerprint=meta["fingerprint"],
        stores=tuple(meta["stores"]),
    )


def _check_features(packed: Packed, recipe: Recipe) -> None:
    """Raises FEATURE_VERSION_UNKNOWN, of an ensemble's members too."""
    members = computed([recipe]) if recipe.kind == ENSEMBLE else ()
    for made in (recipe, *members):
        if made.feature_version not in READABLE:
            raise ModelError(
                Code.FEATURE_VERSION_UNKNOWN,
                f"the model {made.name!r} was fitted on features of version "
                f"{made.feature_version}, and this storecast makes {FEATURE_VERSION}",
                where=str(packed.folder),
                expected=f"feature version {' or '.join(map(str, READABLE))}",
                found=f"feature version {made.feature_version}, of storecast "
                f"{packed.manifest.get('version')}",
                next_step="load it where no storecast is installed, by the one packed in it; "
                "install the one that wrote it; or validate and deploy again",
            )


def _manifest(folder: Path, written: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(written)
    except ValueError as fault:
        raise tampered(folder, MANIFEST, "it cannot be read as JSON") from fault
    whole = (
        isinstance(manifest, dict)
        and isinstance(manifest.get("format"), int)
        and isinstance(manifest.get("files"), dict)
    )
    if not whole:
        raise tampered(folder, MANIFEST, "it has no format number or no list of files")
    if manifest["format"] != FORMAT:
        raise ModelError(
            Code.ARTIFACT_FORMAT_UNKNOWN,
            "the artefact has a format that this storecast does not read",
            where=str(folder),
            expected=f"format {FORMAT}",
            found=f"format {manifest['format']}, written by storecast {manifest.get('version')}",
            next_step="install the storecast that wrote it, or deploy again",
        )
    return dict(manifest)


def _only_their_folders(folder: Path, packed: Collection[str]) -> None:
    """Raises where a directory is a link, or holds nothing that was packed."""
    known = {above.as_posix() for name in packed for above in PurePosixPath(name).parents}
    for above, names, _ in os.walk(folder):
        for inner in (Path(above, name) for name in names):
            name = inner.relative_to(folder).as_posix()
            if inner.is_symlink():
                raise tampered(folder, name, "it is a link to a directory")
            if name not in known:
                raise tampered(folder, name, "the directory was added later")


def read(folder: Path, name: str) -> bytes:
    """A file's bytes.

    Raises:
        ModelError: ARTIFACT_TAMPERED where it cannot be read.
    """
    try:
        return (folder / name).read_bytes()
    except OSError as fault:
        raise tampered(folder, name, f"it cannot be read: {fault.strerror}") from fault


def tampered(
    folder: Path,
    name: str,
    found: str,
    expected: str = "the file named in the manifest, byte for byte",
) -> ModelError:
    """ARTIFACT_TAMPERED, of one file."""
    return ModelError(
        Code.ARTIFACT_TAMPERED,
        f"{name} of the artefact is not the file that was packed",
        where=str(folder / name),
        expected=expected,
        found=found,
        next_step="restore the model version from a backup, or `storecast deploy` again",
    )


def _text(packed: Packed, name: str) -> str:
    if name not in packed.files:
        raise tampered(packed.folder, name, "the file is missing")
    return packed.files[name].decode("utf-8")


def _state(packed: Packed) -> dict[str, bytes]:
    return {
        name.removeprefix("model/"): content
        for name, content in packed.files.items()
        if name.startswith("model/")
    }


def _frame(packed: Packed, name: str) -> pl.DataFrame | None:
    file = f"history/{name}.parquet"
    content = packed.files.get(file)
    try:
        return None if content is None else pl.read_parquet(content)
    except (pl.exceptions.PolarsError, OSError) as fault:
        raise tampered(packed.folder, file, "it cannot be read as parquet") from fault
