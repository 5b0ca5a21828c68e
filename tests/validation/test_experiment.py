"""A validation in MLflow's own store."""

from __future__ import annotations

import dataclasses
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from storecast.errors import Code, RegistryError
from storecast.tracking import Tracking
from storecast.validation import experiment
from storecast.validation.experiment import (
    AuditRecord,
    DataRecord,
    ModelRecord,
    Point,
    ValidationRecord,
    abandon,
    finish,
    record_validation,
)

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]

RECORD = ValidationRecord(
    validation_id="abc123",
    name="2022-10-30 abc123",
    through=date(2022, 10, 30),
    parameters={"horizon": 8},
    metrics={"best_wape": 0.4},
    tags={"storecast.best": "trees"},
    note="| model |",
    models=[
        ModelRecord(
            "trees",
            {"kind": "lightgbm"},
            {"wape": 0.4},
            {
                "by_cutoff/wape": [
                    Point(4, date(2022, 1, 3), 0.3),
                    Point(5, date(2022, 2, 2), 0.5),
                ]
            },
        ),
        ModelRecord("naive", {"kind": "seasonal_naive"}, {"wape": 0.5}),
    ],
    data=[DataRecord("main.storecast.sales", 3, {"store_id": "string", "sales": "double"}, 10)],
    texts={"leaderboard.json": "[1, 2]"},
)


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    """One store for the module: it takes seconds to make."""
    root = tmp_path_factory.mktemp("project")
    return Tracking(tracking_uri=None, registry_uri=None, experiment="shops", root=root)


def runs_of(tracking: Tracking, validation_id: str) -> dict[str, Any]:
    client = tracking.client()
    found = client.search_runs(
        [tracking.experiment_id(client)], f"tags.`storecast.validation_id` = '{validation_id}'"
    )
    told = {run.info.run_name: run for run in found}
    assert len(told) == len(found)
    return told


def test_a_validation_is_a_parent_with_a_child_a_model(tracking: Tracking) -> None:
    parent = record_validation(tracking, RECORD)
    told = runs_of(tracking, "abc123")
    assert {name: run.info.status for name, run in told.items()} == {
        RECORD.name: "RUNNING", "trees": "FINISHED", "naive": "FINISHED",
    }  # fmt: skip
    audit = AuditRecord(
        summary="1 of 2 passed (fast)",
        verdicts={"trees": "passed", "another": "leaking"},
        sentences={"trees": "Leak audit: nothing depends on it"},
        texts={"leak_audit.csv": "model,verdict\ntrees,passed\n"},
    )
    finish(tracking, parent, audit)
    told = runs_of(tracking, "abc123")
    assert {run.info.status for run in told.values()} == {"FINISHED"}
    whole, trees = told[RECORD.name], told["trees"]
    assert trees.data.tags["storecast.leak_audit"] == "passed"
    assert trees.data.tags["mlflow.note.content"] == "Leak audit: nothing depends on it"
    assert told["naive"].data.tags["storecast.leak_audit"] == "not audited"
    assert whole.data.tags["storecast.leak_audit"] == "1 of 2 passed (fast)"
    assert whole.data.tags["mlflow.note.content"] == "| model |"
    artifacts = {file.path for file in tracking.client().list_artifacts(parent)}
    assert artifacts == {"leaderboard.json", "leak_audit.csv"}
    assert trees.data.tags["mlflow.parentRunId"] == parent == whole.info.run_id
    assert (whole.data.tags["storecast.level"], trees.data.tags["storecast.level"]) == (
        "validation",
        "model",
    )
    assert (trees.data.metrics["wape"], trees.data.params) == (0.4, {"kind": "lightgbm"})
    # the newest stands first: the best model above the others
    assert trees.info.start_time >= told["naive"].info.start_time
    history = tracking.client().get_metric_history(trees.info.run_id, "by_cutoff/wape")
    assert [(m.step, m.timestamp, m.value) for m in history] == [
        (4, 1641168000000, 0.3),
        (5, 1643760000000, 0.5),
    ]
    for run in told.values():
        (given,) = run.inputs.dataset_inputs or [None] if run.info.run_name != "naive" else [None]
        if given is not None:
            assert given.dataset.name == "main.storecast.sales"
            assert '"delta_table_version": 3' in given.dataset.source
            assert given.dataset.digest == "version-3"


def test_the_same_again_updates_its_runs(tracking: Tracking) -> None:
    record = dataclasses.replace(RECORD, validation_id="twice", parameters={"horizon": 8})
    first = record_validation(tracking, record)
    abandon(tracking, first, killed=False)
    assert runs_of(tracking, "twice")[RECORD.name].info.status == "FAILED"
    other = dataclasses.replace(
        record, models=[*record.models, ModelRecord("more", {}, {})], parameters={"horizon": 9}
    )
    assert record_validation(tracking, other) == first
    finish(tracking, first, AuditRecord("off"))
    told = runs_of(tracking, "twice")
    assert set(told) == {RECORD.name, "trees", "naive", "more"}
    assert {run.info.status for run in told.values()} == {"FINISHED"}
    history = tracking.client().get_metric_history(told["trees"].info.run_id, "by_cutoff/wape")
    assert len(history) == 2


def test_what_a_killed_command_left_running_is_marked_by_the_next(tracking: Tracking) -> None:
    client = tracking.client()
    killed = record_validation(tracking, dataclasses.replace(RECORD, validation_id="killed"))
    theirs = client.create_run(tracking.experiment_id(client)).info.run_id
    later = record_validation(tracking, dataclasses.replace(RECORD, validation_id="later"))
    assert client.get_run(killed).info.status == "KILLED"
    assert client.get_run(theirs).info.status == "RUNNING"
    finish(tracking, later, AuditRecord("off"))
    client.set_terminated(theirs)


def test_a_record_that_fails_midway_is_marked_as_failed(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise KeyError("no child")

    monkeypatch.setattr(experiment, "_record_model", refuse)
    with pytest.raises(KeyError):
        record_validation(tracking, dataclasses.replace(RECORD, validation_id="midway"))
    (run,) = runs_of(tracking, "midway").values()
    assert run.info.status == "FAILED"


def test_a_store_that_cannot_be_read_is_an_error_with_a_code(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database")
    broken = Tracking(None, None, "shops", tmp_path)
    with pytest.raises(RegistryError) as caught:
        record_validation(broken, RECORD)
    assert caught.value.code is Code.REGISTRY_UNREACHABLE
