"""A period's place in time."""

import datetime as dt
import math

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from storecast.core.calendar import CODES, Frequency
from storecast.core.features import first_periods, store_age, time_features, time_names

frequencies = st.sampled_from(CODES).map(Frequency)
days = st.dates(dt.date(1990, 1, 1), dt.date(2060, 1, 1))


@given(frequencies, st.lists(days, min_size=1, max_size=20))
def test_time_features_are_those_of_the_last_day(frequency, some):
    ordinals = [frequency.ordinal(day) for day in some]
    made = time_features(pl.DataFrame({"period": ordinals}), frequency)
    assert tuple(made.columns) == time_names(frequency)
    assert set(made.dtypes) == {pl.Float64}
    for row, ordinal in zip(made.iter_rows(named=True), ordinals, strict=True):
        day = frequency.last_day(ordinal)
        year = dt.date(day.year, 12, 31).timetuple().tm_yday
        angle = 2 * math.pi * day.timetuple().tm_yday / year
        expected = {
            "weekday": day.weekday(),
            "day_of_month": day.day,
            "days_to_month_end": (
                (day.replace(day=1) + dt.timedelta(days=32)).replace(day=1) - day
            ).days - 1,
            "week_of_year": day.isocalendar().week,
            "month": day.month,
        }  # fmt: skip
        for name in row.keys() & expected.keys():
            assert row[name] == expected[name], name
        assert math.isclose(row["year_sin"], math.sin(angle), abs_tol=1e-12)
        assert math.isclose(row["year_cos"], math.cos(angle), abs_tol=1e-12)


def test_the_age_of_a_store_goes_on_in_the_future():
    past = pl.DataFrame({"store_id": ["b", "b", "a"], "period": [5, 6, 6]})
    future = pl.DataFrame({"store_id": ["a", "b", "new"], "period": [7, 7, 7]})
    starts = first_periods(past)
    assert store_age(past, starts).to_list() == [0, 1, 0]
    assert store_age(future, starts).to_list() == [1, 2, None]
