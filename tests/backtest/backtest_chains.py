"""Histories that the backtest is tried on, and models that misbehave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, ClassVar

import numpy as np
import polars as pl

from storecast.core.calendar import CalendarRules, Frequency
from storecast.core.panel import History, Known, SeriesRules
from storecast.models.base import Recipe
from storecast.models.baselines import Baseline

THROUGH = date(2022, 10, 30)
FAST = {"n_estimators": 15, "lags": [1, 2, 3]}


class Here:
    """Compute in this process, so that a test's own models are known to it."""

    workers = 1

    def run_tasks(
        self,
        function: Callable[[Any], Any],
        tasks: Sequence[Any],
        *,
        cost: Callable[[Any], float] | None = None,
        lost: Callable[[Any, Any], Any] | None = None,
        apart: bool = False,
    ) -> Iterator[tuple[Any, Any]]:
        for task in sorted(tasks, key=cost, reverse=True) if cost else tasks:
            yield task, function(task)

    def map_stores(self, function: Any, groups: Iterable[Any]) -> Iterator[Any]:
        yield from map(function, groups)


class Broken(Baseline):
    kind: ClassVar[str] = "broken"

    def predict(self, past: Any, future: Any) -> pl.DataFrame:
        raise ZeroDivisionError("no sense\nin it")


class Leaving(Baseline):
    """Ends the program."""

    kind: ClassVar[str] = "leaving"
    fault: ClassVar[BaseException] = SystemExit(3)

    def predict(self, past: Any, future: Any) -> pl.DataFrame:
        raise self.fault


class Forgetful(Baseline):
    """Says 7 of each store, but nothing of store b and NaN once of store c."""

    kind: ClassVar[str] = "forgetful"

    def predict(self, past: Any, future: Any) -> pl.DataFrame:
        hole = (pl.col("store_id") == "c") & (pl.col("step") == 2)
        return future.rows.filter(pl.col("store_id") != "b").select(
            "store_id",
            "date",
            "step",
            forecast=pl.when(hole).then(float("nan")).otherwise(7.0),
            forecast_mean=pl.lit(7.0),
        )


class Point:
    """An entry point."""

    def __init__(self, kind: type[Any]) -> None:
        self.name, self._kind = kind.kind, kind

    def load(self) -> Any:
        return self._kind


def recipe(kind: str, **parameters: Any) -> Recipe:
    return Recipe(kind, kind, parameters)


def history_of(
    values: Mapping[str, tuple[int, list[float]]], stores: pl.DataFrame | None = None, **more: Any
) -> History:
    """Stores with (the period before the end at which they start, their values)."""
    frequency = Frequency("W-SUN")
    rules = SeriesRules(
        **{
            "frequency": frequency,
            "season": 4,
            "missing": "zero",
            "training_from": date(2000, 1, 1),
            "horizon": 4,
            "quantiles": (0.1, 0.5, 0.9),
            "point": "median",
            "calendar": CalendarRules(),
            **more,
        }
    )
    last = frequency.ordinal(THROUGH)
    rows = [
        (store, frequency.label(last - back + i), value)
        for store, (back, told) in values.items()
        for i, value in enumerate(told)
    ]
    schema = {"store_id": pl.String, "date": pl.Date, "sales": pl.Float64}
    sales = pl.DataFrame(rows, schema=schema, orient="row")
    return History(sales=sales, stores=stores, through=THROUGH, rules=rules)


def rich_history(seed: int = 0) -> History:
    """Stores that open and close, a realised and a known covariate in versions, attributes."""
    chance = np.random.default_rng(seed)
    values = {
        f"s{i}": (79 if i < 4 else 30, list(chance.gamma(2, 10 * (i + 1), 80 if i < 4 else 31)))
        for i in range(6)
    }
    values["late"] = (3, [5.0, 6.0, 7.0, 8.0])
    stores = pl.DataFrame(
        {
            "store_id": [*values],
            "opened_on": pl.Series([None] * len(values), dtype=pl.Date),
            "closed_on": [None, date(2022, 10, 10), None, None, date(2022, 6, 1), None, None],
            "region": ["n", "s", "n", "s", "n", "s", "n"],
        }
    )
    history = history_of(
        values,
        stores,
        attributes=("region",),
        segments=("region",),
        known={"promo": Known(None), "price": Known(2)},
        realised=("visits",),
        closed_when={"promo": 9.0},
    )
    days = history.sales["date"].unique().sort()
    visits = chance.integers(0, 50, history.sales.height).astype(float)
    made = [
        (store, day, day - timedelta(days=told), *chance.integers(0, 3, 2).astype(float))
        for store in values
        for day in days
        for told in (365, 1)
    ]
    schema = {"store_id": pl.String, "date": pl.Date, "known_at": pl.Date,
              "promo": pl.Float64, "price": pl.Float64}  # fmt: skip
    return History(
        sales=history.sales.with_columns(visits=pl.Series(visits)),
        stores=stores,
        covariate_versions=pl.DataFrame(made, schema=schema, orient="row"),
        through=THROUGH,
        rules=history.rules,
    )
