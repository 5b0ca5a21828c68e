"""A loaded artefact's predict beside the model's own predict call on ready features.

1,000 stores, a history of daily sales, 31 days ahead, LightGBM: `python benchmarks/predict.py`.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl


def history(stores: int, days: int, horizon: int) -> Any:
    """A weekly season under noise."""
    from storecast.core.calendar import CalendarRules, Frequency
    from storecast.core.panel import History, SeriesRules

    first = date(2022, 1, 1)
    labels = pl.date_range(first, first + timedelta(days=days - 1), eager=True)
    draw = np.random.default_rng(1)
    level = draw.gamma(3, 500, stores)[:, None]
    season = 1 + 0.3 * np.sin(np.arange(days) * 2 * np.pi / 7)
    sales = np.round(level * season * draw.lognormal(0, 0.2, (stores, days)), 2)
    ids = [f"{n:05d}" for n in range(stores)]
    frame = pl.DataFrame(
        {
            "store_id": np.repeat(ids, days),
            "date": pl.concat([labels] * stores),
            "sales": sales.ravel(),
        }
    )
    rules = SeriesRules(
        frequency=Frequency("D"), season=7, missing="zero", training_from=first,
        calendar=CalendarRules(country="BR"), horizon=horizon,
        quantiles=tuple(n / 10 for n in range(1, 10)),
    )  # fmt: skip
    return History(sales=frame, through=labels[-1], rules=rules)


def best(times: int, call: Callable[[], Any]) -> float:
    """The shortest of several calls, in seconds."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return min(found)


def main() -> None:
    """Print the times, their ratio and the peak memory."""
    import mlflow.pyfunc

    from storecast.artifact import flat
    from storecast.artifact.packing import log_model
    from storecast.artifact.pyfunc import as_pandas
    from storecast.artifact.save import save
    from storecast.artifact.unified import UnifiedForecaster
    from storecast.core.window import cut
    from storecast.models.base import Recipe
    from storecast.tracking import Tracking

    parser = argparse.ArgumentParser()
    parser.add_argument("--stores", type=int, default=1000)
    parser.add_argument("--days", type=int, default=730)
    parser.add_argument("--horizon", type=int, default=31)
    parser.add_argument("--times", type=int, default=3)
    asked = parser.parse_args()

    told = history(asked.stores, asked.days, asked.horizon)
    recipe = Recipe("lightgbm", "lightgbm", training_from=told.rules.training_from)
    forecaster = UnifiedForecaster.fit(recipe, told, told.through, None)
    window = cut(told, told.through, asked.horizon)
    frame = as_pandas(flat.flatten(told, window))
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        save(forecaster, place / "packed")
        tracking = Tracking(None, None, "benchmark", place)
        with tracking.active() as client:
            run = client.create_run(tracking.experiment_id(client)).info.run_id
            with mlflow.start_run(run_id=run):
                info = log_model(place / "packed", forecaster)
        (logged,) = (place / "mlartifacts").rglob(f"{info.model_id}/artifacts/MLmodel")
        loading = best(1, lambda: mlflow.pyfunc.load_model(str(logged.parent)))
        model = mlflow.pyfunc.load_model(str(logged.parent))
        own = forecaster.model
        assert own is not None
        floor = best(asked.times, lambda: own.predict(window.past, window.future))
        whole = best(asked.times, lambda: model.predict(frame))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{asked.stores:,} stores × {asked.horizon} days from {asked.days} days of history\n"
        f"the model's own predict  {floor:6.2f} s\n"
        f"the artefact's predict   {whole:6.2f} s  ({whole / floor:.1f} times)\n"
        f"loading                  {loading:6.2f} s\n"
        f"peak memory              {peak:6.0f} MB, the fit included"
    )


if __name__ == "__main__":
    main()
