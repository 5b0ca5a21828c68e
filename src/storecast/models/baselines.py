"""Baselines that no leaderboard should lack; both learn nothing before they forecast.

All stores at once: a window's past becomes a matrix of N stores × T periods that ends at the
cutoff, NaN where a value is unknown or a store had not begun.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import polars as pl

from storecast.models.base import Recipe, parameters_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storecast.core.window import Future, Past

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Matrix:
    """Sales of N stores over T periods, the last of which is the cutoff's."""

    stores: list[str]
    values: Floats
    last_period: int

    @classmethod
    def of(cls, past: Past) -> Self:
        """Lay the past out; every store of ``past.stores`` has a row, known or not."""
        stores = past.stores.get_column("store_id").to_list()
        rows = past.rows
        last = past.rules.frequency.ordinal(past.cutoff)
        if not rows.height:
            return cls(stores, np.full((len(stores), 1), np.nan), last)
        period = rows.get_column("period").to_numpy().astype(np.int64)
        first = int(period.min())
        row = rows.get_column("store_id").cast(pl.Enum(stores)).to_physical()
        values = np.full((len(stores), last - first + 1), np.nan)
        sales = rows.get_column("sales").cast(pl.Float64).fill_null(np.nan).to_numpy()
        values[row.to_numpy().astype(np.int64), period - first] = sales
        return cls(stores, values, last)

    def mean_absolute(self, span: int) -> Floats:
        """N means of |sales| over each store's last ``span`` known periods; NaN without any."""
        known = ~np.isnan(self.values)
        rank = known[:, ::-1].cumsum(axis=1)[:, ::-1]
        taken = np.where(known & (rank <= span), np.abs(self.values), np.nan)
        return nanmean(taken, axis=1)

    def frame(self, forecast: Floats, future: Future) -> pl.DataFrame:
        """Pick from N × H forecasts the rows of the future.

        A store without any known value has NaN: it takes the median of the others' forecasts at
        the same step, and zero where there are none.
        """
        typical = np.nan_to_num(nanmedian(forecast, axis=0))
        whole = np.vstack([np.where(np.isnan(forecast), typical, forecast), typical])
        place = {store: i for i, store in enumerate(self.stores)}
        row = future.rows.get_column("store_id").replace_strict(
            list(place), list(place.values()), default=len(place), return_dtype=pl.Int64
        )
        step = future.rows.get_column("step").to_numpy()
        point = pl.Series("forecast", whole[row.to_numpy(), step - 1])
        return future.rows.select("store_id", "date", "step").with_columns(
            point, point.alias("forecast_mean")
        )


class Baseline:
    """What the two have in common: no state."""

    kind: ClassVar[str]
    stateless: ClassVar[bool] = True
    defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.parameters = parameters_of(recipe.name, recipe.parameters, self.defaults)

    def fit(self, past: Past) -> None:
        """Nothing is learnt before the forecast."""

    def state(self) -> dict[str, bytes]:
        """No files."""
        return {}

    @classmethod
    def from_state(cls, recipe: Recipe, files: Mapping[str, bytes]) -> Self:  # noqa: ARG003 - the contract
        """The same as a fresh one."""
        return cls(recipe)


class SeasonalNaive(Baseline):
    """The last known value of the same place in the season.

    Where a store has none (less than a season of history), the median of its last known values,
    at most 8. Hyndman and Athanasopoulos, Forecasting: Principles and Practice, section 5.2.
    """

    kind: ClassVar[str] = "seasonal_naive"

    def predict(self, past: Past, future: Future) -> pl.DataFrame:
        """Forecast every row of ``future``."""
        matrix = Matrix.of(past)
        forecast = seasonal_naive(matrix.values, past.rules.season, horizon_of(future))
        return matrix.frame(forecast, future)


def horizon_of(future: Future) -> int:
    """The largest step of the future, 0 where it is empty."""
    largest = future.rows.get_column("step").max()
    return int(largest) if isinstance(largest, int) else 0


def seasonal_naive(values: Floats, season: int, horizon: int) -> Floats:
    """N × H forecasts from N × T values."""
    stores, periods = values.shape
    seasons = -(-periods // season)
    padded = np.full((stores, seasons * season), np.nan)
    padded[:, seasons * season - periods :] = values
    last = np.full((stores, season), np.nan)
    for block in np.split(padded, seasons, axis=1):
        last = np.where(np.isnan(block), last, block)
    recent = recent_level(values, 8)
    last = np.where(np.isnan(last), recent[:, None], last)
    return last[:, np.arange(horizon) % season]


class LocalLevel(Baseline):
    """The median of the recent past, with a season where the past says that it helps.

    The level is the median of the last ``window`` periods (by default 26 weeks, 56 days or 12
    months). Three candidates are tried on the last ``trials`` horizons of the past itself: no
    season, the chain's common season (offsets in units of a store's scale), each store's own
    season; one with a season is taken where it lowers the chain's absolute error by ``gain``.
    """

    kind: ClassVar[str] = "local_level"
    defaults: ClassVar[Mapping[str, Any]] = {
        "window": None,
        "season": "auto",
        "trials": 8,
        "gain": 0.02,
    }

    def predict(self, past: Past, future: Future) -> pl.DataFrame:
        """Forecast every row of ``future``."""
        matrix = Matrix.of(past)
        season, horizon = past.rules.season, horizon_of(future)
        window = int(self.parameters["window"] or _usual_window(season))
        choice = self.parameters["season"]
        if choice == "auto":
            choice = self._choose(matrix.values, season, horizon, window)
        return matrix.frame(level_forecast(matrix.values, season, horizon, window, choice), future)

    def _choose(self, values: Floats, season: int, horizon: int, window: int) -> str:
        """The kind of season whose forecasts of the past's own end were best."""
        if season == 1 or not horizon:
            return "none"
        losses = dict.fromkeys(("none", "chain", "store"), 0.0)
        for trial in range(1, int(self.parameters["trials"]) + 1):
            cut = values.shape[1] - trial * horizon
            if cut < 2 * season:
                break
            target = values[:, cut : cut + horizon]
            for name in losses:
                forecast = level_forecast(values[:, :cut], season, horizon, window, name)
                losses[name] += float(np.nansum(np.abs(target - forecast)))
        best = min(losses, key=lambda name: losses[name])
        needed = (1.0 - float(self.parameters["gain"])) * losses["none"]
        return best if losses[best] < needed else "none"


def _usual_window(season: int) -> int:
    if season <= 7:
        return 8 * season if season > 1 else 8
    return 26 if season > 12 else season


def level_forecast(values: Floats, season: int, horizon: int, window: int, choice: str) -> Floats:
    """N × H forecasts: the level of what is left after the season, and the season again."""
    offsets = _offsets(values, season, choice)
    # offsets[:, 0] belongs to the first period after the cutoff
    periods = values.shape[1]
    place = np.arange(-periods, 0) % season
    level = recent_level(values - offsets[:, place], window)
    return level[:, None] + offsets[:, np.arange(horizon) % season]


def _offsets(values: Floats, season: int, choice: str) -> Floats:
    """N × season offsets from the level, zero where unknown."""
    stores, periods = values.shape
    seasons = min(periods // season, 8 if season <= 7 else 4)
    if choice == "none" or seasons < 2:
        return np.zeros((stores, season))
    blocks = values[:, periods - seasons * season :].reshape(stores, seasons, season)
    away = blocks - nanmedian(blocks, axis=2)[:, :, None]
    if choice == "store":
        enough = (~np.isnan(away)).sum(axis=1) >= 2
        return np.where(enough, np.nan_to_num(nanmedian(away, axis=1)), 0.0)
    scale = np.nan_to_num(nanmean(np.abs(blocks), axis=(1, 2)))
    scaled = away[scale > 0] / scale[scale > 0][:, None, None]
    if not scaled.size:
        return np.zeros((stores, season))
    common = np.nan_to_num(nanmedian(scaled.reshape(-1, season), axis=0))
    return scale[:, None] * common[None, :]


def recent_level(values: Floats, window: int) -> Floats:
    """N medians of each store's last ``window`` known values; NaN without any."""
    known = ~np.isnan(values)
    rank = known[:, ::-1].cumsum(axis=1)[:, ::-1]
    return nanmedian(np.where(known & (rank <= window), values, np.nan), axis=1)


def nanmedian(values: Floats, axis: int | tuple[int, ...]) -> Floats:
    """The median of the known values; NaN, without a warning, where there are none."""
    with _quiet():
        return np.asarray(np.nanmedian(values, axis=axis), dtype=np.float64)


def nanmean(values: Floats, axis: int | tuple[int, ...]) -> Floats:
    """The mean of the known values; NaN, without a warning, where there are none."""
    with _quiet():
        return np.asarray(np.nanmean(values, axis=axis), dtype=np.float64)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
