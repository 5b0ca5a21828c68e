from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from storecast.errors import Code, ModelError, RegistryError
from storecast.registry import CHAMPION, ModelVersion, Registry, normalised
from storecast.tracking import Tracking

NAME = "demo.iowa.iowa"

# MLflow and SQLAlchemy warn about themselves
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    return Tracking(None, None, "test", tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def logged(tracking: Tracking) -> tuple[str, str]:
    """The address of a logged model, and its run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with tracking.active() as client:
            run = client.create_run(tracking.experiment_id(client)).info.run_id
            model = client.create_logged_model(tracking.experiment_id(client), source_run_id=run)
            return f"models:/{model.model_id}", run


@pytest.fixture
def versions(tracking: Tracking, request: pytest.FixtureRequest) -> Registry:
    """An empty registered model of the test's own."""
    return Registry(tracking, f"{NAME}_{request.node.name}".replace("[", "_"))


def test_before_anything_is_registered_there_is_no_champion(versions: Registry) -> None:
    assert versions.versions() == []
    assert versions.champion() is None
    with pytest.raises(RegistryError) as refused:
        versions.version()
    assert refused.value.code is Code.NO_CHAMPION


def test_versions_come_newest_first_with_their_aliases(
    versions: Registry, logged: tuple[str, str]
) -> None:
    made = [versions.register(*logged, {"model": name}) for name in ("a", "b", "c")]
    assert [v.number for v in made] == ["1", "2", "3"]
    versions.aliases.point(CHAMPION, "2")
    listed = versions.versions()
    assert [(v["version"], v["aliases"]) for v in listed] == [
        ("3", []),
        ("2", [CHAMPION]),
        ("1", []),
    ]
    assert listed[0]["tags"]["model"] == "c"
    champion = versions.champion()
    assert champion == versions.version() == versions.version("champion") == versions.version("2")
    assert isinstance(champion, ModelVersion)
    assert versions.version().tags["model"] == "b"


def test_a_champion_moves_and_is_read_back(versions: Registry, logged: tuple[str, str]) -> None:
    for _ in range(2):
        versions.aliases.point(CHAMPION, versions.register(*logged, {}).number)
    champion = versions.champion()
    assert champion is not None
    assert champion.number == "2"


def test_an_unknown_version_is_refused_with_those_there_are(
    versions: Registry, logged: tuple[str, str]
) -> None:
    versions.register(*logged, {})
    with pytest.raises(ModelError) as refused:
        versions.version("9")
    assert refused.value.code is Code.MODEL_UNKNOWN
    assert refused.value.expected == "one of 1"


class Forgetful:
    """A registry that takes an alias and keeps another."""

    registry = "memory://"

    def __init__(self, kept: dict[str, Any]) -> None:
        self.kept = kept

    def client(self) -> Any:
        return self

    def set_registered_model_alias(self, name: str, alias: str, number: str) -> None:
        pass

    def get_registered_model(self, name: str) -> Any:
        return SimpleNamespace(aliases=self.kept)


@pytest.mark.parametrize("kept", [{}, {"Champion": 1}, {"Challenger": 2}])
def test_an_alias_that_was_not_kept_is_an_error(kept: dict[str, Any]) -> None:
    with pytest.raises(RegistryError) as refused:
        Registry(Forgetful(kept), NAME).aliases.point(CHAMPION, "2")  # type: ignore[arg-type]
    assert refused.value.code is Code.ALIAS_NOT_SET


def test_the_case_that_a_registry_gives_aliases_does_not_matter() -> None:
    Registry(Forgetful({"champion": 2}), NAME).aliases.point(CHAMPION, "2")  # type: ignore[arg-type]
    assert normalised(CHAMPION) == normalised("champion")


def test_an_unreachable_registry_says_so(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database")
    with pytest.raises(RegistryError) as refused:
        Registry(Tracking(None, None, "test", tmp_path), NAME).versions()
    assert refused.value.code is Code.REGISTRY_UNREACHABLE
