"""``mlflow models serve`` on a registered artefact: the same numbers over HTTP."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from storecast.artifact import flat
from storecast.artifact.pyfunc import as_pandas
from storecast.artifact.unified import UnifiedForecaster
from storecast.core.window import cut

from .bare import environment
from .chains import FIRST, history, recipe
from .logged import NAME, log

CUTOFF = FIRST + timedelta(days=199)
START = 120
"""Seconds that a server may take to answer its first ping."""

# MLflow and SQLAlchemy warn about themselves
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def forecaster() -> UnifiedForecaster:
    return UnifiedForecaster.fit(recipe("lightgbm", n_estimators=5), history(), CUTOFF, None)


@pytest.fixture(scope="module", params=["installed", "bare"])
def server(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    forecaster: UnifiedForecaster,
) -> Iterator[str]:
    """The address of one, here and on a machine without storecast."""
    place = tmp_path_factory.mktemp("project")
    model, _ = log(place, forecaster)
    python = Path(sys.executable)
    if request.param == "bare":
        wanted = (model / "requirements.txt").read_text("utf-8").split()
        python = environment(place / "bare", wanted)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {
        **{name: told for name, told in os.environ.items() if name != "PYTHONPATH"},
        "MLFLOW_TRACKING_URI": f"sqlite:///{place / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = ["-m", "mlflow", "models", "serve", "-m", f"models:/{NAME}@Champion"]
    options = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    with (place / "server.log").open("wb") as told:
        process = subprocess.Popen(
            [str(python), *command, *options],
            env=variables,
            cwd=place,
            stdout=told,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            awaited(address, process, place / "server.log")
            yield address
        finally:
            os.killpg(process.pid, 15)
            process.wait(30)


def awaited(address: str, process: subprocess.Popen[bytes], told: Path) -> None:
    until = time.monotonic() + START
    while time.monotonic() < until:
        assert process.poll() is None, told.read_text("utf-8")
        try:
            with urllib.request.urlopen(f"{address}/ping", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError(told.read_text("utf-8"))


def invoked(address: str, frame: pd.DataFrame, **params: Any) -> pd.DataFrame:
    split = json.loads(frame.to_json(orient="split", date_format="iso", index=False))
    body = {"dataframe_split": split, "params": params}
    request = urllib.request.Request(
        f"{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return pd.DataFrame(json.loads(answer.read())["predictions"])


def given(cutoff: Any = CUTOFF) -> pd.DataFrame:
    told = history()
    return as_pandas(flat.flatten(told, cut(told, cutoff, 14)))


def same(made: pd.DataFrame, expected: Any) -> None:
    wanted = as_pandas(expected)
    assert len(made) == len(wanted)
    for column in wanted.columns:
        values = made[column]
        if wanted[column].dtype.kind == "M":
            values = pd.to_datetime(values)
        assert values.tolist() == wanted[column].tolist(), column


def test_it_answers_a_history_with_the_same_numbers(
    server: str, forecaster: UnifiedForecaster
) -> None:
    same(invoked(server, given()), forecaster.forecast(history()))


def test_cutoff_and_horizon_are_parameters(server: str, forecaster: UnifiedForecaster) -> None:
    earlier = CUTOFF - timedelta(days=30)
    made = invoked(server, given(earlier), cutoff=earlier.isoformat(), horizon=3)
    same(made, forecaster.forecast(history(), cutoff=earlier, horizon=3))


def test_no_row_asks_for_the_packed_history(server: str, forecaster: UnifiedForecaster) -> None:
    same(invoked(server, given().iloc[:0]), forecaster.forecast())
    same(invoked(server, given().iloc[:0], horizon=2), forecaster.forecast(horizon=2))


def test_what_is_refused_says_so_and_empty_is_empty(server: str) -> None:
    frame = given()
    twice = pd.concat([frame, frame.iloc[:1]])
    with pytest.raises(urllib.error.HTTPError) as refused:
        invoked(server, twice)
    assert refused.value.code in (400, 500)
    assert "INPUT_INVALID" in refused.value.read().decode()
    assert invoked(server, twice, on_error="empty").empty
