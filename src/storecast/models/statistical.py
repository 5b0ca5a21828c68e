"""ETS and Theta through statsforecast, store by store; nothing is learnt before the forecast.

Hyndman, Koehler, Ord and Snyder, Forecasting with Exponential Smoothing (2008); Assimakopoulos
and Nikolopoulos, The theta model, International Journal of Forecasting 16 (2000), 521–530.

Intervals are conformal, as with the other models that give a point: the library's own suppose
errors of one size and a normal shape, which the sales of a shop do not have.

The library takes no unknown values. A store's series begins after its last long gap (two seasons
and eight periods at least) where enough follows; a shorter gap repeats the season before it.
What the library cannot fit (fewer than eight known values, for one) is forecast by the median of
the last eight.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from storecast.errors import Code, ModelError
from storecast.models.base import Recipe
from storecast.models.baselines import Baseline, Matrix, horizon_of, recent_level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storecast.core.calendar import Frequency
    from storecast.core.window import Future, Past

    Floats = NDArray[np.float64]

FEWEST = 8
"""Known values below which the library is not asked."""
LONGEST_SEASON = 24
"""Above it a season is left out: as many states as periods of a season are not learnt from a few
of them, and R's ets draws the line here as well."""
_WINDOW = {"D": 728, "W": 260, "M": 240}


class _StoreByStore(Baseline):
    """What the two have in common: the series of each store, made whole, to the library."""

    choices: ClassVar[tuple[str, ...]]

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        model = self.parameters["model"]
        if model not in self.choices:
            raise ModelError(
                Code.MODEL_FAILED,
                f"parameter 'model' of model {recipe.name!r} cannot be {model!r}",
                where=f"models: {recipe.name}.model",
                expected=", ".join(self.choices),
                found=model,
            )

    def predict(self, past: Past, future: Future) -> pl.DataFrame:
        """Forecast every row of ``future``."""
        matrix, horizon = Matrix.of(past), horizon_of(future)
        frequency = past.rules.frequency
        season = past.rules.season if past.rules.season <= LONGEST_SEASON else 1
        window = int(self.parameters["window"] or _WINDOW[frequency.kind])
        forecast = np.repeat(recent_level(matrix.values, FEWEST)[:, None], horizon, axis=1)
        if horizon:
            for i, values in enumerate(matrix.values):
                whole = without_gaps(values, season)[-window:]
                if whole.size >= FEWEST:
                    told = self._asked(whole, season, horizon, frequency)
                    if told is not None and np.isfinite(told).all():
                        forecast[i] = told
        return matrix.frame(forecast, future)

    def _asked(
        self, values: Floats, season: int, horizon: int, frequency: Frequency
    ) -> Floats | None:
        """H forecasts of the library from T whole values; None where it can fit nothing."""
        model = self._library(season if values.size >= 2 * season + 1 else 1, frequency)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                told = model.forecast(y=values, h=horizon)
            except Exception:  # noqa: BLE001 - "no model able to be fitted" is a bare Exception
                return None
        return np.asarray(told["mean"], dtype=np.float64)

    def _library(self, season: int, frequency: Frequency) -> Any:
        raise NotImplementedError


class ETS(_StoreByStore):
    """Exponential smoothing, its form chosen for each store by the corrected AIC.

    ``model`` is error, trend and season, each A (additive), M (multiplicative), N (none) or Z
    (chosen); ``auto`` is ZZZ, and for days ZNZ, which takes an eighth of the time. ``window`` is
    how many periods back it looks.
    """

    kind: ClassVar[str] = "ets"
    defaults: ClassVar[Mapping[str, Any]] = {"model": "auto", "window": None}
    choices: ClassVar[tuple[str, ...]] = (
        "auto",
        *(e + t + s for e in "ZAM" for t in "ZNAM" for s in "ZNAM"),
    )

    def _library(self, season: int, frequency: Frequency) -> Any:
        from statsforecast.models import AutoETS

        form = self.parameters["model"]
        if form == "auto":
            form = "ZNZ" if frequency.kind == "D" else "ZZZ"
        return AutoETS(season_length=season, model=form if season > 1 else form[:2] + "N")


class Theta(_StoreByStore):
    """The theta method; ``model`` is STM (the standard one), OTM, DSTM or DOTM.

    The season is additive, since sales can be zero. ``window`` is how many periods back it looks.
    """

    kind: ClassVar[str] = "theta"
    defaults: ClassVar[Mapping[str, Any]] = {"model": "STM", "window": None}
    choices: ClassVar[tuple[str, ...]] = ("STM", "OTM", "DSTM", "DOTM")

    def _library(self, season: int, frequency: Frequency) -> Any:  # noqa: ARG002 - as the other
        from statsforecast.models import AutoTheta

        return AutoTheta(
            season_length=season,
            decomposition_type="additive",
            model=self.parameters["model"],
        )


def without_gaps(values: Floats, season: int) -> Floats:
    """A store's values from its first known one on, or from the end of its last long gap.

    Args:
        values: T values, NaN where unknown.
        season: periods of a season; an unknown value is that of a season before, or the last.

    Returns:
        At most T known values; none where nothing is known.
    """
    known = np.flatnonzero(~np.isnan(values))
    if not known.size:
        return np.empty(0)
    long = np.flatnonzero(np.diff(known) > max(2 * season, FEWEST))
    start = 0
    if long.size and known.size - long[-1] - 1 >= max(2 * season + 1, 2 * FEWEST):
        start = int(long[-1]) + 1
    whole = values[known[start] :].copy()
    for t in np.flatnonzero(np.isnan(whole)):
        whole[t] = whole[t - season] if t >= season else whole[t - 1]
    return whole
