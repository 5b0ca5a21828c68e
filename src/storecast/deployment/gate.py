"""The promotion gate: which of its three questions is asked of a candidate, and of what.

- *first*: there is no champion. The candidate must beat the baseline's mean; or the baseline it is.
- *refresh*: the champion has the same recipe. It must still beat the baseline, and the new artefact
  must stay near the serving one and the recent levels.
- *challenge*: the champion has another recipe. Both are refitted at the windows that the gate
  keeps, and the candidate must gain.

A champion whose recipe cannot be run any more (its features, its kind or its artefact is gone)
cannot be compared: then the candidate must beat the baseline, as a first deployment has to; where
it does not, the champion stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import polars as pl

from storecast.artifact.load import load, recipe_of
from storecast.backtest import gating
from storecast.backtest.judgement import Check, Judgement
from storecast.core.features import FEATURE_VERSION
from storecast.core.window import cut
from storecast.deployment.windows import Windows, beside
from storecast.errors import Code, ModelError, StorecastError
from storecast.models.base import Recipe, create
from storecast.models.ensemble import computed
from storecast.registry.artefacts import packed

if TYPE_CHECKING:
    from storecast.artifact.unified import UnifiedForecaster
    from storecast.backtest.judgement import Limits
    from storecast.core.panel import History
    from storecast.deployment.candidate import Candidate
    from storecast.project import Project
    from storecast.registry import ModelVersion


Road = Literal["first", "refresh", "challenge"]


@dataclass(frozen=True)
class Decision:
    """What the gate says of a version.

    Attributes:
        judgement: the checks and what follows from them.
        against: what it was held against, in words.
        remarks: what else is to be known.
    """

    judgement: Judgement
    against: str
    remarks: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the version becomes the champion."""
        return self.judgement.passed


@dataclass(frozen=True)
class Gate:
    """Judges candidates.

    Attributes:
        project: where the registered artefacts are found.
        history: what the tables say.
        windows: refits a recipe at the cutoffs that the gate keeps.
        baseline: the recipe to beat.
        limits: what is asked for.
        metric: lower is better.
    """

    project: Project
    history: History
    windows: Windows
    baseline: Recipe
    limits: Limits
    metric: str

    def __call__(
        self, candidate: Candidate, version: ModelVersion, champion: ModelVersion | None
    ) -> Decision:
        """Judge a candidate's version.

        Raises:
            ModelError: MODEL_FAILED where the baseline itself fails, GATE_ROWS_DIFFER,
                ARTIFACT_TAMPERED where the version's own artefact was damaged meanwhile.
        """
        recipe = candidate.choice.recipe
        if champion is None:
            return self._first(recipe)
        if candidate.refreshes(champion):
            return self._refresh(candidate, version, champion)
        return self._challenge(recipe, champion)

    # ------------------------------------------------------------------ first

    def baseline_itself(self) -> Decision:
        """A first deployment of the baseline: there is nothing to beat."""
        name = self.baseline.name
        sentence = f"{name} is the baseline: there is nothing to beat"
        check = Check("baseline", "overall", "all", None, None, None, (None, None), True, sentence)
        return Decision(Judgement("first", "passed", (check,), self.metric), "nothing")

    def _first(self, recipe: Recipe) -> Decision:
        against = f"the baseline {self.baseline.name}"
        if recipe.digest == self.baseline.digest:
            return self.baseline_itself()
        if not self.windows.kept:
            return Decision(self._no_windows("first"), against)
        rows, naive = self.windows(recipe), self.windows(self.baseline)
        rules = self.history.rules
        return Decision(gating.first(rows, naive, rules, self.limits, metric=self.metric), against)

    def _no_windows(self, road: Road) -> Judgement:
        sentence = (
            "no window is left for the gate: validation.windows must be larger than "
            "validation.warmup by two at least"
        )
        check = Check("windows", "overall", "all", 0.0, None, None, (1.0, None), None, sentence)
        return Judgement(road, "not_enough_evidence", (check,), self.metric)

    # ---------------------------------------------------------------- refresh

    def _refresh(
        self, candidate: Candidate, version: ModelVersion, champion: ModelVersion
    ) -> Decision:
        recipe, rules = candidate.choice.recipe, self.history.rules
        against = f"the serving version {champion.number}, of the same recipe"
        if not self.windows.kept:
            return Decision(self._no_windows("refresh"), against)
        is_baseline = recipe.digest == self.baseline.digest
        with packed(self.project, version) as folder:
            new = self._asked(load(folder), candidate)
        serving, remarks = None, tuple[str, ...]()
        try:
            with packed(self.project, champion) as folder:
                serving = self._asked(load(folder), candidate)
        except (StorecastError, OSError) as fault:
            remarks = (
                f"the serving version {champion.number} could not be asked ({_why(fault)}), so the "
                "new forecasts are held against recent levels alone",
            )
        past = cut(self.history, candidate.cutoff, rules.horizon).past.rows
        judgement = gating.refresh(
            self.windows(recipe),
            None if is_baseline else self.windows(self.baseline),
            new,
            serving,
            past.select("store_id", "date", "sales"),
            rules,
            self.limits,
            metric=self.metric,
        )
        return Decision(judgement, against, remarks)

    def _asked(self, forecaster: UnifiedForecaster, candidate: Candidate) -> pl.DataFrame:
        """What an artefact forecasts from the history as it is, after the candidate's cutoff."""
        horizon = min(forecaster.rules.horizon, self.history.rules.horizon)
        return forecaster.forecast(self.history, candidate.cutoff, horizon)

    # -------------------------------------------------------------- challenge

    def _challenge(self, recipe: Recipe, champion: ModelVersion) -> Decision:
        name = champion.tags.get("model", "the champion")
        against = f"the champion {name} (version {champion.number})"
        if not self.windows.kept:
            return Decision(self._no_windows("challenge"), against)
        try:
            with packed(self.project, champion) as folder:
                packed_recipe = recipe_of(folder)
            # where it computes is no part of a recipe, and not packed
            theirs = replace(
                packed_recipe,
                accelerator=self.project.config.accelerator,
                home=str(self.project.root),
            )
            _runnable(theirs)
        except (StorecastError, OSError) as fault:
            return self._incomparable(recipe, champion, fault)
        rows, other = self.windows(recipe), self.windows(theirs)
        rules = self.history.rules
        if (theirs.training_from, theirs.mask) != (recipe.training_from, recipe.mask):
            other, rows = beside(other, rows, rules)
        judgement = gating.challenge(other, rows, rules, self.limits, metric=self.metric)
        return Decision(judgement, against)

    def _incomparable(self, recipe: Recipe, champion: ModelVersion, fault: Exception) -> Decision:
        remark = (
            f"the recipe of the champion, version {champion.number}, cannot be run any more "
            f"({_why(fault)}): the candidate is held against the baseline {self.baseline.name}"
        )
        against = f"the baseline {self.baseline.name}"
        if recipe.digest != self.baseline.digest:
            first = self._first(recipe)
            return Decision(first.judgement, first.against, (remark,))
        check = Check(
            "gain", "overall", "all", None, None, None, (self.limits.min_gain, None), None,
            f"{recipe.name} is the baseline, and the champion cannot be run beside it",
        )  # fmt: skip
        judgement = Judgement("challenge", "not_enough_evidence", (check,), self.metric)
        return Decision(judgement, against, (remark,))


def _runnable(recipe: Recipe) -> None:
    """Raise where the installed package cannot fit a recipe as it was fitted."""
    for each in (recipe, *computed([recipe])):
        if each.feature_version != FEATURE_VERSION:
            raise ModelError(
                Code.ARTIFACT_FORMAT_UNKNOWN,
                f"it has features of version {each.feature_version}, and this storecast makes "
                f"those of version {FEATURE_VERSION}",
            )
        create(each)


def _why(fault: Exception) -> str:
    return fault.message if isinstance(fault, StorecastError) else str(fault)
