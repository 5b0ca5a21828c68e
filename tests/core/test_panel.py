"""Rules go to JSON and back; names that collide are refused."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storecast.core.calendar import CODES, CalendarRules, Event, Frequency
from storecast.core.panel import Known, SeriesRules
from storecast.errors import Code, ConfigurationError

days = st.dates(dt.date(1900, 1, 1), dt.date(2200, 1, 1))
spans = st.lists(st.tuples(days, days), max_size=3).map(tuple)
names = st.text(st.characters(categories=["L"]), min_size=1, max_size=6).map("x_".__add__)
floats = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.builds(
        SeriesRules,
        frequency=st.sampled_from(CODES).map(Frequency),
        season=st.integers(1, 400),
        missing=st.sampled_from(["zero", "unknown"]),
        training_from=days,
        mask=spans,
        closed_when=st.dictionaries(names, floats),
        non_negative=st.booleans(),
        known=st.dictionaries(names, st.builds(Known, st.none() | st.integers(0, 60))),
        attributes=st.lists(names).map(tuple),
        segments=st.lists(names).map(tuple),
        timeless=st.booleans(),
        calendar=st.builds(
            CalendarRules,
            st.sampled_from([None, "BR"]),
            st.sampled_from([None]),
            st.none() | names,
            st.sampled_from([None, (), ("public",)]),
            st.lists(st.builds(Event, names, spans)).map(tuple),
        ),
        horizon=st.integers(1, 99),
        quantiles=st.lists(st.floats(0.001, 0.999)).map(tuple),
        point=st.sampled_from(["median", "mean"]),
    )
)
def test_rules_come_back_from_json_equal(rules):
    assert SeriesRules.from_json(rules.to_json()) == rules
    assert SeriesRules.from_json(rules.to_json()).to_json() == rules.to_json()


@pytest.mark.parametrize("name", ["holiday_days", "sales", "event_fair", "days", "both"])
def test_a_covariate_may_not_have_a_name_of_storecasts_own(name):
    with pytest.raises(ConfigurationError) as wrong:
        SeriesRules(
            frequency=Frequency("MS"),
            season=12,
            missing="zero",
            training_from=dt.date(2020, 1, 1),
            known={name: Known()},
            realised=("both",),
            calendar=CalendarRules("BR", events=(Event("fair", ()),)),
        )
    assert wrong.value.code == Code.COLUMN_NAMES_COLLIDE


@given(st.sampled_from(CODES).map(Frequency), days)
def test_the_first_period_is_the_first_that_lies_wholly_in_the_span(frequency, day):
    rules = SeriesRules(frequency=frequency, season=2, missing="zero", training_from=day)
    first = rules.first_period
    assert frequency.first_day(first - 1) < day <= frequency.first_day(first)
