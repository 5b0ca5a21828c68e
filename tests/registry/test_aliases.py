"""What a registry may do wrong, and that it is noticed. What it does right: tests/contracts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from storecast.errors import Code, RegistryError
from storecast.registry import CHAMPION, Registry, normalised
from storecast.tracking import Tracking

NAME = "demo.iowa.iowa"

# MLflow and SQLAlchemy warn about themselves
pytestmark = pytest.mark.filterwarnings("default")


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
