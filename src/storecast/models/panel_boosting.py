"""Samples for boosters, made for all stores at once; and forecasts, step by step or at once.

It goes round Darts' tabularisation, which works store by store, and gives the same numbers: the
tests hold it against Darts to 1e-9. The same code makes the features of the training and of the
forecast, so that the two cannot differ.

Shapes: N stores, T periods up to the cutoff, S samples, F features, H steps. The features of a
sample, in Darts' order: the lags, the oldest first; the covariates of the sample's own period;
the step and the aligned lags, where the booster is direct; the codes of the store's attributes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from storecast.models.trees import Trees

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

MOST_SAMPLES = 300_000
"""Of a direct booster, as long as that uses each known value at one step at least."""


@dataclass(frozen=True)
class Shape:
    """What the samples of a booster look like.

    Attributes:
        lags: of the target, in periods back, ascending. Recursive: 1 is the period before the
            sample's; direct: 1 is the cutoff's, whatever the step.
        covariates: names of the numeric columns of the sample's own period.
        statics: names of a store's categorical columns, in codes.
        horizon: steps of a direct booster; 0 is a recursive one.
        aligned: of a direct booster, lags of whole seasons, back from the sample's own period.
            One that is shorter than the horizon is moved back by as many seasons as the step
            has behind it, so that it is known at the cutoff and of the same place in the season.
        season: periods.
    """

    lags: tuple[int, ...]
    covariates: tuple[str, ...] = ()
    statics: tuple[str, ...] = ()
    horizon: int = 0
    aligned: tuple[int, ...] = ()
    season: int = 1

    @property
    def reach(self) -> int:
        """The longest way back from a sample's own period."""
        last = max(self.horizon, 1)
        aligned = (int(_aligned(self, lag, last)) for lag in self.aligned)
        return max([lag + last - 1 for lag in self.lags] + list(aligned))

    @property
    def width(self) -> int:
        """F."""
        own = 1 + len(self.aligned) if self.horizon else 0
        return len(self.lags) + len(self.covariates) + own + len(self.statics)

    def plain(self) -> dict[str, Any]:
        """JSON-able; ``of_plain`` gives an equal one back."""
        return asdict(self)

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Rebuild from ``plain``."""
        whole: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()
        }
        return cls(**whole)


def _aligned(shape: Shape, lag: int, step: Any) -> Any:
    """Periods back from a period ``step`` after the cutoff to one that is known there."""
    if lag >= shape.horizon:
        return lag
    return lag + shape.season * ((step - 1) // shape.season)


@dataclass(frozen=True)
class Targets:
    """The stores' values, laid out with room before the first for the longest lag.

    Attributes:
        values: N × (room + T, and more for what is to be forecast); NaN is unknown.
        room: columns before the first period.
    """

    values: Floats
    room: int

    @classmethod
    def of(cls, values: Floats, reach: int, ahead: int = 0) -> Self:
        """From N × T values."""
        stores, periods = values.shape
        laid = np.full((stores, reach + periods + ahead), np.nan)
        laid[:, reach : reach + periods] = values
        return cls(laid, reach)

    def back(self, row: Integers, at: Integers, lag: Any) -> Floats:
        """S values, ``lag`` periods before the period ``at`` of the store ``row``."""
        width = self.values.shape[1]
        place: Integers = row * width + (at + self.room - lag)
        return self.values.reshape(-1)[place]


@dataclass(frozen=True)
class Samples:
    """Which sample is of which store and period.

    Attributes:
        row: number of the store, shape (S,).
        at: the period, counted from the first, shape (S,).
        step: how far after the cutoff the period is taken to be, shape (S,).
        covariates: a column each, shape (S,), in the order of the shape.
        codes: N × A.
    """

    row: Integers
    at: Integers
    step: Integers
    covariates: Sequence[Floats]
    codes: Floats = field(default_factory=lambda: np.empty((0, 0)))


def features(shape: Shape, targets: Targets, samples: Samples) -> Floats:
    """S × F."""
    row, at, step = samples.row, samples.at, samples.step
    x = np.empty((len(row), shape.width))
    # a direct lag is counted from the cutoff
    first = at - step + 1 if shape.horizon else at
    place = 0
    for lag in sorted(shape.lags, reverse=True):
        x[:, place] = targets.back(row, first, lag)
        place += 1
    for column in samples.covariates:
        x[:, place] = column
        place += 1
    if shape.horizon:
        x[:, place] = step
        place += 1
        for lag in shape.aligned:
            x[:, place] = targets.back(row, at, _aligned(shape, lag, step))
            place += 1
    x[:, place:] = samples.codes[row]
    return x


def steps_of(
    store: NDArray[np.uint64], at: Integers, horizon: int, nth: Integers | int = 0
) -> Integers:
    """A step from 1 to ``horizon`` for each sample, evenly and without chance.

    Mixed from the store's own number and the period (splitmix64), so that a step has nothing to
    do with a place in the week or the year. The ``nth`` sample of a store and period, counted
    from 0, takes the nth step after the first's.
    """
    with np.errstate(over="ignore"):
        mixed = store + at.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    first = (mixed % np.uint64(horizon)).astype(np.int64)
    step: Integers = (first + nth) % horizon + 1
    return step


def repeats(known: int, horizon: int) -> int:
    """At how many steps a direct booster uses each of its known values."""
    return int(min(max(MOST_SAMPLES // max(known, 1), 1), horizon))


def recurse(
    trees: Trees,
    shape: Shape,
    values: Floats,
    covariates: Floats,
    codes: Floats,
) -> Floats:
    """Forecast N × H values, each step from the forecasts of those before.

    Args:
        trees: fitted.
        shape: of the samples.
        values: N × T; only the last ``reach`` count.
        covariates: N × H × C of the periods to come.
        codes: N × A.
    """
    stores, horizon = covariates.shape[:2]
    known = values[:, -shape.reach :]
    targets = Targets.of(known, shape.reach, horizon)
    row = np.arange(stores)
    for h in range(horizon):
        at = np.full(stores, known.shape[1] + h)
        told = Samples(row, at, np.full(stores, h + 1), list(covariates[:, h].T), codes)
        targets.values[:, shape.reach + known.shape[1] + h] = trees.predict(
            features(shape, targets, told)
        )
    return targets.values[:, shape.reach + known.shape[1] :].copy()


def at_once(
    boosters: Sequence[Trees],
    shape: Shape,
    values: Floats,
    covariates: Floats,
    codes: Floats,
) -> Floats:
    """What each direct booster says: B × N × H. The arguments are as ``recurse`` has them."""
    stores, horizon = covariates.shape[:2]
    known = values[:, -shape.reach :]
    targets = Targets.of(known, shape.reach, horizon)
    step = np.tile(np.arange(1, horizon + 1), stores)
    told = Samples(
        np.repeat(np.arange(stores), horizon),
        known.shape[1] - 1 + step,
        step,
        list(covariates.reshape(stores * horizon, -1).T),
        codes,
    )
    x = features(shape, targets, told)
    return np.stack([trees.predict(x).reshape(stores, horizon) for trees in boosters])
