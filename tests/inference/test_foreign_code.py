"""Whoever can write to a champion's folder cannot make a forecast run other code."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import yaml

from storecast.errors import Code, StorecastError
from storecast.inference.step import forecast
from storecast.project import Project

from .champions import rules_files
from .conftest import Twice

# MLflow and SQLAlchemy warn about themselves
pytestmark = pytest.mark.filterwarnings("default")


class Acts:
    """A pickle of it makes a folder where it is read."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return Path.mkdir, (self.place,)


def folder(project: Project) -> Path:
    """The champion's, as MLflow keeps it."""
    return rules_files(project)[-1].parents[2]


def retold(model: Path, **changes: str | None) -> None:
    told = yaml.safe_load((model / "MLmodel").read_text("utf-8"))
    flavour = told["flavors"]["python_function"]
    flavour |= changes
    for key in [key for key, value in changes.items() if value is None]:
        flavour.pop(key)
    (model / "MLmodel").write_text(yaml.safe_dump(told), "utf-8")


@pytest.mark.parametrize("how", ["code", "pickle"])
def test_foreign_code_is_refused_before_it_runs(twice: Twice, tmp_path: Path, how: str) -> None:
    project = twice()
    model, ran = folder(project), tmp_path / "ran"
    if how == "code":
        loader = (model / "loader.py").read_text("utf-8")
        evil = f"from pathlib import Path\nPath({str(ran)!r}).mkdir()\n{loader}"
        (model / "evil.py").write_text(evil, "utf-8")
        retold(model, model_code_path="evil.py")
    else:
        (model / "python_model.pkl").write_bytes(pickle.dumps(Acts(ran)))
        retold(
            model, model_code_path=None, loader_module="mlflow.pyfunc.model",
            python_model="python_model.pkl",
        )  # fmt: skip
    with pytest.raises(StorecastError) as refused:
        forecast(project, strict=True)
    assert Code.ARTIFACT_TAMPERED.value in str(refused.value)
    assert forecast(project).fell_back == "previous_champion"
    assert not ran.exists()
