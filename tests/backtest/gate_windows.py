"""Scored windows of a small generated chain, as the gate takes them."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from storecast.core.calendar import Frequency
from storecast.core.panel import SeriesRules

QUANTILES = (0.1, 0.5, 0.9)
RULES = SeriesRules(
    frequency=Frequency("D"),
    season=7,
    missing="zero",
    training_from=date(2000, 1, 1),
    attributes=("region",),
    segments=("region",),
    horizon=31,
    quantiles=QUANTILES,
)


def windows(
    seed: int = 1,
    *,
    stores: int = 40,
    cutoffs: int = 6,
    days: int = 14,
    error: float | list[float] = 0.3,
    bias: float = 0.0,
    north: float | list[float] | None = None,
    width: float = 1.3,
) -> pl.DataFrame:
    """The same sales for each call of one shape; forecasts off by ``error`` of their level.

    ``error`` may be of each cutoff; ``north`` is that of one region's stores. The interval
    is ``width`` errors to each side.
    """
    truth = np.random.default_rng(0)
    level = truth.lognormal(5, 0.5, stores)
    noise = np.random.default_rng(seed)
    errors = np.broadcast_to(np.asarray(error), (cutoffs,))
    norths = errors if north is None else np.broadcast_to(np.asarray(north), (cutoffs,))
    start = date(2024, 1, 31)
    frames = []
    for c in range(cutoffs):
        cutoff = start + timedelta(days=days * c)
        sales = np.repeat(level, days + 3) * truth.lognormal(0, 0.2, stores * (days + 3))
        where = np.repeat(np.arange(stores) % 2 == 0, days + 3)
        size = np.where(where, norths[c], errors[c])
        missed = size * noise.choice([-1.0, 1.0], sales.size)
        frames.append(
            pl.DataFrame(
                {
                    "store_id": np.repeat([f"{s:03d}" for s in range(stores)], days + 3),
                    "cutoff": [cutoff] * sales.size,
                    "step": np.tile(np.arange(1, days + 4), stores),
                    "sales": sales,
                    "forecast": sales * (1 + missed + bias),
                    "region": np.where(where, "North", "South"),
                }
            ).with_columns(
                pl.col("step").cast(pl.Int32),
                date=pl.col("cutoff") + pl.duration(days=pl.col("step")),
                compared=pl.col("step") <= days,
                segment=pl.lit("headline"),
                origin=pl.lit("model"),
                scale=pl.col("sales").mean().over("store_id"),
                scale_sq=(pl.col("sales") ** 2).mean().over("store_id"),
                q10=pl.col("sales") * (1 - (0.2 * width if c % 5 else -0.1)),
                q50=pl.col("forecast"),
                q90=pl.col("sales") * (1 + 0.2 * width),
            )
        )
    return pl.concat(frames)
