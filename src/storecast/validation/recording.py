"""What a validation leaves in MLflow."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from storecast.core.schema import METRICS
from storecast.models.ensemble import KIND as ENSEMBLE
from storecast.models.ensemble import members_of
from storecast.tracking import ModelRecord, Tracking, record_validation
from storecast.validation.leaderboard import leaderboard

if TYPE_CHECKING:
    from storecast.core.panel import History
    from storecast.models.base import Recipe
    from storecast.project import Project
    from storecast.runs import Run
    from storecast.validation.plan import Plan


def recorded(project: Project, run: Run, history: History, plan: Plan, scores: pl.DataFrame) -> str:
    """Leave a validation in MLflow; the parent's run id. Raises as ``record_validation``."""
    wanted = project.config.validation
    lines = leaderboard(scores, wanted.metric, wanted.baseline)
    by_name = {line.model: line for line in lines}
    records = []
    for recipe in plan.recipes:
        line = by_name.get(recipe.name)
        overall = {m: getattr(line, m) for m in METRICS} if line else {}
        records.append(
            ModelRecord(
                name=recipe.name,
                parameters={"kind": recipe.kind, **_shown(recipe)},
                metrics={m: v for m, v in overall.items() if v is not None},
                series=_by_cutoff(scores, recipe.name),
                tags={"storecast.model": recipe.name, "storecast.recipe": recipe.digest},
            )
        )
    return record_validation(
        Tracking.of(project),
        validation_id=plan.validation_id,
        parameters={
            "through": history.through,
            "frequency": history.rules.frequency.code,
            "horizon": history.rules.horizon,
            "windows": wanted.windows,
            "warmup": wanted.warmup,
            "step": wanted.step,
            "metric": wanted.metric,
            "baseline": wanted.baseline,
        },
        models=records,
        artifacts={
            "leaderboard.json": json.dumps([line.as_dict() for line in lines], indent=1),
            "scores.csv": scores.write_csv(),
        },
        tags={"storecast.run_id": run.run_id},
    )


def _shown(recipe: Recipe) -> dict[str, Any]:
    """The parameters as a table of runs can show them: of an ensemble's members the names."""
    shown = dict(recipe.parameters)
    if recipe.kind == ENSEMBLE:
        shown["members"] = [member.name for member in members_of(recipe)]
        shown["weights"] = json.dumps(shown.get("weights"))
    return shown


def _by_cutoff(scores: pl.DataFrame, model: str) -> dict[str, list[tuple[int, float]]]:
    rows = scores.filter((pl.col("scope") == "cutoff") & (pl.col("model") == model)).sort("member")
    days = [(date.fromisoformat(m) - date(1970, 1, 1)) // timedelta(1) for m in rows["member"]]
    series = {}
    for metric in METRICS:
        values = [(day, v) for day, v in zip(days, rows[metric], strict=True) if v is not None]
        if values:
            series[f"{metric}_by_cutoff"] = values
    return series
