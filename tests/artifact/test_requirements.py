"""What an artefact says that it needs: exact versions of what its model imports."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version

import pytest

from storecast.artifact.requirements import requirements
from storecast.models.base import Recipe
from storecast.models.ensemble import with_members

from .chains import recipe

ALWAYS = {"mlflow", "numpy", "pandas", "polars", "pyarrow", "holidays"}


def names(made: Recipe) -> set[str]:
    told = [line.partition("==") for line in requirements(made)]
    for name, equals, exact in told:
        assert equals == "==", name
        assert exact == version(name).partition("+")[0]
    return {name for name, _, _ in told}


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("seasonal_naive", set()),
        ("local_level", set()),
        ("lightgbm", {"lightgbm", "scikit-learn"}),
        ("theta", {"statsforecast"}),
    ],
)
def test_a_model_needs_its_own_library_and_no_other(kind: str, more: set[str]) -> None:
    assert names(recipe(kind)) == ALWAYS | more


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
def test_a_network_needs_torch_and_a_model_of_darts_only_where_it_is_one() -> None:
    assert {"torch", "darts", "safetensors"} <= names(recipe("nbeats"))
    assert "torch" in names(recipe("darts", darts="TiDEModel"))
    assert not {"torch", "skops"} & names(recipe("darts", darts="NaiveSeasonal"))
    assert "skops" in names(recipe("darts", darts="LinearRegressionModel"))
    assert "lightgbm" in names(recipe("darts", darts="LightGBMModel"))


def test_an_ensemble_needs_what_its_members_do() -> None:
    made = with_members(recipe("ensemble"), [recipe("lightgbm"), recipe("theta")])
    assert names(made) == ALWAYS | {"lightgbm", "scikit-learn", "statsforecast"}


def test_a_third_party_model_brings_its_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint, distribution

    from storecast.artifact import requirements as module

    point = EntryPoint("odd", "somewhere:Odd", "storecast.models")
    point = point._for(distribution("filelock"))  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "entry_points", lambda group: [point])
    assert names(recipe("odd")) == ALWAYS | {"filelock"}
