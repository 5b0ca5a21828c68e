"""``storecast models``: what people read, and what scripts do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from storecast import cli, lineage, registry
from tests.fills import settings
from tests.promotion.conftest import Served

# MLflow and SQLAlchemy warn about themselves
pytestmark = pytest.mark.filterwarnings("default")


class Shell:
    """The command line in the project's folder."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """What is printed for people, on both streams."""
        with pytest.raises(SystemExit) as left:
            cli.main(["models", *arguments, "--project", str(self.root)])
        printed = self._capsys.readouterr()
        assert left.value.code == code, printed
        return printed.out + printed.err

    def json(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """The envelope, which is all that stands on standard output."""
        with pytest.raises(SystemExit) as left:
            cli.main(["models", *arguments, "--project", str(self.root), "--json"])
        assert left.value.code == code
        envelope: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        assert envelope["exit_code"] == code
        return envelope


@pytest.fixture
def models(served: Served, capsys: pytest.CaptureFixture[str]) -> Shell:
    project = served()
    (project.root / "storecast.yaml").write_text(yaml.safe_dump(settings()), "utf-8")
    registry.of(project).tag("1", {"gate": "refused"})
    return Shell(project.root, capsys)


def test_the_list_has_a_line_a_version_newest_first(models: Shell) -> None:
    head, *lines = models("list").splitlines()
    assert head.split()[:3] == ["version", "aliases", "model"]
    assert [line.split()[0] for line in lines] == ["3", "2", "1"]
    assert [line.split()[1] for line in lines[:2]] == ["Champion", "PreviousChampion"]
    assert "refused" in lines[2]
    assert all(lineage.operator() in line for line in lines)
    told = models.json("list")["result"]
    assert told["model_name"] == "demo.chain.chain"
    assert [v["version"] for v in told["versions"]] == ["3", "2", "1"]


def test_show_is_of_the_champion_unless_another_is_named(models: Shell) -> None:
    assert models("show").startswith("demo.chain.chain version 3  [Champion]")
    assert models("show", "previouschampion").startswith("demo.chain.chain version 2")
    assert models.json("show", "1")["result"]["gate"] == {"gate": "refused"}
    assert "MODEL_UNKNOWN" in models("show", "9", code=1)
    assert "USAGE" in models("show", "1", "--forecast", "abc", code=2)
    assert "FORECAST_UNKNOWN" in models("show", "--forecast", "abc", code=1)


def test_promote_and_roll_back(models: Shell) -> None:
    assert "version 2 (seasonal_naive) is the champion" in models("promote", "2")
    back = models.json("rollback", "--reason", "why not")
    assert (back["command"], back["status"]) == ("models rollback", "done")
    assert back["run_id"] == back["result"]["run_id"]
    assert (back["result"]["before"], back["result"]["after"]) == ("2", "3")
    again = models.json("rollback", code=3)
    assert (again["status"], again["error"]["code"]) == ("refused", "NO_PREVIOUS_CHAMPION")
    assert again["run_id"] is not None


def test_what_the_gate_refused_is_promoted_by_force_alone(models: Shell) -> None:
    assert "refused: VERSION_UNFIT" in models("promote", "1", code=3)
    told = models("promote", "1", "--force", "--reason", "we know")
    assert f"forced by {lineage.operator()}, although the gate refused it" in told
    assert "we know" in models("show")


def test_without_a_version_there_is_nothing_to_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "storecast.yaml").write_text(yaml.safe_dump(settings()), "utf-8")
    empty = Shell(tmp_path, capsys)
    assert "storecast deploy" in empty("list")
    assert "NO_CHAMPION" in empty("rollback", code=1)
