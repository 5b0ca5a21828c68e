"""From a row of ``forecasts`` to everything behind it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import storecast
from storecast import lineage, registry, runs
from storecast.configfile import parse_config
from storecast.deployment.step import deploy
from storecast.errors import Code, InputError, ModelError
from storecast.inference.step import forecast
from storecast.lineage.tracing import trace
from storecast.lineage.wording import lines
from storecast.platforms import assemble
from storecast.project import Project
from storecast.promotion.step import promote, rollback
from storecast.validation.step import validate
from tests.fills import FIRST, chain_sales, fill, settings

# MLflow and SQLAlchemy warn about themselves
pytestmark = pytest.mark.filterwarnings("default")

GIVEN = settings(
    mlflow={"experiment": "lineage"},
    validation={"windows": 12, "step": 7, "warmup": 2},
    series={"mask": [["2021-02-01", "2021-02-03"]]},
    source={**settings()["source"], "path": "sqlite://user:tr0ub4dor@host/none.db"},
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was validated, deployed and scored."""
    root = tmp_path_factory.mktemp("template")
    project = assemble(parse_config(GIVEN), root)
    fill(project, chain_sales(("001", "1", "Öç"), 160))
    validate(project)
    deploy(project)
    forecast(project)
    return root


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Project:
    shutil.copytree(template, tmp_path / "project")
    return assemble(parse_config(GIVEN), tmp_path / "project")


def row_of(project: Project, table: str, **where: str) -> dict[str, Any]:
    rows = pl.DataFrame(runs.read_table(project, table))
    return rows.filter(*(pl.col(n) == v for n, v in where.items())).row(0, named=True)


def test_from_a_forecast_row_to_all_that_is_behind_it(project: Project) -> None:
    row = row_of(project, "forecasts", store_id="Öç")
    found = trace(project, forecast_id=row["forecast_id"])

    assert (found.name, found.version) == (row["model_name"], row["model_version"])
    assert found.aliases == ("Champion",)

    # the run that made the row, and what it read
    assert found.forecast is not None
    scoring = row_of(project, "runs", run_id=row["run_id"])
    assert found.forecast["run_id"] == scoring["run_id"]
    assert found.forecast["tables"] == json.loads(scoring["tables_read"])
    assert found.forecast["package_version"] == storecast.__version__

    # the run that deployed the version, and what it was trained on
    deployed = row_of(project, "runs", run_id=str(found.deployment["run_id"]))
    assert (deployed["command"], deployed["status"]) == ("deploy", "done")
    read = json.loads(deployed["tables_read"])
    assert found.data["tables"] == {"sales": read["sales"], "stores": read["stores"]}
    sales = runs.read_table(project, "sales", version=found.data["tables"]["sales"])
    assert sales.num_rows == 480
    ingested = row_of(project, "runs", run_id=str(found.data["ingest_run_id"]))
    assert ingested["command"] == "ingest"
    assert found.deployment["by"] == lineage.operator()

    # code and configuration
    assert found.code["package_version"] == storecast.__version__
    assert len(str(found.code["code_digest"])) == 64
    values = found.configuration["values"]
    assert found.configuration["hash"] == project.config.hash()
    assert (values["training"]["from"], values["forecast"]["horizon"]) == (FIRST.isoformat(), 7)
    assert found.forecast["configuration"] == found.configuration

    # recipe, validation and its scores
    assert found.recipe is not None
    assert (found.recipe["name"], found.recipe["kind"]) == ("local_level", "local_level")
    assert found.recipe["mask"] == [["2021-02-01", "2021-02-03"]]
    assert found.recipe["digest"] == found.tags["recipe"]
    assert found.training == {"from": FIRST.isoformat(), "until": "2021-06-12", "stores": 3}
    scores = row_of(
        project, "backtest_scores", validation_id=str(found.validation["validation_id"]),
        model="local_level", scope="overall",
    )  # fmt: skip
    assert found.validation["scores"]["wape"] == scores["wape"]
    validated = row_of(project, "runs", run_id=str(found.validation["run_id"]))
    assert validated["command"] == "validate"
    assert found.validation["audit"] == "passed"
    assert [f["forecast_id"] for f in found.forecasts] == [row["forecast_id"]]
    assert [(c["command"], c["to"]) for c in found.championship] == [("deploy", "1")]


def test_the_same_comes_by_number_by_alias_and_by_the_beginning_of_an_id(project: Project) -> None:
    whole = trace(project)
    assert trace(project, "1") == trace(project, "champion") == whole
    assert whole.forecast is None
    identity = whole.forecasts[0]["forecast_id"]
    assert trace(project, forecast_id=identity[:8]).forecast is not None
    forecast(project, as_of=FIRST.replace(month=4))
    for unknown in ("zzz", ""):  # none begins with it, and every one does
        with pytest.raises(InputError) as refused:
            trace(project, forecast_id=unknown)
        assert refused.value.code is Code.FORECAST_UNKNOWN


def test_a_forecast_of_several_versions_or_of_none_says_so(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = trace(project).forecasts[0]

    def forecasts(*parts: tuple[str, str]) -> None:
        made = [{**real, "model_version": v, "origins": [origin]} for v, origin in parts]
        monkeypatch.setattr("storecast.lineage.tracing._forecasts", lambda _: made)

    forecasts(("1", "champion"), ("unknown", "seasonal_naive"))
    told = trace(project, forecast_id=real["forecast_id"])
    assert told.forecast is not None
    assert (told.version, told.forecast["also_of"]) == ("1", ["unknown"])
    assert any("further rows of it are of version unknown" in line for line in lines(told))
    forecasts(("unknown", "seasonal_naive"))
    with pytest.raises(ModelError) as refused:
        trace(project, forecast_id=real["forecast_id"])
    assert refused.value.code is Code.MODEL_UNKNOWN
    assert real["run_id"] in str(refused.value.where)


def test_no_secret_is_in_the_ledger_nor_in_what_is_shown(project: Project) -> None:
    whole = trace(project)
    told = json.dumps(whole.as_dict()) + "\n".join(lines(whole))
    ledger = "".join(map(str, runs.ledger(project)))
    assert "none.db" in told
    assert "none.db" in ledger
    assert "tr0ub4dor" not in told + ledger


def test_each_configuration_is_in_the_ledger_once(project: Project) -> None:
    rows = runs.ledger(project)
    assert [runs.CONFIGURATION in row["details"] for row in rows] == [True] + [False] * 3
    other = assemble(parse_config({**GIVEN, "locale": "pt-BR"}), project.root)
    forecast(other)
    found = runs.configuration(project, other.config.hash())
    assert found is not None
    assert found["locale"] == "pt-BR"
    assert runs.configuration(project, "unknown") is None
    told = trace(other, forecast_id=trace(other).forecasts[0]["forecast_id"])
    assert told.forecast is not None
    assert told.forecast["configuration"]["hash"] != told.configuration["hash"]
    assert any("configuration hash" in line for line in lines(told))


def test_after_a_rollback_the_next_forecast_is_of_the_older_version(project: Project) -> None:
    registry.of(project).register(
        *_source(project), {**registry.of(project).version("1").tags, "model": "again"}
    )
    promote(project, "2", reason="to try it")
    assert forecast(project).model_version == "2"
    rollback(project, reason="it was worse")
    scored = forecast(project)
    assert scored.model_version == "1"
    assert row_of(project, "forecasts_latest")["model_version"] == "1"
    assert trace(project, forecast_id=scored.forecast_id).version == "1"
    told = "\n".join(lines(trace(project, "2")))
    assert "gave way to version 1, rollback by" in told
    assert "it was worse" in told


def _source(project: Project) -> tuple[str, str]:
    version = registry.of(project).version("1")
    assert version.mlflow_run_id is not None
    return f"models:/{version.name}/1", version.mlflow_run_id


Change = Callable[[Project], None]


def test_a_damaged_artefact_is_shown_for_what_it_is(project: Project) -> None:
    (rules,) = (project.root / "mlartifacts").rglob("rules.json")
    rules.write_text("{}", "utf-8")
    found = trace(project)
    assert found.recipe is None
    assert "ARTIFACT_TAMPERED" in str(found.damage)
    assert any("cannot be read" in line for line in lines(found))
    assert found.data["tables"]


def test_what_is_shown_names_every_part(project: Project) -> None:
    identity = trace(project).forecasts[0]["forecast_id"]
    told = lines(trace(project, forecast_id=identity))
    assert told[0] == "demo.chain.chain version 1  [Champion]"
    labels = [line[:14].strip() for line in told[1:] if line[:14].strip()]
    assert labels == [
        "forecast", "recipe", "validation", "gate", "deployment", "data", "code", "champion",
        "forecasts", "configuration",
    ]  # fmt: skip
    text = "\n".join(told)
    for part in ("local_level", "without 2021-02-01 to 2021-02-03", "wape", "leak audit: passed",
                 "sales version 1", "stores version 1", storecast.__version__, identity,
                 "training: {from: '2021-01-04'}"):  # fmt: skip
        assert part in text


def test_the_operator_has_a_name_even_where_the_machine_knows_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nobody() -> str:
        raise KeyError("uid 12345")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert lineage.operator().startswith("unknown@")
