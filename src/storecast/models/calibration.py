"""Intervals from past errors: split conformal, pooled over stores, by step.

Residuals of earlier windows, divided by each store's scale, are one sample for all stores; the
quantile of level p at step h is ``forecast + scale × the sample's p-quantile``. The forecast
stays the model's own median; ``forecast_mean`` is the forecast plus the mean scaled residual, the
expected value as far as earlier windows tell it (sums use it). See Lei et al., Distribution-free
predictive inference for regression, JASA 113 (2018), 1094–1111; quantiles take the Weibull
positions p(n+1), so that a level is covered on average also by a small sample.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import polars as pl

from storecast.core.schema import quantile_column
from storecast.models.baselines import Matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storecast.core.panel import SeriesRules
    from storecast.core.window import Past

ENOUGH = 200
"""Residuals below which a step takes in its neighbours'."""


def store_scales(past: Past) -> pl.DataFrame:
    """How large a store is: the mean |sales| of its last known two seasons, at least 8 periods.

    Returns ``store_id, scale``: null where nothing is known, zero where nothing was sold, and
    for a dormant store. So the silent ones neither narrow the intervals of the others nor get
    one of their own.
    """
    matrix = Matrix.of(past)
    span = max(2 * past.rules.season, 8)
    scale = pl.Series("scale", matrix.mean_absolute(span), nan_to_null=True)
    return past.stores.select(
        "store_id", scale=pl.when("dormant").then(0.0).otherwise(pl.lit(scale))
    )


@dataclass(frozen=True)
class Conformal:
    """Scaled residual quantiles by step, and the mean residual by step.

    ``offsets`` is H × Q, ``means`` H long; both empty where nothing was to learn from, and then
    every quantile equals the forecast. A step beyond H takes the last one's.
    """

    quantiles: tuple[float, ...]
    point: str
    offsets: tuple[tuple[float, ...], ...] = ()
    means: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    """Residuals that each step's offsets stand on, neighbours included."""

    @classmethod
    def learn(cls, errors: pl.DataFrame, rules: SeriesRules) -> Self:
        """Learn from ``store_id, step, sales, forecast, scale``, one row a store and step.

        Whoever calls hands in targets complete at the cutoff only. Rows with unknown sales, or a
        scale that is null or zero, teach nothing.
        """
        known = errors.filter(
            pl.col("sales").is_not_null() & pl.col("forecast").is_not_null() & (pl.col("scale") > 0)
        )
        # sorted: a mean in floating point depends on the order of its terms
        known = known.sort("step", "store_id", "sales", "forecast", "scale")
        residual = (
            ((known["sales"] - known["forecast"]) / known["scale"]).to_numpy().astype(np.float64)
        )
        step = known["step"].to_numpy()
        if not residual.size:
            return cls(tuple(rules.quantiles), rules.point)
        steps = int(max(rules.horizon, step.max()))
        offsets, means, counts = [], [], []
        for h in range(1, steps + 1):
            sample = _around(residual, step, h, steps)
            levels = np.quantile(sample, rules.quantiles, method="weibull")
            offsets.append(tuple(float(x) for x in levels))
            means.append(float(sample.mean()))
            counts.append(int(sample.size))
        return cls(tuple(rules.quantiles), rules.point, tuple(offsets), tuple(means), tuple(counts))

    def apply(self, frame: pl.DataFrame, scales: pl.DataFrame) -> pl.DataFrame:
        """Add the quantile columns and set ``forecast_mean``; rows keep their order.

        ``scales`` is ``store_id, scale``; a store without one takes the median of the others'.
        """
        usual = scales.get_column("scale").drop_nulls().median()
        scale = (
            frame.select("store_id")
            .join(
                scales.select("store_id", "scale"), on="store_id", how="left", maintain_order="left"
            )
            .get_column("scale")
            .fill_null(float(usual) if isinstance(usual, int | float) else 0.0)
            .to_numpy()
        )
        forecast = frame.get_column("forecast").to_numpy()
        offsets, means = self._tables()
        row = np.minimum(frame.get_column("step").to_numpy(), len(means)) - 1
        spread = np.sort(forecast[:, None] + scale[:, None] * offsets[row], axis=1)
        mean = forecast + scale * means[row]
        return frame.with_columns(
            pl.Series("forecast", mean if self.point == "mean" else forecast),
            pl.Series("forecast_mean", mean),
            *(
                pl.Series(quantile_column(level), spread[:, i])
                for i, level in enumerate(self.quantiles)
            ),
        )

    def to_json(self) -> str:
        """Exact: every float comes back to the bit."""
        return json.dumps(
            {
                "quantiles": self.quantiles,
                "point": self.point,
                "offsets": self.offsets,
                "means": self.means,
                "counts": self.counts,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Rebuild from ``to_json``."""
        plain = json.loads(text)
        return cls(
            quantiles=tuple(plain["quantiles"]),
            point=plain["point"],
            offsets=tuple(tuple(row) for row in plain["offsets"]),
            means=tuple(plain["means"]),
            counts=tuple(plain["counts"]),
        )

    def _tables(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if not self.means:
            return np.zeros((1, len(self.quantiles))), np.zeros(1)
        return np.asarray(self.offsets, dtype=np.float64), np.asarray(self.means, dtype=np.float64)


def _around(
    residual: NDArray[np.float64], step: NDArray[np.int32], h: int, steps: int
) -> NDArray[np.float64]:
    """The residuals of step h, with those of ever farther steps until they are enough."""
    for reach in range(steps + 1):
        sample = residual[np.abs(step - h) <= reach]
        if sample.size >= ENOUGH:
            return sample
    return residual
