"""What decides a model beside its recipe: the code of another package, all of it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storecast.backtest import identity
from storecast.backtest.identity import model_identity, outside_of, package_digest
from storecast.models import base
from storecast.models.ensemble import with_members

from .backtest_chains import Point, recipe

MODEL = """
from storecast.models.baselines import Baseline
from outsider.deep import helper

class Outsider(Baseline):
    kind = "outsider"
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package that offers a model, which has a helper in a file of its own."""
    folder = tmp_path / "outsider"
    (folder / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text(MODEL)
    (folder / "deep" / "__init__.py").write_text("")
    (folder / "deep" / "helper.py").write_text("FACTOR = 1.0")
    monkeypatch.syspath_prepend(str(tmp_path))
    cls: type[Any] = importlib.import_module("outsider").Outsider
    monkeypatch.setattr(base, "entry_points", lambda group: [Point(cls)])
    yield folder
    for name in [n for n in sys.modules if n.split(".")[0] == "outsider"]:
        del sys.modules[name]


def test_an_edit_in_any_file_of_the_package_makes_another_model(package: Path) -> None:
    outsider = recipe("outsider")
    mixed = with_members(recipe("ensemble"), [recipe("seasonal_naive"), outsider])
    before = model_identity(outsider), outside_of(mixed)
    assert (model_identity(outsider), outside_of(mixed)) == before
    (package / "deep" / "helper.py").write_text("FACTOR = 2.0")
    assert model_identity(outsider) != before[0]
    assert outside_of(mixed) != before[1]
    assert outside_of(recipe("seasonal_naive")) == []


def test_of_a_package_too_large_to_read_the_class_s_own_file_counts(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "MOST_FILES", 2)
    cls = base.forecaster_of(recipe("outsider"))
    before = package_digest(cls)
    (package / "deep" / "helper.py").write_text("FACTOR = 2.0")
    assert package_digest(cls) == before
    (package / "__init__.py").write_text(MODEL + "\n")
    assert package_digest(cls) != before
