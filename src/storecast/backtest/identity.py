"""What decides the numbers of a task, beside its window: code, libraries, machine, the model."""

from __future__ import annotations

import hashlib
import inspect
import json
import platform
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from storecast.models.base import Recipe, forecaster_of

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from storecast.core.window import Window

_LIBRARIES = (
    "darts", "lightgbm", "numpy", "pandas", "polars", "pytorch-lightning", "scikit-learn", "scipy",
    "statsforecast", "torch", "xgboost", "xgboost-cpu",
)  # fmt: skip
ROOMS = ("core", "models", "backtest")
"""Rooms whose code decides what a task finds."""


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

    That is the source file of a class of another package, and the names, sizes and times of the
    files in a folder of pretrained weights.
    """
    told = [recipe.to_json(), recipe.accelerator]
    cls = forecaster_of(recipe)
    if not cls.__module__.startswith("storecast."):
        source = inspect.getsourcefile(cls)
        told.append(hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else "")
    return json.dumps([*told, *weights_of(recipe)])


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
