"""MLflow's stores: addresses given back, and a project folder that may be moved."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from storecast.errors import Code, RegistryError
from storecast.tracking import Tracking

pytestmark = pytest.mark.filterwarnings("ignore")


def tracking_in(root: Path, **more: str) -> Tracking:
    return Tracking(
        tracking_uri=more.get("tracking_uri"), registry_uri=None, experiment="shops", root=root
    )


def recorded(tracking: Tracking) -> str:
    """A run with an artifact."""
    with tracking.active() as client:
        run_id: str = client.create_run(tracking.experiment_id(client), run_name="one").info.run_id
        client.log_text(run_id, "[1, 2]", "leaderboard.json")
    return run_id


@pytest.mark.slow
def test_runs_and_artifacts_survive_a_move(tmp_path: Path) -> None:
    first = tmp_path / "first place's ümlaut_100%"
    first.mkdir()
    tracking = tracking_in(first)
    parent = recorded(tracking)
    assert sorted(p.name for p in first.iterdir()) == ["mlartifacts", "mlflow.db"]

    second = tmp_path / "elsewhere" / "second"
    second.parent.mkdir()
    shutil.move(first, second)
    moved = tracking_in(second)
    client = moved.client()
    assert moved.relocate() == 0
    with sqlite3.connect(second / "mlflow.db") as database:
        dump = "\n".join(database.iterdump())
    assert "first%20place" not in dump
    assert "first place" not in dump

    with moved.active():
        import mlflow

        text = mlflow.artifacts.load_text(f"runs:/{parent}/leaderboard.json")
    assert text == "[1, 2]"
    experiment = moved.experiment_id(client)
    runs = {r.info.run_name: r for r in client.search_runs([experiment])}
    assert set(runs) == {"one"}
    recorded(moved)
    assert not first.exists()


@pytest.mark.slow
@pytest.mark.parametrize("before", [None, "sqlite:///elsewhere.db"])
def test_the_global_addresses_are_given_back(
    tmp_path: Path, before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    mlflow.set_tracking_uri(before)  # type: ignore[arg-type]
    mlflow.set_registry_uri(before)  # type: ignore[arg-type]
    state = (os.environ.get("MLFLOW_TRACKING_URI"), os.environ.get("MLFLOW_REGISTRY_URI"))
    told = (mlflow.is_tracking_uri_set(), mlflow.get_registry_uri())
    tracking = tracking_in(tmp_path)
    try:
        with pytest.raises(KeyError), tracking.active():  # noqa: PT012 - the body is what fails
            assert mlflow.get_tracking_uri() == tracking.uri
            assert mlflow.get_registry_uri() == tracking.uri
            raise KeyError
        after = (os.environ.get("MLFLOW_TRACKING_URI"), os.environ.get("MLFLOW_REGISTRY_URI"))
        assert after == state
        assert (mlflow.is_tracking_uri_set(), mlflow.get_registry_uri()) == told
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
        mlflow.set_registry_uri(None)  # type: ignore[arg-type]
        os.environ.pop("MLFLOW_REGISTRY_URI", None)


def test_a_store_that_cannot_be_read_is_an_error_with_a_code(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database")
    with pytest.raises(RegistryError) as caught:
        recorded(tracking_in(tmp_path))
    assert caught.value.code is Code.REGISTRY_UNREACHABLE


def test_a_password_in_an_address_is_not_told(tmp_path: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        recorded(tracking_in(tmp_path, tracking_uri="nosuch://me:secret@host/store"))
    assert "secret" not in repr(caught.value.as_dict())


def test_another_s_store_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not ours to read")
    assert tracking_in(tmp_path, tracking_uri="http://localhost:1").relocate() == 0
