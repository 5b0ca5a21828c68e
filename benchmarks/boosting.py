"""The backtest of a booster against mlforecast, a plain Darts loop, and the floor.

All have the same data, lags, calendar columns, trees and windows, and both cores. The floor is
what cannot be avoided: binning, training and prediction, by the same library with the same
parameters, on ready matrices in two processes of one thread; making the matrices is not counted,
nor is starting the processes. Ours is the whole of ``backtest``: worker processes are started,
each cuts its windows from the history, fits, forecasts, and sets the forecasts beside what
happened. Each contender is a process of its own; the peak memory is that of its largest process,
which for ours and the floor is one worker, so that of a task. On a machine that is busy with other
things the ratio of the processor's seconds is the one to read.

``python benchmarks/boosting.py --stores 50 --cutoffs 2`` is quick; the defaults are the size that
is asked for: 500 stores, 1,826 days, 12 cutoffs, 200 trees of 63 leaves.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, NamedTuple

CORES = 2
LAGS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 21, 28, 35, 42, 49, 56, 364]
FIRST = date(2019, 1, 1)
CONTENDERS = ("storecast", "mlforecast", "darts", "floor")


@dataclass(frozen=True)
class Size:
    """What is computed; plain enough for a command line."""

    stores: int
    days: int
    cutoffs: int
    horizon: int
    trees: int
    leaves: int
    library: str

    @property
    def dates(self) -> list[date]:
        """The cutoffs, a horizon apart; the last has a whole horizon after it."""
        ends = [self.days - self.horizon * (i + 1) for i in reversed(range(self.cutoffs))]
        return [FIRST + timedelta(days=end - 1) for end in ends]

    @property
    def parameters(self) -> dict[str, Any]:
        """Of the trees, alike for all."""
        return {
            "n_estimators": self.trees,
            "num_leaves": self.leaves,
            "learning_rate": 0.05,
            "min_child_samples": 20,
        }


class Spent(NamedTuple):
    """Seconds by the wall clock, and of the processors, worker processes included."""

    wall: float
    processor: float


class Clock:
    """Counts from its making; workers are counted once they have ended."""

    def __init__(self) -> None:
        self.wall, self.processor = time.perf_counter(), self._processor()

    def spent(self) -> Spent:
        """Since then."""
        return Spent(time.perf_counter() - self.wall, self._processor() - self.processor)

    @staticmethod
    def _processor() -> float:
        both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        usages = [resource.getrusage(who) for who in both]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def sales_of(size: Size) -> Any:
    """Stores × days of made-up sales: level, trend, week, year, noise; never negative."""
    import numpy as np

    chance = np.random.default_rng(7)
    day = np.arange(size.days)
    level = np.exp(chance.normal(5, 1, (size.stores, 1)))
    week = 1 + 0.4 * chance.normal(size=(size.stores, 7))[:, day % 7].clip(-2, 2) / 2
    year = 1 + 0.3 * np.sin(2 * np.pi * (day / 365.25 + chance.uniform(size=(size.stores, 1))))
    drift = np.exp(np.cumsum(chance.normal(0, 0.01, (size.stores, size.days)), axis=1))
    noise = np.exp(chance.normal(0, 0.25, (size.stores, size.days)))
    return np.round(level * week * year * drift * noise, 2)


def names_of(size: Size) -> list[str]:
    """Store ids."""
    return [f"{i:04d}" for i in range(size.stores)]


# ------------------------------------------------------------------------ the contenders


def storecast(size: Size) -> Spent:
    """The whole backtest."""
    from storecast.adapters.local.compute import LocalCompute
    from storecast.backtest.tasks import backtest

    history, recipe = history_of(size), recipe_of(size)
    started = Clock()
    made = list(backtest(history, [recipe], size.dates, size.horizon, LocalCompute(CORES)))
    spent = started.spent()
    for outcome in made:
        if outcome.failure:
            raise SystemExit(outcome.failure)
    told = [(o.frame["sales"] - o.frame["forecast"]).abs().sum() for o in made]
    _accuracy(sum(told), sum(o.frame["sales"].sum() for o in made))
    return spent


def mlforecast(size: Size) -> Spent:
    """``cross_validation(refit=True)``."""
    import lightgbm
    import numpy as np
    import pandas as pd
    from mlforecast import MLForecast
    from mlforecast.target_transforms import LocalStandardScaler

    days = pd.date_range(FIRST, periods=size.days)
    frame = pd.DataFrame(
        {
            "unique_id": np.repeat(names_of(size), size.days),
            "ds": np.tile(days, size.stores),
            "y": sales_of(size).ravel(),
        }
    )

    def year_sin(when: Any) -> Any:
        return np.sin(2 * np.pi * when.dayofyear / 365.25)

    def year_cos(when: Any) -> Any:
        return np.cos(2 * np.pi * when.dayofyear / 365.25)

    def days_to_month_end(when: Any) -> Any:
        return when.days_in_month - when.day

    started = Clock()
    model = MLForecast(
        models={"trees": _regressor(size, lightgbm)},
        freq="D",
        lags=LAGS,
        date_features=["dayofweek", "day", "month", days_to_month_end, year_sin, year_cos],
        target_transforms=[LocalStandardScaler()],
        num_threads=CORES,
    )
    told = model.cross_validation(
        frame, n_windows=size.cutoffs, h=size.horizon, step_size=size.horizon, refit=True
    )
    spent = started.spent()
    _accuracy(float((told["y"] - told["trees"]).abs().sum()), float(told["y"].sum()))
    return spent


def darts(size: Size) -> Spent:
    """A loop over the cutoffs that fits and predicts, as a newcomer writes it."""
    import logging

    import numpy as np
    import pandas as pd
    from darts import TimeSeries
    from darts.models import LightGBMModel, XGBModel

    logging.getLogger("darts").setLevel(logging.ERROR)
    days = pd.date_range(FIRST, periods=size.days)
    sales = sales_of(size)
    angle = 2 * np.pi * days.dayofyear.to_numpy() / 365.25
    columns = [days.dayofweek, days.day, days.month, days.days_in_month - days.day]
    values = np.column_stack([*columns, np.sin(angle), np.cos(angle)]).astype(np.float64)
    calendar = TimeSeries.from_times_and_values(days, values)
    whole = [TimeSeries.from_times_and_values(days, row) for row in sales]
    wrong = total = 0.0
    started = Clock()
    for cutoff in size.dates:
        end = (cutoff - FIRST).days + 1
        scales = np.abs(sales[:, :end]).mean(axis=1)
        past = [series[:end] / scale for series, scale in zip(whole, scales, strict=True)]
        plain = {"lags": [-lag for lag in LAGS], "lags_future_covariates": [0]}
        plain |= {"output_chunk_length": 1}
        if size.library == "lightgbm":
            model = LightGBMModel(**plain, **_lightgbm(size, CORES))
        else:
            model = XGBModel(**plain, **_xgboost(size, CORES))
        model.fit(past, future_covariates=[calendar] * len(past))
        ahead = model.predict(
            size.horizon, past, future_covariates=[calendar] * len(past), show_warnings=False
        )
        told = np.stack([series.values()[:, 0] for series in ahead]) * scales[:, None]
        truth = sales[:, end : end + size.horizon]
        wrong, total = wrong + float(np.abs(truth - told).sum()), total + float(truth.sum())
    spent = started.spent()
    _accuracy(wrong, total)
    return spent


def floor(size: Size) -> Spent:
    """Two processes of one thread, as long as the busier."""
    share = [(size, size.dates[i::CORES]) for i in range(CORES)]
    with multiprocessing.get_context("spawn").Pool(CORES) as pool:
        spent = pool.starmap(floor_of, share)
    return Spent(max(s.wall for s in spent), sum(s.processor for s in spent))


def floor_of(size: Size, cutoffs: list[date]) -> Spent:
    """Binning, training and prediction alone."""
    import numpy as np

    sales = sales_of(size)
    spent = Spent(0.0, 0.0)
    for cutoff in cutoffs:
        end = (cutoff - FIRST).days + 1
        x, y = matrices(sales, 0, end)
        ahead = np.concatenate(
            [matrices(sales, end + h, end + h + 1)[0] for h in range(size.horizon)]
        )
        started = Clock()
        if size.library == "lightgbm":
            import lightgbm

            booster = lightgbm.train(_lightgbm(size, 1), lightgbm.Dataset(x, y))
            booster.predict(ahead, num_threads=1)
        else:
            import xgboost

            native = _xgboost(size, 1)
            trees = native.pop("n_estimators")
            grown = xgboost.train(native, xgboost.QuantileDMatrix(x, y, nthread=1), trees)
            grown.inplace_predict(ahead)
        more = started.spent()
        spent = Spent(spent.wall + more.wall, spent.processor + more.processor)
    return spent


def matrices(sales: Any, first: int, end: int) -> tuple[Any, Any]:
    """Samples × (lags and calendar columns), and their targets, of the days from first to end."""
    import numpy as np
    import pandas as pd

    stores, width = len(sales), end - first
    scales = np.abs(sales[:, : max(end, 1)]).mean(axis=1, keepdims=True)
    reach = max(LAGS)
    padded = np.hstack([np.full((stores, reach), np.nan), sales / scales])
    days = pd.date_range(FIRST + timedelta(days=first), periods=width)
    angle = 2 * np.pi * days.dayofyear.to_numpy() / 365.25
    columns = [days.dayofweek, days.day, days.days_in_month - days.day, np.sin(angle)]
    columns += [np.cos(angle), days.month]
    x = np.empty((stores, width, len(LAGS) + len(columns)))
    for i, lag in enumerate(sorted(LAGS, reverse=True)):
        x[:, :, i] = padded[:, reach + first - lag : reach + end - lag]
    for i, column in enumerate(columns):
        x[:, :, len(LAGS) + i] = np.asarray(column)[None, :]
    flat = x.reshape(-1, x.shape[2])
    return flat, padded[:, reach + first : reach + end].ravel()


# ------------------------------------------------------------------------ what they share


def history_of(size: Size) -> Any:
    """The sales as storecast's own history."""
    import polars as pl

    from storecast.core.calendar import Frequency
    from storecast.core.panel import History, SeriesRules

    days = [FIRST + timedelta(days=i) for i in range(size.days)]
    stores = pl.DataFrame({"store_id": names_of(size)})
    sales = stores.join(pl.DataFrame({"date": days}), how="cross").with_columns(
        sales=pl.Series(sales_of(size).ravel())
    )
    rules = SeriesRules(
        frequency=Frequency("D"),
        season=7,
        missing="unknown",
        training_from=FIRST,
        horizon=size.horizon,
    )
    return History(sales=sales, through=days[-1], rules=rules)


def recipe_of(size: Size) -> Any:
    """The same trees, as storecast's configuration has them."""
    from storecast.models.base import Recipe

    own = {"lags": LAGS, "colsample_bytree": 1.0, **size.parameters}
    if size.library == "xgboost":
        own.pop("min_child_samples")
        own["max_leaves"] = own.pop("num_leaves")
    return Recipe(size.library, size.library, own)


def _lightgbm(size: Size, threads: int) -> dict[str, Any]:
    own = {"objective": "l1", "n_jobs": threads, "verbose": -1, "random_state": 0}
    return {**size.parameters, **own, "deterministic": True, "force_row_wise": True}


def _xgboost(size: Size, threads: int) -> dict[str, Any]:
    return {
        "objective": "reg:absoluteerror",
        "n_estimators": size.trees,
        "max_leaves": size.leaves,
        "max_depth": 0,
        "grow_policy": "lossguide",
        "tree_method": "hist",
        "learning_rate": 0.05,
        "random_state": 0,
        "nthread" if threads == 1 else "n_jobs": threads,
    }


def _regressor(size: Size, lightgbm: Any) -> Any:
    if size.library == "lightgbm":
        return lightgbm.LGBMRegressor(**_lightgbm(size, CORES))
    import xgboost

    return xgboost.XGBRegressor(**_xgboost(size, CORES))


def _accuracy(wrong: float, total: float) -> None:
    print(f"  WAPE {wrong / total:.4f}", file=sys.stderr)


def measured(contender: str, arguments: list[str]) -> tuple[Spent, float]:
    """What a contender says that it spent, and its peak memory in MB."""
    threads = "1" if contender in ("storecast", "floor") else str(CORES)
    told = {"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, __file__, *arguments, "--as", contender],
        stdout=subprocess.PIPE,
        env={**os.environ, **told},
        text=True,
    )
    assert process.stdout is not None
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{contender} failed")
    scale = 1024 if sys.platform != "darwin" else 1024**2
    wall, processor = text.split()[-2:]
    return Spent(float(wall), float(processor)), usage.ru_maxrss / scale


def main() -> None:
    """Print each contender's seconds and memory, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    defaults = {"stores": 500, "days": 1826, "cutoffs": 12, "horizon": 28, "trees": 200}
    for name, value in {**defaults, "leaves": 63}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--library", choices=["lightgbm", "xgboost"], default="lightgbm")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--as", dest="contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    given = vars(parser.parse_args())
    contender, only = given.pop("contender"), given.pop("only")
    size = Size(**given)
    if contender:
        print(*globals()[contender](size))
        return
    print(size)
    arguments = [f"--{name}={value}" for name, value in given.items()]
    spent = {}
    for name in only:
        print(name, flush=True)
        spent[name], memory = measured(name, arguments)
        wall, processor = spent[name]
        print(f"  {wall:.1f} s, processors {processor:.1f} s, peak {memory:.0f} MB", flush=True)
    ours = spent.get("storecast")
    for name in [n for n in only if n != "storecast" and ours]:
        wall, processor = (a / b for a, b in zip(ours or (), spent[name], strict=True))
        print(f"storecast / {name}: {wall:.2f} by the wall, {processor:.2f} by the processors")
    if ours and "floor" in spent:
        print("asked: at most 1.30 times the floor")


if __name__ == "__main__":
    main()
