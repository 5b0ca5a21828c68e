"""Darts models without a network, by their class: of one series, or a regression over all."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr
from io import StringIO
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import polars as pl

from storecast.errors import Code, ModelError
from storecast.models import estimators
from storecast.models.base import Recipe
from storecast.models.baselines import Matrix, horizon_of, recent_level
from storecast.models.darts_classes import KIND, found, made, parameters_for
from storecast.models.statistical import FEWEST, without_gaps
from storecast.models.windows import columns_of, scaling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storecast.core.window import Future, Past

    Floats = NDArray[np.float64]

DESCRIPTION = "regression.json"
_LAGS = {"D": [*range(1, 15), 21, 28], "W": [*range(1, 14), 26, 52], "M": [*range(1, 13)]}


class DartsLocal:
    """A model of one series: fitted to each store at the forecast, by its sales alone.

    A store's series is made whole as for ETS and Theta. Where Darts cannot fit it (a series too
    short, say), the store has the median of its last eight values. Intervals are conformal.
    """

    kind: ClassVar[str] = KIND
    stateless: ClassVar[bool] = True

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._class = found(recipe)
        takes_more = any(base.__name__ == "StatsForecastModel" for base in self._class.__mro__)
        own = parameters_for(recipe, self._class, {}, own_lags=takes_more)
        drawn = "random_state" in inspect.signature(self._class.__init__).parameters
        self._own = {**own, **({"random_state": 0} if drawn else {})}
        made(recipe, self._class, self._own)

    def fit(self, past: Past) -> None:
        """Nothing is learnt before the forecast."""

    def predict(self, past: Past, future: Future) -> pl.DataFrame:
        """Forecast every row of ``future``.

        Raises:
            ModelError: MODEL_FAILED where no store at all could be fitted.
        """
        matrix, horizon = Matrix.of(past), horizon_of(future)
        forecast = np.repeat(recent_level(matrix.values, FEWEST)[:, None], horizon, axis=1)
        told, fault = 0, ""
        for i, values in enumerate(matrix.values if horizon else []):
            whole = without_gaps(values, past.rules.season)
            if not whole.size:
                continue
            one, said = self._asked(whole, horizon)
            fault = said or fault
            if one is not None and np.isfinite(one).all():
                forecast[i], told = one, told + 1
        if fault and not told:
            raise ModelError(
                Code.MODEL_FAILED,
                f"model {self.recipe.name!r} could not be fitted to any store: {fault}",
                where=f"cutoff {past.cutoff}",
            )
        return matrix.frame(forecast, future)

    def _asked(self, values: Floats, horizon: int) -> tuple[Floats | None, str]:
        """H forecasts of one store; or None, and why."""
        from darts import TimeSeries

        with warnings.catch_warnings(), redirect_stderr(StringIO()), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                model = self._class(**self._own)
                model.fit(TimeSeries.from_values(values))
                told = model.predict(horizon)
            except Exception as fault:  # noqa: BLE001 - any library may lie below: the store is filled
                return None, f"{type(fault).__name__}: {fault}"
        return np.asarray(told.values(copy=False)[:, 0], dtype=np.float64), ""

    def state(self) -> dict[str, bytes]:
        """No files."""
        return {}

    @classmethod
    def from_state(cls, recipe: Recipe, files: Mapping[str, bytes]) -> Self:  # noqa: ARG003
        """The same as a fresh one."""
        return cls(recipe)


class DartsRegression:
    """A regression over all stores, asked step by step.

    Each store's sales are divided by its own mean |sales|. Unknown periods hold the mean and
    carry no weight, where the regression takes weights. What is known ahead, and the calendar,
    are future covariates. Intervals are conformal.

    Darts itself keeps a regression as a pickle alone. The state here is the estimator below its
    wrapper (``estimators``), and what rebuilds the wrapper.
    """

    kind: ClassVar[str] = KIND
    stateless: ClassVar[bool] = False

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._class = found(recipe)
        self._own = parameters_for(recipe, self._class, {"lags": None}, own_lags=True)
        self._model: Any = None
        self._scaling: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
        self._taught: list[int] = []
        made(recipe, self._class, self._native([1], covariates=False))

    def fit(self, past: Past) -> None:
        """Fit to all stores with a known sale other than zero.

        Raises:
            ModelError: MODEL_FAILED where there is none, or the lags reach farther than any.
        """
        matrix, rules = Matrix.of(past), past.rules
        _, columns = columns_of(matrix, past, None)
        self._scaling = scaling(columns)
        lags = self._lags(rules.frequency.kind)
        series, ahead, weights = [], [], []
        for values, known, size in zip(
            matrix.values, self._scaled(columns), self._sizes(matrix), strict=True
        ):
            told = np.flatnonzero(~np.isnan(values))
            if not told.size or not size or values.size - told[0] < max(lags) + 2:
                continue
            cut = slice(int(told[0]), None)
            filled = np.where(np.isnan(values), np.sign(np.nanmean(values)), values / size)[cut]
            series.append(filled[:, None])
            ahead.append(known[cut])
            weights.append((~np.isnan(values[cut])).astype(float)[:, None])
        if not series:
            raise ModelError(
                Code.MODEL_FAILED,
                f"model {self.recipe.name!r} has nothing to learn from",
                where=f"cutoff {past.cutoff}",
                expected=f"a store with known sales other than zero over {max(lags) + 2} periods",
                found="none",
            )
        self._taught = lags
        self._learn(series, ahead, weights)

    def predict(self, past: Past, future: Future) -> pl.DataFrame:
        """Forecast every row of ``future``, step by step."""
        matrix, horizon = Matrix.of(past), horizon_of(future)
        if not horizon or not matrix.stores:
            return matrix.frame(np.full((len(matrix.stores), horizon), np.nan), future)
        _, columns = columns_of(matrix, past, future)
        reach = max(self._taught)
        size = self._sizes(matrix)
        unit = np.where(size > 0, size, 1.0)[:, None]
        tails = np.full((len(matrix.stores), reach), np.nan)
        kept = min(reach, matrix.values.shape[1])
        tails[:, reach - kept :] = matrix.values[:, matrix.values.shape[1] - kept :] / unit
        tails = np.where(np.isnan(tails), 1.0, tails)
        known = self._scaled(columns)[:, matrix.values.shape[1] - kept :]
        known = np.pad(known, ((0, 0), (reach - kept, 0), (0, 0)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            told = self._model.predict(
                horizon,
                series=[_series(tail[:, None]) for tail in tails],
                future_covariates=[_series(values) for values in known],
                show_warnings=False,
            )
        forecast = np.stack([one.values(copy=False)[:, 0] for one in told])
        awake = ~past.stores.get_column("dormant").to_numpy()
        return matrix.frame(forecast * (size * awake)[:, None], future)

    def state(self) -> dict[str, bytes]:
        """The estimator in its own form, the rest in JSON.

        Raises:
            ModelError: MODEL_FAILED where the estimator has no form but a pickle.
        """
        name, content = estimators.to_bytes(self.recipe.name, self._model.model)
        description = {"lags": self._taught, "scaling": self._scaling, "estimator": name}
        return {DESCRIPTION: json.dumps(description).encode(), name: content}

    @classmethod
    def from_state(cls, recipe: Recipe, files: Mapping[str, bytes]) -> Self:
        """Rebuild a fitted model; its forecasts are equal to the bit.

        Darts learns its sizes at a fit: one on a little piece of the same shape, whose estimator
        then makes way for the one that was kept.
        """
        model = cls(recipe)
        plain = json.loads(files[DESCRIPTION])
        mean, scale = plain["scaling"]
        model._scaling, model._taught = (tuple(mean), tuple(scale)), plain["lags"]
        length = max(model._taught) + 30
        drawn = np.random.default_rng(0).normal(size=(length, 1 + len(mean)))
        model._learn([drawn[:, :1]], [drawn[:, 1:]], [np.ones((length, 1))])
        name = plain["estimator"]
        model._model.model = estimators.put_back(model._model.model, name, files[name])
        return model

    def _learn(self, series: list[Floats], ahead: list[Floats], weights: list[Floats]) -> None:
        self._model = made(self.recipe, self._class, self._native(self._taught, covariates=True))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model.fit(
                [_series(values) for values in series],
                future_covariates=[_series(values) for values in ahead],
                sample_weight=[_series(values) for values in weights],
            )

    def _native(self, lags: list[int], *, covariates: bool) -> dict[str, Any]:
        own = {k: v for k, v in self._own.items() if k != "lags"}
        return {
            **own,
            "lags": [-lag for lag in sorted(lags, reverse=True)],
            "lags_future_covariates": [0] if covariates else None,
            "output_chunk_length": 1,
            "random_state": 0,
        }

    def _lags(self, kind: str) -> list[int]:
        given = self._own["lags"]
        if given is None:
            return _LAGS[kind]
        return list(range(1, given + 1)) if isinstance(given, int) else list(given)

    def _scaled(self, columns: Floats) -> Floats:
        mean, scale = self._scaling
        scaled: Floats = (columns - np.asarray(mean)) / np.asarray(scale)
        return np.nan_to_num(scaled)

    @staticmethod
    def _sizes(matrix: Matrix) -> Floats:
        return matrix.mean_absolute(matrix.values.shape[1])


def _series(values: Floats) -> Any:
    from darts import TimeSeries

    return TimeSeries.from_values(np.ascontiguousarray(values))
