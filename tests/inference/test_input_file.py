"""``forecast --input``: a file of flat rows instead of the tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from storecast import runs
from storecast.cli import main
from storecast.errors import Code, InputError
from storecast.inference.reading import read
from storecast.inference.step import forecast
from storecast.project import Project

from .conftest import CLOSED_ON, THROUGH, Twice

# MLflow and SQLAlchemy warn about themselves
pytestmark = pytest.mark.filterwarnings("default")

NUMBERS = ["forecast", "forecast_mean", "q10", "q50", "q90"]


def table(project: Project, forecast_id: str) -> pl.DataFrame:
    rows = pl.DataFrame(runs.read_table(project, "forecasts"))
    return rows.filter(pl.col("forecast_id") == forecast_id).sort("store_id", "date")


def sales(project: Project) -> pl.DataFrame:
    rows = pl.DataFrame(runs.read_table(project, "sales"))
    closed = (pl.col("store_id") == "1") & (pl.col("date") > CLOSED_ON)
    return rows.filter(~closed).select("store_id", "date", pl.col("sales").cast(pl.Float64))


def csv(rows: pl.DataFrame, folder: Path) -> Path:
    rows.write_csv(folder / "rows.csv")
    return folder / "rows.csv"


def parquet(rows: pl.DataFrame, folder: Path) -> Path:
    rows.write_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


@pytest.mark.parametrize("write", [csv, parquet])
def test_a_file_that_says_what_the_tables_say_is_forecast_the_same(
    twice: Twice, tmp_path: Path, write: Callable[[pl.DataFrame, Path], Path]
) -> None:
    project = twice()
    from_tables = forecast(project)
    result = forecast(project, input=write(sales(project), tmp_path))
    assert result.forecast_id == from_tables.forecast_id
    assert result.unchanged


def test_other_rows_have_an_id_of_their_own_and_ids_stay_text(twice: Twice, tmp_path: Path) -> None:
    project = twice()
    from_tables = forecast(project)
    rows = sales(project).filter(pl.col("store_id") == "001").with_columns(pl.col("sales") * 3)
    result = forecast(project, input=csv(rows, tmp_path))
    assert result.forecast_id != from_tables.forecast_id
    assert (result.stores, result.rows) == (1, 7)
    made = table(project, result.forecast_id)
    assert made["store_id"].unique().to_list() == ["001"]
    once = table(project, from_tables.forecast_id).filter(pl.col("store_id") == "001")
    assert (made["forecast"] / once["forecast"]).to_list() == pytest.approx([3.0] * 7)
    run = runs.newest(project, "forecast")
    assert run is not None
    assert run["details"]["input"].endswith("rows.csv")


def test_the_cutoff_is_of_the_last_period_with_sales_or_as_of(twice: Twice, tmp_path: Path) -> None:
    project = twice()
    file = csv(sales(project), tmp_path)
    assert forecast(project, input=file).cutoff == THROUGH
    assert forecast(project, input=file, as_of=THROUGH + timedelta(days=9)).cutoff == THROUGH
    assert forecast(project, input=file, as_of=date.max).cutoff == THROUGH
    earlier = THROUGH - timedelta(days=9)
    assert forecast(project, input=file, as_of=earlier).cutoff == earlier
    with pytest.raises(InputError) as refused:
        forecast(project, input=file, as_of=THROUGH - timedelta(days=900))
    assert refused.value.code is Code.CUTOFF_INVALID


def test_sales_of_the_future_need_as_of(twice: Twice, tmp_path: Path) -> None:
    project = twice()
    rows = sales(project)
    day = datetime.now(UTC).date() + timedelta(days=2)
    late = rows.tail(1).with_columns(date=pl.lit(day))
    file = csv(pl.concat([rows, late]), tmp_path)
    with pytest.raises(InputError, match=f"row {rows.height + 1}: sales are dated after tomorrow"):
        forecast(project, input=file)
    assert runs.newest(project, "forecast") is None
    assert forecast(project, input=file, as_of=THROUGH).cutoff == THROUGH


HEAD = "store_id,date,sales\n"
BAD = {
    "wrong number": (HEAD + "001,2021-01-04,1\n001,2021-01-05,1.000,5\n", "INPUT_FILE_UNREADABLE"),
    "comma": (HEAD + '001,2021-01-04,1\n001,2021-01-05,"1,5"\n', "row 2"),
    "date": (HEAD + "001,2021-01-04,1\n001,05/01/2021,1\n", "row 2"),
    "twice": (HEAD + "001,2021-01-04,1\n001,2021-01-04,1\n", "row 2"),
    "no id": (HEAD + "001,2021-01-04,1\n,2021-01-05,1\n", "row 2"),
    "mistyped year": (HEAD + "001,2021-01-04,1\n001,2204-01-05,1\n", "row 2"),
    "too large": (HEAD + "001,2021-01-04,1e15\n", "row 1"),
    "infinite": (HEAD + "001,2021-01-04,inf\n", "row 1"),
    "no column": ("store_id,date\n001,2021-01-04\n", "INPUT_COLUMN_MISSING"),
    "misspelt": ("store_id,date,sales,citty\n001,2021-01-04,1,x\n", "'city'"),
    "no row": (HEAD, "no row"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_row_and_value(twice: Twice, tmp_path: Path, name: str) -> None:
    text, told = BAD[name]
    file = tmp_path / "rows.csv"
    file.write_text(text, "utf-8")
    with pytest.raises(InputError) as refused:
        read(file, twice().config.rules())
    fault = refused.value
    assert told in f"{fault.code} {fault.message} {fault.where} {fault.next_step}"


def test_parquet_with_whole_numbers_as_ids_is_refused(twice: Twice, tmp_path: Path) -> None:
    rows = sales(twice()).with_columns(store_id=pl.lit(1))
    with pytest.raises(InputError, match="row 1: store_id is not a text"):
        read(parquet(rows, tmp_path), twice().config.rules())


@pytest.mark.parametrize("name", ["none.csv", "rows.xlsx"])
def test_a_file_that_is_not_there_or_of_another_kind(
    twice: Twice, tmp_path: Path, name: str
) -> None:
    with pytest.raises(InputError) as refused:
        read(tmp_path / name, twice().config.rules())
    assert refused.value.code is Code.INPUT_FILE_UNREADABLE


def test_the_command_takes_it(
    twice: Twice, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    from tests.fills import settings

    project = twice()
    (project.root / "storecast.yaml").write_text(yaml.safe_dump(settings()), "utf-8")
    file = csv(sales(project), tmp_path)
    at = ["--project", str(project.root), "--json"]
    with pytest.raises(SystemExit, match="0"):
        main(["forecast", "--input", str(file), *at])
    told = json.loads(capsys.readouterr().out)
    assert told["result"]["rows"] == 14
    with pytest.raises(SystemExit, match="1"):
        main(["forecast", "--input", str(tmp_path / "none.csv"), *at])
    told = json.loads(capsys.readouterr().out)
    assert told["error"]["code"] == "INPUT_FILE_UNREADABLE"
