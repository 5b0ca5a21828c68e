from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest

from storecast.artifact.unified import UnifiedForecaster, fingerprint, output_schema
from storecast.errors import Code, InputError
from storecast.models.calibration import Conformal

from .chains import FIRST, history, recipe, rules

CUTOFF = FIRST + timedelta(days=199)


def packed(kind: str = "seasonal_naive") -> UnifiedForecaster:
    told = history()
    return UnifiedForecaster.fit(recipe(kind), told, CUTOFF, None)


@pytest.mark.parametrize("kind", ["seasonal_naive", "local_level"])
def test_the_output_has_the_declared_schema(kind: str) -> None:
    made = packed(kind).forecast()
    assert dict(made.schema) == output_schema(rules())
    assert made.height == 3 * 14
    assert made["cutoff"].unique().to_list() == [CUTOFF]


def test_a_closed_day_is_exactly_zero() -> None:
    made = packed("local_level").forecast()
    sundays = made.filter(pl.col("date").dt.weekday() == 7)
    assert sundays.height == 3 * 2
    assert set(sundays["basis"]) == {"closed"}
    numbers = sundays.select("forecast", "forecast_mean", "q10", "q50", "q90")
    assert numbers.to_numpy().any() == False  # noqa: E712
    assert (made.filter(pl.col("basis") == "model")["forecast"] > 50).all()

    told, saturday = history(), CUTOFF + timedelta(days=2)
    assert told.covariates is not None
    shut = told.covariates.with_columns(
        is_open=pl.when(pl.col("date") == saturday).then(0.0).otherwise("is_open")
    )
    made = packed("local_level").forecast(replace(told, covariates=shut))
    assert made.filter(pl.col("date") == saturday)["q90"].to_list() == [0.0] * 3


def test_a_store_known_closed_gets_none_and_one_closed_later_does() -> None:
    told = history()
    assert told.stores is not None
    closings = pl.Series("closed_on", [CUTOFF, CUTOFF + timedelta(days=3), None])
    told = replace(told, stores=told.stores.with_columns(closings))
    made = packed().forecast(told)
    assert made["store_id"].unique().sort().to_list() == ["1", "Öç"]


def test_a_store_unknown_at_training_is_forecast_from_its_own_history() -> None:
    newcomer = history(("new",))
    made = packed("local_level").forecast(newcomer)
    assert made["store_id"].unique().to_list() == ["new"]
    assert set(made["basis"]) == {"model", "closed"}


def test_cold_start_takes_after_the_median_of_the_others() -> None:
    told = history()
    assert told.stores is not None
    unborn = told.stores.head(1).with_columns(
        store_id=pl.lit("newborn"), opened_on=pl.lit(CUTOFF - timedelta(days=2))
    )
    told = replace(told, stores=pl.concat([told.stores, unborn]))
    made = packed("local_level").forecast(told)
    cold = made.filter(pl.col("basis") == "cold_start")
    assert set(cold["store_id"]) == {"newborn"}
    for row in cold.iter_rows(named=True):
        others = made.filter((pl.col("step") == row["step"]) & (pl.col("basis") == "model"))
        if others.is_empty():  # all the others are closed that day
            assert row["q90"] == 0.0
            continue
        for name in ("forecast", "forecast_mean", "q10", "q50", "q90"):
            assert row[name] == pytest.approx(others[name].median())


def test_intervals_come_from_the_calibration_that_is_packed() -> None:
    told = history()
    errors = pl.DataFrame(
        {
            "store_id": ["001"] * 400,
            "step": pl.Series([1 + i % 14 for i in range(400)], dtype=pl.Int32),
            "sales": [100.0 + i % 21 for i in range(400)],
            "forecast": [110.0] * 400,
            "scale": [100.0] * 400,
        }
    )
    conformal = Conformal.learn(errors, told.rules)
    made = UnifiedForecaster.fit(recipe("local_level"), told, CUTOFF, conformal).forecast()
    selling = made.filter(pl.col("basis") == "model")
    assert (selling["q90"] - selling["q10"] > 5).all()


@pytest.mark.parametrize(
    ("horizon", "code"), [(15, Code.HORIZON_TOO_LONG), (0, Code.INPUT_INVALID)]
)
def test_a_horizon_that_was_not_packed(horizon: int, code: Code) -> None:
    with pytest.raises(InputError) as refused:
        packed().forecast(horizon=horizon)
    assert refused.value.code is code


def test_a_shorter_horizon_is_the_beginning_of_the_longer() -> None:
    forecaster = packed("local_level")
    short = forecaster.forecast(horizon=5)
    assert short.equals(forecaster.forecast().filter(pl.col("step") <= 5))


def test_a_cutoff_beyond_the_history_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        packed().forecast(cutoff=CUTOFF + timedelta(days=1))
    assert refused.value.code is Code.CUTOFF_INVALID


def test_what_comes_after_the_cutoff_changes_nothing() -> None:
    told, earlier = history(), CUTOFF - timedelta(days=20)
    forecaster = UnifiedForecaster.fit(recipe("local_level"), told, earlier, None)
    wild = told.sales.with_columns(
        sales=pl.when(pl.col("date") > earlier).then(1e6).otherwise("sales")
    )
    assert forecaster.forecast(replace(told, sales=wild), cutoff=earlier).equals(
        forecaster.forecast()
    )


def test_the_fingerprint_follows_what_a_fit_can_see() -> None:
    told = history()
    before = fingerprint(told, CUTOFF)
    assert fingerprint(replace(told, sales=told.sales.reverse()), CUTOFF) == before
    one_cent = told.sales.with_columns(
        sales=pl.when(pl.col("date") == date(2021, 3, 2))
        .then(pl.col("sales") + 0.01)
        .otherwise("sales")
    )
    assert fingerprint(replace(told, sales=one_cent), CUTOFF) != before
    assert fingerprint(told, CUTOFF - timedelta(days=1)) != before
