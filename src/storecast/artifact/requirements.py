"""What an artefact needs beside the storecast that it carries: exact versions, nothing else."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import TYPE_CHECKING, Final

from storecast.models import darts_classes
from storecast.models.base import ENTRY_POINTS, forecaster_of
from storecast.models.ensemble import computed

if TYPE_CHECKING:
    from storecast.models.base import Recipe

_ALL: Final = ("mlflow", "numpy", "pandas", "polars", "pyarrow", "holidays")
_NEURAL: Final = ("darts", "torch", "pytorch-lightning", "safetensors", "scikit-learn")
_BY_KIND: Final = {
    "seasonal_naive": (),
    "local_level": (),
    "ensemble": (),
    "lightgbm": ("lightgbm", "scikit-learn"),
    "xgboost": ("xgboost", "scikit-learn"),
    "ets": ("statsforecast",),
    "theta": ("statsforecast",),
    "nbeats": _NEURAL,
    "tft": _NEURAL,
}
_DARTS: Final = ("darts", "scikit-learn", "statsforecast")
"""Of a Darts model by its class; a network needs ``_NEURAL`` beside."""
_BELOW: Final = {"LightGBMModel": ("lightgbm",), "XGBModel": ("xgboost",)}
"""What a regression of Darts stands on; skops, where it is scikit-learn."""
_ALSO_NAMED: Final = {"xgboost": "xgboost-cpu"}
"""The same module in another distribution: named where that is the one installed."""


def requirements(recipe: Recipe) -> list[str]:
    """``name==version`` of what the recipe's model imports, storecast excepted.

    What these need in turn is theirs to say. A model by a third party's entry point brings the
    distribution that offers it.
    """
    needed = dict.fromkeys(_ALL)
    for made in computed([recipe]):
        needed |= dict.fromkeys(_needed(made))
    return [_pinned(name) for name in needed]


def _needed(recipe: Recipe) -> tuple[str, ...]:
    if recipe.kind == darts_classes.KIND:
        served = forecaster_of(recipe)
        name, _ = darts_classes.named(recipe)
        if served.__module__.endswith("darts_networks"):
            return (*_DARTS, *_NEURAL)
        return (*_DARTS, *(() if served.stateless else _BELOW.get(name, ("skops",))))
    if recipe.kind in _BY_KIND:
        return _BY_KIND[recipe.kind]
    offered = [p.dist for p in entry_points(group=ENTRY_POINTS) if p.name == recipe.kind]
    return tuple(dist.name for dist in offered if dist is not None)


def _pinned(name: str) -> str:
    for distribution in (_ALSO_NAMED.get(name, name), name):
        with suppress(PackageNotFoundError):
            # without the local part: no index has torch 2.13.0+cpu under that name
            return f"{distribution}=={version(distribution).partition('+')[0]}"
    return name
