"""What decides the numbers of a task, beside its window: code, libraries, machine, the model."""

from __future__ import annotations

import hashlib
import inspect
import json
import platform
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from storecast.models.base import Recipe, forecaster_of, is_foreign
from storecast.models.ensemble import KIND as ENSEMBLE
from storecast.models.ensemble import members_of

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from storecast.core.window import Window

_LIBRARIES = (
    "darts", "lightgbm", "numpy", "pandas", "polars", "pytorch-lightning", "scikit-learn", "scipy",
    "statsforecast", "torch", "xgboost", "xgboost-cpu",
)  # fmt: skip
ROOMS = ("core", "models", "backtest")
"""Rooms whose code decides what a task finds."""
MOST_FILES: Final = 2_000
MOST_CODE: Final = 64 << 20
"""Bytes of another package's code that are read to know it again."""


@cache
def code_digest(rooms: tuple[str, ...] = ROOMS) -> str:
    """SHA-256 of the code of these rooms of the package."""
    total = hashlib.sha256()
    for room in rooms:
        folder: Traversable = files("storecast").joinpath(room)
        for file in sorted(folder.iterdir(), key=lambda f: f.name):
            if file.name.endswith(".py"):
                total.update(f"{room}/{file.name}".encode())
                total.update(file.read_bytes())
    return total.hexdigest()


@cache
def surroundings() -> str:
    """SHA-256 of code, library versions, Python's version and the machine's kind."""
    told = [code_digest(), platform.python_version(), platform.machine(), platform.system()]
    told += [f"{name} {_version(name)}" for name in _LIBRARIES]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def model_identity(recipe: Recipe) -> str:
    """What decides a model: its recipe, where it computes, and what lies outside the package.

    That is ``outside_of`` it.
    """
    return json.dumps([recipe.to_json(), recipe.accelerator, *outside_of(recipe)])


def outside_of(recipe: Recipe) -> list[str]:
    """What of a model lies outside recipe and package; of an ensemble, of its members.

    The code of another package whose class serves it (``package_digest``), and the names, sizes
    and times of the files in a folder of pretrained weights. Nothing, of storecast's own kinds.
    """
    if recipe.kind == ENSEMBLE:
        return [told for member in members_of(recipe) for told in outside_of(member)]
    code = [package_digest(forecaster_of(recipe))] if is_foreign(recipe) else []
    return [*code, *weights_of(recipe)]


def package_digest(cls: type[Any]) -> str:
    """SHA-256 of the code that a class of another package comes with, and of its version.

    That is every ``.py`` file of the top-level package that holds the class, by path and content,
    up to ``MOST_FILES`` files and ``MOST_CODE`` bytes: of a larger one, the class's own file and
    the version. Packages that it imports in its turn do not count.
    """
    total = hashlib.sha256()
    top = cls.__module__.split(".")[0]
    for name in sorted(set(packages_distributions().get(top, ()))):
        total.update(f"{name} {_version(name)}\n".encode())
    source = inspect.getsourcefile(cls)
    own = [(Path(source).name, Path(source))] if source else []
    for name, file in _code_of(top) or own:
        content = file.read_bytes()
        total.update(f"{name} {len(content)}\n".encode())
        total.update(content)
    return total.hexdigest()


def _code_of(package: str) -> list[tuple[str, Path]]:
    """The files of a package by their paths in it, sorted; none where it is none, or too large."""
    found: list[tuple[str, Path]] = []
    size = 0
    for place in getattr(sys.modules.get(package), "__path__", ()):
        for file in Path(place).rglob("*.py"):
            found.append((file.relative_to(place).as_posix(), file))
            size += file.stat().st_size
            if len(found) > MOST_FILES or size > MOST_CODE:
                return []
    return sorted(found)


def weights_of(recipe: Recipe) -> list[str]:
    """Names, sizes and times of the files in a model's folder of pretrained weights, if any."""
    weights = recipe.parameters.get("weights")
    if not isinstance(weights, str) or not (folder := Path(recipe.home, weights)).is_dir():
        return []
    told = [(file.relative_to(folder), file.stat()) for file in sorted(folder.rglob("*"))]
    return [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in told]


def window_digest(window: Window, actual: pl.DataFrame) -> str:
    """SHA-256 of every value that a task of this window works with.

    A model is given the window's past and future and nothing else, and is set beside
    ``actual``: where these are equal, so is what comes of the task, whatever else the tables say.
    """
    total = hashlib.sha256(
        f"{window.cutoff} {window.horizon} {window.past.rules.to_json()}".encode()
    )
    for frame in (window.past.rows, window.past.stores, window.future.rows, actual):
        total.update(f"{frame.height} {frame.schema}".encode())
        for column in frame.get_columns():
            total.update(_bytes([column]))
    return total.hexdigest()


def _bytes(columns: Sequence[pl.Series]) -> memoryview:
    # one column at a time, so that no second copy of a whole panel is held
    return (
        pl.DataFrame(columns, nan_to_null=False)
        .rechunk()
        .write_ipc_stream(None, compression="uncompressed")
        .getbuffer()
    )
