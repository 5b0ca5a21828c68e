"""The logged model: what it holds, what it refuses, what it answers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from storecast.artifact import flat
from storecast.artifact.checking import checked
from storecast.artifact.packing import log_model
from storecast.artifact.pyfunc import as_pandas, empty_input
from storecast.artifact.save import save
from storecast.artifact.unified import UnifiedForecaster, output_schema
from storecast.core.window import cut
from storecast.errors import Code, InputError
from storecast.tracking import Tracking

from .chains import FIRST, history, recipe

CUTOFF = FIRST + timedelta(days=199)
HORIZON = 14

# MLflow and SQLAlchemy warn about themselves
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def forecaster() -> UnifiedForecaster:
    return UnifiedForecaster.fit(recipe("lightgbm", n_estimators=10), history(), CUTOFF, None)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def logged(place: Path, forecaster: UnifiedForecaster) -> Path:
    """The folder of the logged model."""
    import mlflow

    save(forecaster, place / "packed")
    tracking = Tracking(None, None, "test", place)
    with tracking.active() as client:
        run = client.create_run(tracking.experiment_id(client)).info.run_id
        with mlflow.start_run(run_id=run):
            log_model(place / "packed", forecaster)
    (model,) = (place / "mlartifacts").rglob("MLmodel")
    return model.parent


@pytest.fixture(scope="module")
def model(logged: Path) -> Iterator[Any]:
    import mlflow.pyfunc

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        yield mlflow.pyfunc.load_model(str(logged))


def flat_rows(cutoff: date = CUTOFF) -> pl.DataFrame:
    told = history()
    return flat.flatten(told, cut(told, cutoff, HORIZON))


def rows_of(frame: pd.DataFrame) -> pl.DataFrame:
    return pl.from_pandas(frame).cast(dict(output_schema(history().rules)))  # type: ignore[arg-type]


def test_history_alone_the_packed_tail_and_history_with_future_agree(
    model: Any, forecaster: UnifiedForecaster
) -> None:
    expected = forecaster.forecast()
    rows = flat_rows()
    assert rows_of(model.predict(as_pandas(rows))).equals(expected)
    assert rows_of(model.predict(empty_input(forecaster.rules))).equals(expected)
    history_alone = rows.filter(pl.col("date") <= CUTOFF)
    alone = rows_of(model.predict(as_pandas(history_alone)))
    assert alone.select("store_id", "date", "step").equals(
        expected.select("store_id", "date", "step")
    )


def test_future_rows_are_used_and_their_sales_are_not(model: Any) -> None:
    rows = flat_rows()
    day = CUTOFF + timedelta(days=3)
    here = (pl.col("store_id") == "001") & (pl.col("date") == day)
    shut = rows.with_columns(is_open=pl.when(here).then(0.0).otherwise("is_open"))
    made = rows_of(model.predict(as_pandas(shut))).filter(here)
    assert made["q90"].to_list() == [0.0]
    assert made["basis"].to_list() == ["closed"]
    future = pl.col("date") > CUTOFF
    told = rows.with_columns(sales=pl.when(future).then(1e9).otherwise("sales"))
    params = {"cutoff": CUTOFF.isoformat()}
    assert rows_of(model.predict(as_pandas(told), params=params)).equals(
        rows_of(model.predict(as_pandas(rows), params=params))
    )


def test_cutoff_and_horizon_are_parameters(model: Any) -> None:
    earlier = CUTOFF - timedelta(days=30)
    params = {"cutoff": earlier.isoformat(), "horizon": 3}
    made = rows_of(model.predict(as_pandas(flat_rows()), params=params))
    assert made["cutoff"].unique().to_list() == [earlier]
    assert made["step"].max() == 3
    from_the_tail = model.predict(empty_input(history().rules), params=params)
    assert rows_of(from_the_tail).equals(made)


def test_a_store_of_future_rows_alone_is_a_cold_start(model: Any) -> None:
    rows = flat_rows()
    newborn = rows.filter((pl.col("store_id") == "1") & (pl.col("date") > CUTOFF)).with_columns(
        store_id=pl.lit("newborn"), opened_on=pl.lit(None, pl.Date)
    )
    made = rows_of(model.predict(as_pandas(pl.concat([rows, newborn]))))
    assert set(made.filter(pl.col("store_id") == "newborn")["basis"]) == {"cold_start", "closed"}


def test_optional_columns_may_be_missing(model: Any) -> None:
    bare = flat_rows().select("store_id", "date", "sales").filter(pl.col("sales").is_not_null())
    made = rows_of(model.predict(as_pandas(bare)))
    assert made.height == 3 * HORIZON


def broken(change: str) -> pd.DataFrame:
    frame = as_pandas(flat_rows())
    match change:
        case "null id":
            frame.loc[4, "store_id"] = None
        case "mixed ids":
            frame.loc[4, "store_id"] = 12
        case "duplicate":
            frame.loc[4, ["store_id", "date"]] = frame.loc[3, ["store_id", "date"]]
        case "null date":
            frame.loc[4, "date"] = pd.NaT
        case "time of day":
            frame.loc[4, "date"] += pd.Timedelta(hours=3)
        case "infinite":
            frame.loc[4, "sales"] = float("inf")
        case "empty id":
            frame.loc[4, "store_id"] = ""
        case "mixed attribute":
            frame.loc[4, "city"] = 3.5
    return frame


@pytest.mark.parametrize(
    "change",
    ["null id", "mixed ids", "duplicate", "null date", "time of day", "infinite", "empty id",
     "mixed attribute"],
)  # fmt: skip
def test_what_mlflow_lets_through_is_refused_with_its_row(model: Any, change: str) -> None:
    with pytest.raises(InputError) as refused:
        model.predict(broken(change))
    assert refused.value.code is Code.INPUT_INVALID
    assert refused.value.where == "row 5"


def test_a_date_that_is_no_label_is_refused() -> None:
    from storecast.core.calendar import Frequency

    weekly = history(frequency=Frequency("W-SUN"), known={}, closed_when={}, realised=()).rules
    rows = pl.DataFrame({"store_id": ["a"], "date": [date(2021, 1, 6)], "sales": [1.0]})
    from storecast.artifact.reading import as_polars

    with pytest.raises(InputError, match="row 1: date is not a label") as refused:
        checked(as_polars(as_pandas(rows), weekly), weekly)
    assert refused.value.expected == "2021-01-10"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"horizon": 15}, Code.HORIZON_TOO_LONG),
        ({"cutoff": "yesterday"}, Code.CUTOFF_INVALID),
        ({"cutoff": "2030-01-01"}, Code.CUTOFF_INVALID),
        ({"on_error": "ignore"}, Code.INPUT_INVALID),
    ],
)
def test_parameters_out_of_bounds_have_their_code(
    model: Any, params: dict[str, Any], code: Code
) -> None:
    with pytest.raises(InputError) as refused:
        model.predict(as_pandas(flat_rows()), params=params)
    assert refused.value.code is code


def test_on_error_empty_gives_the_schema_without_rows_and_logs_the_code(
    model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    full = model.predict(as_pandas(flat_rows()))
    with caplog.at_level(logging.ERROR):
        empty = model.predict(broken("duplicate"), params={"on_error": "empty"})
    assert empty.empty
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()
    assert "INPUT_INVALID" in caplog.text
