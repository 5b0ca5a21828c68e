"""A chain that never was: frames as the tables have them, for reports of any size."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from storecast.core.calendar import Frequency
from storecast.reporting.content import Setting, Tables

WEEKS = 200
HORIZON = 8
CUTOFF = date(2022, 10, 30)
MADE = datetime(2022, 11, 1, 6, 0, tzinfo=UTC)
EVIL = "</script><script>alert(1)</script> <img src=x onerror=alert(2)> \u2028'\"&"


def setting(**changes: Any) -> Setting:
    values: dict[str, Any] = {
        "project": "lojas",
        "locale": "en",
        "currency": "BRL",
        "frequency": Frequency("W-SUN"),
        "season": 52,
        "quantiles": (0.1, 0.5, 0.9),
        "point": "median",
        "metric": "wape",
        "baseline": "seasonal_naive",
        "generated_at": MADE,
        "package_version": "0.1.0",
        "through": CUTOFF,
        "model": "lightgbm",
        "validation_id": "v-1",
    }
    return Setting(**{**values, **changes})


def identifiers(n: int) -> list[str]:
    """001 and 1 are two shops; one is called as no shop should be."""
    return ["001", "1", "1e5", "EVIL", *(f"{2000 + i}" for i in range(n))][:n]


def names(ids: list[str]) -> list[str | None]:
    special = {"001": "Mercado São João", "1": "Loja Central", "1e5": None, "EVIL": EVIL}
    towns = ("Ames", "Boone", "Creston", "Dubuque", "Elkader")
    return [special.get(s, f"HY-VEE FOOD STORE / {towns[i % 5]} {s}") for i, s in enumerate(ids)]


def tables(n: int = 12, weeks: int = WEEKS, leave_out: str = "") -> Tables:
    rng = np.random.default_rng(7)
    ids = identifiers(n)
    days = [CUTOFF - timedelta(weeks=weeks - 1 - i) for i in range(weeks)]
    ahead = [CUTOFF + timedelta(weeks=i + 1) for i in range(HORIZON)]
    t = np.arange(weeks + HORIZON)
    panel, forecasts, backtest = [], [], []
    for k, store in enumerate(ids):
        level = 9000.0 / (1 + k) + 800
        shape = 1 + 0.25 * np.sin(2 * np.pi * t / 52 + k) + 0.3 * (t % 52 == 51)
        sold = level * shape[:weeks] * rng.lognormal(0, 0.15, weeks)
        panel.append(pl.DataFrame({"store_id": store, "date": days, "sales": sold}))
        median = level * shape[weeks:]
        forecasts.append(forecast_rows(store, ahead, median))
        for back in (12, 8, 4):
            cutoff = CUTOFF - timedelta(weeks=back)
            at = slice(weeks - back, min(weeks, weeks - back + HORIZON))
            told = level * shape[at] * (1 + back / 200)
            backtest.append(backtest_rows(store, cutoff, days[at], sold[at], told))
    made = Tables(
        panel=pl.concat(panel),
        stores=pl.DataFrame({"store_id": ids, "name": names(ids), "city": "Ames"}),
        forecasts=pl.concat(forecasts),
        ledger=None,
        scores=scores(ids),
        backtest=pl.concat(backtest),
        runs=runs(),
    )
    return replace(made, **{leave_out: None}) if leave_out else made


def forecast_rows(store: str, days: list[date], median: Any, **changes: Any) -> pl.DataFrame:
    frame = pl.DataFrame({"store_id": store, "date": days, "forecast": median})
    values = {
        "forecast_id": "f-1",
        "model_name": "lojas",
        "model_version": "3",
        "cutoff": CUTOFF,
        "origin": "champion",
        "created_at": MADE,
        "run_id": "20221101T060003000000-aaaa",
        **changes,
    }
    return frame.with_columns(
        pl.int_range(1, pl.len() + 1).alias("step"),
        (pl.col("forecast") * 1.02).alias("forecast_mean"),
        (pl.col("forecast") * 0.8).alias("q10"),
        pl.col("forecast").alias("q50"),
        (pl.col("forecast") * 1.25).alias("q90"),
        *(pl.lit(value).alias(name) for name, value in values.items()),
    )


def backtest_rows(store: str, cutoff: date, days: list[date], sold: Any, made: Any) -> pl.DataFrame:
    frame = pl.DataFrame({"store_id": store, "date": days, "sales": sold, "forecast": made})
    return frame.with_columns(
        pl.lit("v-1").alias("validation_id"),
        pl.lit("lightgbm").alias("model"),
        pl.lit(cutoff).alias("cutoff"),
        pl.int_range(1, pl.len() + 1).alias("step"),
        pl.col("forecast").alias("forecast_mean"),
        (pl.col("forecast") * 0.8).alias("q10"),
        pl.col("forecast").alias("q50"),
        (pl.col("forecast") * 1.25).alias("q90"),
        pl.lit("headline").alias("segment"),
        pl.lit("model").alias("origin"),
    )


def scores(ids: list[str]) -> pl.DataFrame:
    rows = []
    for model, wape in (("lightgbm", 0.213), ("local_level", 0.234), ("seasonal_naive", 0.317)):
        score = {"wape": wape, "mase": wape * 3, "rmsse": wape * 3.1, "bias": 0.012}
        score |= {"sql": 1.0, "wql": 0.2, "coverage": 0.783, "n_scored": 1000, "n_filled": 0}
        key = {"validation_id": "v-1", "model": model}
        rows.append({**key, "scope": "overall", "member": "all", **score})
        for back in (12, 8, 4):
            day = (CUTOFF - timedelta(weeks=back)).isoformat()
            rows.append({**key, "scope": "cutoff", "member": day, **score})
        rows += [{**key, "scope": "step", "member": str(i), **score, "wape": wape + 0.01 * i}
                 for i in range(1, HORIZON + 1)]  # fmt: skip
        rows += [{**key, "scope": "segment", "member": m, **score, "n_scored": n}
                 for m, n in (("headline", 1000), ("region=north", 300), ("region=south", 700),
                              ("cold_start", 4))]  # fmt: skip
        rows += [{**key, "scope": "store", "member": s, **score, "wape": wape + 0.001 * i}
                 for i, s in enumerate(ids)]  # fmt: skip
    return pl.DataFrame(rows)


def runs() -> pl.DataFrame:
    commands = ("ingest", "validate", "deploy", "forecast")
    return pl.DataFrame(
        {
            "run_id": [f"20221101T06000{i}000000-aaaa" for i in range(4)],
            "command": commands,
            "status": "done",
            "ended_at": [MADE + timedelta(minutes=i) for i in range(4)],
        }
    )
