"""Small chains of stores for the tests of the artefact."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from storecast.core.calendar import CalendarRules, Frequency
from storecast.core.panel import History, Known, SeriesRules
from storecast.models.base import Recipe

FIRST = date(2021, 1, 4)


def rules(**changes: object) -> SeriesRules:
    given: dict[str, object] = {
        "frequency": Frequency("D"),
        "season": 7,
        "missing": "zero",
        "training_from": FIRST,
        "closed_when": {"is_open": 0.0},
        "known": {"is_open": Known()},
        "realised": ("customers",),
        "attributes": ("city",),
        "calendar": CalendarRules(country="BR"),
        "horizon": 14,
        "quantiles": (0.1, 0.5, 0.9),
    }
    return SeriesRules(**{**given, **changes})  # type: ignore[arg-type]


def history(
    stores: tuple[str, ...] = ("001", "1", "Öç"),
    days: int = 200,
    future: int = 30,
    **changes: object,
) -> History:
    """Days of sales with a weekly season; Sundays are closed, by a covariate known ahead."""
    noise = np.random.default_rng(7)
    labels = [FIRST + timedelta(days=i) for i in range(days + future)]
    rows, covariates = [], []
    for number, store in enumerate(stores):
        for i, day in enumerate(labels):
            is_open = 0.0 if day.weekday() == 6 else 1.0
            covariates.append((store, day, is_open))
            if i < days and is_open:
                level = 100.0 * (number + 1) + 10 * day.weekday()
                rows.append((store, day, round(level + noise.normal(0, 5), 2), 7.0))
    return History(
        sales=pl.DataFrame(rows, schema=["store_id", "date", "sales", "customers"], orient="row"),
        stores=pl.DataFrame(
            {
                "store_id": list(stores),
                "opened_on": [FIRST] * len(stores),
                "closed_on": [None] * len(stores),
                "city": ["São Paulo"] * len(stores),
            },
            schema_overrides={"closed_on": pl.Date, "opened_on": pl.Date},
        ),
        covariates=pl.DataFrame(covariates, schema=["store_id", "date", "is_open"], orient="row"),
        through=labels[days - 1],
        rules=rules(**changes),
    )


def recipe(kind: str, **parameters: object) -> Recipe:
    return Recipe(kind, kind, parameters, training_from=FIRST)
