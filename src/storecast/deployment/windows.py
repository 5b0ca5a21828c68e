"""The windows that the gate keeps: each recipe refitted there, on the road of the validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from storecast.backtest.comparison import compared
from storecast.backtest.road import walk_forward, with_filling
from storecast.backtest.tasks import Outcome, backtest
from storecast.models.base import POINTS, quantile_columns
from storecast.models.ensemble import computed

if TYPE_CHECKING:
    from storecast.core.panel import History, SeriesRules
    from storecast.models.base import Recipe
    from storecast.project import Project
    from storecast.runs import Run

_KEY = ["store_id", "date", "cutoff"]


@dataclass(frozen=True)
class Windows:
    """Refits recipes at the cutoffs of a validation; what its tasks found is not done again.

    Attributes:
        run: is told of the progress.
        project: whose compute and finished tasks are used.
        history: what the tables say.
        baseline: fills for what fails.
        cutoffs: of the validation, warm-up included, ascending: what an ensemble weighs by and
            what the intervals are learnt from, walking forward.
        kept: those that the gate keeps.
        step: from one cutoff to the next.
    """

    run: Run
    project: Project
    history: History
    baseline: Recipe
    cutoffs: tuple[date, ...]
    kept: tuple[date, ...]
    step: str | int

    def __call__(self, recipe: Recipe) -> pl.DataFrame:
        """The scored rows of a recipe at the cutoffs that the gate keeps.

        The recipe's own first day and mask hold, whatever the configuration says by now.

        Returns:
            As ``backtest.gating`` takes them: one row a cutoff, store and period.
        """
        rules = replace(self.history.rules, training_from=recipe.training_from, mask=recipe.mask)
        history = replace(self.history, rules=rules)
        outcomes, filling = with_filling(
            history,
            self._outcomes(recipe, history),
            [recipe],
            self.baseline,
            self.cutoffs,
            self.project.compute,
            scratch=self.project.scratch(),
            keep=self.project.finished_tasks,
        )
        frame = pl.concat(walk_forward(outcomes, [recipe], self.cutoffs, rules, filling))
        frame = frame.with_columns(compared(frame, rules, self.cutoffs, self.step))
        return frame.filter(pl.col("cutoff").is_in(list(self.kept)))

    def _outcomes(self, recipe: Recipe, history: History) -> Mapping[tuple[str, date], Outcome]:
        recipes = computed([recipe])
        text = f"gate: {recipe.name} at {len(self.kept)} cutoffs"
        total = len(recipes) * len(self.cutoffs)
        self.run.progress(text, 0, total)
        outcomes: dict[tuple[str, date], Outcome] = {}
        for outcome in backtest(
            history,
            recipes,
            self.cutoffs,
            self.project.config.forecast.horizon,
            self.project.compute,
            baseline=self.baseline,
            scratch=self.project.scratch(),
            keep=self.project.finished_tasks,
        ):
            outcomes[outcome.recipe.name, outcome.cutoff] = outcome
            if not outcome.kept:
                self.run.progress(text, len(outcomes), total)
        self.run.progress(text, total, total)
        return outcomes


def beside(
    rows: pl.DataFrame, other: pl.DataFrame, rules: SeriesRules
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two recipes' rows, where they have different first days or masks: the ones of both.

    What happened, and the scales, are those of ``other``; ``rows`` gives its forecasts alone.
    """
    said = [*POINTS, *quantile_columns(rules)]
    mine = rows.select(*_KEY, *said, "origin")
    common = other.join(mine.select(_KEY), on=_KEY, how="semi", maintain_order="left")
    return (
        common.drop(*said, "origin").join(mine, on=_KEY, how="left", maintain_order="left"),
        common,
    )
