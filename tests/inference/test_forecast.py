"""From a champion to the forecast tables, and what happens when it fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from storecast import runs
from storecast.configfile import parse_config
from storecast.deployment.step import deploy
from storecast.errors import Code, InputError, RegistryError, StorecastError
from storecast.inference.step import ForecastResult, forecast
from storecast.platforms import assemble
from storecast.project import Project
from storecast.validation.step import validate
from tests.fills import FIRST, chain_sales, fill, settings

from .champions import champion, mended, tampered

# MLflow and SQLAlchemy warn about themselves
pytestmark = pytest.mark.filterwarnings("default")

Filled = Callable[..., Project]
THROUGH = FIRST + timedelta(days=119)
CLOSED_ON = THROUGH - timedelta(days=10)
NAMES = ("forecasts", "forecasts_latest", "forecast_ledger")


def table(project: Project, name: str) -> pl.DataFrame:
    rows = pl.DataFrame(runs.read_table(project, name))
    return rows.sort("store_id", "date" if "date" in rows.columns else "forecast_id")


def versions(project: Project) -> dict[str, int | None]:
    return {name: project.tables.version(name) for name in NAMES}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project with a champion; the store 1 is closed."""
    root = tmp_path_factory.mktemp("template")
    project = assemble(parse_config(settings()), root)
    fill(project, chain_sales(("001", "1", "Öç"), 120), {"1": CLOSED_ON})
    champion(project)
    return root


Served = Callable[..., Project]


@pytest.fixture
def served(template: Path, tmp_path: Path) -> Served:
    """A copy of the project, as if its folder had been moved; keys of the configuration."""

    def make(**changes: Any) -> Project:
        root = tmp_path / "project"
        shutil.copytree(template, root)
        return assemble(parse_config(settings(**changes)), root)

    return make


def served_again(project: Project, **changes: Any) -> Project:
    """The same folder with other keys of the configuration."""
    return assemble(parse_config(settings(**changes)), project.root)


def test_the_champion_forecasts_from_the_last_complete_period(served: Served) -> None:
    project = served()
    result = forecast(project)
    assert (result.cutoff, result.first, result.last) == (
        THROUGH,
        THROUGH + timedelta(days=1),
        THROUGH + timedelta(days=7),
    )
    assert (result.stores, result.rows) == (2, 14)
    assert result.origins == {"champion": 14}
    rows = table(project, "forecasts")
    assert rows["forecast_mean"].sum() == pytest.approx(result.total)
    assert set(rows["store_id"]) == {"001", "Öç"}
    assert (rows["q10"] < rows["q90"]).all()
    assert set(rows["model_version"]) == {"1"}
    latest = table(project, "forecasts_latest")
    assert latest.select(rows.columns).equals(rows)
    ledger = table(project, "forecast_ledger")
    assert ledger["store_id"].to_list() == ["001", "1", "Öç"]
    assert (
        ledger["expected"] == ledger["forecast"] + ledger["fallback"] + ledger["excluded"]
    ).all()
    assert ledger["reason"].to_list() == [None, f"closed on {CLOSED_ON}", None]
    json.dumps(result.as_dict(), allow_nan=False)

    # The same work done again changes nothing, not even a version.
    before = versions(project)
    again = forecast(project)
    assert again.forecast_id == result.forecast_id
    assert again.unchanged
    assert versions(project) == before

    # Looking back with a model that knew what came after is kept, and is not the latest.
    earlier = forecast(project, as_of=THROUGH - timedelta(days=3))
    assert earlier.cutoff == THROUGH - timedelta(days=3)
    assert any("no test of its accuracy" in s for s in earlier.sentences())
    assert table(project, "forecasts_latest").equals(latest)
    assert table(project, "forecasts").height == 2 * 14


def test_without_a_champion_it_says_what_to_do(filled: Filled) -> None:
    with pytest.raises(RegistryError) as refused:
        forecast(filled())
    assert refused.value.code is Code.NO_CHAMPION
    assert "storecast deploy" in str(refused.value.next_step)


def test_a_day_before_the_first_sale_is_refused(served: Served) -> None:
    project = served()
    with pytest.raises(InputError) as refused:
        forecast(project, as_of=FIRST - timedelta(days=1))
    assert refused.value.code is Code.CUTOFF_INVALID


def test_a_broken_champion_falls_back_aloud(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    project = served()
    good = forecast(project)
    latest = table(project, "forecasts_latest")
    tampered(project)

    with pytest.raises(StorecastError) as strict:
        forecast(project, strict=True)
    assert strict.value.code is Code.FORECAST_FELL_BACK
    assert strict.value.exit_code == 1
    assert table(project, "forecasts").height == good.rows

    naive = ("seasonal_naive", "empty")
    project = served_again(project, inference={"fallback": naive})
    fallen = forecast(project)
    assert fallen.fell_back == "seasonal_naive"
    assert fallen.origins == {"seasonal_naive": 14}
    assert "ARTIFACT_TAMPERED" in str(fallen.failure)
    assert "THE CHAMPION FAILED" in fallen.sentences()[0]
    assert "ARTIFACT_TAMPERED" in caplog.text
    assert fallen.forecast_id != good.forecast_id
    ours = table(project, "forecasts").filter(pl.col("forecast_id") == fallen.forecast_id)
    assert (ours["q10"] < ours["q90"]).all()
    ledger = table(project, "forecast_ledger").filter(pl.col("forecast_id") == fallen.forecast_id)
    assert ledger["status"].to_list() == ["fallback", "excluded", "fallback"]
    # A fallback is no reason to lose the champion's forecast of the same day.
    assert table(project, "forecasts_latest").equals(latest)

    mended(project)
    assert forecast(served_again(project)).unchanged


def test_an_empty_fallback_is_valid_loud_and_replaces_nothing(served: Served) -> None:
    project = served(inference={"fallback": ["empty"]})
    forecast(project)
    before = table(project, "forecasts_latest")
    tampered(project)
    result = forecast(project)
    assert (result.rows, result.stores, result.fell_back) == (0, 0, "empty")
    assert result.sentences()[0].startswith("NO FORECAST WAS MADE")
    assert result.total == 0.0
    assert table(project, "forecasts_latest").equals(before)
    ledger = table(project, "forecast_ledger").filter(pl.col("forecast_id") == result.forecast_id)
    assert ledger["excluded"].to_list() == [7, 7, 7]
    assert ["ARTIFACT_TAMPERED" in reason for reason in ledger["reason"]] == [True, False, True]
    row = runs.newest(project, "forecast")
    assert row is not None
    assert row["status"] == "done"


def test_without_a_fallback_the_failure_is_the_error(served: Served) -> None:
    project = served(inference={"fallback": []})
    tampered(project)
    with pytest.raises(StorecastError) as failed:
        forecast(project)
    assert failed.value.code is Code.FORECAST_FAILED
    assert "ARTIFACT_TAMPERED" in failed.value.message


def test_a_resealed_artefact_is_not_the_registered_one(served: Served) -> None:
    """Whoever changes a file and the manifest with it is found out by the registry's tag."""
    from storecast.artifact.save import seal

    project = served()
    (rules,) = (project.root / "mlartifacts").rglob("rules.json")
    rules.write_text(rules.read_text("utf-8").replace('"zero"', '"unknown"'), "utf-8")
    seal(rules.parent, {})
    result = forecast(project)
    assert "not the one that was registered" in str(result.failure)


def test_a_longer_horizon_than_the_packed_one_falls_back(served: Served) -> None:
    project = served(forecast={"horizon": 9, "quantiles": [0.1, 0.5, 0.9]})
    result = forecast(project)
    assert "HORIZON_TOO_LONG" in str(result.failure)
    assert result.rows == 18


@pytest.mark.slow
def test_a_fixed_end_of_training_does_not_hold_the_forecast_back(filled: Filled) -> None:
    until = THROUGH - timedelta(days=20)
    project = filled(training={"from": FIRST.isoformat(), "until": until.isoformat()})
    validate(project)
    assert deploy(project).cutoff == until
    result: ForecastResult = forecast(project)
    assert result.cutoff == THROUGH
    assert result.trained_through == until
