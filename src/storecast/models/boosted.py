"""Gradient boosting through Darts: one LightGBM for all stores, asked step by step.

The objective is the absolute error, so that the forecast is a median; intervals are conformal
(``calibration``). Each store's sales are divided by its own mean |sales|, taken from the past at
hand, at the fit and again at the forecast: a store that is new after the fit gets its own. A
dormant store is forecast as zero, where the trees would leave a little of every store's sales.

What the trees see of a period: the lags of the store's sales, the known covariates and the
calendar of the period, its place in the year, and the codes of the store's attributes. Left out
are known covariates that are not known for the whole horizon (``ahead``), since the trees would
be taught with values that they never get; realised covariates; and attributes of many values,
such as names, which tell a store from the others and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import polars as pl

from storecast.core.features import time_features, time_names
from storecast.core.identifiers import StoreCodes
from storecast.errors import Code, ModelError
from storecast.models.base import Recipe, parameters_of
from storecast.models.baselines import Matrix, horizon_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storecast.core.panel import SeriesRules
    from storecast.core.window import Future, Past
    from storecast.models.darts_bridge import Shape

    Floats = NDArray[np.float64]

MOST_CATEGORIES = 32
"""Values above which an attribute is left out; so is one with fewer than two stores a value."""

_LAGS = {
    "D": (*range(1, 15), 21, 28, 35, 42, 49, 56, 364),
    "W": (*range(1, 27), 51, 52, 53),
    "M": (*range(1, 14), 24),
}
_TREES, _DESCRIPTION = "lightgbm.txt", "lightgbm.json"


class LightGBM:
    """A recursive LightGBM over all stores.

    Parameters are LightGBM's, ``lags`` (a number, or a list of periods back) and ``seed``.
    ``min_child_samples`` None is a 200th of the known values, from 5 to 100.
    """

    kind: ClassVar[str] = "lightgbm"
    stateless: ClassVar[bool] = False
    defaults: ClassVar[Mapping[str, Any]] = {
        "lags": None,
        "objective": "l1",
        "n_estimators": 100,
        "num_leaves": 31,
        "learning_rate": 0.05,
        "min_child_samples": None,
        "subsample": 1.0,
        "subsample_freq": 0,
        "colsample_bytree": 0.4,
        "reg_alpha": 0.0,
        "reg_lambda": 0.0,
        "max_bin": 255,
        "seed": 0,
    }

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.parameters = parameters_of(recipe.name, recipe.parameters, self.defaults)
        self._shape: Shape | None = None
        self._categories: dict[str, StoreCodes] = {}
        self._model: Any = None

    def fit(self, past: Past) -> None:
        """Grow the trees.

        Raises:
            ModelError: MODEL_FAILED where no store has a known sale that is not zero.
        """
        from storecast.models.darts_bridge import Shape, train

        matrix = Matrix.of(past)
        scaled, scale = _scaled(matrix)
        taught = np.flatnonzero(np.nan_to_num(scale) > 0)
        if not taught.size:
            raise ModelError(
                Code.MODEL_FAILED,
                f"model {self.recipe.name!r} has nothing to learn from",
                where=f"cutoff {past.cutoff}",
                expected="a store with known sales other than zero",
                found="none",
            )
        self._categories = _categories(past)
        self._shape = Shape(
            lags=self._lags(past.rules),
            covariates=_covariates(past.rules),
            statics=tuple(self._categories),
        )
        periods = past.rules.frequency.ordinal(past.cutoff) - scaled.shape[1] + 1
        columns = _laid_out(past, matrix, self._shape.covariates)
        targets = []
        for i in taught:
            start = int(np.flatnonzero(~np.isnan(scaled[i]))[0])
            targets.append((periods + start, scaled[i, start:], columns[i, start:]))
        known = int((~np.isnan(scaled[taught])).sum())
        self._model = train(self._shape, self._native(known), targets, self._codes(past)[taught])

    def predict(self, past: Past, future: Future) -> pl.DataFrame:
        """Forecast every row of ``future``, step by step."""
        from storecast.models.darts_bridge import recurse

        shape, horizon = self._fitted(), horizon_of(future)
        matrix = Matrix.of(past)
        if not horizon or not matrix.stores:
            return matrix.frame(np.full((len(matrix.stores), horizon), np.nan), future)
        scaled, scale = _scaled(matrix)
        tails = np.full((len(matrix.stores), shape.reach), np.nan)
        kept = min(shape.reach, scaled.shape[1])
        tails[:, shape.reach - kept :] = scaled[:, scaled.shape[1] - kept :]
        forecast = recurse(
            self._model,
            shape,
            horizon,
            tails,
            _ahead(past, future, matrix, shape.covariates, horizon),
            self._codes(past),
        )
        awake = ~past.stores.get_column("dormant").to_numpy()
        return matrix.frame(forecast * (scale * awake)[:, None], future)

    def state(self) -> dict[str, bytes]:
        """The trees in LightGBM's text, the rest in JSON."""
        from storecast.models.darts_bridge import to_text

        shape = self._fitted()
        description = {
            "lags": shape.lags,
            "covariates": shape.covariates,
            "statics": shape.statics,
            "categories": {name: codes.values for name, codes in self._categories.items()},
        }
        return {
            _TREES: to_text(self._model).encode(),
            _DESCRIPTION: json.dumps(description, ensure_ascii=False).encode(),
        }

    @classmethod
    def from_state(cls, recipe: Recipe, files: Mapping[str, bytes]) -> Self:
        """Rebuild a fitted model; its forecasts are equal to the bit."""
        from storecast.models.darts_bridge import Shape, from_text

        model = cls(recipe)
        plain = json.loads(files[_DESCRIPTION])
        model._categories = {
            name: StoreCodes(tuple(values)) for name, values in plain["categories"].items()
        }
        model._shape = Shape(
            tuple(plain["lags"]), tuple(plain["covariates"]), tuple(plain["statics"])
        )
        model._model = from_text(model._shape, model._native(0), files[_TREES].decode())
        return model

    def _native(self, samples: int) -> dict[str, Any]:
        """The parameters as LightGBM has them: one thread, and nothing left to chance."""
        own = {k: v for k, v in self.parameters.items() if k not in ("lags", "seed")}
        if own["min_child_samples"] is None:
            own["min_child_samples"] = min(max(samples // 200, 5), 100)
        return {
            **own,
            "random_state": int(self.parameters["seed"]),
            "n_jobs": 1,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }

    def _lags(self, rules: SeriesRules) -> tuple[int, ...]:
        given = self.parameters["lags"]
        if given is None:
            return tuple(sorted({*_LAGS[rules.frequency.kind], rules.season}))
        lags = range(1, given + 1) if isinstance(given, int) else given
        if not lags or any(not isinstance(lag, int) or lag < 1 for lag in lags):
            raise ModelError(
                Code.MODEL_FAILED,
                f"model {self.recipe.name!r}: lags are periods back from the forecast one",
                where=f"models: {self.recipe.name}.lags",
                expected="a number, or a list of whole numbers from 1 up",
                found=str(given),
            )
        return tuple(sorted(set(lags)))

    def _fitted(self) -> Shape:
        if self._shape is None:
            raise ModelError(
                Code.MODEL_FAILED,
                f"model {self.recipe.name!r} is asked before it is fitted",
                expected="fit(past), or from_state",
            )
        return self._shape

    def _codes(self, past: Past) -> Floats:
        """N × A codes: 0 is a value not seen at the fit, or none."""
        columns = [
            codes.encode(past.stores.get_column(name)).astype(np.float64)
            for name, codes in self._categories.items()
        ]
        return np.column_stack(columns) if columns else np.zeros((past.stores.height, 0))


def _scaled(matrix: Matrix) -> tuple[Floats, Floats]:
    """N × T sales in units of each store's mean |sales|, and the N units.

    A unit of zero (nothing was ever sold) divides by one, and makes the forecast zero.
    """
    scale = matrix.mean_absolute(matrix.values.shape[1])
    return matrix.values / np.where(scale > 0, scale, 1.0)[:, None], scale


def _categories(past: Past) -> dict[str, StoreCodes]:
    """Attributes worth showing to the trees, each with the codes of its values."""
    result = {}
    for name in past.rules.attributes:
        codes = StoreCodes.learn(past.stores.get_column(name))
        if 2 <= len(codes.values) <= min(MOST_CATEGORIES, past.stores.height // 2):
            result[name] = codes
    return result


def _covariates(rules: SeriesRules) -> tuple[str, ...]:
    known = [
        name
        for name, known in rules.known.items()
        if known.ahead is None or known.ahead >= rules.horizon
    ]
    return (*known, *rules.calendar_columns, *time_names(rules.frequency))


def _laid_out(past: Past, matrix: Matrix, columns: tuple[str, ...]) -> Floats:
    """N × T × C covariates of the past."""
    size = (len(matrix.stores), matrix.values.shape[1], len(columns))
    first = matrix.last_period - size[1] + 1
    return _placed(past.rows, past.rules, matrix, columns, first, size)


def _ahead(
    past: Past, future: Future, matrix: Matrix, columns: tuple[str, ...], horizon: int
) -> Floats:
    """N × H × C covariates of the future; NaN for stores that the future has no rows of."""
    size = (len(matrix.stores), horizon, len(columns))
    return _placed(future.rows, past.rules, matrix, columns, matrix.last_period + 1, size)


def _placed(
    rows: pl.DataFrame,
    rules: SeriesRules,
    matrix: Matrix,
    columns: tuple[str, ...],
    first: int,
    size: tuple[int, int, int],
) -> Floats:
    result = np.full(size, np.nan)
    place = {store: i for i, store in enumerate(matrix.stores)}
    rows = rows.filter(pl.col("store_id").is_in(matrix.stores))
    if not rows.height or not columns:
        return result
    row = rows.get_column("store_id").replace_strict(
        list(place), list(place.values()), return_dtype=pl.Int64
    )
    column = rows.get_column("period").to_numpy().astype(np.int64) - first
    places = time_features(rows, rules.frequency)
    whole = rows.drop(places.columns, strict=False).hstack(places)
    values = whole.select(pl.col(columns).cast(pl.Float64).fill_null(np.nan))
    result[row.to_numpy(), column] = values.to_numpy()
    return result
