"""The past as windows, for models that read a stretch of it and forecast a whole horizon.

Sizes: N stores, T periods of the past, H the horizon, L the stretch that is read, B windows,
C columns, A attributes. A window (i, t) reads the periods t-L … t-1 of store i and forecasts
t … t+H-1, periods being counted from the first of the past.

Everything in a window is made of the window alone, so that a window of the training and the one
at the cutoff are alike:

- Its sales are divided by the mean |sales| of the stretch read. Unknown periods, and those before
  a store's first, hold the stretch's mean, and a column says which values are known. In one
  window of twenty the early part is hidden, so that short histories are taught as well.
- Unknown periods of the target carry no weight.
- What is known ahead (known covariates, the calendar, the place in the year, the store's own
  sales of the last season) covers the periods t-L … t+H-1. A model that takes future covariates
  reads it so. One that takes only covariates of the past reads, beside period s, what is known of
  period s+H: the same values, moved by the horizon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import polars as pl

from storecast.core.panel import Grid
from storecast.models.covariates import Columns, Places

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storecast.core.window import Future, Past
    from storecast.models.baselines import Matrix

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]
    Integers = NDArray[np.int64]

FEWEST: Final = 4
"""Known values that a window of the training reads at least."""
SHORTENED: Final = 0.05
"""The share of the training's windows whose early part is hidden."""
FARTHEST: Final = 10.0
"""Standard deviations from the mean beyond which a column is cut."""


@dataclass(frozen=True)
class Shape:
    """What a window looks like; plain enough for JSON.

    Attributes:
        past: L, the periods read.
        future: H, the periods forecast.
        lag: how many periods back the last season's sales lie: whole seasons, H at least.
        columns: names of what is known ahead, the last season's sales not counted.
        ahead: for how many periods after t each of them is, C long.
        mean, scale: of the columns, C long.
        categories: how many codes each attribute has, A long; 0 is the unknown.
        takes_past, takes_future: which covariates the model takes.
        takes_statics: how it takes attributes: ``codes``, to embed; ``one_hot``, a column for
            each code; or not at all, an empty text.
    """

    past: int
    future: int
    lag: int
    columns: tuple[str, ...]
    ahead: tuple[int, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    categories: tuple[int, ...]
    takes_past: bool
    takes_future: bool
    takes_statics: str

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Rebuild from what JSON made of ``vars``."""
        whole: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()
        }
        return cls(**whole)


@dataclass(frozen=True)
class Batch:
    """B windows in single precision; a covariate that the model does not take is None.

    Attributes:
        past_target: B × L × 1.
        past_covariates: B × L × P.
        historic: B × L × F, what is known ahead over the stretch read.
        ahead: B × H × F, the same over the target.
        statics: B × 1 × A codes, or B × 1 × the sum of ``categories``.
        target, weight: B × H × 1.
        scale: B, to multiply forecasts by.
    """

    past_target: Singles
    past_covariates: Singles | None
    historic: Singles | None
    ahead: Singles | None
    statics: Singles | None
    target: Singles
    weight: Singles
    scale: Floats


def columns_of(matrix: Matrix, past: Past, future: Future | None) -> tuple[dict[str, int], Floats]:
    """What is known ahead: the names, each with for how many periods, and the values.

    As ``covariates`` has it: known covariates, one with a short ``ahead`` among them (windows
    hide it beyond), the calendar, and realised covariates as they were a season before. Of the
    places in time the sines and cosines are kept; a weekday is seven columns.

    Returns:
        the C names, and N × (T + H) × C values, NaN where a store has no row. Without a future,
        H is 0.
    """
    rules, periods = past.rules, matrix.values.shape[1]
    columns = Columns.of(rules)
    kept = [name for name in columns.names if name not in _NUMBERS]
    days = _WEEKDAYS if "weekday" in columns.names else ()
    ahead = dict.fromkeys((*kept, *days), rules.horizon) | dict(columns.short)
    frames = [past.rows] if future is None else [past.rows, future.rows, _beyond(past, future)]
    length = periods + (0 if future is None else rules.horizon)
    result = np.full((len(matrix.stores), length, len(ahead)), np.nan)
    for frame in frames:
        places = Places.of(frame, matrix.stores, matrix.last_period - periods + 1)
        now = np.zeros_like(places.at)
        told = dict(zip(columns.names, columns.values(frame, places, now, past), strict=True))
        told |= {name: (told["weekday"] == d).astype(np.float64) for d, name in enumerate(days)}
        within = (places.row >= 0) & (places.at < length)
        values = np.column_stack([told[name][within] for name in ahead])
        result[places.row[within], places.at[within]] = values
    return ahead, result


def _beyond(past: Past, future: Future) -> pl.DataFrame:
    """The rows of the horizon that a shorter future has not: the calendar is known there too.

    So the first steps of a horizon are the same, however many are asked for.
    """
    rules = past.rules
    last = rules.frequency.ordinal(past.cutoff)
    newest = future.rows.get_column("period").max()
    stores = past.stores.join(future.rows, on="store_id", how="semi", maintain_order="left")
    begin = last + 1 if newest is None else int(str(newest)) + 1
    grid = Grid.over(
        stores,
        pl.Series([begin] * stores.height, dtype=pl.Int64),
        pl.Series([last + rules.horizon] * stores.height, dtype=pl.Int64),
    )
    attribute = rules.calendar.subdivision_attribute
    places = (
        stores.get_column(attribute)
        if attribute
        else pl.repeat(None, stores.height, dtype=pl.String, eager=True)
    )
    calendar = grid.calendar(rules, places)
    return grid.frame(rules).with_columns(
        *(pl.lit(None, dtype=pl.Float64).alias(name) for name in rules.known),
        *(pl.Series(name, values) for name, values in calendar.items()),
    )


_WEEKDAYS: Final = tuple(f"weekday_{d}" for d in range(7))
_NUMBERS: Final = ("weekday", "month", "week_of_year")
"""Places told as numbers, which a network cannot tell apart: a sine and a cosine say the same."""


def scaling(columns: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and scale of each of C columns by scikit-learn's StandardScaler; NaN is left out."""
    from sklearn.preprocessing import StandardScaler

    width = columns.shape[-1]
    flat = columns.reshape(-1, width)
    flat = flat[~np.isnan(flat).all(axis=1)] if width else flat
    if not flat.size:
        return (0.0,) * width, (1.0,) * width
    # a column that nowhere has a value is zero throughout
    fitted = StandardScaler().fit(np.where(np.isnan(flat).all(axis=0), 0.0, flat))
    return tuple(map(float, fitted.mean_)), tuple(map(float, fitted.scale_))


class Windows:
    """The windows of one past.

    Args:
        values: N × T sales, NaN unknown.
        columns: N × (T + H) × C of what is known ahead, or N × T × C where no window ends at T.
        codes: N × A.
        shape: of the windows.
    """

    def __init__(self, values: Floats, columns: Floats, codes: Floats, shape: Shape) -> None:
        self.shape = shape
        self.periods = values.shape[1]
        self._before = max(shape.past, shape.lag) + shape.past
        nothing = ((0, 0), (self._before, shape.future))
        self._values = np.pad(values, nothing, constant_values=np.nan)
        known = ~np.isnan(self._values)
        zero = np.where(known, self._values, 0.0)
        self._count = _summed(known.astype(np.float64))
        self._sum = _summed(zero)
        self._size = _summed(np.abs(zero))
        scaled = (columns - np.asarray(shape.mean)) / np.asarray(shape.scale)
        after = self.periods + shape.future - columns.shape[1]
        padding = ((0, 0), (self._before, after), (0, 0))
        # a column that hardly moved in the past may leap: no network is to be thrown by it
        tame = np.clip(np.nan_to_num(np.pad(scaled, padding)), -FARTHEST, FARTHEST)
        self._columns = tame.astype(np.float32)
        self._statics = _statics(codes, shape)

    def usable(self, until: int) -> tuple[Integers, Integers]:
        """Every window to learn from whose target ends by period ``until``: stores and t."""
        n, last = self._values.shape[0], until - self.shape.future
        if last < 1:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        store = np.repeat(np.arange(n), last)
        t = np.tile(np.arange(1, last + 1), n)
        read = self._over(self._count, store, t, -self.shape.past, 0)
        told = self._over(self._count, store, t, 0, self.shape.future)
        size = self._over(self._size, store, t, -self.shape.past, 0)
        good = (read >= FEWEST) & (told >= 1) & (size > 0)
        return store[good], t[good]

    def shortened(self, count: int, seed: int) -> Integers:
        """How many of the L periods each of ``count`` windows hides: none of most."""
        chance = np.random.default_rng(seed)
        most = self.shape.past - FEWEST
        if most < 1:
            return np.zeros(count, np.int64)
        drawn = chance.integers(1, most + 1, count)
        return np.where(chance.random(count) < SHORTENED, drawn, 0)

    def batch(self, store: Integers, t: Integers, hides: Integers | None = None) -> Batch:
        """The windows (store, t), each B long; ``hides`` as of ``shortened``."""
        shape = self.shape
        offset = t[:, None] + self._before
        row = store[:, None]
        past = self._values[row, offset + np.arange(-shape.past, 0)]
        if hides is not None:
            past = np.where(np.arange(shape.past) < hides[:, None], np.nan, past)
        known = ~np.isnan(past)
        count = np.maximum(known.sum(axis=1), 1)
        size = np.where(known, np.abs(past), 0.0).sum(axis=1) / count
        mean = np.where(known, past, 0.0).sum(axis=1) / count
        unit = np.where(size > 0, size, 1.0)[:, None]
        filled = np.where(known, past, mean[:, None]) / unit
        ahead = self._ahead(row, offset, unit, mean[:, None] / unit, hides)
        target = self._values[row, offset + np.arange(shape.future)] / unit
        flags = (known.astype(np.float64) - 1.0)[:, :, None]
        moved = [] if shape.takes_future else [ahead[:, shape.future :]]
        return Batch(
            past_target=_single(filled[:, :, None]),
            past_covariates=_single(np.concatenate([flags, *moved], axis=2))
            if shape.takes_past
            else None,
            historic=_single(ahead[:, : shape.past]) if shape.takes_future else None,
            ahead=_single(ahead[:, shape.past :]) if shape.takes_future else None,
            statics=None if self._statics is None else self._statics[store][:, None, :],
            target=_single(np.nan_to_num(target)[:, :, None]),
            # a stretch without a sale has no scale, and teaches nothing
            weight=_single((~np.isnan(target) & (size > 0)[:, None])[:, :, None]),
            scale=size,
        )

    def _ahead(
        self, row: Integers, offset: Integers, unit: Floats, mean: Floats, hides: Integers | None
    ) -> Floats:
        """B × (L + H) × (C + 1): what is known ahead, the last season's sales last."""
        places = np.arange(-self.shape.past, self.shape.future)
        span = offset + places
        season = self._values[row, span - self.shape.lag] / unit
        if hides is not None:
            gone = (hides[:, None] > 0) & (
                places - self.shape.lag + self.shape.past < hides[:, None]
            )
            season = np.where(gone, np.nan, season)
        season = np.where(np.isnan(season), mean, season)
        known = places[:, None] < np.asarray(self.shape.ahead)
        columns = np.where(known, self._columns[row, span], np.float32(0.0))
        return np.concatenate([columns, season[:, :, None]], axis=2)

    def _over(self, sums: Floats, store: Integers, t: Integers, begin: int, end: int) -> Floats:
        at = t + self._before
        result: Floats = sums[store, at + end] - sums[store, at + begin]
        return result


def _statics(codes: Floats, shape: Shape) -> Singles | None:
    if not shape.takes_statics or not shape.categories:
        return None
    if shape.takes_statics == "codes":
        return _single(codes)
    each = [codes[:, [a]] == np.arange(k) for a, k in enumerate(shape.categories)]
    return _single(np.concatenate(each, axis=1))


def _summed(values: Floats) -> Floats:
    """N × (T + 1) sums of what lies before each period."""
    return np.pad(np.cumsum(values, axis=1), ((0, 0), (1, 0)))


def _single(values: Any) -> Singles:
    return np.ascontiguousarray(values, dtype=np.float32)
