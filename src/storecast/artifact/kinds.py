"""The kinds of file that an artefact may hold. None of them runs anything when it is read.

A file is of its kind by its suffix and by its first bytes; anything else is refused, a pickle
whatever it calls itself.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Final

from storecast.errors import Code, ModelError


def _json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def _lightgbm(content: bytes) -> bool:
    return content.startswith(b"tree\n")


def _ubj(content: bytes) -> bool:
    """An object whose first key has a length: ``{``, a type of integers, the length, the key."""
    return content[:1] == b"{" and content[1:2] in b"iUIlL" and content[-1:] == b"}"


def _safetensors(content: bytes) -> bool:
    length = int.from_bytes(content[:8], "little")
    return len(content) >= 8 + length and content[8:9] == b"{" and _json(content[8 : 8 + length])


def _parquet(content: bytes) -> bool:
    return content[:4] == b"PAR1" == content[-4:]


def _npy(content: bytes) -> bool:
    import numpy as np

    try:
        np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError):
        return False
    return content.startswith(b"\x93NUMPY")


def _zipped(content: bytes, fits: Callable[[str, bytes], bool]) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return all(fits(name, archive.read(name)) for name in archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return False


def _skops(content: bytes) -> bool:
    """A schema and arrays; what types it names, whoever reads it looks at."""

    def fits(name: str, told: bytes) -> bool:
        return name == "schema.json" or (name.endswith(".npy") and _npy(told))

    return content.startswith(b"PK") and _zipped(content, fits)


def _wheel(content: bytes) -> bool:
    """Text alone: a pure-Python wheel."""

    def fits(name: str, told: bytes) -> bool:
        try:
            told.decode("utf-8")
        except UnicodeDecodeError:
            return False
        return not name.endswith((".pyc", ".so", ".pkl", ".pickle"))

    return content.startswith(b"PK") and _zipped(content, fits)


KINDS: Final[Mapping[str, tuple[str, Callable[[bytes], bool]]]] = {
    ".json": ("JSON", _json),
    ".txt": ("LightGBM's text", _lightgbm),
    ".ubj": ("XGBoost's binary JSON", _ubj),
    ".safetensors": ("safetensors", _safetensors),
    ".skops": ("skops, of scikit-learn", _skops),
    ".npy": ("a NumPy array without objects", _npy),
    ".parquet": ("parquet", _parquet),
    ".whl": ("a wheel of text files", _wheel),
}


def check_kind(name: str, content: bytes) -> None:
    """Raise where a file is of no kind that an artefact may hold.

    Raises:
        ModelError: ARTIFACT_FILE_REFUSED.
    """
    kind, fits = KINDS.get(PurePosixPath(name).suffix, ("", None))
    if fits is not None and fits(content):
        return
    raise ModelError(
        Code.ARTIFACT_FILE_REFUSED,
        f"{name} of the artefact is "
        + (f"not {kind}, as its name says" if fits else "of a kind that is never read"),
        where=name,
        expected=", ".join(f"{what} ({suffix})" for suffix, (what, _) in KINDS.items()),
        found=f"{len(content)} bytes that begin with {content[:8]!r}",
        next_step="a model's state() gives files of these kinds alone; a pickle is never read",
    )
