"""The two-way bootstrap: how far a mean over stores and cutoffs may be off.

Stores and cutoffs are drawn anew with replacement, each by itself, and a cell counts as often as
its store times its cutoff was drawn: the pigeonhole bootstrap of Owen, The pigeonhole bootstrap,
Annals of Applied Statistics 1 (2007), 386–411. So what all stores of a cutoff have in common and
what all cutoffs of a store have in common both widen the interval; the errors of a cell are
counted too often rather than too seldom. Of n cutoffs (or stores) n − 1 are drawn: drawing n would
make the variance of a mean too small by (n − 1) / n, which is much where n is 4 (Rao and Wu,
Resampling inference with complex survey data, Journal of the American Statistical Association 83
(1988), 231–241).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from storecast.backtest.losses import Parts

Floats = npt.NDArray[np.float64]

REPLICATES: Final = 4000
_SEED: Final = 0


@dataclass(frozen=True)
class Draws:
    """How often each store and each cutoff was drawn: shapes (R, S) and (R, C)."""

    stores: Floats
    cutoffs: Floats

    def means(self, parts: Parts) -> Floats:
        """The metric's mean over the cutoffs drawn, in each replicate, shape (R,).

        A cutoff at which the metric is undefined does not count; NaN where it is so at each.
        """
        losses = parts.by_cutoff(self.stores)
        counts = np.where(np.isnan(losses), 0.0, self.cutoffs)
        total = counts.sum(axis=1)
        above: Floats = (np.nan_to_num(losses) * counts).sum(axis=1)
        means: Floats = np.divide(above, total, out=np.full_like(above, np.nan), where=total > 0)
        return means


@lru_cache(maxsize=2)
def draws(stores: int, cutoffs: int, replicates: int = REPLICATES) -> Draws:
    """The draws for so many stores and cutoffs: always the same ones, so that a gate is too."""
    random = np.random.default_rng(_SEED)

    def drawn(n: int) -> Floats:
        return random.multinomial(max(1, n - 1), np.full(n, 1 / n), replicates).astype(np.float64)

    return Draws(drawn(stores), drawn(cutoffs))


def interval(values: Floats, level: float) -> tuple[float, float] | None:
    """The central ``level`` of the replicates; None where nothing is defined."""
    known = values[np.isfinite(values)]
    if not known.size:
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
