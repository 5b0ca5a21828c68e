"""The one passage to Darts, and the only room of the models that knows pandas.

Series are indexed by the number of their period, never by dates: a gap or a month's length has
no way to go wrong. Importing this module imports Darts: do it where a model is used.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import pandas as pd
from darts import TimeSeries
from darts.models import LightGBMModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class KnownTargets(lightgbm.LGBMRegressor):  # type: ignore[misc]  # lightgbm has no types
    """A regressor that leaves out samples whose target is unknown; LightGBM takes NaN as 0."""

    def fit(self, X: Any, y: Any, **more: Any) -> KnownTargets:  # noqa: N803 - scikit-learn's name
        """Fit on the samples with a known target."""
        known = ~np.isnan(y)
        super().fit(X[known], y[known], **more)
        return self


@dataclass(frozen=True)
class Shape:
    """What the samples of a booster look like.

    Attributes:
        lags: of the target, in periods back, ascending: 1 is the period before.
        covariates: names of the numeric columns known for the period itself.
        statics: names of a store's categorical columns, in codes.
    """

    lags: tuple[int, ...]
    covariates: tuple[str, ...]
    statics: tuple[str, ...]

    @property
    def reach(self) -> int:
        """The longest lag."""
        return max(self.lags)


def new_booster(shape: Shape, parameters: Mapping[str, Any]) -> LightGBMModel:
    """An unfitted recursive LightGBM of Darts, on one thread and without chance."""
    model = LightGBMModel(
        lags=[-lag for lag in sorted(shape.lags, reverse=True)],
        lags_future_covariates=[0] if shape.covariates else None,
        output_chunk_length=1,
        use_static_covariates=bool(shape.statics),
        categorical_static_covariates=list(shape.statics) or None,
        **parameters,
    )
    model.model = KnownTargets(**model.model.get_params())
    return model


def train(
    shape: Shape,
    parameters: Mapping[str, Any],
    targets: Sequence[tuple[int, Floats, Floats]],
    statics: Floats,
) -> LightGBMModel:
    """Fit a booster on N stores.

    Args:
        shape: the samples' shape.
        parameters: of LightGBM.
        targets: a store's first period, its T values (NaN unknown), its T × C covariates. NaN is
            put before the first value as far as the longest lag reaches, so that each known value
            is one sample and none is a padded one.
        statics: N × A codes.
    """
    before = np.full(shape.reach, np.nan)
    series = [
        _series(first - shape.reach, np.concatenate([before, values]), shape.statics, codes)
        for (first, values, _), codes in zip(targets, statics, strict=True)
    ]
    model = new_booster(shape, parameters)
    with _quiet():
        model.fit(series, future_covariates=_covariates(shape, targets))
    return model


def recurse(
    model: LightGBMModel,
    shape: Shape,
    horizon: int,
    tails: Floats,
    covariates: Floats,
    statics: Floats,
) -> Floats:
    """Forecast N × H values from N × reach last values and N × H × C covariates."""
    series = [
        _series(-shape.reach, tail, shape.statics, codes)
        for tail, codes in zip(tails, statics, strict=True)
    ]
    ahead = [(0, np.empty(0), values) for values in covariates]
    with _quiet():
        forecasts = model.predict(
            horizon, series=series, future_covariates=_covariates(shape, ahead), show_warnings=False
        )
    return np.stack([forecast.values(copy=False)[:, 0] for forecast in forecasts])


def to_text(model: LightGBMModel) -> str:
    """The fitted trees in LightGBM's own text."""
    return str(model.model.booster_.model_to_string())


def from_text(shape: Shape, parameters: Mapping[str, Any], text: str) -> LightGBMModel:
    """A fitted model from its trees: a tiny fit gives Darts its shape, the text its trees."""
    length = shape.reach + 3
    tiny = [(0, np.arange(float(length)), np.zeros((length, len(shape.covariates))))]
    model = train(shape, {**parameters, "n_estimators": 1}, tiny, np.zeros((1, len(shape.statics))))
    model.model._Booster = lightgbm.Booster(model_str=text)
    return model


def _series(first: int, values: Floats, statics: Sequence[str], codes: Floats) -> TimeSeries:
    return TimeSeries(
        times=pd.RangeIndex(first, first + len(values)),
        values=np.ascontiguousarray(values)[:, None],
        static_covariates=pd.DataFrame([codes], columns=list(statics)) if statics else None,
        copy=False,
    )


def _covariates(
    shape: Shape, stores: Sequence[tuple[int, Floats, Floats]]
) -> list[TimeSeries] | None:
    if not shape.covariates:
        return None
    return [
        TimeSeries(
            times=pd.RangeIndex(first, first + len(values)),
            values=np.ascontiguousarray(values),
            components=list(shape.covariates),
            copy=False,
        )
        for first, _, values in stores
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Darts logs what a caller cannot change."""
    logger = logging.getLogger("darts")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
