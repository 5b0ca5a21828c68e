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
from storecast.artifact.load import load, opened
from storecast.artifact.logged import check_logged, checked_copy
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
    "artifacts/forecaster/holidays.json",
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


# -------------------------------------------------------------- which code MLflow would run


def test_what_was_logged_is_copied_and_loads(model: Path, logged: tuple[Path, str]) -> None:
    with checked_copy(model, logged[1]) as copy:
        inner = read(copy).unwrap_python_model()
        required = [
            place.joinpath("requirements.txt").read_text("utf-8") for place in (copy, model)
        ]
        assert required[0].split() == required[1].split()
    assert not copy.exists()
    assert inner.digest == logged[1]


def test_what_mlflow_and_python_leave_in_the_folder_is_known(model: Path) -> None:
    (model / "registered_model_meta").write_text("model_name: x", "utf-8")
    (model / "metadata").mkdir()
    for name in ("MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"):
        shutil.copy(model / name, model / "metadata" / name)
    read(model)  # Python compiles the loader, in a folder beside it
    check_logged(model)


def retold(model: Path, told: dict[str, Any], flavour: dict[str, Any]) -> None:
    """Write MLmodel anew: keys of its top, and of its flavour; None takes one away."""
    import yaml

    plain = yaml.safe_load((model / "MLmodel").read_text("utf-8"))
    for place, changes in ((plain, told), (plain["flavors"]["python_function"], flavour)):
        place |= changes
        for key in [key for key, value in changes.items() if value is None]:
            place.pop(key)
    (model / "MLmodel").write_text(yaml.safe_dump(plain), "utf-8")


ELSEWHERE = {"forecaster": {"path": "artifacts/other", "uri": "x"}}
FOREIGN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "other code": ({}, {"model_code_path": "evil.py"}),
    "a pickle": (
        {},
        {
            "model_code_path": None,
            "loader_module": "mlflow.pyfunc.model",
            "python_model": "python_model.pkl",
        },
    ),
    "a pickle, and the loader": ({}, {"python_model": "python_model.pkl"}),
    "another module": ({}, {"loader_module": "evil"}),
    "a path of code": ({}, {"code": "code"}),
    "other data": ({}, {"data": "data"}),
    "another function": ({}, {"predict_fn": "evil"}),
    "a stream": ({}, {"streamable": True}),
    "another folder": ({}, {"artifacts": ELSEWHERE}),
    "another digest": ({}, {"config": {"digest": "0" * 64}}),
    "no digest": ({}, {"config": None}),
    "another flavour": ({"flavors": {"sklearn": {}, "python_function": {}}}, {}),
    "no flavour": ({"flavors": {}}, {}),
    "an example": ({"saved_input_example_info": {"artifact_path": "x.json"}}, {}),
    "another signature": ({"signature": {"inputs": "[]", "outputs": "[]"}}, {}),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_mlmodel_that_says_anything_else_is_refused(model: Path, name: str) -> None:
    told, flavour = FOREIGN[name]
    if "flavors" in told:
        import yaml

        (model / "MLmodel").write_text(yaml.safe_dump(told), "utf-8")
    else:
        retold(model, told, flavour)
    with pytest.raises(ModelError) as refused, checked_copy(model):
        pass
    assert refused.value.code is Code.ARTIFACT_TAMPERED
    assert "MLmodel" in str(refused.value)
    assert str(refused.value.found).split(":")[0] in {*told, *flavour}


@pytest.mark.parametrize("broken", ["", "[]", "a: b: c", "flavors: 1", "\x80"])
def test_mlmodel_that_is_none_is_refused(model: Path, broken: str) -> None:
    (model / "MLmodel").write_bytes(broken.encode("latin-1"))
    with pytest.raises(ModelError, match="MLmodel") as refused:
        check_logged(model)
    assert refused.value.code is Code.ARTIFACT_TAMPERED


@pytest.mark.parametrize("name", ["evil.py", "code/evil.py", "artifacts/evil", "metadata/evil.py"])
def test_a_file_that_nobody_put_there_is_refused(model: Path, name: str) -> None:
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(b"x")
    with pytest.raises(ModelError, match="not the file") as refused:
        check_logged(model)
    assert refused.value.code is Code.ARTIFACT_TAMPERED
    assert str(refused.value.where).endswith(name if name != "code/evil.py" else "code")


def test_compiled_code_beside_the_loader_is_never_run(model: Path, tmp_path: Path) -> None:
    """Python takes it in place of the text, and asks nothing where it says so."""
    import importlib.util
    import py_compile

    source = tmp_path / "evil.py"
    source.write_text("raise SystemExit('foreign code')", "utf-8")
    py_compile.compile(
        str(source),
        importlib.util.cache_from_source(str(model / "loader.py")),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    with pytest.raises(SystemExit, match="foreign code"):
        read(model)
    with checked_copy(model) as copy:
        read(copy)


@pytest.mark.parametrize("kind", ["link", "empty"])
def test_a_folder_that_was_not_packed_is_refused(model: Path, tmp_path: Path, kind: str) -> None:
    added = model / "artifacts" / "forecaster" / "model" / "more"
    if kind == "link":
        added.symlink_to(tmp_path, target_is_directory=True)
    else:
        added.mkdir()
    with pytest.raises(ModelError, match="model/more") as refused:
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


def zipped(name: str, content: bytes, comment: bytes = b"") -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr(name, content)
        archive.comment = comment
    return held.getvalue()


def an_array() -> bytes:
    import numpy as np

    held = io.BytesIO()
    np.save(held, np.arange(3.0))
    return held.getvalue()


def tensors(gap: int = 0) -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [gap, gap + 4]}})
    return len(header).to_bytes(8, "little") + header.encode() + bytes(gap + 4)


BINARY, TEXT = pickle.dumps(FIRST, 4), pickle.dumps(FIRST, 0)
UBJ = b"{i\x01aSi\x02bci\x01b[$d#i\x01\x00\x00\x00\x00i\x01c[TU\x05]}"
SOUND = {
    ".npy": an_array(),
    ".safetensors": tensors(),
    ".txt": b"tree\nversion=v4\n\nend of trees\n\n[a: 1]\nend of parameters\n",
    ".ubj": UBJ,
    ".skops": zipped("schema.json", b"{}"),
    ".whl": zipped("a.py", b"import os\n"),
}
SPOILT = {
    "an array, then a pickle": (".npy", an_array() + BINARY),
    "tensors, then a pickle": (".safetensors", tensors() + BINARY),
    "a gap before the tensors": (".safetensors", tensors(gap=9)),
    "a header of another kind": (".safetensors", (2).to_bytes(8, "little") + b"[]"),
    "tensors of another kind": (".safetensors", (7).to_bytes(8, "little") + b'{"a":1}'),
    "a tree of pickles": (".txt", b"tree\n" + BINARY),
    "a tree of a pickle's text": (".txt", b"tree\n" + TEXT),
    "a tree without end": (".txt", b"tree\n(S'a'\n"),
    "parquet in name": (".parquet", b"PAR1" + BINARY + b"PAR1"),
    "an object, then a pickle": (".ubj", UBJ + BINARY + b"}"),
    "an object that is a pickle": (".ubj", b"{i" + BINARY + b"}"),
    "an object cut off": (".ubj", UBJ[:-4]),
    "an endless object": (".ubj", b"{i\x01a" * 40),
    "a schema that is a pickle": (".skops", zipped("schema.json", BINARY)),
    "a member that is a pickle": (".whl", zipped("a.py", TEXT)),
    "a member that is a plain pickle": (".whl", zipped("a.py", pickle.dumps([1, "x"], 0))),
    "a comment": (".whl", zipped("a.py", b"import os\n", BINARY)),
}


@pytest.mark.parametrize("suffix", SOUND)
def test_a_sound_file_of_each_kind_is_taken(suffix: str) -> None:
    check_kind(f"x{suffix}", SOUND[suffix])


@pytest.mark.parametrize("name", SPOILT)
def test_what_a_container_holds_or_trails_is_looked_at(name: str) -> None:
    suffix, content = SPOILT[name]
    with pytest.raises(ModelError) as refused:
        check_kind(f"x{suffix}", content)
    assert refused.value.code is Code.ARTIFACT_FILE_REFUSED


def test_a_table_whose_pages_are_spoilt_is_refused_by_its_name(model: Path) -> None:
    folder = model / "artifacts" / "forecaster"
    file = folder / "history" / "sales.parquet"
    content = file.read_bytes()
    length = int.from_bytes(content[-8:-4], "little") + 8
    file.write_bytes(b"PAR1" + b"\xff" * (len(content) - length - 4) + content[-length:])
    seal(folder, opened_manifest(folder))
    with pytest.raises(ModelError, match=r"history/sales\.parquet") as refused:
        load(folder)
    assert refused.value.code is Code.ARTIFACT_TAMPERED


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
