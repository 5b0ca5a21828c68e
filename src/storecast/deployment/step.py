"""Fit the chosen recipe on the whole span, pack it, register it, and put it through the gate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from storecast import registry, runs
from storecast.backtest.audit import Verdict
from storecast.backtest.spans import verdicts
from storecast.core.alignment import SERIES_END
from storecast.deployment.candidate import Candidate, audit_of, registered, whole
from storecast.deployment.choice import Choice, Validated, check_audit, choose
from storecast.deployment.gate import Decision, Gate
from storecast.deployment.recording import GONE, record
from storecast.deployment.refusing import refusal, was_rolled_back
from storecast.deployment.result import DeployResult
from storecast.deployment.windows import Windows
from storecast.errors import Code, ModelError, Refusal
from storecast.history import load_history
from storecast.lineage import NO_REASON, forced_tags, operator, rolled_back
from storecast.models.base import Recipe, recipes_of
from storecast.models.calibration import Conformal

if TYPE_CHECKING:
    from storecast.core.panel import History
    from storecast.project import Project
    from storecast.registry import ModelVersion, Registry
    from storecast.runs import Run


def deploy(
    project: Project, *, model: str | None = None, force: bool = False, reason: str | None = None
) -> DeployResult:
    """Put the best validated recipe, or ``model``, through the gate; make it the champion.

    The same recipe on the same data after the same validation registers nothing new, unless
    the champion's artefact is damaged; what the gate refused once, it refuses again as the same
    version.

    Args:
        project: what ``storecast.load`` gave.
        model: a configured model, instead of the best.
        force: deploy even what was not validated, what no leak audit has passed, or what the
            gate refuses; the version and the ledger say who did it and why.
        reason: why it is forced.

    Raises:
        GateRefusal: GATE_REFUSED, GATE_NOT_ENOUGH_EVIDENCE; ``result`` has the checks.
        Refusal: LEAK_AUDIT_MISSING, LEAK_FOUND, BENCHMARK_ALIGNMENT, ROLLED_BACK.
        ModelError: NOT_VALIDATED, RECIPE_NOT_VALIDATED, MODEL_UNKNOWN, MODEL_FAILED.
        RegistryError: ALIAS_NOT_SET, REGISTRY_UNREACHABLE.
        StorecastError: NOTHING_INGESTED, HISTORY_TOO_SHORT.
    """
    config = project.config
    with runs.begin(project, "deploy") as run:
        validated = _newest_validation(run, project)
        kept = config.gated().windows or 0
        choice = choose(
            validated,
            recipes_of(config.models, config.rules(), config.accelerator, project.root),
            metric=config.validation.metric,
            baseline=config.validation.baseline,
            choosing=validated.split(kept).choosing,
            model=model,
            force=force,
        )
        if choice.validated and not force:
            check_audit(validated, choice.recipe.name)
        history = load_history(run, project)
        road = _Road(
            run=run,
            project=project,
            validated=validated,
            history=history,
            versions=registry.of(project),
            kept=validated.split(kept).kept,
            forced=(reason or NO_REASON) if force else None,
        )
        return road(Candidate.of(choice, validated, history))


@dataclass(frozen=True)
class _Road:
    """From a candidate to a champion, or to a refusal.

    Attributes:
        kept: the cutoffs that the gate keeps.
        forced: why the gate does not count; None: it counts.
    """

    run: Run
    project: Project
    validated: Validated
    history: History
    versions: Registry
    kept: tuple[date, ...]
    forced: str | None

    def __call__(self, candidate: Candidate) -> DeployResult:
        champion = self.versions.champion()
        if champion is not None and whole(self.project, champion):
            if candidate.is_(champion):
                return self._unchanged(candidate, champion)
            if self.forced is None and self._stands_in(champion, candidate):
                return self._unchanged(self._baseline(candidate), champion)
        elif champion is not None and candidate.is_(champion):
            return self._mended(candidate, champion)
        if self.forced is None:
            self._not_rolled_back(candidate)
        return self._judged(candidate, champion)

    def _not_rolled_back(self, candidate: Candidate) -> None:
        """Refuse what somebody has rolled back, as long as nothing about it is new."""
        told = rolled_back(self.project, self.versions.name)
        for version in self.versions.all() if told else ():
            if version.number in told and candidate.is_(version):
                raise was_rolled_back(version, told[version.number])

    # ------------------------------------------------------------------ no gate

    def _unchanged(self, candidate: Candidate, champion: ModelVersion) -> DeployResult:
        """The champion is what would be deployed; a promotion that was stopped comes to its end."""
        self.versions.promote(champion.number)
        return self._told(candidate, champion, None, champion, unchanged=True)

    def _mended(self, candidate: Candidate, champion: ModelVersion) -> DeployResult:
        """The champion's artefact is damaged: the same is packed anew, and takes its place."""
        version = self._registered(candidate)
        inherited = {n: v for n, v in champion.tags.items() if n.startswith(("gate", "forced"))}
        self.versions.tag(version.number, inherited)
        self.versions.promote(version.number)
        remark = f"the artefact of version {champion.number} was damaged: packed anew"
        return self._told(candidate, version, None, champion, remarks=(remark,))

    def _stands_in(self, champion: ModelVersion, candidate: Candidate) -> bool:
        """Whether the champion is the baseline that was taken instead of this very candidate."""
        number = champion.tags.get("gate_instead_of")
        return (
            number is not None
            and any(
                version.number == number and candidate.is_(version)
                for version in self.versions.all()
            )
            and self._baseline(candidate).is_(champion)
        )

    # ---------------------------------------------------------------- the gate

    def _judged(self, candidate: Candidate, champion: ModelVersion | None) -> DeployResult:
        version = self._registered(candidate)
        self.versions.challenge(version.number)
        decision = None
        if candidate.choice.validated:
            decision = self._gate()(candidate, version, champion)
        over = self._over(candidate, decision)
        tags = forced_tags(self.run.run_id, self.forced, over) if over and self.forced else {}
        version = record(self.project, self.versions, version, decision, tags)
        if decision is None or decision.passed or self.forced is not None:
            self.versions.promote(version.number)
            return self._told(candidate, version, decision, champion)
        if champion is None:
            return self._instead(candidate, version, decision)
        result = self._told(candidate, version, decision, champion, refused=True)
        raise refusal(result, champion)

    def _instead(
        self, candidate: Candidate, version: ModelVersion, decision: Decision
    ) -> DeployResult:
        """A first candidate did not beat the baseline: the baseline is deployed."""
        baseline = self._baseline(candidate)
        check_audit(self.validated, baseline.choice.recipe.name)
        made = self._registered(baseline)
        made = record(
            self.project, self.versions, made, self._gate().baseline_itself(),
            {"gate_instead_of": version.number},
        )  # fmt: skip
        self.versions.promote(made.number)
        return self._told(baseline, made, decision, None)

    def _baseline(self, candidate: Candidate) -> Candidate:
        recipe = self._baseline_recipe()
        name = candidate.choice.recipe.name
        reason = (
            f"{name} did not beat the baseline in the windows that the gate keeps: a first "
            f"deployment has to, so {recipe.name} is deployed instead"
        )
        return Candidate.of(Choice(recipe, True, reason), self.validated, self.history)

    def _baseline_recipe(self) -> Recipe:
        return self.validated.recipes[self.project.config.validation.baseline]

    def _registered(self, candidate: Candidate) -> ModelVersion:
        return registered(
            self.run, self.project, self.versions, candidate, self.validated, self.history
        )

    def _gate(self) -> Gate:
        config, baseline = self.project.config, self._baseline_recipe()
        windows = Windows(
            run=self.run,
            project=self.project,
            history=self.history,
            baseline=baseline,
            cutoffs=self.validated.cutoffs,
            kept=self.kept,
            step=self.validated.step,
        )
        return Gate(
            project=self.project,
            history=self.history,
            windows=windows,
            baseline=baseline,
            limits=config.gated().limits,
            metric=config.validation.metric,
        )

    def _over(self, candidate: Candidate, decision: Decision | None) -> list[str]:
        """What speaks against the candidate, in one word each."""
        told = {
            "validation": not candidate.choice.validated,
            "audit": audit_of(self.validated, candidate.choice) != "passed",
            "gate": decision is not None and not decision.passed,
        }
        return [name for name, there in told.items() if there]

    # ----------------------------------------------------------------- telling

    def _told(
        self,
        candidate: Candidate,
        version: ModelVersion,
        decision: Decision | None,
        before: ModelVersion | None,
        *,
        unchanged: bool = False,
        refused: bool = False,
        remarks: Sequence[str] = (),
    ) -> DeployResult:
        """The result, and the ledger's details."""
        config, choice, validated = self.project.config, candidate.choice, self.validated
        name, baseline = choice.recipe.name, config.validation.baseline
        metric, known = config.validation.metric, choice.validated
        serving = before.number if refused and before is not None else version.number
        judgement = decision.judgement if decision else None
        instead_of = version.tags.get("gate_instead_of")
        result = DeployResult(
            run_id=self.run.run_id,
            validation_id=validated.validation_id,
            model=name,
            kind=choice.recipe.kind,
            model_name=version.name,
            version=version.number,
            unchanged=unchanged,
            reason=choice.reason,
            cutoff=candidate.cutoff,
            stores=int(version.tags.get("stores", 0)),
            metric=metric,
            score=validated.score(name, metric) if known else None,
            baseline_score=validated.score(baseline, metric),
            wape=validated.score(name, "wape") if known else None,
            baseline_wape=validated.score(baseline, "wape"),
            baseline=baseline,
            audit=audit_of(validated, choice),
            champion=serving,
            gate=version.tags.get("gate"),
            instead_of=None if instead_of == GONE else instead_of,
            judgement=judgement,
            against=decision.against if decision else None,
            remarks=(
                *remarks,
                *(decision.remarks if decision else ()),
                *validated.of_the_span(name),
                *_of_the_span(self.project, candidate, before),
            ),
            forced_by=version.tags.get("forced_by"),
            forced_reason=version.tags.get("forced_reason"),
        )
        self._entered(result, version, before)
        return result

    def _entered(
        self, result: DeployResult, version: ModelVersion, before: ModelVersion | None
    ) -> None:
        judgement = result.judgement
        self.run.details.update(
            model=result.model,
            model_name=result.model_name,
            model_version=result.version,
            champion=result.champion,
            validation_id=result.validation_id,
            mlflow_run_id=version.mlflow_run_id,
            unchanged=result.unchanged,
            cutoff=result.cutoff.isoformat(),
            audit=result.audit,
            gate=result.gate,
            judgement=judgement.as_dict() if judgement else None,
            against=result.against,
            forced=self.forced is not None,
        )
        self.run.details["from"] = before.number if before is not None else None
        if self.forced is not None:
            self.run.details.update(by=operator(), reason=self.forced)


def _of_the_span(
    project: Project, candidate: Candidate, champion: ModelVersion | None
) -> list[str]:
    """What a fixed ``training.until`` means for a deployment that is made again and again."""
    until = project.config.training.until
    if until is None:
        return []
    ingestion = runs.newest(project, "ingest")
    through = ingestion["through"] if ingestion is not None else None
    fitted = champion.tags.get("cutoff") if champion is not None else None
    if fitted == candidate.cutoff.isoformat():
        return [
            f"training.until is fixed at {until}, and the champion was already fitted up to "
            f"{candidate.cutoff}: there is nothing newer to learn from, so a scheduled retraining "
            "brings nothing until it is set later, or to null"
        ]
    if through is not None and through > until:
        return [
            f"training.until is fixed at {until}: sales after it, there are some up to {through}, "
            "are not learnt from, now or in a later retraining"
        ]
    return []


# -------------------------------------------------------------- validation


def _newest_validation(run: Run, project: Project) -> Validated:
    """Raises NOT_VALIDATED where no validation has completed, BENCHMARK_ALIGNMENT."""
    newest = runs.newest(project, "validate")
    if newest is None or not run.has("backtest_scores"):
        raise _not_validated(project, "no validation has completed in this project yet")
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
    if "cutoffs" not in told or project.config.validation.baseline not in told["recipes"]:
        raise _not_validated(
            project, "the newest validation does not know the baseline, or is of an older storecast"
        )
    audit = told.get("audit") or {"level": "off", "verdicts": {}}
    scores = pl.DataFrame(
        run.read("backtest_scores", where=f"validation_id = '{told['validation_id']}'")
    )
    return Validated(
        validation_id=told["validation_id"],
        recipes={name: _validated(project, plain) for name, plain in told["recipes"].items()},
        conformals={n: Conformal.from_json(json.dumps(c)) for n, c in told["conformals"].items()},
        scores=scores.filter(pl.col("scope").is_in(["overall", "cutoff"])),
        verdicts={n: Verdict.from_dict(v) for n, v in audit["verdicts"].items()},
        audited=audit["level"] != "off",
        configured=told.get("configured", {}),
        cutoffs=tuple(date.fromisoformat(day) for day in told["cutoffs"]),
        warmup=told["warmup"],
        step=told["step"],
        spans=verdicts(told),
    )


def _validated(project: Project, plain: dict[str, Any]) -> Recipe:
    recipe = Recipe.from_json(json.dumps(plain))
    return replace(recipe, accelerator=project.config.accelerator, home=str(project.root))


def _not_validated(project: Project, why: str) -> ModelError:
    return ModelError(
        Code.NOT_VALIDATED, why, where=str(project.root), next_step="storecast validate"
    )
