"""A validation in MLflow: a parent run, a child run a model.

The same validation recorded again updates its runs. The parent runs until ``finish``; what a
killed command left running is marked KILLED by the next ``record_validation``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

    from storecast.tracking import Tracking

VALIDATION, MODEL, LEVEL, AUDIT = (
    "storecast.validation_id", "storecast.model", "storecast.level", "storecast.leak_audit",
)  # fmt: skip
NOT_AUDITED = "not audited"
NOTE = "mlflow.note.content"
_PARENT = "mlflow.parentRunId"
_LONGEST: Final = 500
"""Characters of a parameter's value; every MLflow store takes as many."""


@dataclass(frozen=True)
class Point:
    """A value of a metric: its step on the axis, the day that it belongs to, and the value."""

    step: int
    day: date
    value: float


@dataclass(frozen=True)
class ModelRecord:
    """What one model of a validation leaves in MLflow."""

    name: str
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    series: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DataRecord:
    """A Delta table at a version: its full name, and its columns' types by name."""

    table: str
    version: int
    columns: Mapping[str, str]
    rows: int


@dataclass(frozen=True)
class ValidationRecord:
    """What a validation leaves in MLflow.

    Attributes:
        validation_id: finds its runs again.
        name: of the parent run.
        through: the day that its metrics are stamped with.
        parameters: of the parent run.
        metrics: of the parent run.
        tags: of the parent run.
        note: Markdown, shown on the parent's page.
        models: the best first.
        data: what was read.
        texts: artifacts by file name.
        figures: artifacts by file name.
    """

    validation_id: str
    name: str
    through: date
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    models: Sequence[ModelRecord] = ()
    data: Sequence[DataRecord] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)


@dataclass(frozen=True)
class AuditRecord:
    """What the leak audit leaves in MLflow.

    Attributes:
        summary: in a word or two, of the parent run.
        verdicts: in one word, by model; of a model that is not here there is none.
        sentences: Markdown, by model, shown on its run's page.
        texts: artifacts of the parent run by file name.
    """

    summary: str
    verdicts: Mapping[str, str] = field(default_factory=dict)
    sentences: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


def record_validation(tracking: Tracking, record: ValidationRecord) -> str:
    """Leave a validation in MLflow; its parent's run id. The parent runs until ``finish``.

    Raises:
        RegistryError: REGISTRY_UNREACHABLE.
    """
    with tracking.active() as client:
        experiment = tracking.experiment_id(client)
        earlier = _runs(client, experiment, record.validation_id)
        _mend(client, experiment)
        tags = {
            VALIDATION: record.validation_id,
            LEVEL: "validation",
            NOTE: record.note,
            **record.tags,
        }
        parent = _opened(client, experiment, earlier.get(""), record.name, tags)
        status = "FAILED"
        try:
            _log(client, parent, record.parameters, record.metrics, {}, record.through)
            client.log_inputs(parent, [_input(data) for data in record.data])
            for name, text in record.texts.items():
                client.log_text(parent, text, name)
            for name, figure in record.figures.items():
                client.log_figure(parent, figure, name)
            # the newest stands first in MLflow's list, and so the best model
            for model in reversed(record.models):
                _record_model(client, experiment, parent, record, model, earlier.get(model.name))
            status = "RUNNING"
        finally:
            if status != "RUNNING":
                client.set_terminated(parent, status)
    return parent


def finish(tracking: Tracking, run_id: str, audit: AuditRecord) -> None:
    """End a validation's run well, and leave there what the leak audit found.

    Raises:
        RegistryError: REGISTRY_UNREACHABLE.
    """
    with tracking.active() as client:
        parent = client.get_run(run_id)
        found = _runs(client, parent.info.experiment_id, parent.data.tags.get(VALIDATION, ""))
        for model, run in found.items():
            if model:
                verdict = audit.verdicts.get(model)
                client.set_tag(run.info.run_id, AUDIT, verdict or NOT_AUDITED)
                client.set_tag(run.info.run_id, NOTE, audit.sentences.get(model, ""))
        client.set_tag(run_id, AUDIT, audit.summary)
        for name, text in audit.texts.items():
            client.log_text(run_id, text, name)
        if parent.info.status == "RUNNING":
            client.set_terminated(run_id, "FINISHED")


def abandon(tracking: Tracking, run_id: str, *, killed: bool) -> None:
    """Mark the run of a validation that did not end well, KILLED or FAILED.

    Raises:
        RegistryError: REGISTRY_UNREACHABLE.
    """
    with tracking.active() as client:
        client.set_terminated(run_id, "KILLED" if killed else "FAILED")


def _mend(client: MlflowClient, experiment: str) -> None:
    """Mark what killed commands left running. Nobody else is at work in this project."""
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        if VALIDATION in run.data.tags:
            client.set_terminated(run.info.run_id, "KILLED")


def _runs(client: MlflowClient, experiment: str, validation_id: str) -> dict[str, Run]:
    """The runs of a validation by model, its parent's under "": the oldest where there are two."""
    found = client.search_runs(
        [experiment],
        f"tags.`{VALIDATION}` = '{validation_id}'",
        order_by=["attributes.start_time DESC"],
    )
    return {
        run.data.tags.get(MODEL, run.info.run_name or "") if _PARENT in run.data.tags else "": run
        for run in found
    }


def _opened(
    client: MlflowClient, experiment: str, earlier: Run | None, name: str, tags: Mapping[str, str]
) -> str:
    """A run at work: the earlier one, or a new one."""
    from mlflow.entities import RunTag

    if earlier is None:
        return str(client.create_run(experiment, run_name=name, tags=dict(tags)).info.run_id)
    run_id = str(earlier.info.run_id)
    client.update_run(run_id, status="RUNNING", name=name)
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    return run_id


def _record_model(
    client: MlflowClient,
    experiment: str,
    parent: str,
    record: ValidationRecord,
    model: ModelRecord,
    earlier: Run | None,
) -> None:
    tags = {
        _PARENT: parent,
        VALIDATION: record.validation_id,
        LEVEL: "model",
        MODEL: model.name,
        **model.tags,
    }
    child, status = _opened(client, experiment, earlier, model.name, tags), "FAILED"
    try:
        _log(client, child, model.parameters, model.metrics, model.series, record.through)
        client.log_inputs(child, [_input(data) for data in record.data])
        status = "FINISHED"
    finally:
        client.set_terminated(child, status)


def _log(
    client: MlflowClient,
    run_id: str,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, float],
    series: Mapping[str, Sequence[Point]],
    through: date,
) -> None:
    from mlflow.entities import Metric, Param

    # stamped with days of the data: the same again is no second value
    points = [Metric(name, value, _stamp(through), 0) for name, value in metrics.items()]
    points += [
        Metric(name, point.value, _stamp(point.day), point.step)
        for name, told in series.items()
        for point in told
    ]
    there = client.get_run(run_id).data.params
    params = [
        Param(name, str(value)[:_LONGEST]) for name, value in parameters.items()
        if name not in there
    ]  # fmt: skip
    # a store takes at most 1,000 values and 100 parameters at a time
    for first in range(0, len(points), 1000):
        client.log_batch(run_id, metrics=points[first : first + 1000])
    for first in range(0, len(params), 100):
        client.log_batch(run_id, params=params[first : first + 100])


def _stamp(day: date) -> int:
    """Milliseconds since 1970 at the day's beginning, UTC."""
    return (day - date(1970, 1, 1)).days * 86_400_000


def _input(data: DataRecord) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    columns = [{"name": n, "type": kind, "required": False} for n, kind in data.columns.items()]
    dataset = Dataset(
        name=data.table,
        digest=f"version-{data.version}",
        source_type="delta_table",
        source=json.dumps({"delta_table_name": data.table, "delta_table_version": data.version}),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps({"num_rows": data.rows, "version": data.version}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "validation")])
