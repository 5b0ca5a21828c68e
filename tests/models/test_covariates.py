"""What is shown of a period in the training is what the forecast will have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from storecast.core.panel import Known
from storecast.core.window import Past, Window, cut
from storecast.models.covariates import Columns, Places
from storecast.models.panel_boosting import steps_of

from .small_chains import THROUGH, history_of, rules_of

DAYS = 280


def made() -> Window:
    """Each column's value is its period, the days counted from the first."""
    rules = rules_of(
        "D",
        known={"sure": Known(), "weather": Known(3), "stock": Known(0)},
        realised=("visits",),
    )
    history = history_of({"a": [1.0] * DAYS, "b": [1.0] * 100}, rules)
    first = rules.frequency.ordinal(THROUGH) - DAYS + 1
    days = [rules.frequency.label(first + n) for n in range(DAYS + 8)]
    covariates = pl.DataFrame(
        {
            "store_id": ["a"] * len(days) + ["b"] * len(days),
            "date": days * 2,
            **{name: [float(n) for n in range(len(days))] * 2 for name in rules.known},
        }
    )
    counted = (pl.col("date") - days[0]).dt.total_days().cast(pl.Float64)
    history = replace(
        history,
        covariates=covariates,
        sales=history.sales.with_columns(visits=counted),
    )
    return cut(history, THROUGH, rules.horizon)


def values(past: Past, rows: pl.DataFrame, step: np.ndarray) -> dict[str, np.ndarray]:
    first = past.rules.frequency.ordinal(past.cutoff) - DAYS + 1
    columns = Columns.of(past.rules)
    places = Places.of(rows, ["a", "b"], first)
    told = columns.values(rows, places, step, past)
    assert len(told) == len(columns.names)
    return dict(zip(columns.names, told, strict=True))


def test_the_training_has_the_nulls_that_the_forecast_meets() -> None:
    window = made()
    rows = window.future.rows
    future = values(window.past, rows, rows["step"].to_numpy())
    assert np.isnan(future["weather"]).tolist() == (rows["step"] > 3).to_list()
    assert future["sure"][:8].tolist() == [float(DAYS + n) for n in range(8)]

    past = window.past.rows
    step = steps_of(np.ones(past.height, np.uint64), past["period"].to_numpy(), 8)
    told = values(window.past, past, step)
    assert np.isnan(told["weather"]).tolist() == (step > 3).tolist()
    assert 0.5 < np.isnan(told["weather"]).mean() < 0.75
    assert not np.isnan(told["sure"]).any()


def test_what_is_never_known_ahead_is_seen_whole_seasons_before() -> None:
    """The horizon is 8 days: two weeks are the fewest that are no less."""
    window = made()
    assert Columns.of(window.past.rules).behind == 14
    rows = window.future.rows
    step = rows["step"].to_numpy()
    future = values(window.past, rows, step)
    for name in ("visits, 14 before", "stock, 14 before"):
        assert future[name].tolist() == [float(DAYS - 14 + n) for n in range(8)] * 2
    past = window.past.rows
    told = values(window.past, past, np.ones(past.height, np.int64))["visits, 14 before"]
    own = told[: past.filter(pl.col("store_id") == "a").height]
    np.testing.assert_equal(own[14:], np.arange(DAYS - 14.0))
    assert np.isnan(own[:14]).all()
    late = told[own.size :]  # the store b began later
    assert np.isnan(late[:14]).all()
    assert late[14] == DAYS - 100


@pytest.mark.parametrize("steps", [1, 3])
def test_columns_come_back_from_plain_values(steps: int) -> None:
    columns = Columns.of(rules_of("MS", known={"x": Known(steps), "y": Known()}))
    assert Columns.of_plain(columns.plain()) == columns
    assert columns.short == (("x", steps),)
