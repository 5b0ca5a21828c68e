"""What the gate said, kept where it is looked for: the version's tags and the MLflow run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from storecast.lineage import cut
from storecast.tracking import Tracking

if TYPE_CHECKING:
    from storecast.backtest.judgement import Check, Judgement
    from storecast.deployment.gate import Decision
    from storecast.project import Project
    from storecast.registry import ModelVersion, Registry

GONE = "none"
"""Stands in tags of an earlier decision: not every registry lets a tag be taken away."""


def gate_tags(decision: Decision) -> dict[str, str]:
    """Tags of a version that the gate judged."""
    judgement = decision.judgement
    tags = {
        "gate": judgement.outcome,
        "gate_road": judgement.road,
        "gate_against": cut(decision.against),
    }
    if judgement.gain is not None:
        tags["gate_gain"] = f"{judgement.gain:.4f}"
    if judgement.p_value is not None:
        tags["gate_p_value"] = f"{judgement.p_value:.4f}"
    if judgement.reasons:
        tags["gate_reasons"] = cut("; ".join(judgement.reasons))
    return tags


def record(
    project: Project,
    versions: Registry,
    version: ModelVersion,
    decision: Decision | None,
    further: Mapping[str, str],
) -> ModelVersion:
    """Leave the decision, and ``further`` tags, on the version and on its MLflow run.

    Doing it again leaves the same.

    Returns:
        The version with its tags.

    Raises:
        RegistryError: REGISTRY_UNREACHABLE.
    """
    tags = {**({"gate": "not_asked"} if decision is None else gate_tags(decision)), **further}
    # what an earlier decision on the same version said holds no longer
    tags |= {name: GONE for name in version.tags if name.startswith("gate") and name not in tags}
    if version.mlflow_run_id is not None:
        with Tracking.of(project).active() as client:
            for name, value in tags.items():
                client.set_tag(version.mlflow_run_id, f"storecast.{name}", value)
            if decision is not None:
                judgement = decision.judgement
                for name, number in _numbers(judgement).items():
                    client.log_metric(version.mlflow_run_id, name, number, timestamp=0, step=0)
                client.set_tag(version.mlflow_run_id, "mlflow.note.content", note(decision))
                client.log_text(version.mlflow_run_id, _csv(judgement), "gate/checks.csv")
                client.log_text(
                    version.mlflow_run_id,
                    json.dumps(judgement.as_dict(), indent=1, default=str),
                    "gate/judgement.json",
                )
    versions.tag(version.number, tags)
    return replace(version, tags={**version.tags, **tags})


def note(decision: Decision) -> str:
    """The checks in Markdown, as the run's page shows them."""
    outcome = decision.judgement.outcome.replace("_", " ")
    verdicts = {True: "passed", False: "**refused**", None: "not clear"}
    lines = [
        f"Gate ({decision.judgement.road}), against {decision.against}: **{outcome}**",
        "",
        "| check | of | verdict | |",
        "|---|---|---|---|",
        *(
            f"| {check.name} | {check.member} | {verdicts[check.passed]} | {check.sentence} |"
            for check in decision.judgement.checks
        ),
    ]
    return "\n".join([*lines, *(f"\n{remark}" for remark in decision.remarks)])


def _numbers(judgement: Judgement) -> dict[str, float]:
    told = {
        "gate_loss": judgement.loss,
        "gate_other_loss": judgement.other_loss,
        "gate_gain": judgement.gain,
        "gate_p_value": judgement.p_value,
    }
    return {name: value for name, value in told.items() if value is not None}


def _csv(judgement: Judgement) -> str:
    rows = [_plain(check) for check in judgement.checks]
    return pl.DataFrame(rows, infer_schema_length=None).write_csv()


def _plain(check: Check) -> dict[str, object]:
    plain = check.as_dict()
    least, most = plain.pop("bound")
    sentence = plain.pop("sentence")
    return {**plain, "at_least": least, "at_most": most, "sentence": sentence}
