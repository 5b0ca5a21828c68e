"""What reaches the artefact: the three roads to one forecast, future rows, and what is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from storecast.artifact import flat
from storecast.artifact.checking import not_ahead
from storecast.artifact.pyfunc import StoreForecaster, as_pandas, empty_input, signature
from storecast.artifact.unified import UnifiedForecaster, output_schema
from storecast.core.calendar import Frequency
from storecast.core.panel import Known
from storecast.core.window import cut
from storecast.errors import Code, InputError, StorecastError
from storecast.models.base import Recipe
from storecast.models.ensemble import with_members

from .chains import FIRST, history, recipe
from .logged import log

# MLflow and SQLAlchemy warn about themselves
pytestmark = pytest.mark.filterwarnings("default")

CUTOFF = FIRST + timedelta(days=199)
HORIZON = 14
BARE = ["store_id", "date", "sales"]


def fitted(kind: str) -> UnifiedForecaster:
    return UnifiedForecaster.fit(recipes()[kind], history(), CUTOFF, None)


def recipes() -> dict[str, Recipe]:
    trees = {
        "lightgbm": recipe("lightgbm", n_estimators=10),
        "xgboost": recipe("xgboost", n_estimators=10),
        "local_level": recipe("local_level"),
        "theta": recipe("theta"),
    }
    members = [trees["lightgbm"], trees["local_level"]]
    weights = [{"segment": [], "weights": [0.7, 0.3]}]
    whole = recipe("ensemble", members=["lightgbm", "local_level"], weights=weights)
    return {**trees, "ensemble": with_members(whole, members)}


@pytest.fixture(scope="module")
def forecaster() -> UnifiedForecaster:
    return fitted("lightgbm")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, forecaster: UnifiedForecaster) -> Any:
    """As ``mlflow.pyfunc.load_model`` gives it."""
    import mlflow.pyfunc

    logged, _ = log(tmp_path_factory.mktemp("project"), forecaster)
    return mlflow.pyfunc.load_model(str(logged))


def flat_rows(cutoff: date = CUTOFF) -> pl.DataFrame:
    told = history()
    return flat.flatten(told, cut(told, cutoff, HORIZON))


def past(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("date") <= CUTOFF)


def rows_of(frame: pd.DataFrame) -> pl.DataFrame:
    return pl.from_pandas(frame).cast(dict(output_schema(history().rules)))  # type: ignore[arg-type]


# ------------------------------------------------------------------- three roads


@pytest.mark.parametrize("kind", ["lightgbm", "xgboost", "local_level", "theta", "ensemble"])
def test_three_roads_that_say_the_same_forecast_the_same_to_the_bit(kind: str) -> None:
    forecaster = fitted(kind)
    expected = forecaster.forecast()
    rows = flat_rows()
    assert expected.filter(pl.col("date").dt.weekday() == 7)["basis"].unique().to_list() == [
        "closed"
    ]
    roads = {
        "nothing": pl.DataFrame(),
        "with future": rows,
        "history alone": past(rows),
        "sales alone": past(rows).select(BARE),
        "sales that are known": past(rows).select(BARE).drop_nulls(),
        "shuffled": rows.sample(fraction=1.0, shuffle=True, seed=1),
    }
    for road, given in roads.items():
        made, _ = forecaster.answer(given)
        assert made.equals(expected), road


def test_a_history_alone_gets_its_holidays_and_closed_days(model: Any) -> None:
    made = model.predict(as_pandas(past(flat_rows()).select(BARE)))
    assert rows_of(made).equals(rows_of(model.predict(empty_input(history().rules))))
    assert made.attrs["storecast"]["future"] == "made"
    assert made.attrs["storecast"]["filled"] == {}
    assert made.attrs["storecast"]["packed"] == [
        "customers", "is_open", "city", "opened_on", "closed_on"
    ]  # fmt: skip


def test_holes_in_the_future_are_filled_counted_and_logged(
    model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rows = flat_rows()
    gone = (pl.col("store_id") == "1") & (pl.col("date") > CUTOFF + timedelta(days=9))
    with caplog.at_level(logging.WARNING):
        made = model.predict(as_pandas(rows.filter(~gone)))
    assert rows_of(made).equals(rows_of(model.predict(as_pandas(rows))))
    assert made.attrs["storecast"]["filled"] == {"1": 5}
    assert made.attrs["storecast"]["future"] == "given"
    assert "FUTURE_ROWS_FILLED" in caplog.text
    assert "'1': 5" in caplog.text


def test_a_row_that_is_there_counts_as_it_is_and_is_not_filled(model: Any) -> None:
    sundays = (pl.col("date") > CUTOFF) & (pl.col("date").dt.weekday() == 7)
    unknown = flat_rows().with_columns(is_open=pl.when(sundays).then(None).otherwise("is_open"))
    made = model.predict(as_pandas(unknown))
    assert made.attrs["storecast"]["filled"] == {}
    assert "closed" not in set(made["basis"])


def test_what_the_packed_tables_do_not_know_is_null_in_a_hole(
    forecaster: UnifiedForecaster,
) -> None:
    newcomer = flat.flatten(history(("new",)), cut(history(("new",)), CUTOFF, HORIZON))
    made, noted = forecaster.answer(past(newcomer))
    assert made.height == HORIZON
    assert "closed" not in set(made["basis"])
    assert noted.made


def test_future_rows_beyond_the_horizon_are_counted_and_left_out(
    model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    params = {"horizon": 3}
    with caplog.at_level(logging.WARNING):
        made = model.predict(as_pandas(flat_rows()), params=params)
    assert made.attrs["storecast"]["ignored"] == 3 * (HORIZON - 3)
    assert "FUTURE_ROWS_IGNORED" in caplog.text
    assert rows_of(made).equals(rows_of(model.predict(empty_input(history().rules), params=params)))


def test_future_rows_of_a_closed_store_are_left_out(model: Any) -> None:
    shut = flat_rows().with_columns(
        closed_on=pl.when(pl.col("store_id") == "1").then(pl.lit(CUTOFF)).otherwise("closed_on")
    )
    made = model.predict(as_pandas(shut))
    assert set(made["store_id"]) == {"001", "Öç"}
    assert made.attrs["storecast"]["ignored"] == HORIZON


def test_a_future_row_says_of_the_past_nothing(model: Any) -> None:
    """A row before the cutoff is history, whatever else came: its sales count."""
    rows, params = flat_rows(), {"cutoff": (CUTOFF - timedelta(days=7)).isoformat()}
    wild = rows.with_columns(
        sales=pl.when(pl.col("date") > CUTOFF - timedelta(days=7)).then(1e9).otherwise("sales")
    )
    assert rows_of(model.predict(as_pandas(wild), params=params)).equals(
        rows_of(model.predict(as_pandas(rows), params=params))
    )


def test_a_store_that_was_never_sold_in_takes_after_the_others(model: Any) -> None:
    rows = flat_rows()
    new = rows.filter(pl.col("store_id") == "1").with_columns(
        store_id=pl.lit("new"),
        sales=pl.lit(None, pl.Float64),
        opened_on=pl.lit(None, pl.Date),
    )
    for given in (new, new.filter(pl.col("date") > CUTOFF)):
        made = model.predict(as_pandas(pl.concat([rows, given])))
        cold = made[made["store_id"] == "new"]
        assert len(cold) == HORIZON
        assert set(cold["basis"]) == {"cold_start", "closed"}


def test_a_closing_that_was_packed_holds_until_sales_contradict_it() -> None:
    told = history()
    assert told.stores is not None
    shut = CUTOFF - timedelta(days=20)
    told = replace(told, stores=told.stores.with_columns(
        closed_on=pl.when(pl.col("store_id") == "1").then(pl.lit(shut))
    ))  # fmt: skip
    forecaster = UnifiedForecaster.fit(recipe("local_level"), told, CUTOFF, None)
    bare = past(flat_rows()).select(BARE)
    before = bare.filter((pl.col("store_id") != "1") | (pl.col("date") <= shut))
    assert set(forecaster.answer(before)[0]["store_id"]) == {"001", "Öç"}
    assert set(forecaster.answer(bare)[0]["store_id"]) == {"001", "1", "Öç"}


def test_packed_attributes_are_those_that_were_valid_at_the_cutoff() -> None:
    told = history(timeless=False)
    assert told.stores is not None
    moved = CUTOFF - timedelta(days=50)
    versions = pl.concat([
        told.stores.with_columns(valid_from=pl.lit(FIRST)),
        told.stores.with_columns(valid_from=pl.lit(moved), city=pl.lit("Belém")),
    ])  # fmt: skip
    told = replace(told, store_versions=versions)
    rows = past(flat_rows()).select(BARE)
    for cutoff, city in ((CUTOFF, "Belém"), (moved - timedelta(days=1), "São Paulo")):
        read = flat.history(rows, told.rules, cutoff, told)
        assert read.stores is not None
        assert read.stores["city"].unique().to_list() == [city]


@pytest.mark.parametrize("table", ["covariates", "covariates_by_date", "covariate_versions"])
def test_packed_covariates_of_every_table_are_found(table: str) -> None:
    told = history(known={"is_open": Known(ahead=7)})
    assert told.covariates is not None
    by_date = told.covariates.filter(pl.col("store_id") == "1").drop("store_id")
    forms: dict[str, Any] = {
        "covariates": told.covariates,
        "covariates_by_date": by_date,
        "covariate_versions": told.covariates.with_columns(known_at=pl.lit(FIRST)),
    }
    forms = {"covariates": None, table: forms[table]}
    told = replace(told, **forms)
    forecaster = UnifiedForecaster.fit(recipe("local_level"), told, CUTOFF, None)
    expected = forecaster.forecast()
    assert expected.filter(pl.col("basis") == "closed").height == 3  # of two Sundays one is near
    rows = flat.flatten(told, cut(told, CUTOFF, HORIZON))
    hole = (pl.col("store_id") == "001") & (pl.col("date") > CUTOFF)
    for given in (rows, past(rows), past(rows).select(BARE), rows.filter(~hole)):
        assert forecaster.answer(given)[0].equals(expected)


# --------------------------------------------------------------------- cutoff


@pytest.mark.parametrize(
    ("given", "cutoff"),
    [
        ("packed", FIRST - timedelta(days=1)),
        ("packed", CUTOFF + timedelta(days=1)),
        ("rows", FIRST - timedelta(days=1)),
        ("rows", CUTOFF + timedelta(days=1)),
        ("unsold", CUTOFF),
    ],
)
def test_a_cutoff_outside_the_history_is_refused(model: Any, given: str, cutoff: date) -> None:
    rows = past(flat_rows())
    if given == "packed":
        rows = rows.clear()
    elif given == "unsold":
        rows = rows.with_columns(sales=pl.lit(None, pl.Float64))
    with pytest.raises(InputError) as refused:
        model.predict(as_pandas(rows), params={"cutoff": cutoff.isoformat()})
    assert refused.value.code is Code.CUTOFF_INVALID
    assert refused.value.expected is not None
    empty = model.predict(
        as_pandas(rows), params={"cutoff": cutoff.isoformat(), "on_error": "empty"}
    )
    assert empty.empty


def test_a_cutoff_before_the_packed_tail_is_refused_though_stores_were_open_by_then() -> None:
    told = history()
    late = FIRST + timedelta(days=100)
    told = replace(told, sales=told.sales.filter(pl.col("date") >= late))
    forecaster = UnifiedForecaster.fit(recipe("local_level"), told, CUTOFF, None)
    with pytest.raises(InputError) as refused:
        forecaster.forecast(cutoff=late - timedelta(days=1))
    assert refused.value.code is Code.CUTOFF_INVALID
    assert forecaster.forecast(cutoff=late).height == 3 * HORIZON


def later(days: int, sales: float | None) -> pl.DataFrame:
    """The history, and of one store a row of so many days after today, in UTC."""
    rows = past(flat_rows())
    day = datetime.now(UTC).date() + timedelta(days=days)
    one = rows.filter(pl.col("store_id") == "1").tail(1)
    return pl.concat([rows, one.with_columns(date=pl.lit(day), sales=pl.lit(sales, pl.Float64))])


def test_sales_of_the_future_are_refused_where_no_cutoff_says_so(
    forecaster: UnifiedForecaster,
) -> None:
    rows = later(2, 5.0)
    with pytest.raises(InputError, match="after tomorrow") as refused:
        forecaster.answer(rows)
    assert refused.value.code is Code.INPUT_INVALID
    assert refused.value.where == f"row {rows.height}"
    assert refused.value.found == str(rows["date"][-1])
    for taken in (rows, later(2, None)):
        made, noted = forecaster.answer(taken, cutoff=CUTOFF)
        assert made["cutoff"].unique().to_list() == [CUTOFF]
        assert noted.ignored == 1
    made, _ = forecaster.answer(later(1, 5.0), horizon=1)
    assert made["cutoff"][0] > datetime.now(UTC).date()


def test_a_period_that_has_begun_is_not_of_the_future() -> None:
    weekly = history().rules
    weekly = replace(weekly, frequency=Frequency("W-SUN"))
    frequency = weekly.frequency
    for day, refused in ((0, False), (1, False), (9, True)):
        ordinal = frequency.ordinal(datetime.now(UTC).date() + timedelta(days=day))
        label = pl.Series([frequency.label(ordinal)])
        rows = pl.DataFrame({"store_id": ["a"], "date": label, "sales": [1.0]})
        if refused:
            with pytest.raises(InputError, match="row 1: sales are dated after tomorrow"):
                not_ahead(rows, weekly)
        else:
            not_ahead(rows, weekly)


# ---------------------------------------------------------------- cold starts


def unsold_rows(store: str, **columns: Any) -> pl.DataFrame:
    """Rows of a store without sales, up to the cutoff."""
    rows = past(flat_rows()).filter(pl.col("store_id") == "1").tail(40)
    rows = rows.with_columns(
        store_id=pl.lit(store), sales=pl.lit(None, pl.Float64), opened_on=pl.lit(None, pl.Date)
    )
    return rows.with_columns(pl.lit(v).alias(name) for name, v in columns.items())


def usual(others: pl.DataFrame, column: str) -> list[float]:
    """By step the median over the stores that are open; zero on a day on which none is."""
    some = others.filter(pl.col("basis") == "model").group_by("step").agg(pl.col(column).median())
    steps = pl.DataFrame({"step": range(1, HORIZON + 1)}, schema={"step": pl.Int32})
    return steps.join(some, on="step", how="left").sort("step")[column].fill_null(0.0).to_list()


@pytest.mark.parametrize("back", [0, 1, 30])
def test_a_store_that_closed_before_it_sold_gets_no_forecast(
    forecaster: UnifiedForecaster, back: int
) -> None:
    shut = unsold_rows("shut", closed_on=CUTOFF - timedelta(days=back))
    made, _ = forecaster.answer(pl.concat([past(flat_rows()), shut]))
    assert set(made["store_id"]) == {"001", "1", "Öç"}
    later_on = unsold_rows("shut", closed_on=CUTOFF + timedelta(days=1))
    made, _ = forecaster.answer(pl.concat([past(flat_rows()), later_on]))
    assert "shut" in set(made["store_id"])


def test_a_store_that_never_sold_is_a_cold_start_however_long_it_is_open(
    forecaster: UnifiedForecaster,
) -> None:
    rows = past(flat_rows())
    idle = unsold_rows("idle", opened_on=FIRST)
    known = rows.filter(pl.col("store_id") == "1")
    ahead = flat_rows().filter((pl.col("store_id") == "1") & (pl.col("date") > CUTOFF))
    cases = {
        "idle": pl.concat([rows, idle]),
        "1": pl.concat([rows.filter(pl.col("store_id") != "1"), ahead]),
    }
    for store, given in cases.items():
        made, noted = forecaster.answer(given)
        cold = made.filter(pl.col("store_id") == store)
        assert cold.height == HORIZON
        assert set(cold["basis"]) <= {"cold_start", "closed"}
        others = made.filter(pl.col("store_id") != store)
        assert cold["q90"].to_list() == usual(others, "q90")
        assert noted.alone == ()
    zeros = known.with_columns(sales=pl.lit(0.0))  # to sell nothing is known of this one
    made, _ = forecaster.answer(pl.concat([rows.filter(pl.col("store_id") != "1"), zeros]))
    assert set(made.filter(pl.col("store_id") == "1")["basis"]) == {"model", "closed"}


def test_a_store_that_opens_after_the_cutoff_gets_none_and_its_rows_are_counted(
    model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ahead = flat_rows().filter((pl.col("store_id") == "1") & (pl.col("date") > CUTOFF))
    soon = ahead.with_columns(store_id=pl.lit("soon"), opened_on=CUTOFF + timedelta(days=2))
    with caplog.at_level(logging.WARNING):
        made = model.predict(as_pandas(pl.concat([flat_rows(), soon])))
    assert "soon" not in set(made["store_id"])
    assert made.attrs["storecast"]["ignored"] == HORIZON
    assert "open after the cutoff" in caplog.text


@pytest.mark.parametrize("kind", ["lightgbm", "local_level"])
def test_with_nobody_else_a_store_takes_after_the_packed_ones(kind: str) -> None:
    forecaster = fitted(kind)
    packed = forecaster.forecast()
    sold = past(flat_rows()).filter(pl.col("store_id") == "1").with_columns(store_id=pl.lit("shut"))
    sold = sold.with_columns(closed_on=pl.lit(CUTOFF))
    for given in (unsold_rows("new"), pl.concat([sold, unsold_rows("new")])):
        made, noted = forecaster.answer(given, cutoff=CUTOFF)
        assert made["store_id"].unique().to_list() == ["new"]
        assert set(made["basis"]) == {"cold_start"}
        assert made["forecast"].to_list() == usual(packed, "forecast")
        assert noted.alone == ()


def test_with_nobody_to_take_after_it_is_zero_and_said_or_refused(
    model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The packed history ends before this cutoff."""
    move = pl.col("date") + pl.duration(days=7)
    new = unsold_rows("new").with_columns(date=move)
    week = CUTOFF + timedelta(days=7)
    sold = past(flat_rows()).filter(pl.col("store_id") == "1")
    sold = sold.with_columns(date=move, store_id=pl.lit("shut"), closed_on=pl.lit(week))
    params = {"cutoff": week.isoformat()}
    with caplog.at_level(logging.WARNING):
        made = model.predict(as_pandas(pl.concat([sold, new])), params=params)
    assert made["store_id"].unique().tolist() == ["new"]
    assert not made.select_dtypes("float64").to_numpy().any()
    assert made.attrs["storecast"]["alone"] == ["new"]
    assert "COLD_START_ALONE" in caplog.text
    with pytest.raises(InputError, match="packed history") as refused:
        model.predict(as_pandas(new), params=params)
    assert refused.value.code is Code.CUTOFF_INVALID
    assert str(CUTOFF) in str(refused.value.expected)


# ------------------------------------------------------------------- violations

Change = Callable[[pd.DataFrame], Any]


def at(row: int, name: str, value: Any) -> Change:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        if frame[name].dtype != object and not isinstance(value, float):
            frame[name] = frame[name].astype(object)
        frame.loc[row, name] = value
        return frame

    return change


def whole(name: str, make: Callable[[pd.Series], Any]) -> Change:
    return lambda frame: frame.assign(**{name: make(frame[name])})


def twice(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[9, BARE[:2]] = frame.loc[3, BARE[:2]].to_numpy()
    return frame


# what is wrong, its row, a word of the message, and what was found there
VIOLATIONS: dict[str, tuple[Change, int, str, str]] = {
    "null id": (at(4, "store_id", None), 5, "store_id is null", "null"),
    "NaN id": (at(4, "store_id", float("nan")), 5, "store_id is null", "null"),
    "NA id": (at(4, "store_id", pd.NA), 5, "store_id is null", "null"),
    "integer in ids": (at(4, "store_id", 12), 5, "not a text", "12"),
    "float in ids": (at(4, "store_id", 1.5), 5, "not a text", "1.5"),
    "bytes in ids": (at(4, "store_id", b"001"), 5, "not a text", "b'001'"),
    "empty id": (at(4, "store_id", ""), 5, "store_id is empty", "''"),
    "spaces as id": (at(4, "store_id", "  "), 5, "store_id is empty", "'  '"),
    "control in id": (at(4, "store_id", "0\t1"), 5, "control character", r"'0\t1'"),
    "padded id": (at(4, "store_id", "001 "), 5, "spaces around it", "'001 '"),
    "padded unknown": (
        lambda f: at(7, "store_id", "new")(at(4, "store_id", " new")(f)),
        8, "spaces around it", "'new'",
    ),
    "integer ids": (whole("store_id", lambda s: s.map({"001": 1, "1": 2, "Öç": 3})), 1,
                    "not a text", "1"),
    "float ids": (whole("store_id", lambda s: s.map({"001": 1.0, "1": 2.0, "Öç": 3.0})), 1,
                  "not a text", "1.0"),
    "categorical ids": (whole("store_id", lambda s: s.astype("category")), 1, "is categorical",
                        "category"),
    "null date": (at(4, "date", pd.NaT), 5, "date is null", "null"),
    "time of day": (at(4, "date", pd.Timestamp("2021-01-08 03:00")), 5, "time of day",
                    "2021-01-08 03:00:00"),
    "time zone": (whole("date", lambda s: s.dt.tz_localize("America/Sao_Paulo")), 1, "time zone",
                  "datetime64[ns, America/Sao_Paulo]"),
    "a time zone": (at(4, "date", pd.Timestamp("2021-01-08", tz="UTC")), 5, "time zone",
                    "2021-01-08 00:00:00+00:00"),
    "text as date": (at(4, "date", "2021-01-08"), 5, "not a date", "'2021-01-08'"),
    "number as date": (at(4, "date", 20210108), 5, "not a date", "20210108"),
    "text as opening": (at(4, "opened_on", "2021-01-08"), 5, "not a date", "'2021-01-08'"),
    "before 1900": (at(4, "date", pd.Timestamp("1700-01-01")), 5, "out of range", "1700-01-01"),
    "after 2200": (at(4, "date", pd.Timestamp("2204-01-01")), 5, "out of range", "2204-01-01"),
    "end of time": (at(4, "date", date(9999, 12, 31)), 5, "out of range", "9999-12-31"),
    "closed in 9999": (at(4, "closed_on", date(9999, 12, 31)), 5, "out of range", "9999-12-31"),
    "half a character": (at(4, "store_id", "\ud800"), 5, "half a character", r"'\ud800'"),
    "half in city": (at(4, "city", "\ud800"), 5, "half a character", r"'\ud800'"),
    "huge sales": (at(4, "sales", -1e308), 5, "sales is too large", "-1e+308"),
    "huge covariate": (at(4, "is_open", 1e30), 5, "is_open is too large", "1e+30"),
    "a huge integer": (at(4, "sales", 10**400), 5, "sales is too large", "a number of 1329 bits"),
    "twice": (twice, 10, "row 4", "'001', 2021-01-07"),
    "infinite sales": (at(4, "sales", float("inf")), 5, "sales is infinite", "inf"),
    "infinite covariate": (at(4, "is_open", float("-inf")), 5, "is_open is infinite", "-inf"),
    "bool as covariate": (whole("is_open", lambda s: s == 1), 1, "not a number", "True"),
    "bool in sales": (at(4, "sales", True), 5, "not a number", "True"),
    "text in sales": (at(4, "sales", "12,5"), 5, "not a number", "'12,5'"),
    "decimal in sales": (at(4, "sales", Decimal("1.5")), 5, "not a number", "Decimal('1.5')"),
    "categorical covariate": (whole("is_open", lambda s: s.astype("category")), 1,
                              "is categorical", "category"),
    "number as attribute": (at(4, "city", 3.5), 5, "city is not a text", "3.5"),
}  # fmt: skip


def broken(name: str) -> pd.DataFrame:
    frame = as_pandas(flat_rows())
    return VIOLATIONS[name][0](frame)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", VIOLATIONS)
def test_what_breaks_the_schema_is_named_by_row_and_value(
    forecaster: UnifiedForecaster, name: str
) -> None:
    """Asked past MLflow's own checks, as who serves the artefact otherwise would."""
    _, row, word, found = VIOLATIONS[name]
    served = StoreForecaster()
    served.forecaster = forecaster
    with pytest.raises(InputError) as refused:
        served.predict(None, broken(name))
    assert refused.value.code is Code.INPUT_INVALID
    assert refused.value.where == f"row {row}"
    assert word in refused.value.message
    assert refused.value.found == found
    answer = served.predict(None, broken(name), {"on_error": "empty"})
    assert answer.empty
    assert answer.attrs["storecast"]["error"]["code"] == "INPUT_INVALID"


CONVERTED = {"text as date", "text as opening", "bool in sales", "decimal in sales"}
"""What MLflow makes what the signature says, before predict is asked: no harm is done."""


@pytest.mark.parametrize("name", sorted(VIOLATIONS.keys() - CONVERTED))
def test_none_of_the_rest_gets_through_the_loaded_model(model: Any, name: str) -> None:
    """Refused by MLflow where its signature tells, else inside predict."""
    from mlflow.exceptions import MlflowException

    with pytest.raises((InputError, MlflowException)):
        model.predict(broken(name))


def test_what_the_page_says_of_mlflows_conversions() -> None:
    """Should one of them change, docs/forecasting.md changes too."""
    from mlflow.exceptions import MlflowException
    from mlflow.models.utils import _enforce_schema

    frame = as_pandas(past(flat_rows())).head(2)[BARE]
    inputs = signature(history().rules).inputs

    def read(*texts: str) -> list[str]:
        made = _enforce_schema(frame.assign(date=list(texts)), inputs)
        return [str(day.date()) for day in made["date"]]

    assert read("2024-01-05", "2024-01-13") == ["2024-01-05", "2024-01-13"]
    assert read("05/01/2024", "13/01/2024") == ["2024-05-01", "2024-01-13"]
    for kind in ("int64", "Int64"):
        with pytest.raises(MlflowException):
            _enforce_schema(frame.assign(sales=pd.Series([5, 6], dtype=kind)), inputs)


def test_a_missing_column_has_its_code(forecaster: UnifiedForecaster) -> None:
    served = StoreForecaster()
    served.forecaster = forecaster
    with pytest.raises(InputError) as refused:
        served.predict(None, as_pandas(flat_rows().drop("sales")))
    assert refused.value.code is Code.INPUT_COLUMN_MISSING
    with pytest.raises(InputError) as refused:
        served.predict(None, "a text")  # type: ignore[arg-type]
    assert refused.value.found == "str"


def test_whole_numbers_and_dates_as_objects_are_what_they_say(
    forecaster: UnifiedForecaster,
) -> None:
    """A Spark DATE arrives as Python dates, a count as integers."""
    frame = as_pandas(flat_rows())
    other = frame.assign(
        date=[stamp.date() for stamp in frame["date"]],
        is_open=frame["is_open"].astype("Int8"),
        store_id=frame["store_id"].astype("string"),
        opened_on=pd.Series([datetime(2021, 1, 4)] * len(frame), dtype=object),
    )
    served = StoreForecaster()
    served.forecaster = forecaster
    assert served.predict(None, other).equals(served.predict(None, frame))


def test_columns_of_other_names_are_left_out(model: Any) -> None:
    frame = as_pandas(flat_rows())
    assert model.predict(frame.assign(extra=1.0)).equals(model.predict(frame))


@pytest.mark.parametrize(
    "params",
    [
        {"horizon": 15}, {"horizon": 0}, {"horizon": -3}, {"cutoff": "yesterday"},
        {"cutoff": "2030-01-01"}, {"cutoff": "2021-02-30"}, {"cutoff": "9999-12-31"},
        {"cutoff": "20210722"}, {"cutoff": "2021-W29-4"}, {"cutoff": "1899-12-31"},
    ],
)  # fmt: skip
def test_a_bad_parameter_gives_the_empty_frame_where_that_is_asked(
    model: Any, params: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StorecastError) as refused:
        model.predict(as_pandas(flat_rows()), params=params)
    with caplog.at_level(logging.ERROR):
        empty = model.predict(as_pandas(flat_rows()), params={**params, "on_error": "empty"})
    assert empty.empty
    assert refused.value.code.value in caplog.text


# ---------------------------------------------------------------------- output

NUMPY = {"string": "object", "datetime": "datetime64[ns]", "integer": "int32", "double": "float64"}


def test_the_output_has_the_types_of_the_signature_when_empty_too(model: Any) -> None:
    declared = [(c.name, NUMPY[c.type.name]) for c in signature(history().rules).outputs]
    full = model.predict(as_pandas(flat_rows()))
    empty = model.predict(broken("twice"), params={"on_error": "empty"})
    for frame in (full, empty):
        assert [(n, str(t)) for n, t in frame.dtypes.items()] == declared
    assert len(full) == 3 * HORIZON
    assert empty.empty
    assert {type(v) for v in full["store_id"]} == {str}
    assert np.isfinite(full.select_dtypes("float64").to_numpy()).all()
