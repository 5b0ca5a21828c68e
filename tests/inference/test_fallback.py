"""When the champion fails: each link of the chain, and what is written."""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from storecast import registry, runs
from storecast.core.schema import table_specs
from storecast.errors import Code, RegistryError, StorecastError
from storecast.inference import fallback
from storecast.inference.step import ForecastResult, forecast
from storecast.project import Project
from storecast.registry import CHAMPION
from tests.fills import chain_sales, fill

from .champions import champion, rules_files, tampered
from .conftest import CLOSED_ON, STORES, THROUGH, Twice

# MLflow and SQLAlchemy warn about themselves
pytestmark = pytest.mark.filterwarnings("default")

NUMBERS = ["forecast", "forecast_mean", "q10", "q50", "q90"]


def table(project: Project, name: str, forecast_id: str | None = None) -> pl.DataFrame:
    rows = pl.DataFrame(runs.read_table(project, name))
    if forecast_id is not None:
        rows = rows.filter(pl.col("forecast_id") == forecast_id)
    return rows.sort("store_id", "date" if "date" in rows.columns else "forecast_id")


def delivered(project: Project, days: int) -> None:
    """So many more days of sales."""
    fill(project, chain_sales(STORES, 120 + days), {"1": CLOSED_ON})


def ledger_of(project: Project, result: ForecastResult) -> pl.DataFrame:
    rows = table(project, "forecast_ledger", result.forecast_id)
    total = rows["forecast"] + rows["fallback"] + rows["excluded"]
    assert (rows["expected"] == total).all()
    assert (rows["forecast"] + rows["fallback"]).sum() == result.rows
    return rows


def test_the_whole_chain_is_the_default(twice: Twice) -> None:
    assert twice().config.inference.fallback == (
        "previous_champion", "last_forecast", "seasonal_naive", "empty",
    )  # fmt: skip


def test_the_previous_champion_stands_in_with_its_own_version(twice: Twice) -> None:
    project = twice()
    tampered(project)
    result = forecast(project)
    assert (result.fell_back, result.origins) == ("previous_champion", {"previous_champion": 14})
    assert "ARTIFACT_TAMPERED" in str(result.failure)
    rows = table(project, "forecasts")
    assert set(rows["origin"]) == {"previous_champion"}
    assert set(rows["model_version"]) == {"1"}
    assert result.model_version == "2"
    assert ledger_of(project, result)["status"].to_list() == ["fallback", "excluded", "fallback"]
    assert table(project, "forecasts_latest").height == 14
    assert forecast(project).unchanged


def test_the_previous_champion_is_checked_as_the_champion_is(twice: Twice) -> None:
    """Its digest too: whoever changes a file and the manifest with it is found out."""
    from storecast.artifact.save import MANIFEST, digest

    project = twice(inference={"fallback": ["previous_champion", "seasonal_naive"]})
    tampered(project)
    first = rules_files(project)[0]
    first.write_text(first.read_text("utf-8").replace('"zero"', '"unknown"'), "utf-8")
    manifest = first.parent / MANIFEST
    import json

    told = json.loads(manifest.read_text("utf-8"))
    told["files"]["rules.json"] = digest(first)
    manifest.write_text(json.dumps(told), "utf-8")
    result = forecast(project)
    assert result.fell_back == "seasonal_naive"
    assert "ARTIFACT_TAMPERED" in result.failures["previous_champion"]
    assert any("previous_champion failed" in s for s in result.sentences())


def test_the_last_forecast_covers_what_it_can_and_the_naive_the_rest(twice: Twice) -> None:
    project = twice()
    good = forecast(project)
    before = table(project, "forecasts_latest")
    delivered(project, 3)
    tampered(project, 0)
    tampered(project, 1)
    result = forecast(project)
    assert result.cutoff == THROUGH + timedelta(days=3)
    assert result.origins == {"last_forecast": 2 * 4, "seasonal_naive": 2 * 3}
    assert result.fell_back == "last_forecast, seasonal_naive"
    rows = table(project, "forecasts", result.forecast_id)
    carried = rows.filter(pl.col("origin") == "last_forecast")
    # They are the very rows of the champion, with the cutoff, step and version of then.
    kept = ["store_id", "date", "cutoff", "step", "model_version", *NUMBERS]
    then = before.filter(pl.col("date") > result.cutoff)
    assert carried.select(kept).equals(then.select(kept))
    assert carried["date"].max() == good.last
    naive = rows.filter(pl.col("origin") == "seasonal_naive")
    assert set(naive["cutoff"]) == {result.cutoff}
    told = ledger_of(project, result)
    assert told["reason"][0].endswith("; last_forecast 4, seasonal_naive 3")
    # In the latest, the champion's rows stay the champion's, and the naive adds the new days.
    latest = table(project, "forecasts_latest")
    assert latest.filter(pl.col("date") <= good.last).equals(before)
    assert latest.height == before.height + 2 * 3


def test_a_store_of_which_less_than_half_was_forecast_goes_on_whole(twice: Twice) -> None:
    project = twice()
    forecast(project)
    delivered(project, 4)
    tampered(project, 0)
    tampered(project, 1)
    result = forecast(project)
    assert result.origins == {"seasonal_naive": 14}
    assert "50%" in result.failures["last_forecast"]


def test_the_last_forecast_never_carries_on_a_naive_one(twice: Twice) -> None:
    project = twice()
    tampered(project, 0)
    tampered(project, 1)
    assert forecast(project).origins == {"seasonal_naive": 14}
    delivered(project, 1)
    assert forecast(project).origins == {"seasonal_naive": 14}


def test_the_last_forecast_is_none_of_a_later_day(twice: Twice) -> None:
    """Looking back, a forecast made since then would know what came after."""
    project = twice()
    forecast(project)
    tampered(project, 0)
    tampered(project, 1)
    result = forecast(project, as_of=THROUGH - timedelta(days=1))
    assert result.origins == {"seasonal_naive": 14}


def test_without_a_naive_what_is_not_covered_is_left_out_and_counted(twice: Twice) -> None:
    project = twice(inference={"fallback": ["last_forecast", "empty"]})
    forecast(project)
    delivered(project, 3)
    tampered(project)
    result = forecast(project)
    assert result.origins == {"last_forecast": 8}
    told = ledger_of(project, result)
    assert told["excluded"].to_list() == [3, 7, 3]
    assert told["reason"][0].endswith("last_forecast 4; for 3 periods no fallback")
    assert told["reason"][1] == f"closed on {CLOSED_ON}"


def test_without_an_end_what_is_not_covered_is_an_error(twice: Twice) -> None:
    project = twice(inference={"fallback": ["last_forecast"]})
    before = forecast(project)
    delivered(project, 3)
    tampered(project)
    with pytest.raises(StorecastError) as failed:
        forecast(project)
    assert failed.value.code is Code.FORECAST_FAILED
    assert "6 store-periods" in failed.value.message
    assert table(project, "forecasts").height == before.rows


def broken_registry(project: Project) -> None:
    (project.root / "mlflow.db").write_bytes(b"no database")


def no_artefacts(project: Project) -> None:
    shutil.rmtree(project.root / "mlartifacts")


def no_alias(project: Project) -> None:
    registry.of(project).aliases.drop(CHAMPION)


@pytest.mark.parametrize(
    ("harm", "code", "origins"),
    [
        (broken_registry, "REGISTRY_UNREACHABLE", {"last_forecast": 12, "seasonal_naive": 2}),
        (no_artefacts, "", {"last_forecast": 12, "seasonal_naive": 2}),
        (no_alias, "NO_CHAMPION", {"previous_champion": 14}),
    ],
)
def test_whatever_is_lost_the_chain_answers_where_a_champion_has_served(
    twice: Twice, harm: Any, code: str, origins: dict[str, int]
) -> None:
    project = twice()
    forecast(project)
    delivered(project, 1)
    harm(project)
    result = forecast(project)
    assert result.origins == origins
    assert code in str(result.failure)
    versions = set(table(project, "forecasts", result.forecast_id)["model_version"])
    if harm is broken_registry:
        assert result.model_version == "unknown"
        assert versions == {"2", "unknown"}
    json_able = result.as_dict()
    assert json_able["failures"]["champion"] == result.failure


def test_before_the_first_forecast_a_missing_champion_is_an_error(twice: Twice) -> None:
    project = twice()
    no_alias(project)
    with pytest.raises(RegistryError) as refused:
        forecast(project)
    assert refused.value.code is Code.NO_CHAMPION


def test_when_all_fails_the_frame_is_empty_valid_and_replaces_nothing(
    twice: Twice, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = twice()
    forecast(project)
    before = table(project, "forecasts_latest")
    delivered(project, 7)  # nothing of the last forecast is left
    tampered(project, 0)
    tampered(project, 1)

    def broken(*_: Any) -> Any:
        raise MemoryError("no room")

    monkeypatch.setattr(fallback, "naive", broken)
    with pytest.raises(StorecastError) as strict:
        forecast(project, strict=True)
    assert (strict.value.code, strict.value.exit_code) == (Code.FORECAST_FELL_BACK, 1)
    result = forecast(project)
    assert (result.rows, result.fell_back) == (0, "empty")
    assert set(result.failures) == {
        "champion", "previous_champion", "last_forecast", "seasonal_naive",
    }  # fmt: skip
    assert table(project, "forecasts_latest").equals(before)
    assert ledger_of(project, result)["excluded"].to_list() == [7, 7, 7]
    row = runs.newest(project, "forecast")
    assert row is not None
    assert row["status"] == "done"


@pytest.mark.parametrize("fault", ["refused", "raises", "short", "NaN", "no column", "wrong step"])
def test_what_predict_does_wrong_leads_to_the_chain(
    twice: Twice, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """MLflow's own refusal before predict runs among it."""
    import mlflow.pyfunc

    project = twice(inference={"fallback": ["seasonal_naive"]})
    load = mlflow.pyfunc.load_model

    class Broken:
        def __init__(self, model: Any) -> None:
            self._model = model

        def unwrap_python_model(self) -> Any:
            return self._model.unwrap_python_model()

        def predict(self, frame: Any, params: Any) -> Any:
            if fault == "refused":
                return self._model.predict(frame.drop(columns="sales"), params=params)
            if fault == "raises":
                raise ZeroDivisionError("by zero")
            made = self._model.predict(frame, params=params)
            match fault:
                case "short":
                    return made.iloc[1:]
                case "NaN":
                    made.loc[3, "q10"] = float("nan")
                case "no column":
                    return made.drop(columns="q90")
                case "wrong step":
                    made["step"] = made["step"] + 1
            return made

    monkeypatch.setattr(mlflow.pyfunc, "load_model", lambda uri: Broken(load(uri)))
    result = forecast(project)
    assert result.fell_back == "seasonal_naive"
    expected = {"refused": "FORECAST_FAILED", "raises": "FORECAST_FAILED"}
    assert str(result.failure).startswith(expected.get(fault, "MODEL_OUTPUT_INVALID"))


def test_a_link_further_down_never_replaces_one_further_up_at_the_same_cutoff(
    twice: Twice,
) -> None:
    project = twice(inference={"fallback": ["previous_champion", "seasonal_naive"]})
    tampered(project)
    forecast(project)
    latest = table(project, "forecasts_latest")
    tampered(project, 0)
    assert forecast(project).origins == {"seasonal_naive": 14}
    assert table(project, "forecasts_latest").equals(latest)


def test_a_previous_champion_for_a_shorter_horizon_is_passed_over(twice: Twice) -> None:
    project = twice()
    champion(project, horizon=3)
    champion(project)
    tampered(project)
    result = forecast(project)
    assert result.origins == {"seasonal_naive": 14}
    assert "HORIZON_TOO_LONG" in result.failures["previous_champion"]


def test_the_champion_is_loaded_by_its_number(twice: Twice) -> None:
    """An alias that moves between two questions changes nothing."""
    import mlflow.artifacts

    asked: list[str] = []
    fetch = mlflow.artifacts.download_artifacts
    with pytest.MonkeyPatch.context() as patch:

        def noted(uri: str) -> str:
            asked.append(uri)
            return fetch(uri)

        patch.setattr(mlflow.artifacts, "download_artifacts", noted)
        forecast(twice())
    assert asked == ["models:/demo.chain.chain/2"]


def test_every_origin_is_told_in_the_tables_description(twice: Twice) -> None:
    assert set(fallback.LINKS) == {
        "champion", "previous_champion", "last_forecast", "seasonal_naive",
    }  # fmt: skip
    spec = table_specs(twice().config.layout())["forecasts"]
    (origin,) = (c for c in spec.columns if c.name == "origin")
    assert all(name in origin.description for name in fallback.LINKS)
