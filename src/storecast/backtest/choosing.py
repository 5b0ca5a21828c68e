"""Which windows choose a model, and which are kept for the gate of its deployment.

A model chosen because it was the best in a window looks better there than it is. So the last
``gate.windows`` scored cutoffs take no part in choosing (nor in tuning, which ends before the first
scored one): there the gate compares what was chosen with what serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl


@dataclass(frozen=True)
class Split:
    """The scored cutoffs, ascending: those that choose, then those that the gate keeps."""

    choosing: tuple[date, ...]
    kept: tuple[date, ...]

    @classmethod
    def of(cls, scored: Sequence[date], windows: int) -> Split:
        """Keep the last ``windows`` of the scored cutoffs, but never the first of them."""
        first = max(1, len(scored) - windows)
        return cls(tuple(scored[:first]), tuple(scored[first:]))


def chosen_by(scores: pl.DataFrame, metric: str, choosing: Sequence[date]) -> dict[str, float]:
    """Each model's mean over the cutoffs that choose, by which it is chosen.

    Args:
        scores: rows of ``backtest_scores``: model, scope, member, a column a metric.
        metric: lower is better.
        choosing: the cutoffs.

    Returns:
        By model, in the table's order; without those whose metric is undefined at each of them.
    """
    members = [day.isoformat() for day in choosing]
    means = (
        scores.filter((pl.col("scope") == "cutoff") & pl.col("member").is_in(members))
        .group_by("model", maintain_order=True)
        .agg(pl.col(metric).sort_by("member").mean())
        .drop_nulls(metric)
    )
    return dict(means.select("model", metric).iter_rows())


def ranked(means: dict[str, float], baseline: str) -> list[str]:
    """The models by their means, the best first; the baseline before its equals."""
    return sorted(means, key=lambda name: (means[name], name != baseline, name))
