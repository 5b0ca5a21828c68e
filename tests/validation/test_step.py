"""validate: what it leaves in the tables, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

import storecast
from storecast import runs
from storecast.adapters.local.compute import LocalCompute
from storecast.backtest.audit import Leak, Verdict
from storecast.core.schema import METRICS
from storecast.errors import (
    Code,
    ConfigurationError,
    ContractError,
    ModelError,
    RegistryError,
    StorecastError,
)
from storecast.models.base import Recipe
from storecast.models.calibration import Conformal
from storecast.validation import recording, step
from storecast.validation.experiment import AuditRecord, ValidationRecord
from storecast.validation.leakage import Audit

Make = Callable[..., Any]


def chain(weeks: int = 60) -> dict[str, tuple[int, list[float]]]:
    chance = np.random.default_rng(1)
    values = {s: (weeks - 1, list(chance.gamma(2, 20, weeks).round(4))) for s in ("001", "1", "é")}
    values["new"] = (2, [7.0, 8.0, 9.0])
    return values


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[ValidationRecord]:
    """MLflow replaced, since its store takes seconds to make; ``test_mlflow`` has the real one."""
    told: list[ValidationRecord] = []

    def record(_tracking: Any, what: ValidationRecord) -> str:
        told.append(what)
        return "parent"

    monkeypatch.setattr(recording, "record_validation", record)
    monkeypatch.setattr(recording, "finish", lambda *_: None)
    monkeypatch.setattr(recording, "abandon", lambda *_, **__: None)
    return told


def here(project: Any) -> Any:
    return dataclasses.replace(project, compute=LocalCompute(1))


def table(project: Any, name: str) -> pl.DataFrame:
    return pl.DataFrame(runs.read_table(project, name))


def test_the_tables_hold_every_forecast_and_the_scores_that_follow(
    project: Make, logged: list[ValidationRecord]
) -> None:
    made = here(project(chain()))
    result = storecast.validate(made)
    told = table(made, "backtest_forecasts")
    last = date(2022, 10, 2)
    assert result.cutoffs == tuple(last - timedelta(weeks=w) for w in (4, 2, 0))
    assert result.warmup == tuple(last - timedelta(weeks=w) for w in (8, 6))
    assert told.filter(pl.col("store_id") != "new").height == 2 * 5 * 3 * 4
    assert set(told.filter(pl.col("cutoff").is_in(list(result.warmup)))["segment"]) == {"warmup"}
    scored = told.filter(pl.col("segment") != "warmup")
    assert set(scored["segment"]) == {"headline", "cold_start"}
    assert set(scored.filter(pl.col("segment") == "cold_start")["store_id"]) == {"new"}

    # by hand: each window up to the next cutoff, two weeks on, the mean over the three
    part = scored.filter((pl.col("step") <= 2) & (pl.col("segment") == "headline"))
    by_hand = (
        part.group_by("model", "cutoff")
        .agg(w=(pl.col("sales") - pl.col("forecast")).abs().sum() / pl.col("sales").abs().sum())
        .group_by("model")
        .agg(pl.col("w").mean())
    )
    wapes = dict(by_hand.iter_rows())
    assert {line.model: line.wape for line in result.leaderboard} == pytest.approx(wapes)
    assert result.leaderboard[0].model == min(wapes, key=lambda m: wapes[m])
    scores = table(made, "backtest_scores")
    assert set(scores["scope"]) == {
        "overall", "cutoff", "store", "segment", "step", "cutoff_segment",
    }  # fmt: skip
    assert set(scores.filter(pl.col("scope") == "store")["member"]) == {"001", "1", "é"}
    assert set(scores.filter(pl.col("scope") == "step")["member"]) == {"1", "2", "3", "4"}
    assert {line.n_scored for line in result.leaderboard} == {3 * 3 * 2}
    assert logged[0].validation_id == result.validation_id
    assert {m.name for m in logged[0].models} == {"seasonal_naive", "local_level"}
    assert result.as_dict()["windows"] == 5


@pytest.mark.slow
@pytest.mark.usefixtures("logged")
def test_attributes_without_versions_are_marked_timeless(
    project: Make, logged: list[ValidationRecord]
) -> None:
    stores = "from: s.parquet, columns: {store_id: s}, attributes: [Região, kind]"
    made = here(project(chain(), f"source.stores={{{stores}}}"))
    for _ in range(2):
        result = storecast.validate(made)
        assert result.timeless == ("regiao", "kind")
        assert "timeless: of regiao, kind no versions are kept" in " ".join(result.sentences())
    assert runs.ledger(made)[-1]["details"]["timeless"] == ["regiao", "kind"]
    versions = here(project(chain(), f"source.stores={{{stores}, valid_from: since}}"))
    assert storecast.validate(versions).timeless == ()


def test_the_ledger_names_the_recipes_and_the_calibration_for_deployment(project: Make) -> None:
    made = here(project(chain()))
    result = storecast.validate(made)
    details = runs.newest(made, "validate")["details"]  # type: ignore[index]
    assert details["validation_id"] == result.validation_id
    recipes = {n: Recipe.from_json(json.dumps(r)) for n, r in details["recipes"].items()}
    assert {n: r.kind for n, r in recipes.items()} == {
        n: n for n in ("seasonal_naive", "local_level")
    }
    calibration = Conformal.from_json(json.dumps(details["conformals"]["local_level"]))
    # five windows of three stores and four steps: too few a step, so all are pooled
    assert calibration.counts == (60, 60, 60, 60)


@pytest.mark.slow
def test_the_same_again_is_taken_from_the_tables_and_anything_else_is_not(
    project: Make, logged: list[ValidationRecord]
) -> None:
    made = here(project(chain()))
    first = storecast.validate(made)
    versions = {t["name"]: t["version"] for t in runs.tables(made) if t["name"] != "runs"}
    again = storecast.validate(made)
    assert (first.reused, again.reused) == (False, True)
    assert again.leaderboard == first.leaderboard
    assert again.validation_id == first.validation_id
    assert len(logged) == 1
    assert {t["name"]: t["version"] for t in runs.tables(made) if t["name"] != "runs"} == versions
    assert runs.newest(made, "validate")["details"]["recipes"]  # type: ignore[index]
    others = {
        storecast.validate(here(storecast.load(made.root, [change]))).validation_id
        for change in (
            "validation.step=1",
            "models=[seasonal_naive, {name: local_level, window: 3}]",
        )
    }
    assert len(others) == 2
    assert first.validation_id not in others


@pytest.mark.usefixtures("logged")
def test_chosen_models_run_beside_the_baseline(project: Make) -> None:
    made = here(project(chain()))
    assert len(storecast.validate(made, models=["local_level"]).leaderboard) == 2
    assert len(storecast.validate(made, models=["seasonal_naive"]).leaderboard) == 1
    with pytest.raises(ConfigurationError) as caught:
        storecast.validate(made, models=["nosuch"])
    assert caught.value.code is Code.MODEL_UNKNOWN


def test_one_shop_with_one_row_and_all_zeros_are_clear_errors(
    project: Make, logged: list[ValidationRecord]
) -> None:
    with pytest.raises(ContractError) as short:
        storecast.validate(here(project({"only": (0, [5.0])})))
    assert short.value.code is Code.HISTORY_TOO_SHORT
    with pytest.raises(ModelError) as silent:
        storecast.validate(here(project({"only": (0, [0.0])})))
    assert silent.value.code is Code.NO_VARIATION
    assert not logged


@pytest.mark.usefixtures("logged")
def test_a_chain_that_sold_nothing_after_the_cutoffs_is_a_clear_error(project: Make) -> None:
    values = {"a": (59, [5.0] * 30 + [0.0] * 30)}
    with pytest.raises(ModelError) as caught:
        storecast.validate(here(project(values)))
    assert caught.value.code is Code.NO_VARIATION


def test_a_validation_without_mlflow_leaves_no_rows(
    project: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise RegistryError(Code.REGISTRY_UNREACHABLE, "no MLflow")

    monkeypatch.setattr(recording, "record_validation", refuse)
    made = here(project(chain()))
    with pytest.raises(RegistryError):
        storecast.validate(made)
    assert runs.ledger(made)[-1]["status"] == "failed"
    with pytest.raises(StorecastError):
        table(made, "backtest_scores")


def test_a_lone_shop_is_validated(project: Make, logged: list[ValidationRecord]) -> None:
    result = storecast.validate(
        here(project({"only": (40, [float(i % 4 + 1) for i in range(41)])}))
    )
    assert result.best == "seasonal_naive"
    assert result.leaderboard[0].wape == 0
    assert "nothing beats the baseline" in result.sentences()[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_lightgbm_in_processes_with_the_real_mlflow(project: Make) -> None:
    made = project(
        chain(), "models=[seasonal_naive, {name: trees, kind: lightgbm, n_estimators: 5}]"
    )
    heard: list[tuple[str, int, int]] = []
    with runs.listen(lambda _run, text, done, total, _left: heard.append((text, done, total))):
        result = storecast.validate(made)
    assert {line.model for line in result.leaderboard} == {"seasonal_naive", "trees"}
    assert ("backtest of 2 models at 5 cutoffs", 10, 10) in heard
    assert not result.failures
    assert not list(made.scratch().iterdir())
    assert (made.root / "mlflow.db").is_file()


@pytest.mark.usefixtures("logged")
def test_a_validation_takes_what_another_finished_and_says_so(project: Make) -> None:
    made = here(project(chain()))
    first = storecast.validate(made)
    assert not any(task["kept"] for task in first.tasks)
    assert {(t["model"], t["cutoff"]) for t in first.tasks} == {
        (model, str(cutoff))
        for model in ("seasonal_naive", "local_level")
        for cutoff in (*first.warmup, *first.cutoffs)
    }
    assert all(task["seconds"] > 0 and task["peak_memory_mb"] > 10 for task in first.tasks)
    models = "models=[seasonal_naive, local_level, theta]"
    heard: list[float | None] = []
    with runs.listen(lambda _run, _text, _done, _total, left: heard.append(left)):
        second = storecast.validate(here(storecast.load(made.root, [models])))
    assert [t["model"] for t in second.tasks if not t["kept"]] == ["theta"] * 5
    assert "10 of 15 tasks were finished before: not done again" in second.sentences()
    assert any(left is not None for left in heard)
    lines = {line.model: line for line in second.leaderboard}
    for line in first.leaderboard:
        same = {name: getattr(line, name) for name in (*METRICS, "spread", "n_scored")}
        assert {name: getattr(lines[line.model], name) for name in same} == same
    assert runs.newest(made, "validate")["details"]["tasks"] == list(second.tasks)  # type: ignore[index]


def test_mlflow_is_told_of_each_cutoff_step_task_and_table(
    project: Make, logged: list[ValidationRecord]
) -> None:
    result = storecast.validate(here(project(chain())))
    (record,) = logged
    best = record.models[0]
    assert best.name == result.leaderboard[0].model == record.tags["storecast.best"]
    days = [*result.warmup, *result.cutoffs]
    windows = list(enumerate(days, 1))
    assert [(p.step, p.day) for p in best.series["by_cutoff/wape"]] == windows[2:]
    told = pl.read_csv(record.texts["windows.csv"].encode())
    assert told.rows() == [
        (number, str(day), "warm-up" if number <= 2 else "scored") for number, day in windows
    ]
    assert [p.step for p in best.series["by_step/wape"]] == [1, 2, 3, 4]
    assert [(p.step, p.day) for p in best.series["tasks/seconds"]] == windows
    assert best.metrics["peak_memory_mb"] == max(
        task["peak_memory_mb"] for task in result.tasks if task["model"] == best.name
    )
    assert [(d.table, d.version) for d in record.data] == [("main.storecast.sales", 1)]
    assert set(record.figures) == {f"figures/wape_by_{scope}.png" for scope in ("cutoff", "step")}


@pytest.mark.usefixtures("logged")
def test_mlflow_is_told_of_the_leak_audit_s_verdicts(
    project: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[AuditRecord] = []
    monkeypatch.setattr(recording, "finish", lambda _t, _run, audit: told.append(audit))
    made = here(project(chain()))
    storecast.validate(made, audit="off")
    storecast.validate(made)
    off, fast = told
    assert (off.summary, fast.summary) == ("off", "2 of 2 passed (fast)")
    assert (dict(off.verdicts), off.sentences["local_level"]) == ({}, "Leak audit: off")
    assert dict(fast.verdicts) == {"seasonal_naive": "passed", "local_level": "passed"}
    assert "no forecast depends" in fast.sentences["local_level"]
    table = pl.read_csv(fast.texts["leak_audit.csv"].encode())
    assert table["model"].to_list() == ["local_level", "seasonal_naive"]
    assert set(table["verdict"]) == {"passed"}
    assert set(pl.read_csv(off.texts["leak_audit.csv"].encode())["verdict"]) == {"not audited"}
    leaking = Verdict("leaking", ("2022-01-02",), 3, (), (Leak("sales", "altered", 3, "001"),))
    found = recording._proved(Audit("every", {"a": leaking}), ["a", "b"])
    assert found.summary == "failed: a"
    assert "LEAKING" in found.sentences["a"]
    assert "not audited" in found.sentences["b"]


def test_the_run_in_mlflow_ends_as_the_validation_does(
    project: Make, logged: list[ValidationRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[tuple[Any, ...]] = []
    monkeypatch.setattr(recording, "finish", lambda _t, run, told: ends.append((run, told)))
    monkeypatch.setattr(recording, "abandon", lambda _t, run, *, killed: ends.append((run, killed)))
    made = here(project(chain()))
    for fault, killed in ((RegistryError(Code.DISK_FULL, "x"), False), (KeyboardInterrupt(), True)):

        def fail(*_: Any, told: BaseException = fault) -> None:
            raise told

        with monkeypatch.context() as patch:
            patch.setattr(step, "_committed", fail)
            with pytest.raises(type(fault)):
                storecast.validate(made)
        assert ends.pop() == ("parent", killed)
    storecast.validate(made)
    ((run, told_of),) = ends
    assert (run, told_of.summary) == ("parent", "2 of 2 passed (fast)")
    storecast.validate(made)
    assert len(ends) == 1
