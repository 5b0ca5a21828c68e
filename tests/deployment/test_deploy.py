"""From a validation to a champion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from storecast import registry, runs
from storecast.deployment.step import deploy
from storecast.errors import Code, ModelError, Refusal
from storecast.project import Project
from storecast.validation.step import validate

# MLflow and SQLAlchemy warn about themselves
pytestmark = pytest.mark.filterwarnings("default")

Filled = Callable[..., Project]


def newest_run(project: Project) -> dict[str, Any]:
    row = runs.newest(project, "deploy")
    assert row is not None
    return row


def test_the_best_validated_model_becomes_the_champion_once(filled: Filled) -> None:
    project = filled()
    found = validate(project)
    assert found.best == "local_level"
    result = deploy(project)
    assert (result.model, result.version, result.unchanged) == ("local_level", "1", False)
    assert result.model_name == "demo.chain.chain"
    assert result.validation_id == found.validation_id
    assert result.wape is not None
    assert result.wape == pytest.approx(found.leaderboard[0].wape)
    assert f"{result.wape:.1%}" in result.accuracy()
    assert "less than seasonal_naive" in result.accuracy()
    champion = registry.of(project).version()
    assert champion.number == "1"
    assert champion.tags["validation_id"] == found.validation_id
    assert champion.tags["run_id"] == result.run_id
    told = newest_run(project)["details"]
    assert (told["model_version"], told["validation_id"]) == ("1", found.validation_id)
    assert told["mlflow_run_id"] == champion.mlflow_run_id

    again = deploy(project)
    assert (again.version, again.unchanged) == ("1", True)
    assert any("unchanged" in sentence for sentence in again.sentences())
    assert len(registry.of(project).versions()) == 1

    (rules,) = (project.root / "mlartifacts").rglob("rules.json")
    rules.write_text("{}", "utf-8")
    mended = deploy(project)
    assert (mended.version, mended.unchanged) == ("2", False)

    other = deploy(project, model="seasonal_naive", force=True)
    assert (other.version, other.unchanged) == ("3", False)
    assert registry.of(project).version().number == "3"
    assert isinstance(other.as_dict()["cutoff"], str)


@pytest.mark.slow
def test_where_nothing_beats_the_naive_it_is_the_champion_and_says_so(filled: Filled) -> None:
    from storecast.models.base import Recipe

    project = filled(models=["seasonal_naive", {"name": "worse", "kind": "seasonal_naive"}])
    validate(project)
    result = deploy(project)
    assert result.model == "seasonal_naive"
    assert any("no model was more accurate" in sentence for sentence in result.sentences())
    assert Recipe("x", "seasonal_naive").digest == Recipe("y", "seasonal_naive").digest


@pytest.mark.slow
def test_what_was_not_validated_is_refused_unless_forced(filled: Filled) -> None:
    project = filled()
    with pytest.raises(ModelError) as refused:
        deploy(project)
    assert refused.value.code is Code.NOT_VALIDATED
    validate(project, models=["seasonal_naive"])
    with pytest.raises(ModelError) as refused:
        deploy(project, model="local_level")
    assert refused.value.code is Code.RECIPE_NOT_VALIDATED
    assert newest_failed(project) == "RECIPE_NOT_VALIDATED"
    assert registry.of(project).champion() is None
    forced = deploy(project, model="local_level", force=True)
    assert (forced.wape, forced.gate) == (None, "not_asked")
    champion = registry.of(project).version()
    assert (champion.tags["validated"], champion.tags["gate"]) == ("false", "not_asked")
    assert champion.tags["forced_over"] == "validation, audit"
    assert "could not judge what was not validated" in " ".join(forced.sentences())


@pytest.mark.slow
def test_what_no_audit_has_passed_is_refused_unless_forced(filled: Filled) -> None:
    project = filled()
    validate(project, audit="off")
    with pytest.raises(Refusal) as refused:
        deploy(project)
    assert refused.value.code is Code.LEAK_AUDIT_MISSING
    assert registry.of(project).champion() is None
    forced = deploy(project, force=True)
    assert (forced.model, forced.audit) == ("local_level", None)
    assert any("forced" in sentence for sentence in forced.sentences())
    champion = registry.of(project).version()
    assert (champion.tags["validated"], champion.tags["audit"]) == ("true", "none")
    assert champion.tags["forced_over"] == "audit"
    assert newest_run(project)["details"]["forced"] is True

    assert validate(project).reused
    proven = deploy(project)
    assert (proven.unchanged, proven.audit) == (True, "passed")
    assert not any("forced" in sentence for sentence in proven.sentences())


def newest_failed(project: Project) -> str:
    return str(runs.ledger(project)[-1]["error_code"])
