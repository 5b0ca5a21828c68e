"""What a validation leaves in MLflow."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from storecast.backtest.spans import SpanVerdict, verdicts
from storecast.core.schema import METRICS
from storecast.errors import StorecastError
from storecast.models.ensemble import KIND as ENSEMBLE
from storecast.models.ensemble import members_of
from storecast.tracking import Tracking
from storecast.validation.experiment import (
    NOT_AUDITED,
    AuditRecord,
    DataRecord,
    ModelRecord,
    Point,
    ValidationRecord,
    abandon,
    finish,
    record_validation,
)
from storecast.validation.leaderboard import Line, leaderboard
from storecast.validation.leakage import Audit
from storecast.validation.pictures import pictures

if TYPE_CHECKING:
    from storecast.core.panel import History
    from storecast.models.base import Recipe
    from storecast.project import Project
    from storecast.runs import Run
    from storecast.validation.plan import Plan

_RUN = "mlflow_run_id"
_log = logging.getLogger(__name__)


@contextmanager
def ending(project: Project, run: Run) -> Iterator[None]:
    """Let the MLflow run that ``run.details`` names end as the block does."""
    try:
        yield
    except BaseException as fault:
        if _RUN in run.details and not run.details.get("reused"):
            try:
                killed = isinstance(fault, KeyboardInterrupt)
                abandon(Tracking.of(project), run.details[_RUN], killed=killed)
            except StorecastError as other:
                _log.warning("the run in MLflow is not marked: %s", other.message)
        raise


def concluded(project: Project, details: Mapping[str, Any]) -> None:
    """End the MLflow run well, the leak audit's verdicts with it and with its models.

    Raises:
        RegistryError: REGISTRY_UNREACHABLE.
    """
    audit = Audit.from_dict(details["audit"])
    finish(Tracking.of(project), details[_RUN], _proved(audit, sorted(details["recipes"])))


def _proved(audit: Audit, models: Sequence[str]) -> AuditRecord:
    """What an audit found of these models: words for the runs, and a table."""
    rows = [
        {
            "model": name,
            "verdict": audit.status(name) or NOT_AUDITED,
            "cutoffs": " ".join(audit.verdicts[name].cutoffs) if name in audit.verdicts else "",
            "stores": audit.verdicts[name].stores if name in audit.verdicts else 0,
            "sentence": _of_audit(audit, name),
        }
        for name in models
    ]
    return AuditRecord(
        summary=_summary(audit, models),
        verdicts={name: verdict.status for name, verdict in audit.verdicts.items()},
        sentences={name: f"Leak audit: {_of_audit(audit, name)}" for name in models},
        texts={
            "leak_audit.csv": pl.DataFrame(rows).write_csv(),
            "leak_audit.json": json.dumps(audit.as_dict(), indent=1),
        },
    )


def _summary(audit: Audit, models: Sequence[str]) -> str:
    failed = [name for name in models if audit.failed(name)]
    if failed or audit.level == "off":
        return f"failed: {', '.join(failed)}" if failed else "off"
    passed = sum(audit.status(name) == "passed" for name in models)
    return f"{passed} of {len(models)} passed ({audit.level})"


def _of_audit(audit: Audit, model: str) -> str:
    if model in audit.verdicts:
        return audit.verdicts[model].sentence()
    return "off" if audit.level == "off" else f"{NOT_AUDITED} (storecast validate --audit-leakage)"


def recorded(
    project: Project,
    run: Run,
    history: History,
    plan: Plan,
    scores: pl.DataFrame,
    details: Mapping[str, Any],
) -> str:
    """Leave a validation in MLflow; the parent's run id. Raises as ``record_validation``.

    Of ``details`` the tasks and, where there are, the spans.
    """
    wanted = project.config.validation
    spans = verdicts(details)
    lines = leaderboard(scores, wanted.metric, wanted.baseline)
    recipes = {recipe.name: recipe for recipe in plan.recipes}
    record = ValidationRecord(
        validation_id=plan.validation_id,
        name=f"{history.through} {plan.validation_id[:8]}",
        through=history.through,
        parameters=_parameters(project, history, plan),
        metrics=_found(lines, wanted.metric, wanted.baseline),
        tags={
            "storecast.project": project.config.project,
            "storecast.run_id": run.run_id,
            "storecast.through": history.through.isoformat(),
            "storecast.best": lines[0].model if lines else "",
            "storecast.metric": wanted.metric,
        },
        note=_note(lines, wanted.metric),
        models=[
            _model(
                recipes[line.model],
                rank,
                line,
                scores,
                details["tasks"],
                wanted.metric,
                plan.cutoffs,
                spans,
            )
            for rank, line in enumerate(lines, 1)
        ],
        data=_data(project, run, history),
        texts={
            "leaderboard.csv": _table(lines).write_csv(),
            "leaderboard.json": json.dumps([line.as_dict() for line in lines], indent=1),
            "scores.csv": scores.write_csv(),
            "windows.csv": _windows(plan),
            **({"tuning.json": _tuning(plan)} if plan.tuning else {}),
            **({"spans.json": json.dumps([s.as_dict() for s in spans], indent=1)} if spans else {}),
        },
        figures=pictures(scores, wanted.metric, [line.model for line in lines]),
    )
    return record_validation(Tracking.of(project), record)


def _parameters(project: Project, history: History, plan: Plan) -> dict[str, Any]:
    wanted = project.config.validation
    return {
        "through": history.through,
        "frequency": history.rules.frequency.code,
        "horizon": history.rules.horizon,
        "windows": len(plan.cutoffs),
        "warmup": plan.warmup,
        "step": wanted.step,
        "first_cutoff": plan.cutoffs[0],
        "last_cutoff": plan.cutoffs[-1],
        "metric": wanted.metric,
        "baseline": wanted.baseline,
        "align": wanted.align,
        "models": ", ".join(recipe.name for recipe in plan.recipes),
    }


def _found(lines: Sequence[Line], metric: str, baseline: str) -> dict[str, float]:
    """The chosen metric of the best and of the baseline."""
    by_name = {line.model: line for line in lines}
    told = {
        f"best_{metric}": getattr(lines[0], metric) if lines else None,
        f"baseline_{metric}": getattr(by_name[baseline], metric) if baseline in by_name else None,
        "gain": lines[0].gain if lines else None,
    }
    return {name: value for name, value in told.items() if value is not None}


def _model(
    recipe: Recipe,
    rank: int,
    line: Line,
    scores: pl.DataFrame,
    tasks: Sequence[Mapping[str, Any]],
    metric: str,
    cutoffs: Sequence[date],
    spans: Sequence[SpanVerdict],
) -> ModelRecord:
    overall = {name: value for name in METRICS if (value := getattr(line, name)) is not None}
    mine = [task for task in tasks if task["model"] == recipe.name]
    peaks = [task["peak_memory_mb"] for task in mine if task["peak_memory_mb"] is not None]
    took = {"seconds": sum(task["seconds"] for task in mine)} if mine else {}
    return ModelRecord(
        name=recipe.name,
        parameters={"kind": recipe.kind, **_shown(recipe)},
        metrics={
            **overall,
            "rank": rank,
            "n_scored": line.n_scored,
            "n_filled": line.n_filled,
            **took,
            **({"peak_memory_mb": max(peaks)} if peaks else {}),
            **{f"from/{s.other}/{metric}": s.other_loss for s in spans if s.model == recipe.name},
        },
        series={
            **_by_cutoff(scores, recipe.name, cutoffs),
            **_by_step(scores, recipe.name, metric),
            **_tasks(mine, cutoffs),
        },
        tags={"storecast.kind": recipe.kind, "storecast.recipe": recipe.digest},
    )


def _tuning(plan: Plan) -> str:
    """Each tuned model's trials."""
    told = {name: found.as_dict() for name, found in plan.tuning.items()}
    return json.dumps(told, indent=1)


def _shown(recipe: Recipe) -> dict[str, Any]:
    """The parameters as a table of runs can show them: of an ensemble's members the names."""
    shown = dict(recipe.parameters)
    if recipe.kind == ENSEMBLE:
        shown["members"] = [member.name for member in members_of(recipe)]
        shown["weights"] = json.dumps(shown.get("weights"))
    return shown


def _by_cutoff(scores: pl.DataFrame, model: str, cutoffs: Sequence[date]) -> dict[str, list[Point]]:
    rows = scores.filter((pl.col("scope") == "cutoff") & (pl.col("model") == model)).sort("member")
    series = {}
    for metric in METRICS:
        values = [
            _at(member, value, cutoffs)
            for member, value in rows.select("member", metric).iter_rows()
            if value is not None
        ]
        if values:
            series[f"by_cutoff/{metric}"] = values
    return series


def _by_step(scores: pl.DataFrame, model: str, metric: str) -> dict[str, list[Point]]:
    rows = scores.filter(
        (pl.col("scope") == "step") & (pl.col("model") == model) & pl.col(metric).is_not_null()
    )
    values = [
        Point(int(member), date(1970, 1, 1), value)
        for member, value in rows.select("member", metric).iter_rows()
    ]
    return {f"by_step/{metric}": sorted(values, key=lambda p: p.step)} if values else {}


def _tasks(tasks: Sequence[Mapping[str, Any]], cutoffs: Sequence[date]) -> dict[str, list[Point]]:
    told = {
        f"tasks/{name}": [
            _at(task["cutoff"], task[name], cutoffs) for task in tasks if task[name] is not None
        ]
        for name in ("seconds", "peak_memory_mb")
    }
    return {name: points for name, points in told.items() if points}


def _at(cutoff: str, value: float, cutoffs: Sequence[date]) -> Point:
    """A value at a cutoff: its step the window's number from 1 on, its time the cutoff's."""
    day = date.fromisoformat(cutoff)
    return Point(cutoffs.index(day) + 1, day, value)


def _windows(plan: Plan) -> str:
    """Which cutoff is which step of the charts."""
    rows = [
        {"window": n, "cutoff": day, "scored": "warm-up" if n <= plan.warmup else "scored"}
        for n, day in enumerate(plan.cutoffs, 1)
    ]
    return pl.DataFrame(rows).write_csv()


def _data(project: Project, run: Run, history: History) -> list[DataRecord]:
    """The tables that the history was read from."""
    told = []
    for name, version in sorted(run.tables_read.items()):
        frame: pl.DataFrame | None = getattr(history, name, None)
        if frame is None:
            continue
        spec, config = project.specs[name], project.config
        columns = {column.name: _kind(str(column.type)) for column in spec.columns}
        table = f"{config.catalog}.{config.schema_}.{name}"
        told.append(DataRecord(table, version, columns, frame.height))
    return told


def _kind(arrow: str) -> str:
    """An Arrow type as MLflow's schemas name it."""
    kinds = {"date32": "datetime", "timestamp": "datetime", "int": "long", "bool": "boolean",
             "decimal": "double", "double": "double", "float": "double"}  # fmt: skip
    return next((kind for start, kind in kinds.items() if arrow.startswith(start)), "string")


def _table(lines: Sequence[Line]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {name: value for name, value in line.as_dict().items() if name != "spread"}
            for line in lines
        ],
        infer_schema_length=None,
    )


def _note(lines: Sequence[Line], metric: str) -> str:
    """The leaderboard in Markdown."""
    names = list(dict.fromkeys((metric, "wape", "mase", "rmsse", "bias")))
    rows = [["model", *(name.upper() for name in names)], ["---", *("---:" for _ in names)]]
    for line in lines:
        values = [getattr(line, name) for name in names]
        rows.append([line.model, *("" if v is None else f"{v:.3f}" for v in values)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
