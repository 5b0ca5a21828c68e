"""What a model may see of a period beside sales: numeric columns, honest about when each is known.

A known covariate of the whole horizon is seen at each step. One with a shorter ``ahead`` is seen
up to it and unknown beyond, in the training as in the forecast: there each sample is taken to be
so many steps after a cutoff. A realised covariate is never known ahead: it is seen as it was the
fewest whole seasons before that are no less than the horizon, and so known at each step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl

from storecast.core.calendar import PERIOD
from storecast.core.features import time_features, time_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from storecast.core.panel import SeriesRules
    from storecast.core.window import Past

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Places:
    """Where rows stand: N stores × periods, counted from the first of the past.

    Attributes:
        stores: names, N.
        first: ordinal of the first period.
        row: number of the store, shape (R,); -1 for one that is not among them.
        at: the period, shape (R,).
    """

    stores: Sequence[str]
    first: int
    row: Integers
    at: Integers

    @classmethod
    def of(cls, rows: pl.DataFrame, stores: Sequence[str], first: int) -> Self:
        """From rows with ``store_id`` and ``period``."""
        # rows come sorted by store: a name is looked up once a run
        runs = rows.get_column("store_id").rle()
        place = {store: i for i, store in enumerate(stores)}
        numbers = [place.get(name, -1) for name in runs.struct.field("value").to_list()]
        row = np.repeat(np.array(numbers, dtype=np.int64), runs.struct.field("len").to_numpy())
        at = rows.get_column("period").to_numpy().astype(np.int64) - first
        return cls(stores, first, row, at)


@dataclass(frozen=True)
class Columns:
    """Names of the columns, and when each is known.

    Attributes:
        whole: known for the whole horizon: known covariates and the calendar.
        short: known covariates and their ``ahead``, below the horizon.
        realised: covariates known up to the cutoff.
        behind: how many periods back those are seen.
        time: places in the week, month and year.
    """

    whole: tuple[str, ...]
    short: tuple[tuple[str, int], ...]
    realised: tuple[str, ...]
    behind: int
    time: tuple[str, ...]

    @classmethod
    def of(cls, rules: SeriesRules) -> Self:
        """All that the rules name."""
        ahead = {
            name: rules.horizon if known.ahead is None else min(known.ahead, rules.horizon)
            for name, known in rules.known.items()
        }
        return cls(
            whole=(
                *(name for name, steps in ahead.items() if steps == rules.horizon),
                *rules.calendar_columns,
            ),
            short=tuple((n, steps) for n, steps in ahead.items() if 0 < steps < rules.horizon),
            realised=(*rules.realised, *(n for n, steps in ahead.items() if steps == 0)),
            behind=rules.season * -(-rules.horizon // rules.season),
            time=time_names(rules.frequency),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns of ``values``, in order."""
        return (
            *self.whole,
            *(name for name, _ in self.short),
            *(f"{name}, {self.behind} before" for name in self.realised),
            *self.time,
        )

    def values(
        self, rows: pl.DataFrame, places: Places, step: Integers, past: Past
    ) -> list[Floats]:
        """The columns, each of shape (R,), NaN where unknown.

        Args:
            rows: of the past or the future.
            places: of the rows.
            step: how far after a cutoff each row is taken to be, shape (R,).
            past: with the realised covariates.
        """
        made = [_numbers(rows, name) for name in self.whole]
        made += [
            np.where(step <= ahead, _numbers(rows, name), np.nan) for name, ahead in self.short
        ]
        if self.realised:
            told = Places.of(past.rows, places.stores, places.first)
            made += [_before(past.rows, name, told, places, self.behind) for name in self.realised]
        return made + _times(places, past.rules)

    def plain(self) -> dict[str, Any]:
        """JSON-able; ``of_plain`` gives an equal one back."""
        return {
            "whole": self.whole,
            "short": self.short,
            "realised": self.realised,
            "behind": self.behind,
            "time": self.time,
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Rebuild from ``plain``."""
        return cls(
            whole=tuple(plain["whole"]),
            short=tuple((name, ahead) for name, ahead in plain["short"]),
            realised=tuple(plain["realised"]),
            behind=plain["behind"],
            time=tuple(plain["time"]),
        )


def _numbers(rows: pl.DataFrame, name: str) -> Floats:
    return rows.get_column(name).cast(pl.Float64).fill_null(np.nan).to_numpy()


def _before(rows: pl.DataFrame, name: str, told: Places, places: Places, behind: int) -> Floats:
    """The column as it was ``behind`` periods before each place, shape (R,)."""
    periods = int(told.at.max()) + 1 if told.at.size else 1
    laid = np.full((len(places.stores) + 1, periods), np.nan)
    laid[told.row, told.at] = _numbers(rows, name)
    laid[-1] = np.nan
    at = places.at - behind
    inside = (at >= 0) & (at < periods)
    return np.where(inside, laid[places.row, np.where(inside, at, 0)], np.nan)


def _times(places: Places, rules: SeriesRules) -> list[Floats]:
    if not places.at.size:
        return [np.empty(0) for _ in time_names(rules.frequency)]
    first, last = int(places.at.min()), int(places.at.max())
    period = pl.int_range(places.first + first, places.first + last + 1, eager=True, dtype=PERIOD)
    once = time_features(period.alias("period").to_frame(), rules.frequency)
    return [once[name].to_numpy()[places.at - first] for name in once.columns]
