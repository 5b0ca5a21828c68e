"""Windows of a past: what they read, what they are taught, and what they cannot see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from storecast.models.windows import Batch, Shape, Windows, scaling


@pytest.mark.parametrize("takes_future", [True, False])
def test_what_is_unknown_is_neither_read_nor_taught(takes_future: bool) -> None:
    """Whatever stands where a value is unknown: windows neither read it nor are taught it."""
    shape = shape_of(takes_future=takes_future)
    values = np.random.default_rng(0).uniform(5, 15, (2, 40))
    values[0, 10:13] = np.nan
    made = everything(Windows(values, np.zeros((2, 44, 1)), np.zeros((2, 0)), shape))
    assert made.weight.min() == 0
    assert not made.target[made.weight == 0].any()
    for told in (made.past_target, made.past_covariates, made.historic, made.ahead, made.target):
        assert told is None or np.isfinite(told).all()
    flags = made.past_covariates[:, :, 0] if made.past_covariates is not None else np.zeros(0)
    assert set(np.unique(flags)) == {-1.0, 0.0}


def shape_of(**more: Any) -> Shape:
    plain: dict[str, Any] = {
        "past": 6,
        "future": 4,
        "lag": 5,
        "columns": ("x",),
        "ahead": (4,),
        "mean": (0.0,),
        "scale": (1.0,),
        "categories": (),
        "takes_past": True,
        "takes_future": True,
        "takes_statics": "",
    }
    return Shape(**{**plain, **more})


def everything(windows: Windows) -> Batch:
    return windows.batch(*windows.usable(windows.periods))


@pytest.mark.parametrize("takes_future", [True, False])
def test_a_window_sees_nothing_after_its_cutoff_but_what_is_known(takes_future: bool) -> None:
    """All that comes after t is altered; the inputs of the window at t are the same."""
    shape = shape_of(takes_future=takes_future, columns=("x", "y"), ahead=(4, 2), mean=(0.0, 0.0),
                     scale=(1.0, 1.0))  # fmt: skip
    chance = np.random.default_rng(0)
    values, columns = chance.uniform(5, 15, (3, 30)), chance.normal(size=(3, 34, 2))
    store, t = np.arange(3), np.full(3, 20)

    def inputs(values: Any, columns: Any) -> list[Any]:
        made = Windows(values, columns, np.zeros((3, 0)), shape).batch(store, t)
        return [made.past_target, made.past_covariates, made.historic, made.ahead]

    def same(one: list[Any], other: list[Any]) -> bool:
        return all(
            (a is None and b is None) or np.array_equal(a, b)
            for a, b in zip(one, other, strict=True)
        )

    plain = inputs(values, columns)
    later = values.copy()
    later[:, 20:] = 1e9
    beyond = columns.copy()
    beyond[:, 24:, 0] = beyond[:, 22:, 1] = 9.0
    assert same(plain, inputs(later, beyond))
    # the control: what is known ahead is seen, and so is the last period
    for place in (23, 21):
        nearer = columns.copy()
        nearer[:, place, 0 if place == 23 else 1] = 9.0
        assert not same(plain, inputs(values, nearer))
    before = values.copy()
    before[:, 19] += 1
    assert not same(plain, inputs(before, columns))


def test_the_last_season_and_short_histories_are_shown_as_they_are() -> None:
    values = np.arange(1.0, 31.0)[None, :].copy()
    windows = Windows(values, np.zeros((1, 30, 1)), np.zeros((1, 0)), shape_of())
    one = windows.batch(np.array([0]), np.array([20]))
    assert one.ahead is not None
    np.testing.assert_allclose(one.ahead[0, :, -1] * one.scale, [16, 17, 18, 19])
    np.testing.assert_allclose(one.past_target[0, :, 0] * one.scale, np.arange(15, 21))
    np.testing.assert_allclose(one.target[0, :, 0] * one.scale, [21, 22, 23, 24])
    short = windows.batch(np.array([0]), np.array([20]), np.array([4]))
    np.testing.assert_allclose(short.scale, 19.5)
    np.testing.assert_allclose(short.past_target[0, :, 0] * 19.5, [19.5] * 4 + [19, 20])
    assert short.ahead is not None
    np.testing.assert_allclose(short.ahead[0, :, -1] * 19.5, [19.5, 19.5, 19.5, 19], rtol=1e-6)
    first = windows.batch(np.array([0]), np.array([2]))
    np.testing.assert_allclose(first.past_target[0, :, 0] * first.scale, [1.5] * 4 + [1, 2])
    hides = windows.shortened(4000, 0)
    assert 0.03 < (hides > 0).mean() < 0.07
    assert hides.max() == 2


def test_the_windows_to_learn_from_end_where_they_are_told_to() -> None:
    windows = Windows(np.ones((2, 30)), np.zeros((2, 30, 1)), np.zeros((2, 0)), shape_of())
    for until in (30, 26):
        store, t = windows.usable(until)
        assert (t + 4).max() == until
        assert t.min() == 4, "four known values are read"
        assert set(store) == {0, 1}
    values = np.ones((2, 30))
    values[0] = 0.0
    values[1, 20:] = np.nan
    store, t = Windows(values, np.zeros((2, 30, 1)), np.zeros((2, 0)), shape_of()).usable(30)
    assert set(store) == {1}
    assert t.max() == 19


def test_a_stretch_without_a_sale_teaches_nothing() -> None:
    values = np.concatenate([np.ones(10), np.zeros(10), np.ones(10)])[None, :]
    windows = Windows(values, np.zeros((1, 30, 1)), np.zeros((1, 0)), shape_of())
    silent = windows.batch(np.array([0, 0]), np.array([18, 10]))
    np.testing.assert_array_equal(silent.weight.sum(axis=(1, 2)), [0, 4])
    assert silent.scale[0] == 0


def test_attributes_are_codes_or_a_column_each() -> None:
    codes = np.array([[0.0, 2.0], [1.0, 0.0]])
    for takes, wanted in (
        ("codes", [[0, 2], [1, 0]]),
        ("one_hot", [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0]]),
    ):
        shape = shape_of(categories=(2, 3), takes_statics=takes)
        made = Windows(np.ones((2, 30)), np.zeros((2, 30, 1)), codes, shape)
        told = made.batch(np.arange(2), np.full(2, 20)).statics
        assert told is not None
        np.testing.assert_array_equal(told[:, 0], wanted)
    none = Windows(np.ones((2, 30)), np.zeros((2, 30, 1)), codes, shape_of(categories=(2, 3)))
    assert none.batch(np.arange(2), np.full(2, 20)).statics is None


def test_columns_are_scaled_by_what_is_known_and_cut_far_away() -> None:
    columns = np.full((2, 30, 3), np.nan)
    columns[0, :, 0], columns[0, :10, 1] = np.arange(30), 7.0
    mean, scale = scaling(columns)
    assert (mean[0], mean[1], mean[2]) == (14.5, 7.0, 0.0)
    np.testing.assert_allclose(scale, [np.std(np.arange(30)), 1.0, 1.0])
    columns[0, 25, 1] = 1e6
    shape = shape_of(columns=("a", "b", "c"), ahead=(4, 4, 4), mean=mean, scale=scale)
    made = Windows(np.ones((2, 30)), columns, np.zeros((2, 0)), shape)
    told = made.batch(np.arange(2), np.full(2, 26)).historic
    assert told is not None
    assert told[0, :, 1].max() == 10.0
    assert (told[1, :, :3] == 0).all()
