"""Small chains whose windows the models are tried on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import polars as pl

from storecast.core.calendar import CalendarRules, Frequency
from storecast.core.panel import History, SeriesRules

THROUGH = date(2022, 10, 30)


def rules_of(code: str = "W-SUN", **more: Any) -> SeriesRules:
    frequency = Frequency(code)
    plain: dict[str, Any] = {
        "frequency": frequency,
        "season": frequency.season,
        "missing": "unknown",
        "training_from": date(1990, 1, 1),
        "horizon": 8,
        "quantiles": (0.1, 0.5, 0.9),
        "point": "median",
        "calendar": CalendarRules(),
    }
    return SeriesRules(**{**plain, **more})


def history_of(
    values: Mapping[str, list[float | None]], rules: SeriesRules, **more: Any
) -> History:
    """Each store's values up to the last complete period; None is unknown."""
    last = rules.frequency.complete(THROUGH)
    rows = [
        (store, rules.frequency.label(last - len(told) + 1 + i), value)
        for store, told in values.items()
        for i, value in enumerate(told)
    ]
    sales = pl.DataFrame(
        rows,
        schema={"store_id": pl.String, "date": pl.Date, "sales": pl.Float64},
        orient="row",
    )
    return History(sales=sales, through=THROUGH, rules=rules, **more)
