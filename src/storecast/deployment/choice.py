"""Which recipe becomes the champion, by the newest validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from storecast.backtest.audit import Verdict
from storecast.backtest.choosing import Split, chosen_by, ranked
from storecast.backtest.spans import SpanVerdict
from storecast.errors import Code, ConfigurationError, ModelError, Refusal
from storecast.models.base import Recipe
from storecast.models.calibration import Conformal


@dataclass(frozen=True)
class Validated:
    """What a validation says.

    Attributes:
        validation_id: its id.
        recipes: of its models, by name, with what was learnt beside (weights of ensembles,
            tuned parameters).
        conformals: each model's calibration by all windows, whose targets are complete by now.
        scores: rows of ``backtest_scores``: model, scope, member, a column a metric.
        verdicts: of the leak audit, by the models that it tried.
        audited: False where the audit was turned off.
        configured: digests of the models' recipes as they were configured, by name, where these
            differ from ``recipes``.
        cutoffs: of every window, warm-up included, ascending.
        warmup: how many of them were scored for no model.
        step: from one cutoff to the next, as ``validation.step`` has it.
        spans: how other first days of training would have done (``compare_from``).
    """

    validation_id: str
    recipes: Mapping[str, Recipe]
    conformals: Mapping[str, Conformal]
    scores: pl.DataFrame
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    audited: bool = True
    configured: Mapping[str, str] = field(default_factory=dict)
    cutoffs: tuple[date, ...] = ()
    warmup: int = 0
    step: str | int = 1
    spans: tuple[SpanVerdict, ...] = ()

    def of_the_span(self, model: str) -> list[str]:
        """Whether a model is better on the configured span than on others, in words."""
        return [verdict.sentence() for verdict in self.spans if verdict.model == model]

    def split(self, windows: int) -> Split:
        """The scored cutoffs: those that choose, and the last ``windows``, which the gate keeps."""
        return Split.of(self.cutoffs[self.warmup :], windows)

    def proven(self, recipe: Recipe) -> Recipe | None:
        """The validated recipe of a model as it is configured now; None: it was another."""
        found = self.recipes.get(recipe.name)
        if found is None or self.configured.get(recipe.name, found.digest) != recipe.digest:
            return None
        return found

    def failed(self, model: str) -> bool:
        """Whether the leak audit says no to a model."""
        return model in self.verdicts and self.verdicts[model].failed

    def score(self, model: str, metric: str) -> float | None:
        """A model's overall score; None where it has none."""
        found = self.scores.filter(
            (pl.col("scope") == "overall") & (pl.col("model") == model)
        ).get_column(metric)
        return found[0] if found.len() else None


@dataclass(frozen=True)
class Choice:
    """The recipe to deploy, whether it was validated, and why it was taken."""

    recipe: Recipe
    validated: bool
    reason: str


def choose(
    validated: Validated,
    configured: Sequence[Recipe],
    *,
    metric: str,
    baseline: str,
    choosing: Sequence[date],
    model: str | None = None,
    force: bool = False,
) -> Choice:
    """The best validated recipe, or the one that was asked for.

    The best is the one with the lowest mean over ``choosing``: windows that the gate keeps take
    no part.

    Args:
        validated: the newest validation.
        configured: the recipes of the configuration, as it is now.
        metric: lower is better.
        baseline: the model to beat.
        choosing: the scored cutoffs that choose.
        model: the one that was asked for.
        force: deploy it even if it was not validated.

    Raises:
        ConfigurationError: MODEL_UNKNOWN.
        ModelError: RECIPE_NOT_VALIDATED, NOT_VALIDATED.
    """
    if model is not None:
        return _asked(validated, configured, model, force)
    current = {recipe.name: recipe for recipe in configured}
    scored = {
        name: mean
        for name, mean in chosen_by(validated.scores, metric, choosing).items()
        if name in current
        and validated.proven(current[name]) is not None
        and (name == baseline or not validated.failed(name))
    }
    if baseline not in scored:
        raise ModelError(
            Code.NOT_VALIDATED,
            f"the newest validation has no {metric} of the baseline {baseline} as configured now",
            where=f"validation {validated.validation_id}",
            expected="a validation of the models as they are configured",
            found=", ".join(scored) or "no model with a score",
            next_step="storecast validate",
        )
    best = ranked(scored, baseline)[0]
    windows = f"{len(choosing)} windows that choose" if len(choosing) > 1 else "window that chooses"
    if best == baseline:
        reason = (
            f"no model was more accurate than the baseline {baseline} in the {windows}, so the "
            "baseline is chosen"
        )
    else:
        reason = f"{best} was the most accurate of {len(scored)} models in the {windows}"
    return Choice(validated.proven(current[best]) or current[best], True, reason)


def check_audit(validated: Validated, model: str) -> None:
    """Refuse a validated model that no leak audit has passed.

    Raises:
        Refusal: LEAK_AUDIT_MISSING, LEAK_FOUND.
    """
    verdict = validated.verdicts.get(model)
    if verdict is not None and verdict.passed:
        return
    where = f"validation {validated.validation_id}"
    if verdict is not None and verdict.failed:
        raise Refusal(
            Code.LEAK_FOUND,
            f"the leak audit failed {model}: {verdict.sentence()}",
            where=where,
            expected="forecasts that depend on the past alone",
            next_step="mend the model or the attribute; or deploy it all the same with --force",
        )
    raise Refusal(
        Code.LEAK_AUDIT_MISSING,
        f"no leak audit has passed {model}"
        + (f": {verdict.sentence()}" if verdict is not None else ""),
        where=where,
        expected="a validation whose leak audit passed it",
        found="an audit that was turned off" if not validated.audited else "no verdict on it",
        next_step="storecast validate --audit-leakage; or deploy it all the same with --force",
    )


def _asked(validated: Validated, configured: Sequence[Recipe], model: str, force: bool) -> Choice:
    current = {recipe.name: recipe for recipe in configured}
    if model not in current:
        raise ConfigurationError(
            Code.MODEL_UNKNOWN,
            f"there is no model {model!r}",
            where="models",
            expected=", ".join(current),
            found=model,
            next_step="add it to `models` in storecast.yaml and validate",
        )
    recipe = current[model]
    proven = validated.proven(recipe)
    if proven is not None:
        return Choice(proven, True, f"{model} was asked for")
    if force:
        return Choice(
            recipe, False, f"{model} was asked for and forced: it was not validated as it is now"
        )
    raise ModelError(
        Code.RECIPE_NOT_VALIDATED,
        f"the newest validation did not try {model} as it is configured now",
        where=f"validation {validated.validation_id}",
        expected=", ".join(validated.recipes),
        found=model if model not in validated.recipes else f"{model} with other parameters",
        next_step="storecast validate; or deploy it all the same with --force",
    )
