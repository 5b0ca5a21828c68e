"""The artefact of a registered version, brought here and compared with what was registered."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from storecast.errors import Code, ModelError
from storecast.tracking import Tracking

if TYPE_CHECKING:
    from storecast.project import Project
    from storecast.registry.versions import ModelVersion


@contextmanager
def packed(project: Project, version: ModelVersion) -> Iterator[Path]:
    """A copy of a version's artefact, which is the one that was registered; it ends with the block.

    Raises:
        ModelError: ARTIFACT_TAMPERED, ARTIFACT_FORMAT_UNKNOWN.
        RegistryError: REGISTRY_UNREACHABLE.
    """
    with tempfile.TemporaryDirectory(prefix="storecast-") as scratch:
        yield _fetched(project, version, scratch)


def _fetched(project: Project, version: ModelVersion, scratch: str) -> Path:
    import mlflow.artifacts

    from storecast.artifact.load import check
    from storecast.artifact.pyfunc import ARTIFACT, NO_BAR

    os.environ.setdefault(NO_BAR, "false")
    with Tracking.of(project).active():
        place = mlflow.artifacts.download_artifacts(
            f"models:/{version.name}/{version.number}", dst_path=scratch
        )
    folder = Path(place) / "artifacts" / ARTIFACT
    found, wanted = check(folder), version.tags.get("digest")
    if found != wanted:
        raise ModelError(
            Code.ARTIFACT_TAMPERED,
            "the artefact is not the one that was registered",
            where=f"{version.name} version {version.number}",
            expected=f"digest {wanted}",
            found=f"digest {found}",
            next_step="promote another version, or storecast deploy again",
        )
    return folder
