"""Gradient boosting: one model for all stores, by LightGBM or XGBoost, recursive or direct.

Recursive, the default: one booster, asked step by step, each step from the forecasts of those
before. The objective is the absolute error, so that the forecast is a median; intervals are
conformal (``calibration``). Direct: every step from what is known at the cutoff, the step being a
feature; one booster a quantile, and one of the squared error for ``forecast_mean``.

Each store's sales are divided by its own mean |sales|, taken from the past at hand, at the fit
and again at the forecast: a store that is new after the fit gets its own. A dormant store is
forecast as zero, where the trees would leave a little of every store's sales.

What the trees see of a period: lags of the store's sales, what ``covariates`` says, and the codes
of the store's attributes (``encoding``); no attribute of many values, such as names, which tell a
store from the others and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
import polars as pl

from storecast.core.identifiers import StoreCodes
from storecast.core.schema import quantile_column
from storecast.errors import Code, ModelError
from storecast.models.base import Recipe, parameters_of
from storecast.models.baselines import Matrix, horizon_of
from storecast.models.covariates import Columns, Places
from storecast.models.encoding import categories, coded, taught
from storecast.models.panel_boosting import (
    Samples,
    Shape,
    Targets,
    at_once,
    features,
    recurse,
    repeats,
    steps_of,
)
from storecast.models.space import Number, Space, Whole
from storecast.models.trees import LIBRARIES, MEAN, MEDIAN, Library, Target, Trees, require

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storecast.core.panel import SeriesRules
    from storecast.core.window import Future, Past

    Floats = NDArray[np.float64]

_LAGS: Final = {
    "D": (*range(1, 15), 21, 28, 35, 42, 49, 56, 364),
    "W": (*range(1, 27), 51, 52, 53),
    "M": (*range(1, 14), 24),
}
_FROM_CUTOFF: Final = {"D": 14, "W": 13, "M": 13}
"""Lags that a direct booster counts from the cutoff; the further ones are aligned."""
_YEAR: Final = {"D": 364, "W": 52, "M": 12}
_OWN: Final = ("lags", "strategy", "engine")
RECURSIVE, DIRECT = "recursive", "direct"
_TREES_SPACE: Final[Space] = {
    "n_estimators": Whole(50, 400, log=True),
    "learning_rate": Number(0.02, 0.2, log=True),
    "colsample_bytree": Number(0.2, 1.0),
}
_LEAVES: Final = Whole(7, 127, log=True)
_FEWEST: Final = Whole(5, 100, log=True)
PANEL, DARTS = "panel", "darts"


@dataclass(frozen=True)
class _Laid:
    """The samples of a past: what the features are made of, and the targets."""

    samples: Samples
    values: Floats
    places: Places


class Boosted:
    """A booster over all stores.

    Parameters are the library's, and: ``lags`` (a number, or a list of periods back),
    ``strategy`` (recursive, direct), ``engine`` (panel; darts makes the samples, fits and
    forecasts by Darts' own class: the same forecasts, slower) and ``seed``.
    """

    kind: ClassVar[str]
    stateless: ClassVar[bool] = False
    defaults: ClassVar[Mapping[str, Any]]

    def __init__(self, recipe: Recipe) -> None:
        require(self.kind)
        self.recipe = recipe
        self.parameters = parameters_of(recipe.name, recipe.parameters, self.defaults)
        self._library: Library = LIBRARIES[self.kind]
        self._shape: Shape | None = None
        self._columns: Columns | None = None
        self._categories: dict[str, StoreCodes] = {}
        self._trees: dict[Target, Trees] = {}
        self._darts: Any = None
        if self.parameters["engine"] == DARTS and self._direct:
            raise self._wrong("engine", "panel, where the strategy is direct", DARTS)

    def fit(self, past: Past) -> None:
        """Grow the trees.

        Raises:
            ModelError: MODEL_FAILED where no store has a known sale that is not zero.
        """
        matrix = Matrix.of(past)
        scaled, scale = _scaled(matrix)
        teaching = np.nan_to_num(scale) > 0
        if not teaching.any():
            raise ModelError(
                Code.MODEL_FAILED,
                f"model {self.recipe.name!r} has nothing to learn from",
                where=f"cutoff {past.cutoff}",
                expected="a store with known sales other than zero",
                found="none",
            )
        self._columns = Columns.of(past.rules)
        self._categories = categories(past)
        shape = self._shape = self._shaped(past.rules)
        codes = taught(coded(past, self._categories), matrix.stores, self.parameters["seed"])
        scaled[~teaching] = np.nan
        known = int((~np.isnan(scaled)).sum())
        native = self._library.native(
            {k: v for k, v in self.parameters.items() if k not in _OWN},
            known,
            repeats(known, shape.horizon) if shape.horizon else 1,
        )
        if self.parameters["engine"] == DARTS:
            self._by_darts(past, matrix, scaled, codes, native)
            return
        binned = self._binned(past, matrix, scaled, codes, native)
        targets: Sequence[Target] = (MEDIAN,)
        if shape.horizon:
            targets = (*sorted({0.5, *past.rules.quantiles}), MEAN)
        self._trees = {name: self._library.grow(binned, native, name) for name in targets}

    def predict(self, past: Past, future: Future) -> pl.DataFrame:
        """Forecast every row of ``future``; a direct model has its own quantiles."""
        shape, horizon = self._fitted(), horizon_of(future)
        matrix = Matrix.of(past)
        if not horizon or not matrix.stores:
            return matrix.frame(np.full((len(matrix.stores), horizon), np.nan), future)
        scaled, scale = _scaled(matrix)
        awake = ~past.stores.get_column("dormant").to_numpy()
        size = (scale * awake)[:, None]
        covariates = self._ahead(past, future, matrix, horizon)
        codes = coded(past, self._categories)
        if not shape.horizon:
            if self._darts is not None:
                told = self._of_darts(scaled, covariates, codes)
            else:
                told = recurse(self._trees[MEDIAN], shape, scaled, covariates, codes)
            return matrix.frame(told * size, future)
        if horizon > shape.horizon:
            raise self._wrong("horizon", f"at most {shape.horizon} steps", str(horizon))
        made = at_once(list(self._trees.values()), shape, scaled, covariates, codes)
        by_target = dict(zip(self._trees, made * size, strict=True))
        return self._direct_frame(by_target, matrix, past, future)

    def state(self) -> dict[str, bytes]:
        """The trees in the library's own form, the rest in JSON."""
        description = {
            "shape": self._fitted().plain(),
            "columns": self._columns.plain() if self._columns is not None else None,
            "categories": {name: codes.values for name, codes in self._categories.items()},
            "trees": list(self._trees),
        }
        files = {
            self._file(number): trees.to_bytes()
            for number, trees in enumerate(self._trees.values())
        }
        told = json.dumps(description, ensure_ascii=False)
        return {f"{self.kind}.json": told.encode(), **files}

    @classmethod
    def from_state(cls, recipe: Recipe, files: Mapping[str, bytes]) -> Self:
        """Rebuild a fitted model; its forecasts are equal to the bit."""
        model = cls(recipe)
        plain = json.loads(files[f"{cls.kind}.json"])
        model._categories = {
            name: StoreCodes(tuple(values)) for name, values in plain["categories"].items()
        }
        model._shape = Shape.of_plain(plain["shape"])
        model._columns = Columns.of_plain(plain["columns"])
        model._trees = {
            target: model._library.read(files[model._file(number)])
            for number, target in enumerate(plain["trees"])
        }
        return model

    @property
    def _direct(self) -> bool:
        return bool(self.parameters["strategy"] == DIRECT)

    def _file(self, number: int) -> str:
        ending = f"_{number}" if self._direct else ""
        return f"{self.kind}{ending}.{self._library.suffix}"

    # -------------------------------------------------------------------------- samples

    def _binned(
        self, past: Past, matrix: Matrix, scaled: Floats, codes: Floats, native: Mapping[str, Any]
    ) -> Any:
        shape = self._fitted()
        laid = self._laid(past, matrix, scaled, codes, only_known=True)
        x = features(shape, Targets.of(scaled, shape.reach), laid.samples)
        return self._library.bin(x, laid.values, len(shape.statics), native)

    def _laid(
        self, past: Past, matrix: Matrix, scaled: Floats, codes: Floats, *, only_known: bool
    ) -> _Laid:
        """The samples of a past: those with a known target, or every row of it."""
        shape, columns = self._fitted(), self._fitted_columns()
        first = matrix.last_period - scaled.shape[1] + 1
        rows = past.rows.drop("date", "sales")
        places = Places.of(rows, matrix.stores, first)
        values, nth = scaled[places.row, places.at], np.zeros(rows.height, dtype=np.int64)
        if only_known:
            kept = np.flatnonzero(~np.isnan(values))
            times = repeats(kept.size, shape.horizon) if shape.horizon else 1
            nth, kept = np.tile(np.arange(times), kept.size), np.repeat(kept, times)
            rows, values = rows[kept], values[kept]
            places = replace(places, row=places.row[kept], at=places.at[kept])
        number = np.array([_number(store) for store in matrix.stores], dtype=np.uint64)
        steps = steps_of(number[places.row], places.at + first, past.rules.horizon, nth)
        told = columns.values(rows, places, steps, past)
        samples = Samples(places.row, places.at, steps, told, codes)
        return _Laid(samples, values, places)

    def _ahead(self, past: Past, future: Future, matrix: Matrix, horizon: int) -> Floats:
        """N × H × C covariates of the future; NaN for stores that the future has no rows of."""
        columns = self._fitted_columns()
        rows = future.rows.filter(pl.col("store_id").is_in(matrix.stores))
        first = matrix.last_period - matrix.values.shape[1] + 1
        places = Places.of(rows, matrix.stores, first)
        step = rows.get_column("step").to_numpy().astype(np.int64)
        result = np.full((len(matrix.stores), horizon, len(columns.names)), np.nan)
        for number, column in enumerate(columns.values(rows, places, step, past)):
            result[places.row, step - 1, number] = column
        return result

    def _shaped(self, rules: SeriesRules) -> Shape:
        names, statics = self._fitted_columns().names, tuple(self._categories)
        kind, season = rules.frequency.kind, rules.season
        if not self._direct:
            usual = (*_LAGS[kind], season)
            return Shape(self._lags(usual), names, statics)
        seasons = [season * n for n in range(1, 5 if season <= 7 else 3)] if season > 1 else []
        return Shape(
            lags=self._lags(range(1, _FROM_CUTOFF[kind] + 1)),
            covariates=names,
            statics=statics,
            horizon=rules.horizon,
            aligned=tuple(sorted({*seasons, _YEAR[kind]})),
            season=season,
        )

    def _lags(self, usual: Sequence[int]) -> tuple[int, ...]:
        given = self.parameters["lags"]
        lags = usual if given is None else range(1, given + 1) if isinstance(given, int) else given
        if not lags or any(not isinstance(lag, int) or lag < 1 for lag in lags):
            raise self._wrong("lags", "a number, or a list of whole numbers from 1 up", str(given))
        return tuple(sorted(set(lags)))

    # ------------------------------------------------------------------- what comes out

    def _direct_frame(
        self, told: Mapping[Target, Floats], matrix: Matrix, past: Past, future: Future
    ) -> pl.DataFrame:
        """The quantiles that were asked for, ascending; the median is the forecast, or the mean."""
        levels = [target for target in told if isinstance(target, float)]
        ascending = dict(
            zip(levels, np.sort([told[level] for level in levels], axis=0), strict=True)
        )
        point = told[MEAN] if past.rules.point == "mean" else ascending[0.5]
        named = {quantile_column(level): ascending[level] for level in past.rules.quantiles}
        return matrix.frame(point, future).with_columns(
            matrix.frame(values, future).get_column("forecast").alias(name)
            for name, values in {"forecast_mean": told[MEAN], **named}.items()
        )

    # ---------------------------------------------------------------------- through Darts

    def _by_darts(
        self, past: Past, matrix: Matrix, scaled: Floats, codes: Floats, native: Mapping[str, Any]
    ) -> None:
        from storecast.models import darts_bridge

        shape = self._fitted()
        laid = self._laid(past, matrix, scaled, codes, only_known=False)
        columns = np.full((*scaled.shape, len(shape.covariates)), np.nan)
        for number, column in enumerate(laid.samples.covariates):
            columns[laid.places.row, laid.places.at, number] = column
        targets, own = [], []
        for i in np.flatnonzero(~np.isnan(scaled).all(axis=1)):
            start = int(np.flatnonzero(~np.isnan(scaled[i]))[0])
            targets.append((start, scaled[i, start:], columns[i, start:]))
            own.append(codes[i])
        self._darts = darts_bridge.train(self.kind, shape, native, targets, np.array(own))
        self._trees = {MEDIAN: self._library.read(darts_bridge.to_bytes(self._darts))}

    def _of_darts(self, scaled: Floats, covariates: Floats, codes: Floats) -> Floats:
        from storecast.models import darts_bridge

        reach = self._fitted().reach
        tails = np.full((len(scaled), reach), np.nan)
        kept = min(reach, scaled.shape[1])
        tails[:, reach - kept :] = scaled[:, scaled.shape[1] - kept :]
        return darts_bridge.recurse(
            self._darts, self._fitted(), covariates.shape[1], tails, covariates, codes
        )

    # ----------------------------------------------------------------------------- checks

    def _fitted(self) -> Shape:
        if self._shape is None:
            raise ModelError(
                Code.MODEL_FAILED,
                f"model {self.recipe.name!r} is asked before it is fitted",
                expected="fit(past), or from_state",
            )
        return self._shape

    def _fitted_columns(self) -> Columns:
        assert self._columns is not None  # noqa: S101 - it comes and goes with the shape
        return self._columns

    def _wrong(self, key: str, expected: str, found: str) -> ModelError:
        return ModelError(
            Code.MODEL_FAILED,
            f"model {self.recipe.name!r}: {key} is {expected}",
            where=f"models: {self.recipe.name}.{key}",
            expected=expected,
            found=found,
        )


class LightGBM(Boosted):
    """LightGBM over all stores.

    ``min_child_samples`` None is a 200th of the known values, from 5 to 100.
    """

    kind: ClassVar[str] = "lightgbm"
    defaults: ClassVar[Mapping[str, Any]] = {
        "lags": None,
        "strategy": (RECURSIVE, DIRECT),
        "engine": (PANEL, DARTS),
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
    space: ClassVar[Space] = {**_TREES_SPACE, "num_leaves": _LEAVES, "min_child_samples": _FEWEST}


class XGBoost(Boosted):
    """XGBoost over all stores; an extra.

    Trees grow leaf by leaf, as LightGBM's do. ``min_child_weight`` None is as LightGBM's
    ``min_child_samples``.
    """

    kind: ClassVar[str] = "xgboost"
    defaults: ClassVar[Mapping[str, Any]] = {
        "lags": None,
        "strategy": (RECURSIVE, DIRECT),
        "engine": (PANEL, DARTS),
        "objective": "reg:absoluteerror",
        "n_estimators": 100,
        "max_leaves": 31,
        "max_depth": 0,
        "grow_policy": ("lossguide", "depthwise"),
        "learning_rate": 0.05,
        "min_child_weight": None,
        "subsample": 1.0,
        "colsample_bytree": 0.4,
        "reg_alpha": 0.0,
        "reg_lambda": 1.0,
        "max_bin": 256,
        "seed": 0,
    }
    space: ClassVar[Space] = {**_TREES_SPACE, "max_leaves": _LEAVES, "min_child_weight": _FEWEST}


def _scaled(matrix: Matrix) -> tuple[Floats, Floats]:
    """N × T sales in units of each store's mean |sales|, and the N units.

    A unit of zero (nothing was ever sold) divides by one, and makes the forecast zero.
    """
    scale = matrix.mean_absolute(matrix.values.shape[1])
    return matrix.values / np.where(scale > 0, scale, 1.0)[:, None], scale


def _number(store: str) -> int:
    """64 bits of a store's id, the same on every machine."""
    return int.from_bytes(hashlib.sha256(store.encode()).digest()[:8], "big")
