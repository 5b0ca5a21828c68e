"""Periods, holidays and events."""

import calendar as standard
import datetime as dt
import subprocess
import sys
from dataclasses import replace

import holidays
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storecast.core.calendar import (
    CODES,
    CalendarRules,
    Event,
    Frequency,
    calendar_features,
    feature_names,
    free_days,
    holiday_names,
    known_subdivision,
)
from storecast.core.free_days import FreeDays
from storecast.errors import Code, ConfigurationError

D = dt.date
days = st.dates(D(1900, 1, 1), D(2200, 12, 31))
frequencies = st.sampled_from(CODES).map(Frequency)


@given(frequencies, days)
def test_a_day_lies_in_exactly_one_period(frequency, day):
    n = frequency.ordinal(day)
    assert frequency.first_day(n) <= day <= frequency.last_day(n)
    assert frequency.first_day(n + 1) == frequency.last_day(n) + dt.timedelta(days=1)
    assert frequency.ordinal(frequency.label(n)) == n


@given(frequencies, days)
def test_a_period_has_the_length_and_label_of_its_frequency(frequency, day):
    n = frequency.ordinal(day)
    first, last, label = frequency.first_day(n), frequency.last_day(n), frequency.label(n)
    length = (last - first).days + 1
    if frequency.code == "D":
        assert (length, label) == (1, day)
    elif frequency.code.startswith("W"):
        assert (length, label) == (7, last)
        assert last.strftime("%a").upper() == frequency.code[2:]
    else:
        assert (first.day, length) == (1, standard.monthrange(day.year, day.month)[1])
        assert label == (first if frequency.code == "MS" else last)


@given(frequencies, st.lists(days, min_size=1, max_size=30))
def test_vectors_are_the_scalars(frequency, some):
    ordinals = frequency.ordinals(pl.Series("d", some))
    assert ordinals.to_list() == [frequency.ordinal(d) for d in some]
    assert ordinals.dtype == pl.Int32
    for vector, scalar in [
        (frequency.labels, frequency.label),
        (frequency.first_days, frequency.first_day),
        (frequency.last_days, frequency.last_day),
    ]:
        assert vector(ordinals).to_list() == [scalar(n) for n in ordinals]
    frame = pl.DataFrame({"d": some}).select(frequency.ordinals("d"))
    assert frame.to_series().to_list() == ordinals.to_list()


@given(frequencies, days)
def test_the_newest_complete_period_ends_by_then_and_the_next_does_not(frequency, through):
    n = frequency.complete(through)
    assert frequency.last_day(n) <= through < frequency.last_day(n + 1)


@pytest.mark.parametrize(
    ("code", "day", "label"),
    [
        ("MS", D(2024, 2, 29), D(2024, 2, 1)),
        ("ME", D(2024, 2, 1), D(2024, 2, 29)),
        ("ME", D(1900, 2, 1), D(1900, 2, 28)),
        ("W-SUN", D(2020, 12, 28), D(2021, 1, 3)),  # ISO week 53 of 2020
        ("W-SUN", D(2021, 1, 3), D(2021, 1, 3)),
        ("W-SAT", D(2021, 1, 3), D(2021, 1, 9)),
    ],
)
def test_labels_of_days_that_are_easily_wrong(code, day, label):
    frequency = Frequency(code)
    assert frequency.label(frequency.ordinal(day)) == label


def test_an_unknown_frequency_is_named_with_the_nearest():
    with pytest.raises(ConfigurationError) as wrong:
        Frequency("W-SUNDAY")
    assert "W-SUN?" in wrong.value.next_step


BRAZIL = CalendarRules("BR", "SP", events=(Event("Feirão", ((D(2024, 5, 31), D(2024, 6, 2)),)),))


@settings(max_examples=30)
@given(frequencies, st.dates(D(2015, 1, 1), D(2030, 1, 1)), st.integers(0, 400))
def test_features_count_the_days_and_depend_on_no_other_period(frequency, day, length):
    first = frequency.ordinal(day)
    last = first + length // {"D": 1, "W": 7, "M": 30}[frequency.kind]
    whole = calendar_features(BRAZIL, frequency, first, last)
    assert tuple(whole.columns) == ("period", *feature_names(BRAZIL, frequency))
    assert whole["period"].to_list() == list(range(first, last + 1))
    alone = calendar_features(BRAZIL, frequency, last, last)
    assert whole.tail(1).equals(alone)
    span = pl.date_range(frequency.first_day(last), frequency.last_day(last), eager=True)
    free = holidays.BR(subdiv="SP", categories=("public", "optional"))
    assert alone["holiday_days"].item() == sum(d in free for d in span)
    eves = [d not in free and d + dt.timedelta(days=1) in free for d in span]
    assert alone["holiday_eve_days"].item() == sum(eves)
    event = [D(2024, 5, 31) <= d <= D(2024, 6, 2) for d in span]
    assert alone["event_feirao"].item() == sum(event)
    if frequency.kind == "M":
        assert alone["days"].item() == len(span)
        assert alone["weekend_days"].item() == sum(d.weekday() > 4 for d in span)


def test_an_event_over_two_months_is_split_between_them():
    months = Frequency("MS")
    may = months.ordinal(D(2024, 5, 1))
    made = calendar_features(BRAZIL, months, may - 1, may + 2)
    assert made["event_feirao"].to_list() == [0, 1, 2, 0]


def test_categories_null_is_public_and_optional_where_the_country_has_it():
    carnival = D(2024, 2, 13)
    assert carnival in holiday_names(CalendarRules("BR"), carnival, carnival)
    only = CalendarRules("BR", categories=("public",))
    assert holiday_names(only, carnival, carnival) == {}
    assert D(2024, 7, 4) in holiday_names(CalendarRules("US"), D(2024, 7, 1), D(2024, 7, 9))


def test_a_store_has_the_holidays_of_its_own_subdivision():
    rules, day = CalendarRules("BR"), D(2024, 7, 9)
    assert holiday_names(rules, day, day, "SP", "pt-BR") == {day: "Revolução Constitucionalista"}
    assert holiday_names(rules, day, day, "São Paulo", "en") != {}
    assert holiday_names(rules, day, day, "RJ") == {}
    assert holiday_names(CalendarRules(), day, day) == {}


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (("BRA1",), "did you mean BRA?"),
        (("UKK",), "did you mean UK?"),
        (("BR", "São Palo"), "did you mean São Paulo?"),
        (("US", "IA", None, ("optinal",)), None),
        (("US", "IA", None, ("pubic",)), "did you mean public?"),
    ],
)
def test_what_the_calendar_lacks_is_refused_with_the_nearest_name(wrong, right):
    with pytest.raises(ConfigurationError) as fault:
        CalendarRules(*wrong)
    assert fault.value.code == Code.CONFIG_INVALID
    assert right is None or fault.value.next_step == right
    assert fault.value.where.startswith("calendar.")


def test_a_country_without_the_category_says_which_it_has():
    with pytest.raises(ConfigurationError) as fault:
        CalendarRules("US", categories=("optional",))
    assert "public" in fault.value.expected


@pytest.mark.parametrize("country", ["BR", "US", "DE", "IN", "SA", "JP", "LI"])
def test_any_country_serves_without_a_warning(country):
    rules = CalendarRules(country)
    assert holiday_names(rules, D(2024, 1, 1), D(2025, 12, 31))


def test_names_do_not_depend_on_the_language_of_the_machine():
    line = (
        "import datetime as d; from storecast.core.calendar import *;"
        "print(ascii(holiday_names(CalendarRules('BR'), d.date(2024,1,1), d.date(2024,1,2))))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", line],
            env={"LANGUAGE": language, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for language in ("uk", "en_US", "pt_BR")
    }
    assert len(said) == 1


def test_a_subdivision_is_known_or_none() -> None:
    rules = CalendarRules("BR")
    assert [known_subdivision(rules, n) for n in ("SP", "ZZ", "", None)] == ["SP", None, None, None]
    assert known_subdivision(CalendarRules(), "SP") is None


# ------------------------------------------------------------- holidays kept with a model

KEPT = {
    "the country's own": (CalendarRules("BR"), [None]),
    "of one subdivision": (CalendarRules("BR", "São Paulo"), [None]),
    "of each store": (
        CalendarRules("BR", subdivision_attribute="state"),
        [None, "SP", "São Paulo", "RJ"],
    ),
    "observed in the year before": (CalendarRules("US", "IA", categories=("public",)), [None]),
}


@pytest.mark.parametrize("name", KEPT)
def test_kept_holidays_give_the_same_features(name):
    rules, subdivisions = KEPT[name]
    days = Frequency("D")
    span = days.ordinal(D(2021, 1, 1)), days.ordinal(D(2024, 12, 31))
    kept = FreeDays.from_json(free_days(rules, 2021, 2023).to_json())
    assert kept == free_days(rules, 2021, 2023)
    for subdivision in subdivisions:
        assert known_subdivision(replace(rules, kept=kept), subdivision) == subdivision
        made = calendar_features(replace(rules, kept=kept), days, *span, subdivision)
        assert made.equals(calendar_features(rules, days, *span, subdivision))
        assert made["holiday_days"].sum() > 20


def test_the_package_is_asked_beyond_the_kept_years_alone():
    rules, days = CalendarRules("BR", categories=("public",)), Frequency("D")
    kept = free_days(rules, 2023, 2024)
    changed = FreeDays(kept.years, {"": {2023: (D(2023, 3, 3),), 2024: ()}}, {})
    first, last = D(2022, 12, 25), D(2025, 1, 1)
    made = calendar_features(
        replace(rules, kept=changed), days, days.ordinal(first), days.ordinal(last)
    )
    found = made.filter(pl.col("holiday_days") > 0)["period"]
    assert days.labels(found).to_list() == [first, D(2023, 3, 3), last]


def test_a_subdivision_that_was_unknown_stays_unknown():
    rules = CalendarRules("BR", subdivision_attribute="state")
    kept = free_days(rules, 2024, 2024)
    without = FreeDays(kept.years, {k: v for k, v in kept.days.items() if k != "SP"}, {})
    assert known_subdivision(replace(rules, kept=without), "SP") is None
    assert known_subdivision(replace(rules, kept=without), "RJ") == "RJ"


def test_rules_with_kept_holidays_need_no_package():
    kept = free_days(CalendarRules("BR"), 2024, 2024)
    assert CalendarRules("gone", kept=kept).country == "gone"
    assert CalendarRules("BR", kept=kept) == CalendarRules("BR")
    assert free_days(CalendarRules("BR", kept=kept), 1999, 2001) is kept
    assert free_days(CalendarRules(), 2024, 2024) is None
