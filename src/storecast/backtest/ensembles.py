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
        if recipe.kind != KIND or all((recipe.name, cutoff) in found for cutoff in cutoffs):
            continue
        told: list[pl.DataFrame] = []
        for cutoff in cutoffs:
            weights = learnt(told, recipe, rules, rules.frequency.ordinal(cutoff))
            found[recipe.name, cutoff] = _outcome(found, recipe, cutoff, weights, rules)
            told.append(taught(found, recipe, cutoff, rules))
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
        learnt([taught(outcomes, r, day, rules) for day in cutoffs], r, rules, until).put(r)
        if r.kind == KIND
        else r
        for r in recipes
    )


def learnt(
    windows: Sequence[pl.DataFrame], recipe: Recipe, rules: SeriesRules, until: int
) -> Weights:
    """An ensemble's weights by what windows taught; targets of periods up to ``until`` count."""
    members = Weights.of(recipe).members
    if not windows:
        return Weights.equal(members)
    rows = pl.concat(window.filter(pl.col("period") <= until) for window in windows)
    return Weights.learn(rows, members, rules.segments)


def taught(outcomes: Outcomes, recipe: Recipe, cutoff: date, rules: SeriesRules) -> pl.DataFrame:
    """What one window teaches: as ``Weights.learn`` takes it, and the period."""
    frames = [outcomes[name, cutoff].frame for name in Weights.of(recipe).members]
    key = ["store_id", "period"]
    warm = pl.col("segment") != COLD_START
    rows = frames[0].filter(warm).select(*key, "sales", *rules.segments).sort(key)
    for i, frame in enumerate(frames):
        own = frame.filter(warm & (pl.col("origin") == MODEL))
        rows = rows.join(
            own.select(*key, pl.col("forecast").alias(str(i))),
            on=key,
            how="left",
            maintain_order="left",
        )
    return rows


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
