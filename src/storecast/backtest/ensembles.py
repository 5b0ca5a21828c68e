"""What an ensemble says in a backtest: its members' forecasts, weighted by their earlier windows.

Nothing is fitted anew. At each cutoff the weights follow from the windows before it, as far as
their targets are complete: the rows that calibration takes, too (``calibration_errors``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from storecast.backtest.tasks import COLD_START, FILLED, MODEL, Outcome
from storecast.models.base import POINTS, quantile_columns
from storecast.models.ensemble import KIND, Weights, mixed

if TYPE_CHECKING:
    from storecast.core.panel import SeriesRules
    from storecast.models.base import Recipe

Outcomes = Mapping[tuple[str, date], Outcome]
"""By the recipe's name and the cutoff."""


def with_ensembles(
    outcomes: Outcomes, recipes: Sequence[Recipe], cutoffs: Sequence[date], rules: SeriesRules
) -> Outcomes:
    """The outcomes, and those of the ensembles among ``recipes``; cutoffs ascend."""
    found = dict(outcomes)
    for recipe in recipes:
        if recipe.kind != KIND:
            continue
        for place, cutoff in enumerate(cutoffs):
            if (recipe.name, cutoff) not in found:
                until = rules.frequency.ordinal(cutoff)
                weights = learnt(found, recipe, cutoffs[:place], rules, until)
                found[recipe.name, cutoff] = _outcome(found, recipe, cutoff, weights, rules)
    return found


def weighted(
    outcomes: Outcomes,
    recipes: Sequence[Recipe],
    cutoffs: Sequence[date],
    rules: SeriesRules,
    until: int,
) -> tuple[Recipe, ...]:
    """The recipes, each ensemble's with the weights by all windows up to the period ``until``.

    These are what a model deployed on the whole history takes.
    """
    return tuple(
        learnt(outcomes, r, cutoffs, rules, until).put(r) if r.kind == KIND else r for r in recipes
    )


def learnt(
    outcomes: Outcomes, recipe: Recipe, windows: Sequence[date], rules: SeriesRules, until: int
) -> Weights:
    """An ensemble's weights by ``windows``, of which targets of periods up to ``until`` count."""
    members = Weights.of(recipe).members
    frames = [
        _taught([outcomes[name, day].frame for name in members], rules.segments, until)
        for day in windows
    ]
    if not frames:
        return Weights.equal(members)
    return Weights.learn(pl.concat(frames), members, rules.segments)


def _taught(frames: Sequence[pl.DataFrame], attributes: Sequence[str], until: int) -> pl.DataFrame:
    """What one window teaches: as ``Weights.learn`` takes it."""
    key = ["store_id", "period"]
    counts = (pl.col("period") <= until) & (pl.col("segment") != COLD_START)
    rows = frames[0].filter(counts).select(*key, "sales", *attributes).sort(key)
    for i, frame in enumerate(frames):
        own = frame.filter(counts & (pl.col("origin") == MODEL))
        rows = rows.join(
            own.select(*key, pl.col("forecast").alias(str(i))),
            on=key,
            how="left",
            maintain_order="left",
        )
    return rows.drop("period")


def _outcome(
    outcomes: Outcomes, recipe: Recipe, cutoff: date, weights: Weights, rules: SeriesRules
) -> Outcome:
    """The weighted mean at a cutoff; filled where a member that counts was.

    A member that made no forecast at all there does not count.
    """
    frames = [outcomes[name, cutoff].frame for name in weights.members]
    weights = weights.among([bool((frame["origin"] == MODEL).any()) for frame in frames])
    base = frames[0].drop(quantile_columns(rules), strict=False)
    table = weights.matrix(base, rules.segments)
    filled = np.stack([(frame["origin"] != MODEL).to_numpy() for frame in frames], axis=1)
    cold = base["segment"] == COLD_START
    points = [
        pl.Series(
            point,
            mixed(
                table,
                np.stack([f[point].cast(pl.Float64).fill_null(0.0).to_numpy() for f in frames], 1),
            ),
        )
        for point in POINTS
    ]
    frame = base.with_columns(*points).with_columns(
        *(pl.when(pl.lit(cold)).then(None).otherwise(pl.col(p)).alias(p) for p in POINTS),
        origin=pl.when(pl.Series((filled & (table > 0)).any(axis=1)))
        .then(pl.lit(FILLED))
        .otherwise(pl.lit(MODEL)),
    )
    return Outcome(recipe, cutoff, frame, None)
