"""A wheel of the storecast that is running: the code that an artefact carries.

Made of the package's own files, wherever they lie (a checkout, site-packages, another wheel), with
neither a build backend nor the network. A pure-Python wheel can be imported from its own file by
``sys.path``; ``pip install`` takes it, too. The same files give the same bytes on every machine:
sorted, not compressed, and dated at the beginning of ZIP's time.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import storecast

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

PACKAGE: Final = "storecast"
_LEFT_OUT: Final = ("demos", "__pycache__")
_DATED: Final = (1980, 1, 1, 0, 0, 0)
_WHEEL: Final = """Wheel-Version: 1.0
Generator: storecast
Root-Is-Purelib: true
Tag: py3-none-any
"""


def build() -> tuple[str, bytes]:
    """The wheel's file name and its bytes; the demos are left out."""
    version = storecast.__version__
    described = f"{PACKAGE}-{version}.dist-info"
    content = {
        **{f"{PACKAGE}/{name}": told for name, told in sorted(_package(files(PACKAGE)))},
        **{f"{described}/{name}": told for name, told in _metadata(version).items()},
    }
    content[f"{described}/RECORD"] = _record(content, f"{described}/RECORD")
    return f"{PACKAGE}-{version}-py3-none-any.whl", _zipped(content)


def _package(folder: Traversable, above: str = "") -> Iterator[tuple[str, bytes]]:
    """Every file below ``folder``, by its path."""
    for entry in folder.iterdir():
        if entry.name in _LEFT_OUT or entry.name.startswith(".") or entry.name.endswith(".pyc"):
            continue
        if entry.is_dir():
            yield from _package(entry, f"{above}{entry.name}/")
        else:
            yield f"{above}{entry.name}", entry.read_bytes()


def _metadata(version: str) -> dict[str, bytes]:
    """The installed distribution's own words, where it is the one that is running."""
    told = {"METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {version}\n"}
    try:
        installed = distribution(PACKAGE)
        if installed.version == version:
            for name in ("METADATA", "entry_points.txt"):
                text = installed.read_text(name)
                if text is not None:
                    told[name] = text
    except PackageNotFoundError:
        pass  # run from a folder on sys.path
    told["WHEEL"] = _WHEEL
    return {name: text.encode() for name, text in told.items()}


def _record(content: Mapping[str, bytes], own: str) -> bytes:
    lines = []
    for name, told in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(told).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(told)}")
    return "\n".join([*lines, f"{own},,", ""]).encode()


def _zipped(content: Mapping[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_STORED) as archive:
        for name, told in content.items():
            entry = zipfile.ZipInfo(name, _DATED)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, told)
    return held.getvalue()
