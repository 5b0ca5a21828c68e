"""Strict walk-forward validation: each model at each cutoff, from nothing but the past."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from storecast import runs
from storecast.backtest.choosing import Split, chosen_by, ranked
from storecast.backtest.comparison import compared
from storecast.backtest.ensembles import Outcomes, weighted, with_ensembles
from storecast.backtest.remaining import Remaining
from storecast.backtest.road import calibrations, walk_forward
from storecast.backtest.spans import losses_by_span, verdicts, worth_comparing
from storecast.backtest.tasks import Outcome, backtest, cost_of, told
from storecast.backtest.tuning import Tuner, tuned
from storecast.core.alignment import SERIES_END, by_series_end, moved_back
from storecast.core.schema import METRICS
from storecast.errors import Code, ModelError
from storecast.history import load_history
from storecast.models.base import is_pretrained
from storecast.models.ensemble import computed
from storecast.validation.leaderboard import WARMUP, leaderboard, scored
from storecast.validation.leakage import Audit, Audited, Level, audited
from storecast.validation.plan import Plan, code_digest, planned
from storecast.validation.recording import concluded, ending, recorded
from storecast.validation.result import ValidationResult

if TYPE_CHECKING:
    from storecast.config import Config
    from storecast.core.panel import History, SeriesRules
    from storecast.project import Project
    from storecast.runs import Run

_FORECASTS, _SCORES = "backtest_forecasts", "backtest_scores"


def validate(
    project: Project, *, models: Sequence[str] | None = None, audit: Level = "fast"
) -> ValidationResult:
    """Backtest every configured model, or ``models`` and the baseline, by strict walk-forward.

    A validation that stands in the tables already keeps its leak audit, unless a stronger one is
    asked for: then that alone is made.

    Args:
        project: what ``storecast.load`` gave.
        models: names of configured models; the baseline always runs.
        audit: how far the leak audit goes: off, fast, every, full (``validation.leakage``).

    Raises:
        ContractError: NOTHING_INGESTED, HISTORY_TOO_SHORT.
        ConfigurationError: MODEL_UNKNOWN.
        ModelError: MODEL_FAILED, NO_VARIATION.
        RegistryError: REGISTRY_UNREACHABLE.
    """
    config = project.config
    with runs.begin(project, "validate") as run, ending(project, run):
        history, shifts = load_history(run, project), None
        if config.validation.align == SERIES_END:
            history, shifts = by_series_end(history)
        plan = replace(planned(project, history, models), shifts=shifts)
        run.details["validation_id"] = plan.validation_id
        earlier = _earlier(run, project, plan.validation_id)
        if earlier is None:
            details, scores = _made(run, project, history, plan)
        else:
            run.progress("taken from the tables", 1, 1)
            details, scores = earlier, _scores(run, plan.validation_id)
        before = Audit.from_dict(details.get("audit"))
        proved = _audited(run, project, history, plan, scores, details, audit)
        details["audit"] = proved.as_dict()
        if earlier is None or proved != before:
            concluded(project, details)
        run.details.update(details)
        run.details["reused"] = earlier is not None
        result = _result(run, config, plan, scores, details, reused=earlier is not None)
        if result.leaking:
            run.status = "unhealthy"
        return result


# ------------------------------------------------------------------ taken from the tables


def _earlier(run: Run, project: Project, validation_id: str) -> dict[str, Any] | None:
    """The details of the completed run that made this validation, if its rows are there."""
    if not run.has(_SCORES) or not _scores(run, validation_id).height:
        return None
    for row in reversed(runs.ledger(project)):
        details: dict[str, Any] = row["details"]
        if (
            row["command"] == run.command
            and row["status"] in runs.COMPLETED
            and details.get("validation_id") == validation_id
        ):
            return details
    return None


def _scores(run: Run, validation_id: str) -> pl.DataFrame:
    told = pl.DataFrame(run.read(_SCORES, where=f"validation_id = '{validation_id}'"))
    return told.select("model", "scope", "member", *METRICS, "n_scored", "n_filled")


# ---------------------------------------------------------------------------- newly made


def _made(
    run: Run, project: Project, history: History, plan: Plan
) -> tuple[dict[str, Any], pl.DataFrame]:
    """Backtest, calibrate, score, log and commit; the run's details, and the scores."""
    config = project.config
    configured = {recipe.name: recipe.digest for recipe in plan.recipes}
    plan = _tuned(run, project, history, plan)
    outcomes: Outcomes = _outcomes(run, project, history, plan)
    tasks = told(outcomes.values())
    rules = history.rules
    outcomes = with_ensembles(outcomes, plan.recipes, plan.cutoffs, rules)
    frame = pl.concat(walk_forward(outcomes, plan.recipes, plan.cutoffs, rules, plan.baseline))
    through = rules.frequency.complete(history.through)
    conformals = calibrations(outcomes, plan.recipes, plan.cutoffs, rules, through)
    final = replace(plan, recipes=weighted(outcomes, plan.recipes, plan.cutoffs, rules, through))
    frame = frame.with_columns(compared(frame, rules, plan.cutoffs, config.validation.step))
    scores = scored(frame, rules, plan.fed)
    _refuse_unscored(scores, config.validation.metric)
    details = {
        "validation_id": plan.validation_id,
        "recipes": {recipe.name: json.loads(recipe.to_json()) for recipe in final.recipes},
        "configured": configured,
        "tuning": {name: found.as_dict() for name, found in plan.tuning.items()},
        "conformals": {name: json.loads(c.to_json()) for name, c in conformals.items()},
        "failures": _failures(outcomes),
        "tasks": tasks,
        "perfect_foresight": _foresight(history),
        "timeless": _timeless(history),
        "pretrained": [recipe.name for recipe in plan.recipes if is_pretrained(recipe)],
        "align": config.validation.align,
        "cutoffs": [day.isoformat() for day in plan.cutoffs],
        "warmup": plan.warmup,
        "step": config.validation.step,
        **_spans(run, project, history, plan, frame, scores),
    }
    run.progress("writing to MLflow")
    details["mlflow_run_id"] = run.details["mlflow_run_id"] = recorded(
        project, run, history, final, scores, details
    )
    run.progress("writing the tables")
    _committed(run, project, _own(frame, rules, plan), scores, plan)
    return details, scores


def _spans(
    run: Run,
    project: Project,
    history: History,
    plan: Plan,
    frame: pl.DataFrame,
    scores: pl.DataFrame,
) -> dict[str, Any]:
    """The detail ``spans``: what other first days of training would have made of the models."""
    spans = plan.spans
    if spans is None:
        return {}
    means = chosen_by(scores, spans.metric, spans.counted)
    best, *_ = ranked(means, plan.baseline.name) or [plan.baseline.name]
    losses = losses_by_span(
        history,
        frame,
        worth_comparing(plan.recipes, best),
        plan.baseline,
        spans,
        project.compute,
        scratch=project.scratch(),
        keep=project.finished_tasks,
        heard=lambda done, total: run.progress("other first days of training", done, total),
    )
    configured = history.rules.training_from.isoformat()
    return {"spans": {"configured": configured, "metric": spans.metric, "losses": losses}}


def _tuned(run: Run, project: Project, history: History, plan: Plan) -> Plan:
    """The plan with the parameters that the windows before the first scored one are best with."""
    tuner = Tuner(
        history,
        plan.tuned_on,
        project.config.forecast.horizon,
        project.compute,
        plan.baseline,
        scratch=project.scratch(),
        keep=project.finished_tasks,
        journal=project.finished_trials,
        heard=lambda name, done, total: run.progress(f"tuning of {name}", done, total),
    )
    recipes, baseline, tuning = tuned(tuner, plan.recipes)
    return replace(plan, recipes=recipes, baseline=baseline, tuning=tuning)


def _outcomes(
    run: Run, project: Project, history: History, plan: Plan
) -> dict[tuple[str, date], Outcome]:
    recipes = computed(plan.recipes)
    total = len(recipes) * len(plan.cutoffs)
    left = Remaining(
        open={recipe.name: len(plan.cutoffs) for recipe in recipes},
        costs={recipe.name: cost_of(recipe) for recipe in recipes},
        workers=project.compute.workers,
    )
    text = f"backtest of {len(recipes)} models at {len(plan.cutoffs)} cutoffs"
    run.progress(text, 0, total)
    outcomes: dict[tuple[str, date], Outcome] = {}
    for outcome in backtest(
        history,
        recipes,
        plan.cutoffs,
        project.config.forecast.horizon,
        project.compute,
        baseline=plan.baseline,
        scratch=project.scratch(),
        keep=project.finished_tasks,
    ):
        outcomes[outcome.recipe.name, outcome.cutoff] = outcome
        left.finished(outcome.recipe.name, outcome.seconds)
        run.progress(text, len(outcomes), total, left.seconds())
    return outcomes


def _refuse_unscored(scores: pl.DataFrame, metric: str) -> None:
    overall = scores.filter(pl.col("scope") == "overall")
    if not overall.get_column(metric).drop_nulls().len():
        raise ModelError(
            Code.NO_VARIATION,
            f"{metric.upper()} is undefined at every scored cutoff: nothing was sold, no sale is "
            "known, or no store has a season of history",
            where="validation",
            expected="known sales other than zero after a cutoff",
            next_step="set other validation.windows or .step, or metric: wape",
        )


def _failures(outcomes: Mapping[tuple[str, date], Outcome]) -> dict[str, str]:
    """Each failing model's newest failure, and at how many cutoffs it failed."""
    told: dict[str, str] = {}
    for name in dict.fromkeys(model for model, _ in outcomes):
        failed = sorted(
            (cutoff, outcome.failure)
            for (model, cutoff), outcome in outcomes.items()
            if model == name and outcome.failure is not None
        )
        if failed:
            times = f"at {len(failed)} cutoff{'s' if len(failed) > 1 else ''}"
            told[name] = f"{times}, the last {failed[-1][0]}: {failed[-1][1]}"
    return told


def _foresight(history: History) -> list[str]:
    """Known covariates of which no versions are kept, and whose future a model is shown."""
    versions = history.covariate_versions
    recorded = versions.columns if versions is not None else []
    return [n for n, k in history.rules.known.items() if n not in recorded and k.ahead != 0]


def _own(frame: pl.DataFrame, rules: SeriesRules, plan: Plan) -> pl.DataFrame:
    """The forecasts as they are kept: warm-up marked, and each store at its own dates."""
    frame = frame.with_columns(
        segment=pl.when(pl.col("cutoff").is_in(list(plan.fed)))
        .then(pl.lit(WARMUP))
        .otherwise("segment")
    )
    return frame if plan.shifts is None else moved_back(frame, plan.shifts, rules.frequency)


def _timeless(history: History) -> list[str]:
    """Attributes of which no versions are kept."""
    return list(history.rules.attributes) if history.rules.timeless else []


def _committed(
    run: Run, project: Project, frame: pl.DataFrame, scores: pl.DataFrame, plan: Plan
) -> None:
    same = {"validation_id": pl.lit(plan.validation_id), "run_id": pl.lit(run.run_id)}
    for name, rows in ((_FORECASTS, frame), (_SCORES, scores)):
        spec = project.specs[name]
        table = rows.with_columns(**same).select(spec.names).to_arrow()
        run.commit(spec, table.cast(spec.arrow), append=True)


def _audited(
    run: Run,
    project: Project,
    history: History,
    plan: Plan,
    scores: pl.DataFrame,
    details: Mapping[str, Any],
    level: Level,
) -> Audit:
    """The audit that stands already, or a stronger one that is asked for."""
    earlier, config = Audit.from_dict(details.get("audit")), project.config
    # What is aligned by the series' ends leaks across stores, and is never deployed.
    if earlier.covers(level) or plan.shifts is not None:
        return earlier
    means = chosen_by(scores, config.validation.metric, _split(config, plan).choosing)
    ranking = ranked(means, config.validation.baseline)
    what = Audited(plan.recipes, plan.baseline, plan.cutoffs, plan.warmup, code_digest())
    return audited(run, project, history, what, level, ranking)


def _split(config: Config, plan: Plan) -> Split:
    """Which of the scored windows choose, and which are kept for the gate."""
    return Split.of(plan.cutoffs[plan.warmup :], config.gated().windows or 0)


def _result(
    run: Run,
    config: Config,
    plan: Plan,
    scores: pl.DataFrame,
    details: Mapping[str, Any],
    *,
    reused: bool,
) -> ValidationResult:
    metric, baseline = config.validation.metric, config.validation.baseline
    audit = Audit.from_dict(details["audit"])
    pretrained = details.get("pretrained", ())
    lines = [
        replace(line, audit=audit.status(line.model), pretrained=line.model in pretrained)
        for line in leaderboard(scores, metric, baseline)
    ]
    # What a leak made is no accuracy: such a model stands last, and is not the best.
    lines.sort(key=lambda line: audit.failed(line.model))
    return ValidationResult(
        run_id=run.run_id,
        validation_id=plan.validation_id,
        leaderboard=tuple(lines),
        best=lines[0].model,
        baseline=baseline,
        metric=metric,
        cutoffs=plan.cutoffs[plan.warmup :],
        warmup=plan.fed,
        kept=_split(config, plan).kept,
        horizon=config.forecast.horizon,
        failures=dict(details.get("failures", {})),
        perfect_foresight=tuple(details.get("perfect_foresight", ())),
        timeless=tuple(details.get("timeless", ())),
        reused=reused,
        audit=audit,
        align=config.validation.align,
        tasks=tuple(details.get("tasks", ())),
        spans=verdicts(details),
    )
