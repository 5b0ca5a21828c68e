"""``storecast deploy`` as a shell sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from storecast import cli
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


def test_a_refusal_is_exit_code_3_with_the_table_and_in_json_with_the_checks(
    shop: Callable[..., Project], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw: dict[str, Any] = settings(validation=WINDOWS)
    (tmp_path / "storecast.yaml").write_text(yaml.safe_dump(raw), "utf-8")
    deploy(shop())
    asked = ("deploy", "--model", "seasonal_naive", "--project", str(tmp_path))

    code, out, err = ran(capsys, *asked)
    assert code == 3
    assert "gate (challenge), against the champion local_level (version 1)" in out
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
