"""Where the tuning of a kind looks: the parameters that matter, and between what bounds.

A kind that can be tuned declares ``space``, a mapping from its parameters to these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from storecast.errors import Code, ModelError


@dataclass(frozen=True)
class Whole:
    """Whole numbers from ``low`` to ``high``, both included, evenly or by their logarithm."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True)
class Number:
    """Numbers from ``low`` to ``high``, evenly or by their logarithm."""

    low: float
    high: float
    log: bool = False


Space = Mapping[str, Whole | Number]


def space_of(name: str, kind: str, parameters: Mapping[str, Any]) -> Space:
    """What of a kind's space is left to tune: what the configuration gives stays as it is.

    Raises:
        ModelError: MODEL_FAILED where nothing is, MODEL_UNKNOWN.
    """
    from storecast.models.base import forecaster_class
    from storecast.models.darts_classes import KIND

    whole: Space = {} if kind == KIND else getattr(forecaster_class(kind), "space", {})
    left = {key: where for key, where in whole.items() if key not in parameters}
    if left:
        return left
    why = "every parameter that could be is given" if whole else f"kind {kind!r} has no space"
    raise ModelError(
        Code.MODEL_FAILED,
        f"model {name!r} cannot be tuned: {why}",
        where=f"models: {name}.tune",
        expected=f"one of {', '.join(whole)} left out" if whole else "lightgbm or xgboost",
        found=", ".join(parameters) or kind,
        next_step="take `tune` away",
    )
