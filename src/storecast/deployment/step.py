"""Fit the chosen recipe on the whole span, pack it, register it, make it the champion."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from storecast import registry, runs
from storecast.artifact.save import save
from storecast.artifact.unified import UnifiedForecaster, fingerprint
from storecast.backtest.audit import Verdict
from storecast.core.alignment import SERIES_END
from storecast.deployment.choice import Choice, Validated, check_audit, choose
from storecast.errors import Code, ModelError, Refusal, StorecastError
from storecast.history import load_history
from storecast.models.base import Recipe, recipes_of
from storecast.models.calibration import Conformal
from storecast.tracking import Tracking

if TYPE_CHECKING:
    from storecast.config import Config
    from storecast.project import Project
    from storecast.registry import ModelVersion
    from storecast.runs import Run


@dataclass(frozen=True)
class DeployResult:
    """What a deployment did.

    Attributes:
        run_id: of the run.
        validation_id: the validation that it rests on.
        model: the champion's name in the configuration.
        kind: its kind.
        model_name, version: the registered model.
        unchanged: whether this champion was serving already, so that nothing was registered.
        reason: why this model, in words.
        cutoff: last day that the final fit knew.
        stores: stores of the final fit.
        metric: by which it was chosen.
        score, baseline_score: overall, lower is better; None where undefined.
        wape, baseline_wape: the same by WAPE.
        baseline: the baseline's name.
        audit: what the leak audit says of the champion's recipe; None: nothing.
    """

    run_id: str
    validation_id: str
    model: str
    kind: str
    model_name: str
    version: str
    unchanged: bool
    reason: str
    cutoff: date
    stores: int
    metric: str
    score: float | None
    baseline_score: float | None
    wape: float | None
    baseline_wape: float | None
    baseline: str
    audit: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, dates as ISO texts."""
        return asdict(self) | {"cutoff": self.cutoff.isoformat(), "sentences": self.sentences()}

    def sentences(self) -> list[str]:
        """For people."""
        moved = (
            f"unchanged: version {self.version} of {self.model_name} stays the champion"
            if self.unchanged
            else f"version {self.version} of {self.model_name} is the champion"
        )
        return [
            self.accuracy(),
            self.reason,
            f"{moved} ({self.model}, fitted on {self.stores:,} stores up to {self.cutoff})",
            *self._forced(),
        ]

    def _forced(self) -> list[str]:
        if self.audit == "passed":
            return []
        return [
            f"forced: the leak audit has not passed {self.model} ({self.audit or 'not audited'})"
        ]

    def accuracy(self) -> str:
        """How accurate the champion is, in one sentence."""
        if self.wape is None:
            return f"how accurate {self.model} is, the validation does not say"
        told = (
            f"the champion {self.model} missed by {self.wape:.1%} of sales on average in the "
            "validation (WAPE)"
        )
        if self.model == self.baseline or not self.baseline_wape:
            return told
        gain = 1 - self.wape / self.baseline_wape
        side = "less" if gain >= 0 else "more"
        return f"{told}, {abs(gain):.0%} {side} than {self.baseline} ({self.baseline_wape:.1%})"


def deploy(project: Project, *, model: str | None = None, force: bool = False) -> DeployResult:
    """Make the best validated recipe, or ``model``, the champion.

    The same recipe on the same data after the same validation registers nothing new, unless
    the champion's artefact is damaged.

    Args:
        project: what ``storecast.load`` gave.
        model: a configured model, instead of the best.
        force: deploy even what was not validated, or what no leak audit has passed; the champion
            says so.

    Raises:
        Refusal: LEAK_AUDIT_MISSING, LEAK_FOUND, BENCHMARK_ALIGNMENT.
        ModelError: NOT_VALIDATED, RECIPE_NOT_VALIDATED, MODEL_UNKNOWN, MODEL_FAILED.
        RegistryError: ALIAS_NOT_SET, REGISTRY_UNREACHABLE.
        StorecastError: NOTHING_INGESTED, HISTORY_TOO_SHORT.
    """
    config = project.config
    with runs.begin(project, "deploy") as run:
        validated = _newest_validation(run, project)
        choice = choose(
            validated,
            _configured(project),
            metric=config.validation.metric,
            baseline=config.validation.baseline,
            model=model,
            force=force,
        )
        if choice.validated and not force:
            check_audit(validated, choice.recipe.name)
        history = load_history(run, project)
        frequency = history.rules.frequency
        cutoff = frequency.last_day(frequency.complete(history.through))
        versions = registry.of(project)
        made_from = {
            "model": choice.recipe.name,
            "kind": choice.recipe.kind,
            "recipe": choice.recipe.digest,
            "validation_id": validated.validation_id,
            "validated": str(choice.validated).lower(),
            "audit": _audit_of(validated, choice) or "none",
            "cutoff": cutoff.isoformat(),
            "fingerprint": fingerprint(history, cutoff),
        }
        champion = versions.champion()
        unchanged = (
            champion is not None and _same(champion, made_from) and _whole(project, champion)
        )
        if champion is None or not unchanged:
            run.progress(f"final fit of {choice.recipe.name}", 0, 1)
            conformal = validated.conformals.get(choice.recipe.name) if choice.validated else None
            forecaster = UnifiedForecaster.fit(choice.recipe, history, cutoff, conformal)
            made_from |= {"stores": str(len(forecaster.stores)), "run_id": run.run_id}
            champion = _registered(project, versions, forecaster, made_from, validated)
            run.progress(f"final fit of {choice.recipe.name}", 1, 1)
        run.details.update(
            model=choice.recipe.name,
            model_name=champion.name,
            model_version=champion.number,
            validation_id=validated.validation_id,
            mlflow_run_id=champion.mlflow_run_id,
            unchanged=unchanged,
            cutoff=cutoff.isoformat(),
            audit=_audit_of(validated, choice),
            forced=force,
        )
        return _result(run, config, validated, choice, champion, cutoff, unchanged)


def _result(
    run: Run,
    config: Config,
    validated: Validated,
    choice: Choice,
    champion: ModelVersion,
    cutoff: date,
    unchanged: bool,
) -> DeployResult:
    name, baseline, metric = (
        choice.recipe.name,
        config.validation.baseline,
        config.validation.metric,
    )
    known = choice.validated
    return DeployResult(
        run_id=run.run_id,
        validation_id=validated.validation_id,
        model=name,
        kind=choice.recipe.kind,
        model_name=champion.name,
        version=champion.number,
        unchanged=unchanged,
        reason=choice.reason,
        cutoff=cutoff,
        stores=int(champion.tags.get("stores", 0)),
        metric=metric,
        score=validated.score(name, metric) if known else None,
        baseline_score=validated.score(baseline, metric),
        wape=validated.score(name, "wape") if known else None,
        baseline_wape=validated.score(baseline, "wape"),
        baseline=baseline,
        audit=_audit_of(validated, choice),
    )


def _audit_of(validated: Validated, choice: Choice) -> str | None:
    verdict = validated.verdicts.get(choice.recipe.name) if choice.validated else None
    return None if verdict is None else verdict.status


def _same(champion: ModelVersion, made_from: dict[str, str]) -> bool:
    wanted = ("recipe", "validation_id", "cutoff", "fingerprint", "model")
    return all(champion.tags.get(name) == made_from[name] for name in wanted)


# -------------------------------------------------------------- validation


def _whole(project: Project, champion: ModelVersion) -> bool:
    """Whether the champion's artefact is there and the one that was registered."""
    import mlflow.artifacts

    from storecast.artifact.load import check
    from storecast.artifact.pyfunc import ARTIFACT

    try:
        with Tracking.of(project).active():
            place = mlflow.artifacts.download_artifacts(
                f"models:/{champion.name}/{champion.number}"
            )
        return check(Path(place) / "artifacts" / ARTIFACT) == champion.tags.get("digest")
    except (StorecastError, OSError):
        return False


def _newest_validation(run: Run, project: Project) -> Validated:
    """Raises NOT_VALIDATED where no validation has completed, BENCHMARK_ALIGNMENT."""
    newest = runs.newest(project, "validate")
    if newest is None or not run.has("backtest_scores"):
        raise ModelError(
            Code.NOT_VALIDATED,
            "no validation has completed in this project yet",
            where=str(project.root),
            next_step="storecast validate",
        )
    told = newest["details"]
    if told.get("align") == SERIES_END:
        raise Refusal(
            Code.BENCHMARK_ALIGNMENT,
            "the newest validation is aligned by each store's own end: a benchmark, which leaks "
            "across stores",
            where=f"validation {told['validation_id']}",
            expected="validation.align: calendar",
            found=SERIES_END,
            next_step="set validation.align: calendar in storecast.yaml, then storecast validate",
        )
    audit = told.get("audit") or {"level": "off", "verdicts": {}}
    scores = _read(run, "backtest_scores").filter(
        (pl.col("validation_id") == told["validation_id"]) & (pl.col("scope") == "overall")
    )
    return Validated(
        validation_id=told["validation_id"],
        recipes={name: _validated(project, plain) for name, plain in told["recipes"].items()},
        conformals={n: Conformal.from_json(json.dumps(c)) for n, c in told["conformals"].items()},
        scores=scores,
        verdicts={n: Verdict.from_dict(v) for n, v in audit["verdicts"].items()},
        audited=audit["level"] != "off",
        configured=told.get("configured", {}),
    )


def _configured(project: Project) -> list[Recipe]:
    config = project.config
    return recipes_of(config.models, config.rules(), config.accelerator, project.root)


def _validated(project: Project, plain: dict[str, Any]) -> Recipe:
    recipe = Recipe.from_json(json.dumps(plain))
    return replace(recipe, accelerator=project.config.accelerator, home=str(project.root))


def _read(run: Run, name: str) -> pl.DataFrame:
    return pl.DataFrame(run.read(name))


# ---------------------------------------------------------------- registry


def _registered(
    project: Project,
    versions: registry.Registry,
    forecaster: UnifiedForecaster,
    made_from: dict[str, str],
    validated: Validated,
) -> ModelVersion:
    """Pack, log, register, and move the alias, in this order: Champion is never absent."""
    import mlflow

    from storecast.artifact.pyfunc import ARTIFACT, log_model

    tracking = Tracking.of(project)
    with tempfile.TemporaryDirectory(dir=project.scratch()) as scratch:
        folder = Path(scratch) / ARTIFACT
        made_from = made_from | {"digest": save(forecaster, folder)}
        with tracking.active() as client:
            begun = client.create_run(
                tracking.experiment_id(client),
                run_name=f"deploy {forecaster.recipe.name}",
                tags={f"storecast.{name}": value for name, value in made_from.items()},
            ).info.run_id
            with mlflow.start_run(run_id=begun):
                mlflow.log_dict(json.loads(forecaster.recipe.to_json()), "recipe.json")
                for name, value in _scores(validated, forecaster.recipe.name).items():
                    mlflow.log_metric(name, value)
                info = log_model(folder, forecaster)
    champion = versions.register(info.model_uri, begun, made_from)
    versions.point(registry.CHAMPION, champion.number)
    return champion


def _scores(validated: Validated, model: str) -> dict[str, float]:
    from storecast.core.schema import METRICS

    scores = {name: validated.score(model, name) for name in METRICS}
    return {name: value for name, value in scores.items() if value is not None}
