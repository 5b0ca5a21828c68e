"""What the gate lets through, what it refuses, and what stays behind."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from storecast import pipeline, registry, runs
from storecast.backtest import tasks
from storecast.deployment import gate
from storecast.deployment.candidate import DEPLOYMENT
from storecast.deployment.candidate import LEVEL as LEVEL_TAG
from storecast.deployment.result import DeployResult, GateRefusal
from storecast.deployment.step import deploy
from storecast.errors import Code
from storecast.lineage import operator
from storecast.project import Project
from storecast.registry.aliases import Aliases
from storecast.tracking import Tracking
from tests.deployment.conftest import LEVEL, NAIVE, WINDOWS, until
from tests.fills import FIRST

# MLflow and SQLAlchemy warn about themselves
pytestmark = pytest.mark.filterwarnings("default")

Shop = Callable[..., Project]


def silent_from(day: int) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Hardly any noise from a day on: last week is a nearly perfect forecast then."""
    weekly = pl.col("store_id").replace_strict({"001": 100.0, "1": 200.0, "Öç": 300.0})
    weekly += 20.0 * pl.col("date").dt.weekday() + (pl.col("date").dt.ordinal_day() % 11 == 0)
    begins = pl.lit(until(day + 1))
    return lambda sales: sales.with_columns(
        sales=pl.when(pl.col("date") >= begins).then(weekly).otherwise("sales")
    )


def refused(project: Project, **asked: Any) -> GateRefusal:
    with pytest.raises(GateRefusal) as caught:
        deploy(project, **asked)
    return caught.value


def aliases(project: Project) -> dict[str, str]:
    return registry.of(project).aliases.all()


def tags(project: Project, number: str) -> dict[str, str]:
    return dict(registry.of(project).version(number).tags)


def names(result: DeployResult) -> list[str]:
    return [check.name for check in result.checks]


def newest(project: Project) -> dict[str, Any]:
    return runs.ledger(project)[-1]


def test_first_then_a_refused_challenge_then_a_refresh(shop: Shop) -> None:
    project = shop()
    first = deploy(project)
    assert (first.model, first.version, first.champion, first.gate) == (LEVEL, "1", "1", "passed")
    assert names(first) == ["baseline"]
    assert first.judgement is not None
    assert (first.judgement.road, first.judgement.cutoffs) == ("first", 5)
    assert aliases(project) == {"Champion": "1"}
    assert newest(project)["details"]["judgement"]["checks"][0]["name"] == "baseline"

    no = refused(project, model=NAIVE)
    assert (no.code, no.exit_code) == (Code.GATE_REFUSED, 3)
    assert "version 1 of demo.chain.chain stays the champion" in no.message
    assert "no gain above zero" in str(no.found)
    assert "deploy --model local_level fits its recipe" in str(no.next_step)
    assert (no.result.version, no.result.champion, no.result.promoted) == ("2", "1", False)
    assert names(no.result) == ["gain", "bias", "coverage", "filled"]
    assert aliases(project) == {"Champion": "1", "Challenger": "2"}
    kept = tags(project, "2")
    assert (kept["gate"], kept["gate_road"]) == ("refused", "challenge")
    assert "no gain" in kept["gate_reasons"]
    row = newest(project)
    assert (row["status"], row["error_code"]) == ("refused", "GATE_REFUSED")
    assert row["details"]["judgement"]["outcome"] == "refused"

    # the same again: the same refusal, and no further version
    again = refused(project, model=NAIVE)
    assert again.result.checks == no.result.checks
    assert len(registry.of(project).versions()) == 2

    project = shop(167)
    later = deploy(project)
    assert (later.version, later.champion) == ("3", "3")
    assert names(later) == [
        "baseline", "bias", "coverage", "filled", "shift", "shifted_stores", "level",
    ]  # fmt: skip
    assert later.against == "the serving version 1, of the same recipe"
    assert aliases(project) == {"Champion": "3", "PreviousChampion": "1"}
    assert deploy(project).unchanged
    assert len(registry.of(project).versions()) == 3


def test_mlflow_shows_what_the_gate_said(shop: Shop) -> None:
    project = shop()
    tracking = Tracking.of(project)
    with tracking.active() as client:
        killed = client.create_run(
            tracking.experiment_id(client), tags={LEVEL_TAG: DEPLOYMENT}
        ).info.run_id
    deploy(project)
    run_id = registry.of(project).version().mlflow_run_id
    assert run_id is not None
    with tracking.active() as client:
        assert client.get_run(killed).info.status == "KILLED"
        run = client.get_run(run_id)
        assert run.info.run_name == f"deploy local_level {until(160)}"
        assert run.data.tags[LEVEL_TAG] == DEPLOYMENT
        assert run.data.tags["storecast.gate"] == "passed"
        assert "| baseline | all | passed |" in run.data.tags["mlflow.note.content"]
        assert run.data.metrics["gate_gain"] == pytest.approx(0.202, abs=0.001)
        place = client.download_artifacts(run_id, "gate/checks.csv")
    (row,) = csv.DictReader(io.StringIO(Path(place).read_text("utf-8")))
    assert (row["name"], row["passed"], row["at_least"]) == ("baseline", "true", "0.0")


def test_a_first_candidate_that_loses_to_the_baseline_is_kept_and_the_baseline_deployed(
    shop: Shop,
) -> None:
    # the naive is nearly perfect in the windows that the gate keeps, and best over all together
    project = shop(change=silent_from(118))
    told = pl.DataFrame(runs.read_table(project, "backtest_scores"))
    assert told.filter(pl.col("scope") == "overall").sort("wape")["model"][0] == NAIVE
    result = deploy(project)
    assert tags(project, "1")["model"] == LEVEL
    assert (result.model, result.version, result.champion) == (NAIVE, "2", "2")
    assert (result.gate, result.instead_of) == ("passed", "1")
    assert result.judgement is not None
    assert result.judgement.outcome == "refused"
    assert "local_level did not beat the baseline" in " ".join(result.sentences())
    assert aliases(project) == {"Champion": "2", "Challenger": "1"}
    assert tags(project, "1")["gate"] == "refused"

    again = deploy(project)
    assert (again.unchanged, again.version, again.instead_of) == (True, "2", "1")
    assert len(registry.of(project).versions()) == 2

    forced = deploy(project, force=True, reason="the chain asked for it")
    assert (forced.version, forced.champion) == ("1", "1")
    assert aliases(project) == {"Champion": "1", "PreviousChampion": "2"}
    assert tags(project, "1")["forced_over"] == "gate"


def test_too_few_windows_are_no_evidence_and_a_forced_version_says_who_and_why(
    shop: Shop,
) -> None:
    project = shop(validation={"windows": 8, "step": 7, "warmup": 2})
    naive = deploy(project, model=NAIVE)
    assert (naive.gate, naive.judgement and naive.judgement.road) == ("passed", "first")
    no = refused(project)
    assert no.code is Code.GATE_NOT_ENOUGH_EVIDENCE
    assert "at least 4 windows" in str(no.found)
    assert tags(project, "2")["gate"] == "not_enough_evidence"
    assert aliases(project)["Champion"] == "1"

    forced = deploy(project, force=True, reason="tested in ten shops")
    assert (forced.version, forced.champion) == ("2", "2")
    assert (forced.forced_by, forced.forced_reason) == (operator(), "tested in ten shops")
    said = f"forced by {operator()}, although the gate had not enough evidence for it: tested in"
    assert said in " ".join(forced.sentences())
    told = tags(project, "2")
    assert told["gate"] == "not_enough_evidence"
    assert (told["forced_by"], told["forced_reason"]) == (operator(), "tested in ten shops")
    assert told["forced_over"] == "gate"
    details = newest(project)["details"]
    assert (details["forced"], details["by"], details["reason"], details["from"]) == (
        True, operator(), "tested in ten shops", "1",
    )  # fmt: skip
    assert said in " ".join(deploy(project).sentences())


@pytest.mark.slow
def test_a_version_that_was_refused_may_pass_later_and_its_tags_follow(shop: Shop) -> None:
    deploy(shop(), model=NAIVE)
    strict = shop(gate={"max_bias": 1e-6})
    no = refused(strict)
    assert [check.name for check in no.result.checks if check.passed is False] == ["bias"]
    assert "in bounds" in tags(strict, "2")["gate_reasons"]
    project = shop()
    assert deploy(project).version == "2"
    kept = tags(project, "2")
    assert (kept["gate"], kept["gate_reasons"]) == ("passed", "none")


@pytest.mark.slow
def test_without_a_reason_it_is_forced_all_the_same(shop: Shop) -> None:
    project = shop(validation={"windows": 8, "step": 7, "warmup": 2})
    deploy(project, model=NAIVE)
    assert deploy(project, force=True).forced_reason == "none given"


@pytest.mark.slow
def test_a_recipe_that_no_longer_beats_the_baseline_is_not_refreshed(shop: Shop) -> None:
    deploy(shop())
    project = shop(200, change=silent_from(160))
    no = refused(project)
    assert no.result.judgement is not None
    assert no.result.judgement.road == "refresh"
    assert [c.name for c in no.result.checks if c.passed is False] == ["baseline"]
    assert "docs/operations.md" in str(no.next_step)
    assert aliases(project) == {"Champion": "1", "Challenger": "2"}


@pytest.mark.slow
@pytest.mark.parametrize("why", ["features", "damaged"])
def test_a_champion_that_cannot_be_run_again_is_said_and_the_baseline_is_the_bar(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    project = shop()
    deploy(project, model=NAIVE)
    if why == "features":
        monkeypatch.setattr(gate, "FEATURE_VERSION", 99)
    else:
        (rules,) = (project.root / "mlartifacts").rglob("rules.json")
        rules.write_text("{}", "utf-8")
    result = deploy(project)
    assert (result.model, result.champion) == (LEVEL, "2")
    assert "cannot be run any more" in " ".join(result.remarks)
    assert names(result) == ["baseline"]
    # the other way round the baseline shows nothing by itself
    for rules in (project.root / "mlartifacts").rglob("rules.json"):
        rules.write_text("{}", "utf-8")
    no = refused(project, model=NAIVE)
    assert no.code is Code.GATE_NOT_ENOUGH_EVIDENCE
    assert aliases(project)["Champion"] == "2"


@pytest.mark.slow
def test_a_serving_artefact_that_cannot_be_asked_leaves_the_levels(shop: Shop) -> None:
    project = shop()
    deploy(project)
    (rules,) = (project.root / "mlartifacts").rglob("rules.json")
    rules.write_text("{}", "utf-8")
    project = shop(167)
    result = deploy(project)
    assert (result.champion, result.judgement and result.judgement.road) == ("2", "refresh")
    assert "shift" not in names(result)
    assert "could not be asked" in " ".join(result.remarks)


@pytest.mark.slow
def test_what_the_validation_has_computed_is_not_computed_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees = {"name": "trees", "kind": "lightgbm", "n_estimators": 3, "lags": [1, 7]}
    mixed = {"name": "ensemble", "members": [LEVEL, NAIVE]}
    project = shop(models=[NAIVE, LEVEL, trees, mixed], accelerator="cpu")

    def computed(task: Any) -> Any:
        raise AssertionError(f"{task.recipe.name} at {task.cutoff} is computed again")

    monkeypatch.setattr(tasks, "_computed", computed)
    assert deploy(project, model="ensemble").champion == "1"
    refused(project, model="trees")


class Killed(BaseException):
    """Stands for the end of the process."""


class _Dying:
    """A function that does its work, and at its n-th call ends the process."""

    def __init__(self, original: Callable[..., Any], deadly: int) -> None:
        self.original, self.deadly, self.times = original, deadly, 0

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        done = self.original(*arguments, **named)
        self.times += 1
        if self.times == self.deadly:
            raise Killed
        return done


@pytest.mark.parametrize(
    ("where", "what"),
    [
        pytest.param(registry.Registry, "register", marks=pytest.mark.slow),
        pytest.param(registry.Registry, "challenge", marks=pytest.mark.slow),
        pytest.param(registry.Registry, "tag", marks=pytest.mark.slow),
        (Aliases, "point"),
        pytest.param(Aliases, "drop", marks=pytest.mark.slow),
    ],
)
def test_a_deployment_that_was_killed_ends_as_an_undisturbed_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, where: type, what: str
) -> None:
    project = shop()
    deploy(project, model=NAIVE)
    wanted = {"Champion": "2", "PreviousChampion": "1"}
    # each of its calls is the last one once
    for deadly in range(1, 5):
        dying = _Dying(getattr(where, what), deadly)
        with monkeypatch.context() as patch:
            patch.setattr(where, what, lambda *a, dying=dying, **n: dying(*a, **n))
            with contextlib.suppress(Killed):
                deploy(project)
        assert aliases(project)["Champion"] in ("1", "2")
        if dying.times < deadly:
            break
    assert deploy(project).version == "2"
    assert aliases(project) == wanted
    assert len(registry.of(project).versions()) == 2
    assert tags(project, "2")["gate"] == "passed"


def test_a_pipeline_goes_on_past_a_refused_gate_and_says_so(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = shop()
    deploy(project)
    asked = []

    class Done:
        def as_dict(self) -> dict[str, Any]:
            return {}

    def stage(name: str) -> Callable[[Project], Any]:
        asked.append(name)
        return (lambda p: deploy(p, model=NAIVE)) if name == "deploy" else lambda _: Done()

    monkeypatch.setattr(pipeline, "_stage", stage)
    heard: list[tuple[str, Any]] = []
    result = pipeline.run(project, listen=lambda name, told: heard.append((name, told)))
    assert asked[-2:] == ["forecast", "report"]
    assert result.passed_over["deploy"].startswith("GATE_REFUSED: the gate refused seasonal_naive")
    told = result.as_dict()["refused"]["deploy"]
    assert told["error"]["code"] == "GATE_REFUSED"
    assert (told["result"]["champion"], told["result"]["checks"][0]["name"]) == ("1", "gain")
    assert any(isinstance(what, DeployResult) for name, what in heard if name == "deploy")


@pytest.mark.slow
def test_a_fixed_end_of_the_training_says_when_a_retraining_is_pointless(shop: Shop) -> None:
    span = {"from": FIRST.isoformat(), "until": until(160).isoformat()}
    project = shop(170, training=span)
    result = deploy(project)
    assert result.cutoff == until(160)
    assert f"sales after it, there are some up to {until(170)}" in " ".join(result.remarks)
    again = " ".join(deploy(project).sentences())
    assert "nothing newer to learn from" in again
    assert "nothing newer" not in " ".join(deploy(shop(170)).sentences())


@pytest.mark.slow
def test_whether_the_shorter_span_is_better_is_told_of_the_model_that_is_deployed(
    shop: Shop,
) -> None:
    later = until(50).isoformat()
    project = shop(validation={**WINDOWS, "windows": 8, "compare_from": [None, later]})
    told = [remark for remark in deploy(project).remarks if "span" in remark or later in remark]
    assert len(told) == 1
    assert "local_level" in told[0]


def test_a_validation_without_the_baseline_is_refused(shop: Shop) -> None:
    shop()
    other = shop(validated=False, validation={**{"windows": 12, "step": 7, "warmup": 2},
                                              "baseline": "other"},
                 models=[NAIVE, LEVEL, {"name": "other", "kind": NAIVE}])  # fmt: skip
    with pytest.raises(Exception, match="NOT_VALIDATED"):
        deploy(other)


def test_the_days_are_those_that_the_stories_count_on() -> None:
    assert until(1) == FIRST
    assert until(160) == date(2021, 6, 12)
