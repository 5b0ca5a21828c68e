"""The whole road, by the command line, on a registry with the rules of Unity Catalog."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from mlflow import MlflowClient

import storecast
from storecast import cli, runs
from storecast.project import Project
from storecast.tracking import Tracking
from tests import uc_rules
from tests.fills import chain_sales, fill, settings

# MLflow and SQLAlchemy warn about themselves
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]


def plain(project: Project, address: str) -> MlflowClient:
    """MLflow's own client, past everything of ours."""
    return MlflowClient(Tracking.of(project).uri, address)


def test_validate_deploy_forecast_and_roll_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uc_rules.served()
    address = f"{uc_rules.SCHEME}:///{tmp_path / 'mlflow.db'}"
    given = settings(
        catalog="Demo",
        mlflow={"registry_uri": address, "model_name": "Forecaster"},
        validation={"windows": 12, "step": 7, "warmup": 2},
    )
    (tmp_path / "storecast.yaml").write_text(yaml.safe_dump(given), "utf-8")
    project = storecast.load(tmp_path)
    fill(project, chain_sales(("001", "1", "Öç"), 160))

    def said(*arguments: str, code: int = 0) -> Any:
        with pytest.raises(SystemExit) as left:
            cli.main([*arguments, "--project", str(tmp_path), "--json"])
        envelope = json.loads(capsys.readouterr().out)
        assert left.value.code == code, envelope
        return envelope.get("result", envelope.get("error"))

    said("validate")
    first = said("deploy", "--model", "local_level")
    assert (first["model_name"], first["version"]) == ("Demo.chain.Forecaster", "1")
    assert said("forecast")["model_version"] == "1"
    forced = said("deploy", "--model", "seasonal_naive", "--force", "--reason", "to try it")
    assert forced["version"] == "2"
    second = said("forecast")
    assert (second["model_version"], second["origins"]) == ("2", {"champion": second["rows"]})

    listed = said("models", "list")["versions"]
    assert [(v["version"], v["aliases"]) for v in listed] == [
        ("2", ["Champion"]), ("1", ["PreviousChampion"]),
    ]  # fmt: skip
    kept = plain(project, address).get_registered_model("demo.chain.forecaster")
    assert dict(kept.aliases) == {"champion": 2, "previouschampion": 1}

    back = said("models", "rollback", "--reason", "it was worse")
    assert (back["before"], back["after"]) == ("2", "1")
    third = said("forecast")
    assert (third["model_version"], third["origins"]) == ("1", {"champion": third["rows"]})
    latest = pl.DataFrame(runs.read_table(project, "forecasts_latest"))
    assert latest["model_version"].unique().to_list() == ["1"]
    assert latest["model_name"].unique().to_list() == ["Demo.chain.Forecaster"]
    assert said("models", "rollback", code=3)["code"] == "NO_PREVIOUS_CHAMPION"

    shown = said("models", "show", "--forecast", second["forecast_id"])
    assert (shown["version"], shown["aliases"]) == ("2", [])
    assert shown["deployment"]["forced_reason"] == "to try it"
    assert [c["command"] for c in shown["championship"]] == ["deploy", "rollback"]
    assert shown["data"]["tables"] == {"sales": 1, "stores": 1}
    with uc_rules.stranger():
        assert said("models", "promote", "1", code=0)["moved"] is False
        denied = said("models", "promote", "2", "--force", code=1)
    assert denied["code"] == "REGISTRY_DENIED"
    assert said("models", "show")["version"] == "1"
