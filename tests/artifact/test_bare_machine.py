"""A machine with an artefact's requirements, and without storecast, forecasts the same numbers."""

from __future__ import annotations

import importlib.util
import json
import shutil
import zipfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from subprocess import CompletedProcess

import polars as pl
import pytest
import yaml

from storecast.artifact import flat
from storecast.artifact.pyfunc import as_pandas
from storecast.artifact.save import MANIFEST, seal
from storecast.artifact.unified import UnifiedForecaster, output_schema
from storecast.core.features import FEATURE_VERSION
from storecast.core.window import cut

from .bare import environment, run
from .chains import FIRST, history, recipe
from .logged import NAME, log

CUTOFF = FIRST + timedelta(days=199)
URI = f"models:/{NAME}@Champion"
TINY = {"max_steps": 4, "patience": 0, "input_chunk_length": 14}
KINDS: dict[str, dict[str, object]] = {
    "local_level": {},
    "theta": {},
    "lightgbm": {"n_estimators": 5},
    "xgboost": {"n_estimators": 5, "strategy": "direct"},
    "nbeats": {**TINY, "layer_widths": 8},
    "tft": {**TINY, "hidden_size": 4, "num_attention_heads": 1},
}
LIBRARIES = ("storecast", "torch", "darts", "lightgbm", "xgboost", "statsforecast", "pyspark")
THERE: dict[str, set[str]] = {
    "local_level": set(),
    "theta": {"statsforecast"},
    "lightgbm": {"lightgbm"},
    "xgboost": {"xgboost"},
    "nbeats": {"torch", "darts"},
    "tft": {"torch", "darts"},
}
LEFT_OUT = shutil.ignore_patterns("__pycache__", "demos")
ASK = f"""
import importlib.util, json, sys
import pandas
there = [n for n in {LIBRARIES!r} if importlib.util.find_spec(n) is not None]
import mlflow.pyfunc
model = mlflow.pyfunc.load_model(sys.argv[1])
for given, made in zip(sys.argv[2::2], sys.argv[3::2]):
    model.predict(pandas.read_parquet(given)).to_parquet(made)
import storecast
print(json.dumps({{"there": there, "storecast": storecast.__file__}}))
"""

# MLflow and SQLAlchemy warn about themselves
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def fitted(kind: str) -> UnifiedForecaster:
    return UnifiedForecaster.fit(recipe(kind, **KINDS[kind]), history(), CUTOFF, None)


def required(model: Path) -> list[str]:
    lines = (model / "requirements.txt").read_text("utf-8").split()
    assert all("==" in line for line in lines), lines
    assert not any(line.startswith("storecast") for line in lines)
    manifest = json.loads((model / "artifacts" / "forecaster" / MANIFEST).read_bytes())
    assert manifest["requirements"] == lines
    return lines


def answered(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.cast(dict(output_schema(history().rules)))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_it_forecasts_the_same_to_the_bit(kind: str, tmp_path: Path) -> None:
    if kind in ("nbeats", "tft") and importlib.util.find_spec("torch") is None:
        pytest.skip("needs torch")
    forecaster = fitted(kind)
    model, _ = log(tmp_path / "project", forecaster)
    told, other = history(), history(("new", "001"))
    given = [flat.flatten(h, cut(h, CUTOFF, 14)) for h in (told, other)]
    for number, frame in enumerate([*given, given[0].clear()]):
        as_pandas(frame).to_parquet(tmp_path / f"given{number}.parquet")
    python = environment(tmp_path / "bare", required(model))
    pairs = [tmp_path / f"{what}{n}.parquet" for n in range(3) for what in ("given", "made")]
    done = run(python, ASK, URI, *pairs, tracking=f"sqlite:///{tmp_path / 'project' / 'mlflow.db'}")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert set(said["there"]) == THERE[kind]
    assert "forecaster/storecast-" in said["storecast"]
    made = [answered(pl.read_parquet(tmp_path / f"made{n}.parquet")) for n in range(3)]
    assert made[0].equals(forecaster.forecast(told))
    assert made[1].equals(forecaster.forecast(other))
    assert made[2].equals(forecaster.forecast())


# ------------------------------------------------------- whose code runs, and whose does not


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``venv``: a bare machine; ``models/a``: a logged model; ``given.parquet``: its input."""
    place = tmp_path_factory.mktemp("bare")
    forecaster = fitted("local_level")
    model, _ = log(place / "project", forecaster)
    shutil.copytree(model, place / "models" / "a")
    environment(place / "venv", required(model))
    rows = flat.flatten(history(), cut(history(), CUTOFF, 14))
    as_pandas(rows).to_parquet(place / "given.parquet")
    return place


def asked(place: Path, *models: Path, path: Sequence[Path] = ()) -> CompletedProcess[str]:
    """Load each model in one process and ask it."""
    script = """
import sys, pandas, mlflow.pyfunc
for place in sys.argv[2:]:
    made = mlflow.pyfunc.load_model(place).predict(pandas.read_parquet(sys.argv[1]))
    print("LOADED", place, len(made))
"""
    python = place / "venv" / "bin" / "python"
    return run(python, script, place / "given.parquet", *models, path=path)


def other_code(place: Path, name: str) -> Path:
    """A copy of the model whose wheel has other code: as another storecast would have packed it."""
    model = Path(shutil.copytree(place / "models" / "a", place / "models" / name))
    folder = model / "artifacts" / "forecaster"
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as before:
        content = {entry.filename: before.read(entry) for entry in before.infolist()}
    content["storecast/__init__.py"] += b"# another\n"
    with zipfile.ZipFile(wheel, "w") as after:
        for entry, told in content.items():
            after.writestr(entry, told)
    resealed(model)
    return model


def resealed(model: Path) -> None:
    """Make manifest and MLmodel fit the files that are there."""
    folder = model / "artifacts" / "forecaster"
    digest = seal(folder, json.loads((folder / MANIFEST).read_bytes()))
    told = yaml.safe_load((model / "MLmodel").read_text("utf-8"))
    told["flavors"]["python_function"]["config"] = {"digest": digest}
    (model / "MLmodel").write_text(yaml.safe_dump(told), "utf-8")


def test_two_artefacts_of_one_storecast_share_it(place: Path) -> None:
    same = Path(shutil.copytree(place / "models" / "a", place / "models" / "same"))
    done = asked(place, place / "models" / "a", same)
    assert done.stdout.count("LOADED") == 2, done.stderr


def test_an_artefact_never_runs_on_the_code_of_another(place: Path) -> None:
    other = other_code(place, "other")
    alone = asked(place, other)
    assert alone.stdout.count("LOADED") == 1, alone.stderr
    for first, second in ((place / "models" / "a", other), (other, place / "models" / "a")):
        done = asked(place, first, second)
        assert done.returncode == 1
        assert done.stdout.count("LOADED") == 1
        assert "ARTIFACT_CODE_MIXED" in done.stderr
        assert str(first) in done.stderr


@pytest.mark.parametrize("what", ["wheel", "manifest", "none"])
def test_no_code_that_is_not_the_one_packed_is_imported(place: Path, what: str) -> None:
    model = Path(shutil.copytree(place / "models" / "a", place / "models" / f"spoilt-{what}"))
    folder = model / "artifacts" / "forecaster"
    (wheel,) = folder.glob("*.whl")
    if what == "none":
        wheel.unlink()
    else:
        wheel.write_bytes(wheel.read_bytes().replace(b"import", b"imp0rt", 1))
    if what == "manifest":
        seal(folder, json.loads((folder / MANIFEST).read_bytes()))
    done = asked(place, model)
    assert done.returncode == 1
    assert "ARTIFACT_TAMPERED" in done.stderr
    assert "imp0rt" not in done.stderr
    assert wheel.name in done.stderr or "not the one logged" in done.stderr


@pytest.mark.parametrize("features", [FEATURE_VERSION, FEATURE_VERSION + 1])
def test_an_installed_storecast_reads_it_or_refuses_it_by_name(place: Path, features: int) -> None:
    import storecast

    root = place / f"installed{features}"
    shutil.copytree(Path(storecast.__file__).parent, root / "storecast", ignore=LEFT_OUT)
    module = root / "storecast" / "core" / "features.py"
    newer = module.read_text("utf-8").replace(
        f"FEATURE_VERSION: Final = {FEATURE_VERSION}", f"FEATURE_VERSION: Final = {features}"
    )
    newer = newer.replace(f"READABLE: Final = ({FEATURE_VERSION},)", f"READABLE = ({features},)")
    module.write_text(newer, "utf-8")
    done = asked(place, place / "models" / "a", path=[root])
    if features == FEATURE_VERSION:
        assert done.stdout.count("LOADED") == 1, done.stderr
    else:
        assert done.returncode == 1
        assert "FEATURE_VERSION_UNKNOWN" in done.stderr
        told = f"features of version {FEATURE_VERSION}, and this storecast makes {features}"
        assert f"'local_level' was fitted on {told}" in done.stderr


def test_a_folder_called_storecast_is_no_storecast(place: Path) -> None:
    root = place / "elsewhere"
    (root / "storecast").mkdir(parents=True)
    done = asked(place, place / "models" / "a", path=[root])
    assert done.stdout.count("LOADED") == 1, done.stderr
