"""The leak audit of a validation: how far it goes, what it keeps, what it says."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import date
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

import storecast
from storecast import config, runs
from storecast.adapters.local.compute import LocalCompute
from storecast.backtest import tasks
from storecast.backtest.audit import Verdict
from storecast.core.panel import History
from storecast.core.window import cut
from storecast.errors import Code, Refusal
from storecast.models import base
from storecast.models.baselines import Baseline, Matrix
from storecast.validation import leakage, recording
from storecast.validation.leakage import Audit

Make = Callable[..., Any]
NAIVE, LEVEL, PEEKER = "seasonal_naive", "local_level", "peeker"


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """MLflow replaced, since its store takes seconds to make; one entry a validation made."""
    told: list[int] = []
    monkeypatch.setattr(recording, "record_validation", lambda *_, **__: told.append(1) or "parent")
    monkeypatch.setattr(recording, "finish", lambda *_: None)
    return told


class Peeker(Baseline):
    """Says what the store will sell, where its past tells it; slow to audit."""

    kind: ClassVar[str] = PEEKER
    fast: ClassVar[bool] = False

    def predict(self, past: Any, future: Any) -> pl.DataFrame:
        matrix = Matrix.of(past)
        if "tomorrow" not in past.rows.columns:
            return matrix.frame(np.repeat(matrix.values[:, -1:], 9, axis=1), future)
        told = past.rows.group_by("store_id", maintain_order=True).agg(pl.col("tomorrow").last())
        return matrix.frame(np.repeat(told["tomorrow"].to_numpy()[:, None], 9, axis=1), future)


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that offers the peeker."""

    class Point:
        name = PEEKER

        def load(self) -> Any:
            return Peeker

    monkeypatch.setattr(base, "entry_points", lambda group: [Point()])
    monkeypatch.setattr(config, "_third_party_models", lambda: (PEEKER,))


@pytest.fixture
def open_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut that lets the next value through, in a column that only the peeker reads."""

    def leaking(history: History, cutoff: date, horizon: int) -> Any:
        window = cut(history, cutoff, horizon)
        after = history.panel().filter(
            pl.col("period") == history.rules.frequency.ordinal(cutoff) + 1
        )
        rows = window.past.rows.join(
            after.select("store_id", tomorrow="sales"), on="store_id", how="left",
            maintain_order="left",
        ).with_columns(pl.col("tomorrow").fill_null(1.0))  # fmt: skip
        return dataclasses.replace(window, past=dataclasses.replace(window.past, rows=rows))

    monkeypatch.setattr(tasks, "cut", leaking)


def chain(weeks: int = 60) -> dict[str, tuple[int, list[float]]]:
    chance = np.random.default_rng(1)
    values = {s: (weeks - 1, list(chance.gamma(2, 20, weeks).round(4))) for s in ("001", "1", "é")}
    values["new"] = (2, [7.0, 8.0, 9.0])
    return values


def here(project: Any) -> Any:
    return dataclasses.replace(project, compute=LocalCompute(1))


def newest(project: Any) -> dict[str, Any]:
    row = runs.newest(project, "validate")
    assert row is not None
    return row


def test_every_validation_keeps_a_verdict_and_says_it(project: Make) -> None:
    made = here(project(chain()))
    result = storecast.validate(made)
    told = Audit.from_dict(newest(made)["details"]["audit"])
    assert told == result.audit
    assert told.level == "fast"
    middle = result.cutoffs[1].isoformat()
    verdicts = {n: (v.status, v.cutoffs, v.stores) for n, v in told.verdicts.items()}
    assert verdicts == dict.fromkeys((NAIVE, LEVEL), ("passed", (middle,), 3))
    assert all(v.kinds == ("sales", "stores_born_later") for v in told.verdicts.values())
    assert f"leak audit: no forecast of {NAIVE}, {LEVEL} depends" in "\n".join(result.sentences())
    assert {line.audit for line in result.leaderboard} == {"passed"}
    plain = json.loads(json.dumps(result.as_dict()))
    assert plain["audit"]["verdicts"][LEVEL]["status"] == "passed"
    assert (plain["leaking"], newest(made)["status"]) == ([], "done")


@pytest.mark.slow
def test_a_stronger_audit_runs_alone_and_a_weaker_one_does_not(
    project: Make, logged: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = here(project(chain()))
    off = storecast.validate(made, audit="off")
    assert (off.audit.level, off.audit.verdicts) == ("off", {})
    assert any("off" in sentence for sentence in off.sentences())
    again = storecast.validate(made)
    assert (again.reused, again.audit.level) == (True, "fast")
    every = storecast.validate(made, audit="every")
    assert {v.cutoffs for v in every.audit.verdicts.values()} == {
        tuple(day.isoformat() for day in every.cutoffs)
    }
    full = storecast.validate(made, audit="full")
    assert {v.status for v in full.audit.verdicts.values()} == {"passed"}

    monkeypatch.setattr(leakage, "audit", None)
    kept = storecast.validate(made, audit="off")
    assert kept.audit == full.audit
    assert kept.reused
    assert len(logged) == 1


@pytest.mark.usefixtures("offered")
def test_what_another_package_made_is_audited_alone(
    project: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[list[str], list[str]]] = []
    real = leakage.audit

    def spied(road: Any, *rest: Any, foreign: Any, **more: Any) -> Any:
        told.append(([r.name for r in road.recipes], list(foreign)))
        return real(road, *rest, foreign=foreign, **more)

    monkeypatch.setattr(leakage, "audit", spied)
    made = here(project(chain(), f"models=[{NAIVE}, {PEEKER}]", "forecast.horizon=1"))
    storecast.validate(made, audit="every")
    assert ([NAIVE], []) in told
    assert ([PEEKER], [PEEKER]) in told
    assert all(not foreign or len(names) == 1 for names, foreign in told)


@pytest.mark.usefixtures("offered", "open_window")
def test_a_model_that_leaks_is_not_the_best_and_the_run_says_so(project: Make) -> None:
    made = here(project(chain(), f"models=[{NAIVE}, {LEVEL}, {PEEKER}]", "forecast.horizon=1"))
    result = storecast.validate(made)
    assert result.leaking == (PEEKER,)
    assert result.leaderboard[-1].model == PEEKER
    # it has the lowest error of all, and would have been the best
    assert result.leaderboard[-1].wape == 0
    assert result.best == min(result.leaderboard[:-1], key=lambda line: line.wape or 9).model
    leaks = result.audit.verdicts[PEEKER].leaks
    assert "sales" in {leak.kind for leak in leaks}
    assert result.audit.verdicts[LEVEL].passed
    said = "\n".join(result.sentences())
    assert "LEAKING" in said
    assert "LEAK AUDIT FAILED" in said
    assert newest(made)["status"] == "unhealthy"
    with pytest.raises(Refusal) as refused:
        storecast.deploy(made, model=PEEKER)
    assert refused.value.code is Code.LEAK_FOUND
    assert refused.value.exit_code == 3


@pytest.mark.slow
@pytest.mark.usefixtures("offered")
def test_a_slow_model_is_audited_where_it_would_be_deployed_and_its_verdict_is_kept(
    project: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    steady = {s: (59, [float(i // 4) for i in range(60)]) for s in "ab"}
    models = f"models=[{NAIVE}, {LEVEL}, {PEEKER}]"
    made = here(project(steady, models))
    result = storecast.validate(made)
    assert result.best == PEEKER
    assert result.audit.status(PEEKER) == "passed"

    asked: list[tuple[str, ...]] = []
    real = leakage.audit

    def heard(road: Any, *arguments: Any, **more: Any) -> Any:
        asked.append(tuple(recipe.name for recipe in road.recipes))
        return real(road, *arguments, **more)

    monkeypatch.setattr(leakage, "audit", heard)
    # other windows are another validation, but the same recipe, rules and code
    other = storecast.validate(here(storecast.load(made.root, [models, "validation.step=3"])))
    assert other.validation_id != result.validation_id
    assert asked == [(NAIVE, LEVEL)]
    assert other.audit.verdicts[PEEKER] == result.audit.verdicts[PEEKER]
    # another recipe is another model
    asked.clear()
    wider = here(storecast.load(made.root, [models, "training.from=2021-10-01"]))
    storecast.validate(wider)
    assert (PEEKER,) in asked


@pytest.mark.slow
@pytest.mark.usefixtures("offered")
def test_a_slow_model_that_does_not_win_waits_for_the_whole_audit(project: Make) -> None:
    made = here(project(chain(), f"models=[{NAIVE}, {LEVEL}, {PEEKER}]"))
    result = storecast.validate(made)
    assert result.best != PEEKER
    assert set(result.audit.verdicts) == {NAIVE, LEVEL}
    with pytest.raises(Refusal) as refused:
        storecast.deploy(made, model=PEEKER)
    assert refused.value.code is Code.LEAK_AUDIT_MISSING
    every = storecast.validate(made, audit="every")
    assert every.reused
    assert every.audit.status(PEEKER) == "passed"


def test_without_a_verdict_deploy_refuses_and_force_says_so(project: Make) -> None:
    made = here(project(chain()))
    storecast.validate(made, audit="off")
    with pytest.raises(Refusal) as refused:
        storecast.deploy(made)
    assert refused.value.code is Code.LEAK_AUDIT_MISSING
    assert "--audit-leakage" in str(refused.value.next_step)
    assert runs.ledger(made)[-1]["status"] == "refused"


def test_an_audit_comes_back_from_json() -> None:
    verdict = Verdict("passed", ("2022-01-02",), 3, ("sales",), (), "k")
    audit = Audit("every", {"m": verdict}, ("status",))
    assert Audit.from_dict(json.loads(json.dumps(audit.as_dict()))) == audit
    assert Audit.from_dict(None) == Audit()
    assert audit.covers("fast")
    assert not audit.covers("full")
    assert any("status" in sentence for sentence in audit.sentences())
