"""Champion moved by hand: what is told, what is kept, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storecast import lineage, registry, runs
from storecast.errors import Code, ConfigurationError, ModelError, Refusal
from storecast.project import Project
from storecast.promotion.step import promote, rollback
from storecast.registry import CHAMPION, PREVIOUS_CHAMPION

# MLflow and SQLAlchemy warn about themselves
pytestmark = pytest.mark.filterwarnings("default")

Served = Callable[..., Project]


def aliases(project: Project) -> dict[str, str]:
    return registry.of(project).aliases.all()


def newest(project: Project) -> dict[str, Any]:
    return runs.ledger(project)[-1]


def damaged(project: Project) -> None:
    (rules,) = (project.root / "mlartifacts").rglob("rules.json")
    rules.write_text(rules.read_text("utf-8").replace('"horizon": 7', '"horizon": 8'), "utf-8")


def test_a_promotion_is_told_and_kept_with_who_and_why(served: Served) -> None:
    project = served()
    result = promote(project, "1", reason="the newest two miss the holidays")
    assert (result.before, result.after, result.moved, result.previous) == ("3", "1", True, "3")
    assert aliases(project) == {CHAMPION: "1", PREVIOUS_CHAMPION: "3"}
    row = newest(project)
    assert (row["run_id"], row["command"], row["status"]) == (result.run_id, "promote", "done")
    told = row["details"]
    assert (told["from"], told["to"], told["champion"]) == ("3", "1", "1")
    assert told["reason"] == "the newest two miss the holidays"
    assert told["by"] == lineage.operator() == result.by
    assert told["forced"] is False
    assert any("rollback` would go back to version 3" in s for s in result.sentences())
    assert "forced_by" not in registry.of(project).version("1").tags


def test_promoting_the_champion_is_done_and_changes_nothing(served: Served) -> None:
    project = served()
    damaged(project)  # what serves already is not judged again
    before = aliases(project)
    result = promote(project, "Champion")
    assert (result.moved, result.after) == (False, "3")
    assert aliases(project) == before
    assert "unchanged" in result.sentences()[0]


def test_a_version_that_is_not_there_is_refused(served: Served) -> None:
    project = served()
    with pytest.raises(ModelError) as refused:
        promote(project, "7")
    assert refused.value.code is Code.MODEL_UNKNOWN
    assert newest(project)["error_code"] == "MODEL_UNKNOWN"


@pytest.mark.parametrize(
    ("tags", "kind"),
    [
        ({"gate": "refused"}, "gate"),
        ({"gate": "not_enough_evidence"}, "gate"),
        ({"audit": "failed"}, "audit"),
        ({"digest": "0" * 64}, "artefact"),
    ],
)
def test_what_speaks_against_a_version_refuses_it_unless_forced(
    served: Served, tags: dict[str, str], kind: str
) -> None:
    project = served()
    registry.of(project).tag("1", tags)
    before = aliases(project)
    with pytest.raises(Refusal) as refused:
        promote(project, "1")
    assert (refused.value.code, refused.value.exit_code) == (Code.VERSION_UNFIT, 3)
    assert refused.value.found == kind
    assert aliases(project) == before
    row = newest(project)
    assert (row["status"], row["error_code"]) == ("refused", "VERSION_UNFIT")
    assert row["details"]["by"] == lineage.operator()
    assert lineage.recorded_champion(project, "demo.chain.chain") == "3"

    result = promote(project, "1", force=True, reason="we know")
    assert (result.moved, result.forced, len(result.objections)) == (True, True, 1)
    assert aliases(project)[CHAMPION] == "1"
    kept = registry.of(project).version("1").tags
    assert (kept["forced_by"], kept["forced_reason"]) == (lineage.operator(), "we know")
    assert (kept["forced_over"], kept["forced_run_id"]) == (kind, result.run_id)
    told = newest(project)["details"]
    assert (told["forced"], told["reason"], told["objections"]) == (
        True, "we know", list(result.objections),
    )  # fmt: skip
    assert any("forced" in sentence for sentence in result.sentences())


def test_every_objection_is_told_at_once(served: Served) -> None:
    project = served()
    registry.of(project).tag("1", {"gate": "refused", "audit": "failed"})
    damaged(project)
    with pytest.raises(Refusal) as refused:
        promote(project, "1")
    assert refused.value.found == "gate, audit, artefact"


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"series": {"frequency": "W-SUN"}}, "frequency"),
        ({"forecast": {"horizon": 8, "quantiles": [0.1, 0.5, 0.9]}}, "horizon"),
        ({"forecast": {"horizon": 7, "quantiles": [0.2, 0.5, 0.8]}}, "schema"),
    ],
)
def test_a_version_for_other_data_is_refused(
    served: Served, changes: dict[str, Any], kind: str
) -> None:
    with pytest.raises(Refusal) as refused:
        promote(served(**changes), "1")
    assert refused.value.found == kind


def test_a_shorter_horizon_and_fewer_quantiles_are_no_objection(served: Served) -> None:
    changes = {"forecast": {"horizon": 5, "quantiles": [0.1, 0.9]}}
    assert promote(served(**changes), "1").moved


def test_a_rollback_goes_back_once_and_says_what_it_did(served: Served) -> None:
    project = served()
    result = rollback(project, reason="too low since Monday")
    assert (result.before, result.after, result.previous) == ("3", "2", None)
    assert aliases(project) == {CHAMPION: "2", PREVIOUS_CHAMPION: "2"}
    told = newest(project)["details"]
    assert (told["from"], told["to"], told["reason"]) == ("3", "2", "too low since Monday")
    assert any("models promote 3" in sentence for sentence in result.sentences())
    with pytest.raises(Refusal) as refused:
        rollback(project)
    assert (refused.value.code, refused.value.exit_code) == (Code.NO_PREVIOUS_CHAMPION, 3)
    assert aliases(project)[CHAMPION] == "2"
    assert promote(project, "3").before == "2"
    assert rollback(project).after == "2"


def test_a_rollback_to_a_damaged_version_is_refused_unless_forced(served: Served) -> None:
    project = served()
    damaged(project)
    with pytest.raises(Refusal) as refused:
        rollback(project)
    assert (refused.value.code, refused.value.found) == (Code.VERSION_UNFIT, "artefact")
    assert aliases(project)[CHAMPION] == "3"
    assert rollback(project, force=True).forced


def test_a_rollback_does_not_ask_the_gate_again(served: Served) -> None:
    project = served()
    registry.of(project).tag("2", {"gate": "refused"})  # it was forced, and it has served
    assert rollback(project).after == "2"


def test_a_reason_that_no_registry_keeps_is_refused(served: Served) -> None:
    with pytest.raises(ConfigurationError) as refused:
        promote(served(), "1", reason="x" * 251)
    assert refused.value.code is Code.USAGE


def test_who_became_the_champion_when_is_told_from_the_ledger(served: Served) -> None:
    project = served()
    rollback(project, reason="why not")
    told = lineage.changes(project, "demo.chain.chain")
    assert [(c["command"], c["from"], c["to"]) for c in told] == [
        ("deploy", None, "1"), ("deploy", "1", "2"), ("deploy", "2", "3"), ("rollback", "3", "2"),
    ]  # fmt: skip
    assert (told[-1]["by"], told[-1]["reason"]) == (lineage.operator(), "why not")
    assert lineage.changes(project, "demo.chain.other") == []


def test_what_was_rolled_back_is_known_until_it_is_promoted_again(served: Served) -> None:
    project = served()
    assert lineage.rolled_back(project, "demo.chain.chain") == {}
    rollback(project, reason="too low")
    told = lineage.rolled_back(project, "demo.chain.chain")
    assert (list(told), told["3"]["reason"]) == (["3"], "too low")
    promote(project, "1")
    assert list(lineage.rolled_back(project, "demo.chain.chain")) == ["3"]
    promote(project, "3")
    assert lineage.rolled_back(project, "demo.chain.chain") == {}


def test_a_moved_folder_still_finds_its_versions(served: Served, template: Path) -> None:
    project = served()
    elsewhere = template.rename(template.with_name("elsewhere"))
    try:
        assert promote(project, "1").moved
    finally:
        elsewhere.rename(template)
