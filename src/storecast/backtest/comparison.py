"""Which rows of scored windows count where models are compared."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from storecast.core.window import cutoffs as cutoffs_of

if TYPE_CHECKING:
    from storecast.core.panel import SeriesRules

HEADLINE = ("headline", "closed_in_window")
"""Segments that count: stores seen by the cutoff and not known closed."""


def compared(
    frame: pl.DataFrame, rules: SeriesRules, cutoffs: Sequence[date], step: str | int
) -> pl.Series:
    """Which rows lie between their cutoff and the next, so that no period counts twice.

    The last cutoff's next is where the step would have put it.
    """
    frequency = rules.frequency
    numbers = [frequency.ordinal(cutoff) for cutoff in cutoffs]
    after = _following(rules, cutoffs[-1], step)
    ends = pl.DataFrame(
        {"cutoff": list(cutoffs), "_end": [*numbers[1:], after]},
        schema={"cutoff": pl.Date, "_end": pl.Int32},
    )
    joined = frame.select("cutoff", "period").join(
        ends, on="cutoff", how="left", maintain_order="left"
    )
    return joined.select(pl.col("period") <= pl.col("_end")).to_series().alias("compared")


def _following(rules: SeriesRules, cutoff: date, step: str | int) -> int:
    """Number of the period that ends at the cutoff after ``cutoff``."""
    frequency = rules.frequency
    number = frequency.ordinal(cutoff)
    if isinstance(step, int):
        return number + step
    later = number
    while True:
        # the newest cutoff within a history that is complete to ``later``, no horizon held back
        later += 1
        found = cutoffs_of(rules, frequency.last_day(later), 0, 1, step, cutoff)
        if found[-1] > cutoff:
            return frequency.ordinal(found[-1])
