"""The kinds of file that an artefact may hold. None of them runs anything when it is read.

A file is of its kind by its suffix, and by its bytes from the first to the last; anything else is
refused, a pickle whatever it calls itself, and one that lies behind the data.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from storecast.artifact.ubjson import is_object
from storecast.errors import Code, ModelError

_LINE: Final = re.compile(
    r"[^=\s][^=]*=.*|\[\w+: .*\]|pandas_categorical:.*|parameters:|feature_importances:"
    r"|end of (?:trees|parameters)|"
)
"""A line of LightGBM's text; the last is empty."""
_ACTS: Final = {
    "GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD",
}  # fmt: skip
"""Opcodes of a pickle that import or call something."""


def _json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def _lightgbm(content: bytes) -> bool:
    """Sections of lines ``key=value``, and parameters in brackets."""
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return False
    return lines[0] == "tree" and all(_LINE.fullmatch(line) for line in lines[1:])


def _safetensors(content: bytes) -> bool:
    """A header, and the bytes that it tells of: without a gap, and with nothing behind."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 + length or content[8:9] != b"{" or not _json(content[8 : 8 + length]):
        return False
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    try:
        spans = sorted(
            tuple(told["data_offsets"]) for name, told in header.items() if name != "__metadata__"
        )
        at = 0
        for first, last in spans:
            if first != at or last < first:
                return False
            at = last
    except (TypeError, KeyError, ValueError):
        return False
    return at == len(content) - 8 - length


def _parquet(content: bytes) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.ParquetFile(io.BytesIO(content)).close()
    except (pa.ArrowException, OSError):
        return False
    return content[:4] == b"PAR1" == content[-4:]


def _npy(content: bytes) -> bool:
    import numpy as np

    stream = io.BytesIO(content)
    try:
        np.load(stream, allow_pickle=False)
    except (ValueError, EOFError, OSError):
        return False
    return content.startswith(b"\x93NUMPY") and stream.tell() == len(content)


def _zipped(content: bytes, fits: Callable[[str, bytes], bool]) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return not archive.comment and all(
                fits(name, archive.read(name)) for name in archive.namelist()
            )
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error):
        return False


def _skops(content: bytes) -> bool:
    """A schema and arrays; what types it names, whoever reads it looks at."""

    def fits(name: str, told: bytes) -> bool:
        return _json(told) if name == "schema.json" else name.endswith(".npy") and _npy(told)

    return content.startswith(b"PK") and _zipped(content, fits)


def _wheel(content: bytes) -> bool:
    """Text alone: a pure-Python wheel."""

    def fits(name: str, told: bytes) -> bool:
        try:
            told.decode("utf-8")
        except UnicodeDecodeError:
            return False
        return not name.endswith((".pyc", ".so", ".pkl", ".pickle")) and not _pickle(told)

    return content.startswith(b"PK") and _zipped(content, fits)


def _pickle(content: bytes) -> bool:
    """Whether text is a pickle: protocols 0 and 1 need no byte that text has not."""
    acts = False
    try:
        for code, _, place in pickletools.genops(content):
            acts = acts or code.name in _ACTS
            if code.name == "STOP":
                return acts or 0 < (place or 0) == len(content) - 1
    except (ValueError, OverflowError, struct.error):
        return False  # no opcode, or an opcode without what it needs
    return False


KINDS: Final[Mapping[str, tuple[str, Callable[[bytes], bool]]]] = {
    ".json": ("JSON", _json),
    ".txt": ("LightGBM's text", _lightgbm),
    ".ubj": ("XGBoost's binary JSON", is_object),
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
