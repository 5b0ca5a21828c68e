"""The whole folder that MLflow keeps: no pickle, listed kinds alone, every byte answered for."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from storecast.artifact.kinds import KINDS, check_kind
from storecast.artifact.load import check_logged, load, opened
from storecast.artifact.save import MANIFEST, save, seal
from storecast.artifact.unified import UnifiedForecaster
from storecast.errors import Code, ModelError
from storecast.models.calibration import Conformal

from .chains import FIRST, history, recipe
from .logged import log
from .pickles import pickles, pickles_in

CUTOFF = FIRST + timedelta(days=199)

# MLflow and SQLAlchemy warn about themselves
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def forecaster() -> UnifiedForecaster:
    conformal = Conformal((0.1, 0.5, 0.9), "median")
    return UnifiedForecaster.fit(recipe("lightgbm", n_estimators=5), history(), CUTOFF, conformal)


@pytest.fixture(scope="module")
def logged(
    tmp_path_factory: pytest.TempPathFactory, forecaster: UnifiedForecaster
) -> tuple[Path, str]:
    return log(tmp_path_factory.mktemp("project"), forecaster)


@pytest.fixture
def model(logged: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the logged model, to be spoilt."""
    return Path(shutil.copytree(logged[0], tmp_path / "model"))


@pytest.fixture
def no_pickle(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    return


def read(model: Path, **more: Any) -> Any:
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(str(model), **more)


def test_what_is_logged_loads_where_pickles_are_forbidden(
    model: Path, no_pickle: None, forecaster: UnifiedForecaster
) -> None:
    inner = read(model).unwrap_python_model()
    assert inner.forecaster.forecast().equals(forecaster.forecast())


def test_nothing_that_is_logged_is_a_pickle(model: Path) -> None:
    assert len([f for f in model.rglob("*") if f.is_file()]) > 15
    assert list(pickles_in(model)) == []


@pytest.mark.parametrize("protocol", range(6))
def test_the_scan_finds_pickles(protocol: int) -> None:
    plain = pickle.dumps({"a": [1, 2.5, "x"]}, protocol)
    acting = pickle.dumps(FIRST, protocol)
    for content in (plain, acting, gzip.compress(plain), gzip.compress(gzip.compress(acting))):
        assert list(pickles("x", content))
    if protocol >= 2:
        assert list(pickles("x", b"GARBAGE" + acting + b"more"))
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("inner", gzip.compress(acting))
    assert list(pickles("x", held.getvalue())) == ["x!inner!zlib"]


DATA = [
    "artifacts/forecaster/conformal.json",
    "artifacts/forecaster/history/covariates.parquet",
    "artifacts/forecaster/history/sales.parquet",
    "artifacts/forecaster/history/stores.parquet",
    "artifacts/forecaster/manifest.json",
    "artifacts/forecaster/meta.json",
    "artifacts/forecaster/model/lightgbm.json",
    "artifacts/forecaster/model/lightgbm.txt",
    "artifacts/forecaster/recipe.json",
    "artifacts/forecaster/rules.json",
    "artifacts/forecaster/storecast-0.1.0-py3-none-any.whl",
]


def test_every_data_file_is_in_the_list_above(model: Path) -> None:
    files = {f.relative_to(model).as_posix() for f in model.rglob("*") if f.is_file()}
    mlflow = {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "loader.py"}
    assert files - mlflow - {"registered_model_meta"} == set(DATA)


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("at", ["first", "middle", "last"])
def test_a_changed_byte_in_any_data_file_is_refused(model: Path, name: str, at: str) -> None:
    file = model / name
    content = bytearray(file.read_bytes())
    content[{"first": 0, "middle": len(content) // 2, "last": -1}[at]] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError) as refused:
        read(model)
    assert refused.value.code is Code.ARTIFACT_TAMPERED
    assert Path(name).name in f"{refused.value} {refused.value.where}"


def test_a_resealed_artefact_is_not_the_one_logged(model: Path) -> None:
    folder = model / "artifacts" / "forecaster"
    rules = folder / "rules.json"
    rules.write_text(rules.read_text("utf-8").replace('"zero"', '"unknown"'), "utf-8")
    seal(folder, opened_manifest(folder))
    load(folder)
    with pytest.raises(ModelError, match="not the one that was registered"):
        read(model)


def opened_manifest(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
    return manifest


def test_the_digest_of_the_registry_is_the_last_word(model: Path, logged: tuple[Path, str]) -> None:
    import yaml

    read(model, model_config={"digest": logged[1]})
    with pytest.raises(ModelError) as refused:
        read(model, model_config={"digest": "0" * 64})
    assert refused.value.expected == f"digest {'0' * 64}"
    # even where MLmodel was made to fit a changed artefact
    folder = model / "artifacts" / "forecaster"
    (folder / "meta.json").write_text("{}\n", "utf-8")
    resealed = seal(folder, opened_manifest(folder))
    told = yaml.safe_load((model / "MLmodel").read_text("utf-8"))
    told["flavors"]["python_function"]["config"] = {"digest": resealed}
    (model / "MLmodel").write_text(yaml.safe_dump(told), "utf-8")
    with pytest.raises(ModelError, match="not the one that was registered"):
        read(model, model_config={"digest": logged[1]})


def test_a_changed_loader_is_found_before_it_runs(model: Path, logged: tuple[Path, str]) -> None:
    assert check_logged(model, logged[1]) == model / "artifacts" / "forecaster"
    with (model / "loader.py").open("a") as stream:
        stream.write("import os\n")
    with pytest.raises(ModelError, match=r"loader\.py") as refused:
        check_logged(model)
    assert refused.value.code is Code.ARTIFACT_TAMPERED


# -------------------------------------------------------------------- the kinds of file


@pytest.mark.parametrize("suffix", [".bin", ".pkl", "", ".gz", ".py", ".so"])
def test_a_listed_file_of_another_kind_is_refused(model: Path, suffix: str) -> None:
    folder = model / "artifacts" / "forecaster"
    (folder / "model" / f"more{suffix}").write_bytes(b"{}")
    seal(folder, {})
    with pytest.raises(ModelError) as refused:
        load(folder)
    assert refused.value.code is Code.ARTIFACT_FILE_REFUSED
    assert f"more{suffix}" in str(refused.value)


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("protocol", [0, 5])
def test_a_pickle_under_any_name_is_refused(suffix: str, wrapped: bool, protocol: int) -> None:
    content = pickle.dumps({"when": FIRST, "more": list(range(99))}, protocol)
    content = gzip.compress(content) if wrapped else content
    with pytest.raises(ModelError) as refused:
        check_kind(f"model/x{suffix}", content)
    assert refused.value.code is Code.ARTIFACT_FILE_REFUSED


def test_an_array_of_objects_and_a_zip_with_a_pickle_are_refused() -> None:
    import numpy as np

    held = io.BytesIO()
    np.save(held, np.array([{"a": 1}, None]), allow_pickle=True)
    with pytest.raises(ModelError, match="not a NumPy array"):
        check_kind("x.npy", held.getvalue())
    for suffix in (".whl", ".skops"):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("schema.json", "{}")
            archive.writestr("x.npy", pickle.dumps(FIRST))
        with pytest.raises(ModelError) as refused:
            check_kind(f"x{suffix}", packed.getvalue())
        assert refused.value.code is Code.ARTIFACT_FILE_REFUSED


def test_a_model_whose_state_is_a_pickle_is_not_packed(
    forecaster: UnifiedForecaster, tmp_path: Path
) -> None:
    from dataclasses import replace

    class Pickled:
        kind, stateless = "pickled", False

        def state(self) -> dict[str, bytes]:
            return {"model.pkl": pickle.dumps(FIRST)}

    with pytest.raises(ModelError) as refused:
        save(replace(forecaster, model=Pickled()), tmp_path / "a")  # type: ignore[arg-type]
    assert refused.value.code is Code.ARTIFACT_FILE_REFUSED
    assert not (tmp_path / "a").exists()


def test_nothing_is_read_twice(
    model: Path, monkeypatch: pytest.MonkeyPatch, forecaster: UnifiedForecaster
) -> None:
    """What was checked is what is used: a file that changes in between changes nothing."""
    from storecast.artifact.load import forecaster_of

    packed = opened(model / "artifacts" / "forecaster")
    shutil.rmtree(model)
    assert forecaster_of(packed).forecast().equals(forecaster.forecast())
