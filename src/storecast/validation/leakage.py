"""How far a validation audits its models for leaks, and what it keeps of the verdicts.

- ``fast``: the models whose backtest is cheap, at the middle cutoff, on 50 stores; and the model
  that would be deployed, if it is not among them.
- ``every``: every model at the first, the middle and the last scored cutoff, on all stores.
- ``full``: every model at every scored cutoff, each kind alone as well, after all earlier windows.
- ``off``: nothing; then ``deploy`` refuses.

Tuning is done anew at each walk: in ``full`` as it was, else by a few trials on the last window.

Of the windows before a cutoff, ``full`` walks all again, ``every`` two (the one next to it, whose
targets may be unfinished, and the newest that is finished), ``fast`` the one next to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from storecast import runs
from storecast.backtest.audit import Finding, Verdict, audit, few_stores
from storecast.backtest.hindsight import suspects
from storecast.backtest.identity import outside_of
from storecast.backtest.road import Road
from storecast.backtest.tuning import TuningWindows, bounded
from storecast.models.base import create, is_foreign
from storecast.models.ensemble import KIND as ENSEMBLE
from storecast.models.ensemble import computed

if TYPE_CHECKING:
    from storecast.core.panel import History, SeriesRules
    from storecast.models.base import Recipe
    from storecast.project import Project
    from storecast.runs import Run

Level = Literal["off", "fast", "every", "full"]
Before = Literal["all", "two", "one", "none"]
LEVELS: Final[tuple[Level, ...]] = ("off", "fast", "every", "full")
FEW: Final = 50
TRIALS: Final = 3
"""Trials of a tuning that the audit repeats at each walk, short of ``full``."""


@dataclass(frozen=True)
class Audit:
    """The verdicts of a validation, by model, and how far the audit went.

    ``attributes`` are those without versions that tell which stores have ended since.
    """

    level: Level = "off"
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    attributes: tuple[str, ...] = ()

    def covers(self, level: Level) -> bool:
        """Whether it went at least as far."""
        return LEVELS.index(self.level) >= LEVELS.index(level)

    def failed(self, model: str) -> bool:
        """Whether the audit says no to a model."""
        return model in self.verdicts and self.verdicts[model].failed

    def status(self, model: str) -> str | None:
        """A model's verdict in one word; None where it was not audited."""
        return self.verdicts[model].status if model in self.verdicts else None

    def as_dict(self) -> dict[str, Any]:
        """Plain values; ``from_dict`` gives an equal audit back."""
        return {
            "level": self.level,
            "attributes": list(self.attributes),
            "verdicts": {name: verdict.as_dict() for name, verdict in self.verdicts.items()},
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any] | None) -> Self:
        """Rebuild from ``as_dict``; from None, nothing was audited."""
        if plain is None:
            return cls()
        verdicts = {n: Verdict.from_dict(v) for n, v in plain["verdicts"].items()}
        return cls(plain["level"], verdicts, tuple(plain["attributes"]))

    def sentences(self) -> list[str]:
        """For people."""
        if self.level == "off":
            return ["leak audit: off, so that deploy will refuse"]
        passed = [name for name, verdict in self.verdicts.items() if verdict.passed]
        told = []
        if passed:
            cutoffs = sorted({c for name in passed for c in self.verdicts[name].cutoffs})
            where = cutoffs[0] if len(cutoffs) == 1 else f"{len(cutoffs)} cutoffs"
            stores = max(self.verdicts[name].stores for name in passed)
            told.append(
                f"leak audit: no forecast of {', '.join(passed)} depends on what came after the "
                f"cutoff ({where}, up to {stores} stores)"
            )
        told += [
            f"leak audit: {name}: {verdict.sentence()}"
            for name, verdict in self.verdicts.items()
            if not verdict.passed
        ]
        if self.attributes:
            told.append(
                f"leak audit: {', '.join(self.attributes)} without versions tells which stores "
                "have ended since: give its versions by valid_from, or leave it out"
            )
        return told


@dataclass(frozen=True)
class Audited:
    """What is to be audited: the models and windows of a validation."""

    recipes: tuple[Recipe, ...]
    baseline: Recipe
    cutoffs: tuple[date, ...]
    warmup: int
    code: str


def audited(
    run: Run,
    project: Project,
    history: History,
    what: Audited,
    level: Level,
    ranking: Sequence[str],
) -> Audit:
    """Audit a validation's models as far as ``level`` says.

    Args:
        run: to tell of the progress.
        project: for its compute, its scratch folder and its earlier verdicts.
        history: of the validation.
        what: the models and windows.
        level: how far.
        ranking: the models' names, the one that would be deployed first.
    """
    if level == "off":
        return Audit()
    scored = what.cutoffs[what.warmup :]
    middle = scored[len(scored) // 2]
    cutoffs = {
        "fast": (middle,),
        "every": tuple(dict.fromkeys((scored[0], middle, scored[-1]))),
        "full": scored,
    }[level]
    attributes = suspects(history, min(cutoffs))
    ask = _Asker(run, project, history, what, attributes)
    if level != "fast":
        found = ask(what.recipes, cutoffs, "all" if level == "full" else "two")
        return Audit(level, found, attributes)
    fast = tuple(r for r in what.recipes if is_fast(r))
    found = dict(ask(fast, cutoffs, "one", few=FEW))
    if not attributes:
        found |= _kept(project, what, history.rules, without=found)
    by_name = {recipe.name: recipe for recipe in what.recipes}
    for name in ranking:
        if name not in found:
            # the weights of an ensemble are learnt from a window before
            before: Before = "one" if by_name[name].kind == ENSEMBLE else "none"
            found |= ask((by_name[name],), cutoffs, before, few=FEW)
        if not found[name].failed:
            break
    ordered = {recipe.name: found[recipe.name] for recipe in what.recipes if recipe.name in found}
    return Audit(level, ordered, attributes)


def is_fast(recipe: Recipe) -> bool:
    """Whether a model's backtest is cheap: ``fast`` of its class, by default True."""
    return bool(getattr(create(recipe), "fast", True))


def key_of(recipe: Recipe, rules: SeriesRules, code: str) -> str:
    """What a verdict holds for: recipe, rules of the series and code, another package's too."""
    told = " ".join([recipe.digest, rules.to_json(), code, *outside_of(recipe)])
    return hashlib.sha256(told.encode()).hexdigest()


def _kept(
    project: Project, what: Audited, rules: SeriesRules, without: Iterable[str]
) -> dict[str, Verdict]:
    """Verdicts of earlier validations that hold still, the newest of each."""
    wanted = {
        key_of(recipe, rules, what.code): recipe.name
        for recipe in what.recipes
        if recipe.name not in without
    }
    kept: dict[str, Verdict] = {}
    for row in reversed(runs.ledger(project) if wanted else []):
        if row["command"] != "validate" or row["status"] not in runs.COMPLETED:
            continue
        for verdict in Audit.from_dict(row["details"].get("audit")).verdicts.values():
            # what died may have wanted memory alone: it is asked again
            if verdict.key in wanted and verdict.status != "died":
                kept.setdefault(wanted[verdict.key], verdict)
    return kept


@dataclass(frozen=True)
class _Asker:
    """Walks the roads and gathers the verdicts."""

    run: Run
    project: Project
    history: History
    what: Audited
    attributes: tuple[str, ...]

    def __call__(
        self,
        recipes: tuple[Recipe, ...],
        cutoffs: Sequence[date],
        before: Before,
        *,
        few: int | None = None,
    ) -> dict[str, Verdict]:
        """The verdict on each of the recipes."""
        if not recipes:
            return {}
        text = f"leak audit of {', '.join(recipe.name for recipe in recipes)}"
        findings: list[Finding] = []
        # what another package has made may end its process: it walks alone
        own = tuple(recipe for recipe in recipes if not is_foreign(recipe))
        parts = [part for part in (own, *((r,) for r in recipes if r not in own)) if part]
        asked = [(cutoff, part) for cutoff in cutoffs for part in parts]
        for done, (cutoff, part) in enumerate(asked):
            self.run.progress(text, done, len(asked))
            history = self.history if few is None else few_stores(self.history, cutoff, few)
            findings += audit(
                self._road(part, cutoff, before),
                history,
                cutoff,
                each=before == "all",
                attributes=self.attributes,
                compute=self.project.compute,
                light=all(create(recipe).stateless for recipe in computed(part)),
                foreign=() if part == own else [recipe.name for recipe in part],
                scratch=self.project.scratch(),
            )
        self.run.progress(text, len(asked), len(asked))
        rules = self.history.rules
        return {
            recipe.name: Verdict.over(
                [f for f in findings if f.model == recipe.name],
                key_of(recipe, rules, self.what.code),
            )
            for recipe in recipes
        }

    def _road(self, recipes: tuple[Recipe, ...], cutoff: date, before: Before) -> Road:
        frequency, horizon = self.history.rules.frequency, self.history.rules.horizon
        earlier = [day for day in self.what.cutoffs if day < cutoff]
        last = frequency.ordinal(cutoff) - horizon
        finished = [day for day in earlier if frequency.ordinal(day) <= last]
        walked = {
            "all": earlier,
            "two": sorted({*earlier[-1:], *finished[-1:]}),
            "one": earlier[-1:],
            "none": [],
        }[before]
        fed, scored = self.what.cutoffs[: self.what.warmup], self.what.cutoffs[self.what.warmup :]
        if before != "all":
            recipes = tuple(bounded(recipe, TRIALS) for recipe in recipes)
            # of the windows of the tuning, the one whose targets may be unfinished
            fed = fed[-1:]
        tuning = TuningWindows(fed, scored[0])
        return Road(recipes, self.what.baseline, (*walked, cutoff), horizon, tuning)
