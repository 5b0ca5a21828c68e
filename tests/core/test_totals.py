"""Sums by group, to the bit."""

import math

import numpy as np
import polars as pl
import pytest

from storecast.core.totals import totals


def test_null_and_nan_are_unknown_and_a_first_value_is_taken_as_it_is():
    rows = pl.DataFrame(
        {"k": ["b", "a", "b", "a", "c"], "x": [1.0, None, 2.5, 4.0, math.nan], "n": [1, 2, 3, 4, 5]}
    )
    told = totals(rows, ["k"], ["x"], firsts=["n"])
    assert told.rows() == [("b", 1, 3.5, 1.75), ("a", 2, 4.0, 4.0), ("c", 5, 0.0, None)]
    assert told.columns == ["k", "n", "x", "x_mean"]
    assert totals(rows.clear(), ["k"], ["x"]).is_empty()


@pytest.mark.parametrize("others", [1, 7, 400])
def test_what_else_is_in_the_frame_does_not_move_the_last_bit(others):
    chance = np.random.default_rng(others)
    mine = pl.DataFrame({"k": ["mine"] * 999, "x": chance.gamma(2, 20, 999)})
    alone = totals(mine, ["k"], ["x"])
    by_hand = 0.0
    for value in mine["x"]:
        by_hand += value
    assert alone["x"].to_list() == [by_hand]
    theirs = pl.DataFrame(
        {"k": [f"{i % others}" for i in range(5000)], "x": chance.gamma(2, 20, 5000)}
    )
    for both in (pl.concat([mine, theirs]), pl.concat([theirs, mine])):
        assert totals(both, ["k"], ["x"]).filter(pl.col("k") == "mine").equals(alone)
