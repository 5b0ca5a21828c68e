"""``storecast deploy`` as a shell sees it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from storecast import cli, registry
from storecast.deployment.step import deploy
from storecast.project import Project
from tests.deployment.conftest import WINDOWS
from tests.fills import settings

# MLflow and SQLAlchemy warn about themselves
pytestmark = pytest.mark.filterwarnings("default")


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        cli.main(list(arguments))
    said = capsys.readouterr()
    return int(left.value.code or 0), said.out, said.err


@pytest.mark.slow
def test_a_refusal_is_exit_code_3_with_the_table_and_in_json_with_the_checks(
    shop: Callable[..., Project], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw: dict[str, Any] = settings(validation=WINDOWS)
    (tmp_path / "storecast.yaml").write_text(yaml.safe_dump(raw), "utf-8")
    deploy(shop())
    asked = ("deploy", "--model", "seasonal_naive", "--project", str(tmp_path))

    code, out, err = ran(capsys, *asked)
    assert code == 3
    assert "gate (challenge) of version 2, against the champion local_level (version 1)" in out
    (line,) = [text for text in out.splitlines() if text.split()[:1] == ["gain"]]
    assert line.split()[-1] == "REFUSED"
    assert "refused: GATE_REFUSED: the gate refused seasonal_naive, version 2 (gain)" in err
    assert "next step: keep the champion" in err

    code, out, _ = ran(capsys, *asked, "--json")
    (text,) = out.splitlines()
    told = json.loads(text)
    assert (code, told["status"], told["exit_code"]) == (3, "refused", 3)
    assert told["error"]["code"] == "GATE_REFUSED"
    assert told["result"]["checks"][0]["name"] == "gain"
    assert told["result"]["champion"] == "1"

    code, out, _ = ran(capsys, *asked, "--force", "--reason", "a trial", "--json")
    told = json.loads(out)
    assert (code, told["status"], told["result"]["champion"]) == (0, "done", "2")
    assert told["result"]["forced_reason"] == "a trial"


def test_a_reason_without_force_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = ran(capsys, "deploy", "--reason", "x", "--project", str(tmp_path))
    assert (code, "USAGE" in err) == (2, True)


_CHILD = """
import os, signal, sys
import storecast
from storecast.registry import Registry
from storecast.registry.aliases import Aliases

owner, name, deadly, root = {"Aliases": Aliases, "Registry": Registry}[sys.argv[1]], *sys.argv[2:]
original, times = getattr(owner, name), 0

def dying(*arguments, **named):
    global times
    done = original(*arguments, **named)
    times += 1
    if times == int(deadly):
        os.kill(os.getpid(), signal.SIGKILL)
    return done

setattr(owner, name, dying)
storecast.deploy(storecast.load(root))
"""


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.parametrize(
    ("owner", "name", "deadly", "served"),
    [
        ("Registry", "register", 1, "1"),
        ("Registry", "tag", 1, "1"),
        # Challenger, PreviousChampion, Champion
        ("Aliases", "point", 2, "1"),
        ("Aliases", "point", 3, "2"),
    ],
)
def test_a_deployment_whose_process_was_killed_ends_as_an_undisturbed_one(
    shop: Callable[..., Project], tmp_path: Path, owner: str, name: str, deadly: int, served: str
) -> None:
    raw: dict[str, Any] = settings(validation=WINDOWS)
    (tmp_path / "storecast.yaml").write_text(yaml.safe_dump(raw), "utf-8")
    project = shop()
    deploy(project, model="seasonal_naive")
    child = [sys.executable, "-c", _CHILD, owner, name, str(deadly), str(tmp_path)]
    left = subprocess.run(child, capture_output=True, check=False, timeout=120)
    assert left.returncode == -signal.SIGKILL, left.stderr[-2000:]
    assert registry.of(project).aliases.all()["Champion"] == served
    assert deploy(project).version == "2"
    assert registry.of(project).aliases.all() == {"Champion": "2", "PreviousChampion": "1"}
    assert len(registry.of(project).versions()) == 2
