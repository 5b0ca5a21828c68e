"""Tuning by Optuna, on the windows before the first scored one and on no later target.

The first trial is the model as it is configured, so that tuning takes nothing that was worse in
its windows; the others are drawn by the tree-structured Parzen estimator (Bergstra and others,
Algorithms for Hyper-Parameter Optimization, NeurIPS (2011)), a few at once, so that processors
have work: always as many, so that their number decides nothing. From one seed and the same values
the same parameters are drawn: a tuning that was killed is played again with the values of the
finished trials, and ends as an undisturbed one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from storecast.artifact.unified import fingerprint
from storecast.backtest.identity import model_identity, surroundings
from storecast.backtest.tasks import COLD_START, Outcome, backtest
from storecast.models.ensemble import KIND, computed, members_of, with_members
from storecast.models.space import Number, Space, space_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial as Asked

    from storecast.core.panel import History
    from storecast.models.base import Recipe
    from storecast.ports import Compute

AT_ONCE: Final = 4
"""Trials that are drawn before the first of them is over."""
_SEED: Final = 0


@dataclass(frozen=True)
class TuningWindows:
    """Where models are tuned.

    Attributes:
        cutoffs: of the windows, ascending.
        until: the first scored cutoff: targets of later periods do not count.
    """

    cutoffs: tuple[date, ...]
    until: date


@dataclass(frozen=True)
class Trial:
    """Parameters beside the configured ones, and the share of sales that they missed by.

    ``value`` is Σ|sales − forecast| / Σ|sales| over all windows; None where the model failed, or
    nothing was sold.
    """

    parameters: dict[str, Any]
    value: float | None


@dataclass(frozen=True)
class Tuned:
    """What the tuning of one model found.

    Attributes:
        recipe: with the best parameters; as it was where no trial has a value.
        trials: in their order.
        best: the place of the best trial, the first of equals; None where none has a value.
    """

    recipe: Recipe
    trials: tuple[Trial, ...]
    best: int | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "best": self.best,
            "parameters": {} if self.best is None else self.trials[self.best].parameters,
            "trials": [asdict(trial) for trial in self.trials],
        }


@dataclass(frozen=True)
class Tuner:
    """Tunes a recipe by as many trials as it asks for.

    Attributes:
        history: what the tables say, uncut.
        windows: on which the trials are tried.
        horizon: periods that each window forecasts.
        compute: where they run.
        baseline: fills for what fails.
        scratch: for temporary files.
        keep: the folder of finished tasks, as ``backtest`` has it.
        journal: the folder of finished trials; None: nothing is taken from one, nothing kept.
        heard: is told of a model, the finished trials, and of how many.
    """

    history: History
    windows: TuningWindows
    horizon: int
    compute: Compute
    baseline: Recipe
    scratch: Path | None = None
    keep: Path | None = None
    journal: Path | None = None
    heard: Callable[[str, int, int], None] | None = None

    def __call__(self, recipe: Recipe) -> Tuned:
        """Try, and take the best."""
        study = _study()
        space = space_of(recipe.name, recipe.kind, recipe.parameters)
        file = self.journal / f"{self._key(recipe, space)}.json" if self.journal else None
        kept, done = _read(file), list[Trial]()
        while len(done) < recipe.tune:
            self._tell(recipe.name, len(done), recipe.tune)
            size = min(AT_ONCE, recipe.tune - len(done))
            asked = [None if not done and not i else study.ask(_known(space)) for i in range(size)]
            given = [{} if trial is None else dict(trial.params) for trial in asked]
            batch = kept[len(done) : len(done) + size]
            if [trial.parameters for trial in batch] != given:
                batch = self._tried(recipe, given, len(done))
            for trial, found in zip(asked, batch, strict=True):
                _told(study, trial, found.value)
            done += batch
            if len(done) > len(kept):
                kept = list(done)
                _write(file, done)
        self._tell(recipe.name, len(done), recipe.tune)
        return _best(recipe, done)

    def _tell(self, name: str, done: int, total: int) -> None:
        if self.heard is not None:
            self.heard(name, done, total)

    def _tried(self, recipe: Recipe, given: Sequence[dict[str, Any]], first: int) -> list[Trial]:
        """Each of the given parameters in all windows."""
        variants = [
            replace(
                recipe,
                name=f"{recipe.name}.{first + i}",
                parameters={**recipe.parameters, **own},
                tune=0,
            )
            for i, own in enumerate(given)
        ]
        outcomes = {
            (outcome.recipe.name, outcome.cutoff): outcome
            for outcome in backtest(
                self.history,
                variants,
                self.windows.cutoffs,
                self.horizon,
                self.compute,
                baseline=replace(self.baseline, tune=0),
                scratch=self.scratch,
                keep=self.keep,
            )
        }
        until = self.history.rules.frequency.ordinal(self.windows.until)
        return [
            Trial(own, _missed([outcomes[v.name, day] for day in self.windows.cutoffs], until))
            for v, own in zip(variants, given, strict=True)
        ]

    def _key(self, recipe: Recipe, space: Space) -> str:
        """All that decides the values of the trials but their number."""
        import optuna

        told = [
            fingerprint(self.history, self.windows.until),
            model_identity(replace(recipe, tune=0)),
            {name: asdict(where) for name, where in space.items()},
            [day.isoformat() for day in (*self.windows.cutoffs, self.windows.until)],
            self.horizon,
            model_identity(replace(self.baseline, tune=0)),
            surroundings(),
            optuna.__version__,
        ]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def tuned(
    tuner: Tuner, recipes: Sequence[Recipe]
) -> tuple[tuple[Recipe, ...], Recipe, dict[str, Tuned]]:
    """The recipes with tuned parameters, an ensemble's members too; so the tuner's baseline.

    Returns:
        the recipes in their order, the baseline, and what was found, by the models' names.
    """
    found = {recipe.name: tuner(recipe) for recipe in computed(recipes) if recipe.tune}

    def put(recipe: Recipe) -> Recipe:
        if recipe.kind == KIND:
            return with_members(recipe, [put(member) for member in members_of(recipe)])
        return found[recipe.name].recipe if recipe.name in found else recipe

    return tuple(put(recipe) for recipe in recipes), put(tuner.baseline), found


def bounded(recipe: Recipe, most: int) -> Recipe:
    """The recipe, and an ensemble's members, with at most so many trials."""
    if recipe.kind == KIND:
        return with_members(recipe, [bounded(member, most) for member in members_of(recipe)])
    return replace(recipe, tune=min(recipe.tune, most))


def _missed(outcomes: Sequence[Outcome], until: int) -> float | None:
    if any(outcome.failure is not None for outcome in outcomes):
        return None
    rows = pl.concat(
        outcome.frame.filter(
            (pl.col("period") <= until)
            & (pl.col("segment") != COLD_START)
            & pl.col("sales").is_not_null()
            & pl.col("forecast").is_not_null()
        )
        .sort("store_id", "period")
        .select("sales", "forecast")
        for outcome in outcomes
    )
    actual, said = (rows[name].to_numpy().astype(np.float64) for name in ("sales", "forecast"))
    sold = float(np.abs(actual).sum())
    return float(np.abs(actual - said).sum()) / sold if sold else None


def _best(recipe: Recipe, trials: Sequence[Trial]) -> Tuned:
    scored = [(trial.value, i) for i, trial in enumerate(trials) if trial.value is not None]
    best = min(scored)[1] if scored else None
    own = {} if best is None else trials[best].parameters
    final = replace(recipe, parameters={**recipe.parameters, **own}, tune=0)
    return Tuned(final, tuple(trials), best)


# ------------------------------------------------------------------------- Optuna


def _study() -> Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=optuna.samplers.TPESampler(seed=_SEED))


def _known(space: Space) -> dict[str, BaseDistribution]:
    from optuna.distributions import FloatDistribution, IntDistribution

    return {
        name: FloatDistribution(where.low, where.high, log=where.log)
        if isinstance(where, Number)
        else IntDistribution(where.low, where.high, log=where.log)
        for name, where in space.items()
    }


def _told(study: Study, asked: Asked | None, value: float | None) -> None:
    from optuna.trial import TrialState

    if asked is None:
        return
    if value is None:
        study.tell(asked, state=TrialState.FAIL)
    else:
        study.tell(asked, value)


# ------------------------------------------------------------------- finished trials


def _read(file: Path | None) -> list[Trial]:
    if file is None:
        return []
    try:
        return [Trial(**plain) for plain in json.loads(file.read_text("utf-8"))]
    except (OSError, ValueError, TypeError):
        return []


def _write(file: Path | None, trials: Sequence[Trial]) -> None:
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps([asdict(trial) for trial in trials], indent=1), "utf-8")
    temporary.replace(file)
