"""What every model registry does for this package: MLflow's SQL store, and one with the rules
of Unity Catalog.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema

from storecast.errors import Code, ModelError, Refusal, RegistryError
from storecast.registry import CHALLENGER, CHAMPION, PREVIOUS_CHAMPION, ModelVersion, Registry
from storecast.tracking import Tracking
from tests import uc_rules

# MLflow and SQLAlchemy warn about themselves
pytestmark = pytest.mark.filterwarnings("default")

COLUMNS = Schema([ColSpec("double", "x")])
WHOLE = ModelSignature(COLUMNS, COLUMNS)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("project")


@pytest.fixture(params=["sqlite", uc_rules.SCHEME])
def tracking(request: pytest.FixtureRequest, root: Path) -> Tracking:
    uc_rules.served()
    return Tracking(None, f"{request.param}:///{root / 'mlflow.db'}", "test", root)


def logged(tracking: Tracking, folder: Path, signature: ModelSignature | None) -> tuple[str, str]:
    """The address of a logged model without weights, and its run."""
    folder.mkdir(exist_ok=True)
    Model(signature=signature).save(str(folder / "MLmodel"))
    with warnings.catch_warnings(), tracking.active() as client:
        warnings.simplefilter("ignore")
        experiment = tracking.experiment_id(client)
        run = client.create_run(experiment).info.run_id
        model = client.create_logged_model(experiment, source_run_id=run)
        client.log_model_artifacts(model.model_id, str(folder))
        return f"models:/{model.model_id}", run


@pytest.fixture
def source(tracking: Tracking, tmp_path: Path) -> tuple[str, str]:
    return logged(tracking, tmp_path / "model", WHOLE)


@pytest.fixture
def versions(tracking: Tracking, request: pytest.FixtureRequest) -> Registry:
    """An empty registered model of the test's own, its name in capitals and small letters."""
    own = re.sub(r"\W", "_", request.node.name)
    return Registry(tracking, f"Demo.Iowa.{own}")


@pytest.fixture
def three(versions: Registry, source: tuple[str, str]) -> Registry:
    """A registered model with three versions and no alias."""
    for name in ("a", "b", "c"):
        versions.register(*source, {"model": name})
    return versions


def number(version: ModelVersion | None) -> str | None:
    return None if version is None else version.number


def aliases(versions: Registry) -> dict[str, str]:
    return versions.aliases.all()


def test_before_anything_is_registered_there_is_nothing(versions: Registry) -> None:
    assert versions.all() == []
    assert versions.champion() is versions.previous() is versions.challenger() is None
    with pytest.raises(RegistryError) as refused:
        versions.version()
    assert refused.value.code is Code.NO_CHAMPION
    with pytest.raises(Refusal) as no_way_back:
        versions.rollback()
    assert no_way_back.value.code is Code.NO_PREVIOUS_CHAMPION


def test_versions_come_newest_first_with_name_tags_and_aliases(three: Registry) -> None:
    three.promote("2")
    listed = three.versions()
    assert [(v["version"], v["aliases"], v["tags"]) for v in listed] == [
        ("3", [], {"model": "c"}),
        ("2", [CHAMPION], {"model": "b"}),
        ("1", [], {"model": "a"}),
    ]
    assert {v["name"] for v in listed} == {three.name}
    champion = three.champion()
    assert champion == three.version() == three.version("CHAMPION") == three.version("2")
    assert champion is not None
    assert champion.mlflow_run_id is not None


def test_an_unknown_version_is_refused_with_those_there_are(three: Registry) -> None:
    for unknown in ("9", "Challenger", "0"):
        with pytest.raises(ModelError) as refused:
            three.version(unknown)
        assert refused.value.code is Code.MODEL_UNKNOWN
        assert refused.value.expected == "one of 3, 2, 1"


def test_a_promotion_remembers_the_champion_before(three: Registry) -> None:
    assert three.promote("1").moved
    assert aliases(three) == {CHAMPION: "1"}
    three.promote("2")
    move = three.promote("3")
    assert (move.before, move.after, move.moved) == ("2", "3", True)
    assert aliases(three) == {CHAMPION: "3", PREVIOUS_CHAMPION: "2"}
    assert number(three.previous()) == "2"


def test_promoting_the_champion_changes_nothing(three: Registry) -> None:
    three.promote("1")
    three.promote("2")
    before = aliases(three)
    assert not three.promote("2").moved
    assert aliases(three) == before == {CHAMPION: "2", PREVIOUS_CHAMPION: "1"}


def test_a_challenger_that_wins_is_none_any_more(three: Registry) -> None:
    three.promote("1")
    three.challenge("2")
    assert number(three.challenger()) == number(three.version(CHALLENGER)) == "2"
    three.promote("3")
    assert number(three.challenger()) == "2"
    three.promote("2")
    assert aliases(three) == {CHAMPION: "2", PREVIOUS_CHAMPION: "3"}
    # killed before Challenger was taken away: its rerun does that
    three.challenge("2")
    assert not three.promote("2").moved
    assert three.challenger() is None


def test_a_rollback_goes_back_once(three: Registry) -> None:
    three.promote("1")
    three.promote("2")
    move = three.rollback()
    assert (move.before, move.after) == ("2", "1")
    assert number(three.champion()) == "1"
    assert three.previous() is None
    before = aliases(three)
    with pytest.raises(Refusal) as refused:
        three.rollback()
    assert (refused.value.code, refused.value.exit_code) == (Code.NO_PREVIOUS_CHAMPION, 3)
    assert aliases(three) == before
    three.promote("2")
    assert aliases(three) == {CHAMPION: "2", PREVIOUS_CHAMPION: "1"}


def test_a_promotion_that_was_killed_half_way_is_no_way_back(three: Registry) -> None:
    three.promote("1")
    three.promote("2")
    three.aliases.point(PREVIOUS_CHAMPION, "2")  # the first write of promote("3")
    assert three.previous() is None
    with pytest.raises(Refusal) as refused:
        three.rollback()
    assert refused.value.code is Code.NO_PREVIOUS_CHAMPION
    assert number(three.champion()) == "2"
    three.promote("3")
    assert aliases(three) == {CHAMPION: "3", PREVIOUS_CHAMPION: "2"}


def test_the_registry_finds_the_champion_by_its_alias(three: Registry, tracking: Tracking) -> None:
    three.promote("2")
    with tracking.active() as client:
        assert str(client.get_model_version_by_alias(three.name, CHAMPION).version) == "2"


def test_tags_are_added_and_changed(three: Registry) -> None:
    three.tag("2", {"gate": "refused", "model": "other"})
    assert dict(three.version("2").tags) == {"model": "other", "gate": "refused"}
    assert dict(three.version("1").tags) == {"model": "a"}


# ---------------------------------------------- that the imitation has the rules


@pytest.fixture
def owned(root: Path, tmp_path: Path) -> Iterator[tuple[Registry, MlflowClient, tuple[str, str]]]:
    """A registry with Unity Catalog's rules, one version, and a plain client of MLflow's."""
    uc_rules.served()
    tracking = Tracking(None, f"{uc_rules.SCHEME}:///{root / 'mlflow.db'}", "test", root)
    source = logged(tracking, tmp_path / "model", WHOLE)
    versions = Registry(tracking, f"Demo.Iowa.{tmp_path.name}")
    versions.register(*source, {})
    with tracking.active() as client:
        yield versions, client, source


Owned = tuple[Registry, MlflowClient, tuple[str, str]]


def test_aliases_and_names_are_kept_in_lower_case(owned: Owned) -> None:
    versions, client, _ = owned
    versions.promote("1")
    model = client.get_registered_model(versions.name)
    assert (model.name, dict(model.aliases)) == (versions.name.lower(), {"champion": 1})


def test_a_stranger_may_not_move_an_alias_and_is_told_whom_to_ask(owned: Owned) -> None:
    versions, _, source = owned
    versions.promote("1")
    versions.register(*source, {})
    with uc_rules.stranger(), pytest.raises(RegistryError) as refused:
        versions.promote("2")
    assert refused.value.code is Code.REGISTRY_DENIED
    assert "owner" in str(refused.value.next_step)
    assert aliases(versions) == {CHAMPION: "1"}


@pytest.mark.parametrize(
    "signature", [None, ModelSignature(COLUMNS), ModelSignature(None, COLUMNS)]
)
def test_a_model_without_both_signatures_is_not_registered(
    owned: Owned, tmp_path: Path, signature: ModelSignature | None
) -> None:
    versions, *_ = owned
    half = logged(versions._tracking, tmp_path / "half", signature)
    with pytest.raises(RegistryError, match="inputs and outputs"):
        versions.register(*half, {})


@pytest.mark.parametrize("name", ["iowa", "demo.iowa", "a.b.c.d", "a..c"])
def test_a_name_without_three_levels_is_not_registered(owned: Owned, name: str) -> None:
    versions, _, source = owned
    with pytest.raises(RegistryError, match="three-level"):
        Registry(versions._tracking, name).register(*source, {})


@pytest.mark.parametrize("alias", ["latest", "Latest", "v1", "V12", "a b", "a.b"])
def test_reserved_aliases_are_refused(owned: Owned, alias: str) -> None:
    versions, *_ = owned
    with pytest.raises(RegistryError):
        versions.aliases.point(alias, "1")


@pytest.mark.parametrize(
    "tags", [{"a.b": "1"}, {"a": "x" * 1001}, {"a": " x"}, {f"t{i}": "1" for i in range(51)}]
)
def test_tags_that_unity_catalog_does_not_take_are_refused(
    owned: Owned, tags: dict[str, str]
) -> None:
    versions, *_ = owned
    with pytest.raises(RegistryError):
        versions.tag("1", tags)


def test_there_are_no_stages_no_latest_versions_and_no_tags_in_a_search(owned: Owned) -> None:
    versions, client, source = owned
    for _ in range(3):
        versions.register(*source, {"a": "b"})
    for forbidden in (
        lambda: client.get_latest_versions(versions.name),
        lambda: client.transition_model_version_stage(versions.name, "1", "Production"),
        lambda: client.search_model_versions("run_id='x'"),
    ):
        with pytest.raises(MlflowException, match="rules"):
            forbidden()
    found = client.search_model_versions(f"name='{versions.name}'")
    assert (len(found), bool(found.token)) == (2, True)
    with pytest.raises(Exception, match="do not have aliases"):
        found[0].aliases()  # type: ignore[operator]
    assert [v.number for v in versions.all()] == ["4", "3", "2", "1"]
