"""Each store's own end laid upon the chain's, and its forecasts moved back."""

import datetime as dt
from dataclasses import replace

import polars as pl
import pytest

from storecast.core.alignment import by_series_end, moved_back
from storecast.core.calendar import Frequency
from storecast.core.panel import History, Known, SeriesRules
from storecast.core.window import cut

D = dt.date


def history_of(code: str, ends: dict[str, int], length: int = 6, **frames) -> History:
    """Stores that end so many periods before the last one, and sold 1, 2, 3, …"""
    frequency = Frequency(code)
    last = frequency.ordinal(D(2022, 6, 30))
    rows = [
        (s, frequency.label(last - end - length + 1 + i), float(i + 1))
        for s, end in ends.items()
        for i in range(length)
    ]
    rules = SeriesRules(
        frequency=frequency, season=2, missing="unknown", training_from=D(1990, 1, 1),
        known={"promo": Known(), "payday": Known()}, horizon=2,
    )  # fmt: skip
    sales = pl.DataFrame(rows, schema=["store_id", "date", "sales"], orient="row")
    # as an ingestion tells it without a load log: the newest date in the source
    return History(sales=sales, through=frequency.label(last), rules=rules, **frames)


@pytest.mark.parametrize("code", ["MS", "ME", "W-SUN", "D"])
def test_every_store_ends_in_the_last_period_and_comes_back(code):
    history = history_of(code, {"a": 0, "b": 3, "c": 40})
    moved, shifts = by_series_end(history)
    frequency = history.rules.frequency
    last = frequency.ordinal(D(2022, 6, 30))
    assert dict(shifts.iter_rows()) == {"a": 0, "b": 3, "c": 40}
    ends = moved.sales.group_by("store_id").agg(frequency.ordinals("date").max())
    assert set(ends["date"]) == {last}
    # a label in the last period is enough: it counts as complete
    assert moved.through == frequency.last_day(last)
    cutoff = frequency.last_day(last - 2)
    past = cut(moved, cutoff, 2).past.rows
    assert past.group_by("store_id").agg("sales")["sales"].to_list() == [[1.0, 2.0, 3.0, 4.0]] * 3
    back = moved_back(moved.sales.with_columns(cutoff=pl.lit(cutoff)), shifts, frequency)
    assert back.drop("cutoff").equals(history.sales)
    own = dict(back.group_by("store_id").agg(pl.col("cutoff").first()).iter_rows())
    assert own["c"] == frequency.last_day(last - 42)


def test_covariates_go_with_their_store_those_of_all_stores_too():
    frequency = Frequency("MS")
    last = frequency.ordinal(D(2022, 6, 1))
    labels = [frequency.label(last - i) for i in range(9)]
    by_date = pl.DataFrame({"date": labels, "payday": [float(i) for i in range(9)]})
    own = pl.DataFrame(
        {"store_id": ["b"] * 9, "date": labels, "promo": [10.0 + i for i in range(9)]}
    )
    history = history_of("MS", {"a": 0, "b": 2}, covariates=own, covariates_by_date=by_date)
    moved, _ = by_series_end(history)
    window = cut(moved, moved.through, 2)
    newest = window.past.rows.filter(pl.col("period") == last).sort("store_id")
    # b's last month is two before the chain's
    assert newest["payday"].to_list() == [0.0, 2.0]
    assert newest["promo"].to_list() == [None, 12.0]
    # what is known of the months after b's own end
    ahead = window.future.rows.filter(pl.col("store_id") == "b")
    assert ahead["payday"].to_list() == [1.0, 0.0]
    level, _ = by_series_end(history_of("MS", {"a": 0, "b": 0}, covariates_by_date=by_date))
    assert level.covariates is None
    assert level.covariates_by_date is not None


def test_what_lies_outside_the_training_span_moves_nothing():
    history = history_of("MS", {"a": 0, "b": 3})
    late = replace(history, rules=replace(history.rules, training_from=D(2022, 3, 1)))
    moved, shifts = by_series_end(late)
    assert moved.sales.group_by("store_id").len().sort("store_id")["len"].to_list() == [4, 1]
    assert shifts["shift"].to_list() == [0, 3]
    until = replace(history, through=D(2022, 4, 30))
    assert dict(by_series_end(until)[1].iter_rows()) == {"a": 0, "b": 1}


def test_openings_and_closures_do_not_count():
    stores = pl.DataFrame(
        {
            "store_id": ["a", "b"],
            "opened_on": [D(2000, 1, 1)] * 2,
            "closed_on": [None, D(2022, 3, 31)],
        }
    )
    moved, _ = by_series_end(history_of("MS", {"a": 0, "b": 3}, stores=stores))
    window = cut(moved, D(2022, 4, 30), 2)
    assert window.past.stores["closed_on"].null_count() == 2
    assert window.future.rows["store_id"].n_unique() == 2
