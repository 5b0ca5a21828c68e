"""Finds pickles: in files, in what gzip, zlib, bz2 and xz hold, and in the members of zips."""

from __future__ import annotations

import bz2
import io
import lzma
import pickletools
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

_NAMED = {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt"}
_ACTS = {"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD"}
"""Opcodes that import or call something."""


def pickles_in(folder: Path) -> Iterator[str]:
    """The name of every pickle below ``folder``."""
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        yield from pickles(file.relative_to(folder).as_posix(), file.read_bytes())


def pickles(name: str, content: bytes) -> Iterator[str]:
    """The names of those that a file is, or holds."""
    starts = [m.start() for m in re.finditer(rb"\x80[\x02-\x05]", content)]
    if Path(name).suffix in _NAMED or any(_is_pickle(content[at:]) for at in {0, *starts}):
        yield name
    for inner, told in _inside(content):
        yield from pickles(f"{name}!{inner}", told)


def _inside(content: bytes) -> Iterator[tuple[str, bytes]]:
    for what, opened in (
        ("zlib", lambda: zlib.decompress(content, 47)),
        ("bz2", lambda: bz2.decompress(content)),
        ("xz", lambda: lzma.decompress(content)),
    ):
        try:
            told = opened()
        except (zlib.error, OSError, lzma.LZMAError, ValueError, EOFError):
            continue
        if told:
            yield what, told
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                yield member, archive.read(member)


def _is_pickle(content: bytes) -> bool:
    """Whether a pickle begins here: one that acts, or is all of the content."""
    acts = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for code, _, place in pickletools.genops(content):
                acts = acts or code.name in _ACTS
                if code.name == "STOP":
                    whole = place is not None and place + 1 == len(content) and place > 0
                    return acts or whole
        except Exception:  # noqa: BLE001 - whatever is no pickle raises in its own way
            return False
    return False
