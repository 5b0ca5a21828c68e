"""Future rows: made, checked, completed."""

import datetime as dt

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from storecast.core import skeleton
from storecast.core.calendar import CODES, Frequency
from storecast.errors import Code, InputError

D = dt.date
STORES = pl.Series("store_id", ["001", "1", "é"])


@given(st.sampled_from(CODES).map(Frequency), st.dates(), st.integers(1, 40))
def test_every_store_has_every_step_once(frequency, day, horizon):
    day = min(max(day, D(1900, 1, 1)), D(2200, 1, 1))
    last = frequency.ordinal(day)
    made = skeleton.make(STORES, frequency, frequency.last_day(last), horizon)
    assert made.rows() == [
        (store, frequency.label(last + step), last + step, step)
        for store in STORES
        for step in range(1, horizon + 1)
    ]


WHOLE = skeleton.make(STORES, Frequency("MS"), D(2024, 1, 31), 4)
GIVEN = WHOLE.select("store_id", "date", promo=pl.int_range(12).cast(pl.Float64))


@settings(deadline=None)
@given(st.sets(st.integers(0, 11)), st.randoms())
def test_what_is_missing_is_filled_and_reported(kept, chance):
    order = sorted(kept)
    chance.shuffle(order)
    whole, filled = skeleton.complete(GIVEN[order], WHOLE)
    assert_frame_equal(whole.drop("promo"), WHOLE)
    assert whole["promo"].to_list() == [float(n) if n in kept else None for n in range(12)]
    assert_frame_equal(filled, WHOLE[[n for n in range(12) if n not in kept]])


@pytest.mark.parametrize(
    ("store", "day", "said"),
    [
        ("001", D(2024, 2, 1), "more than once"),
        ("001", D(2024, 6, 1), "beyond the horizon"),
        ("001", D(2024, 1, 1), "not after the cutoff"),
        ("001", D(2024, 2, 29), "no label"),
        ("01", D(2024, 2, 1), "not one to forecast"),
        (None, D(2024, 2, 1), "null"),
        ("001", None, "null"),
    ],
)
def test_a_wrong_row_is_refused_by_its_number(store, day, said):
    wrong = pl.DataFrame({"store_id": [store], "date": [day], "promo": [0.0]})
    rows = pl.concat([GIVEN, wrong.cast(GIVEN.schema)])
    with pytest.raises(InputError, match=said) as fault:
        skeleton.complete(rows, WHOLE)
    assert fault.value.code == Code.INPUT_INVALID
    assert fault.value.where.startswith("row 1:" if "once" in said else "row 13:")
