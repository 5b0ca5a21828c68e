"""The one passage to Darts, and the only room of the models that knows pandas.

Series are indexed by the number of their period, never by dates: a gap or a month's length has
no way to go wrong. Importing this module imports Darts: do it where a model is used.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from darts import TimeSeries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storecast.models.panel_boosting import Shape

    Floats = NDArray[np.float64]


def _known_targets(base: type) -> type:
    """A regressor that leaves out samples whose target is unknown.

    LightGBM takes NaN as 0, XGBoost refuses it.
    """

    class KnownTargets(base):  # type: ignore[misc]  # the libraries have no types
        def fit(self, X: Any, y: Any, **more: Any) -> Any:  # noqa: N803 - scikit-learn's name
            """Fit on the samples with a known target."""
            known = ~np.isnan(y)
            return super().fit(X[known], y[known], **more)

    return KnownTargets


def new_booster(kind: str, shape: Shape, native: Mapping[str, Any]) -> Any:
    """An unfitted recursive LightGBM or XGBoost of Darts, with the library's own parameters."""
    plain: dict[str, Any] = {
        "lags": [-lag for lag in sorted(shape.lags, reverse=True)],
        "lags_future_covariates": [0] if shape.covariates else None,
        "output_chunk_length": 1,
        "use_static_covariates": bool(shape.statics),
    }
    if kind == "lightgbm":
        import lightgbm
        from darts.models import LightGBMModel

        plain["categorical_static_covariates"] = list(shape.statics) or None
        model, base = LightGBMModel(**plain, **native), lightgbm.LGBMRegressor
    else:
        import xgboost
        from darts.models import XGBModel

        model, base = XGBModel(**plain, **native), xgboost.XGBRegressor
    model.model = _known_targets(base)(**model.model.get_params())
    return model


def train(
    kind: str,
    shape: Shape,
    native: Mapping[str, Any],
    targets: Sequence[tuple[int, Floats, Floats]],
    statics: Floats,
) -> Any:
    """Fit a booster on N stores.

    Args:
        kind: lightgbm or xgboost.
        shape: the samples' shape.
        native: the library's parameters.
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
    model = new_booster(kind, shape, native)
    with _quiet():
        model.fit(series, future_covariates=_covariates(shape, targets))
    return model


def recurse(
    model: Any,
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


def to_bytes(model: Any) -> bytes:
    """The fitted trees in the library's own form."""
    if hasattr(model.model, "booster_"):
        return str(model.model.booster_.model_to_string()).encode()
    return bytes(model.model.get_booster().save_raw("ubj"))


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
