"""The whole road: from what the tables say to the final, calibrated forecasts at a cutoff.

Validation walks it once; the audit walks it again on altered tables. What is learnt from earlier
windows (the weights of ensembles, then the calibration) belongs into ``walk_forward``, so that the
audit has it too; it tunes anew as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from storecast.backtest.ensembles import Outcomes, with_ensembles
from storecast.backtest.tasks import (
    COLD_START,
    FILLED,
    backtest,
    calibrated,
    calibration_errors,
)
from storecast.backtest.tuning import Tuner, TuningWindows, tuned
from storecast.models.base import KEY, POINTS, quantile_columns
from storecast.models.calibration import Conformal
from storecast.models.ensemble import KIND as ENSEMBLE
from storecast.models.ensemble import computed

if TYPE_CHECKING:
    from pathlib import Path

    from storecast.core.panel import History, SeriesRules
    from storecast.models.base import Recipe
    from storecast.ports import Compute


def walk_forward(
    outcomes: Outcomes,
    recipes: Sequence[Recipe],
    cutoffs: Sequence[date],
    rules: SeriesRules,
    baseline: Recipe | None = None,
) -> list[pl.DataFrame]:
    """Every window's final forecasts: its intervals from earlier windows' complete targets.

    What the baseline filled is the baseline's own final forecast, intervals included.

    Args:
        outcomes: of every recipe at every cutoff, and of ``baseline`` where it is given; ensembles
            need their members' alone.
        recipes: the models.
        cutoffs: ascending.
        rules: of the series.
        baseline: which filled; None: filled rows have the intervals of the model.

    Returns:
        one frame a recipe and cutoff, as ``calibrated`` gives it, with model and cutoff; all with
        the same columns.
    """
    frames = []
    outcomes = with_ensembles(outcomes, recipes, cutoffs, rules)
    filling: list[pl.DataFrame] = []
    if baseline is not None and any_filled(outcomes, recipes, cutoffs):
        filling = _final(outcomes, baseline, cutoffs, rules, [])
    for recipe in recipes:
        own = _final(outcomes, recipe, cutoffs, rules, [] if recipe.kind == ENSEMBLE else filling)
        frames += [
            frame.with_columns(model=pl.lit(recipe.name), cutoff=pl.lit(cutoff))
            for frame, cutoff in zip(own, cutoffs, strict=True)
        ]
    columns = frames[0].columns
    return [frame.select(columns) for frame in frames]


def any_filled(outcomes: Outcomes, recipes: Sequence[Recipe], cutoffs: Sequence[date]) -> bool:
    """Whether the baseline filled a row of one of these models; an ensemble's are mixed."""
    frames = [outcomes[r.name, day].frame for r in recipes if r.kind != ENSEMBLE for day in cutoffs]
    asked = pl.col("segment") != COLD_START
    return any(f.select(((pl.col("origin") == FILLED) & asked).any()).item() for f in frames)


def with_filling(
    history: History,
    outcomes: Outcomes,
    recipes: Sequence[Recipe],
    baseline: Recipe,
    cutoffs: Sequence[date],
    compute: Compute,
    **where: Path | None,
) -> tuple[Outcomes, Recipe | None]:
    """What ``walk_forward`` needs of the baseline, backtested only where it filled something.

    Args:
        history: of the backtest.
        outcomes: what it gave.
        recipes: its models.
        baseline: which filled.
        cutoffs: ascending.
        compute: where tasks run.
        where: ``scratch`` and ``keep`` of ``backtest``.

    Returns:
        the outcomes, the baseline's among them, and the baseline; None where it filled nothing.
    """
    if not any_filled(outcomes, recipes, cutoffs):
        return outcomes, None
    if baseline in recipes:
        return outcomes, baseline
    if baseline.name in {recipe.name for recipe in recipes}:
        baseline = replace(baseline, name=f"{baseline.name}, filling")
    found = dict(outcomes)
    for outcome in backtest(
        history, [baseline], cutoffs, history.rules.horizon, compute, baseline=baseline, **where
    ):
        found[baseline.name, outcome.cutoff] = outcome
    return found, baseline


def _final(
    outcomes: Outcomes,
    recipe: Recipe,
    cutoffs: Sequence[date],
    rules: SeriesRules,
    filling: Sequence[pl.DataFrame],
) -> list[pl.DataFrame]:
    """One model's calibrated frames; ``filling`` are the baseline's at the same cutoffs, or []."""
    frames = []
    told: list[pl.DataFrame] = []
    for number, cutoff in enumerate(cutoffs):
        errors = calibration_errors(told, rules.frequency.ordinal(cutoff))
        raw = outcomes[recipe.name, cutoff].frame
        fills = filling[number] if filling else None
        frames.append(calibrated(raw, Conformal.learn(errors, rules), rules, fills))
        told.append(raw)
    return frames


def calibrations(
    outcomes: Outcomes,
    recipes: Sequence[Recipe],
    cutoffs: Sequence[date],
    rules: SeriesRules,
    until: int,
) -> dict[str, Conformal]:
    """Each model's calibration by all windows, as far as their periods are at most ``until``.

    That is what a model deployed on the whole history takes.
    """
    outcomes = with_ensembles(outcomes, recipes, cutoffs, rules)
    return {
        recipe.name: Conformal.learn(
            calibration_errors([outcomes[recipe.name, day].frame for day in cutoffs], until), rules
        )
        for recipe in recipes
    }


@dataclass(frozen=True)
class Road:
    """A callable from a history to the final forecasts at the last of ``cutoffs``.

    Nothing is taken from a cache: every window is forecast anew. Plain enough to pickle.
    """

    recipes: tuple[Recipe, ...]
    baseline: Recipe
    cutoffs: tuple[date, ...]
    horizon: int
    tuning: TuningWindows | None = None
    """Where recipes that ask for it are tuned, anew each time."""

    def __call__(self, history: History) -> pl.DataFrame:
        """The forecasts of the stores that were to be forecast.

        Returns:
            model, store_id, date, step, forecast, forecast_mean, the quantile columns and origin,
            sorted by model, store and date.
        """
        recipes, baseline = self.recipes, self.baseline
        if self.tuning is not None:
            tuner = Tuner(history, self.tuning, self.horizon, Inline(), baseline)
            recipes, baseline, _ = tuned(tuner, recipes)
        outcomes: Outcomes = {
            (outcome.recipe.name, outcome.cutoff): outcome
            for outcome in backtest(
                history,
                computed(recipes),
                self.cutoffs,
                self.horizon,
                Inline(),
                baseline=baseline,
            )
        }
        rules = history.rules
        outcomes, filling = with_filling(
            history, outcomes, recipes, baseline, self.cutoffs, Inline()
        )
        frame = pl.concat(walk_forward(outcomes, recipes, self.cutoffs, rules, filling))
        return (
            frame.filter((pl.col("cutoff") == self.cutoffs[-1]) & (pl.col("segment") != COLD_START))
            .select("model", *KEY, *POINTS, *quantile_columns(rules), "origin")
            .sort("model", "store_id", "date")
        )


class Inline:
    """Compute in this very process: a road is walked inside a worker."""

    workers = 1

    def run_tasks(
        self,
        function: Callable[[Any], Any],
        tasks: Sequence[Any],
        *,
        cost: Callable[[Any], float] | None = None,  # noqa: ARG002 - the port's
        lost: Callable[[Any, Any], Any] | None = None,  # noqa: ARG002 - the port's
        apart: bool = False,  # noqa: ARG002 - the port's
    ) -> Iterator[tuple[Any, Any]]:
        """One after the other."""
        for task in tasks:
            yield task, function(task)

    def map_stores(self, function: Callable[[Any], Any], groups: Any) -> Iterator[Any]:
        """One after the other."""
        yield from map(function, groups)
