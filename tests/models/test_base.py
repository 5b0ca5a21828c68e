"""The contract of a model: recipes, the gatekeeper, the finish."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storecast.core.window import Future
from storecast.errors import Code, ModelError
from storecast.models.base import Recipe, checked, create, finish, parameters_of

from .small_chains import rules_of

RECIPE = Recipe(
    "fast",
    "lightgbm",
    {"lags": [1, 2], "learning_rate": 0.1},
    training_from=date(2020, 1, 1),
    mask=((date(2020, 3, 15), date(2020, 6, 1)),),
)


def test_a_recipe_comes_back_equal_from_json() -> None:
    assert Recipe.from_json(RECIPE.to_json()) == RECIPE


def test_the_digest_follows_all_but_the_name() -> None:
    def like(**change: object) -> str:
        return Recipe(**{**RECIPE.__dict__, **change}).digest  # type: ignore[arg-type]

    assert like(name="other") == RECIPE.digest
    others = [
        like(kind="local_level"),
        like(parameters={"lags": [1, 2]}),
        like(feature_version=RECIPE.feature_version + 1),
        like(training_from=date(2020, 1, 2)),
        like(mask=()),
    ]
    assert RECIPE.digest not in others
    assert len(set(others)) == len(others)


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError) as caught:
        create(Recipe("x", "nosuch"))
    assert caught.value.code is Code.MODEL_UNKNOWN
    assert "seasonal_naive" in str(caught.value.expected)


def test_an_unknown_parameter_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="'lag'"):
        parameters_of("x", {"lag": 3}, {"lags": None})


DEFAULTS: dict[str, Any] = {"lags": None, "trees": 100, "rate": 0.05, "objective": "l1"}


@pytest.mark.parametrize(
    ("key", "value"),
    [("lags", 0), ("lags", []), ("lags", "3"), ("lags", True), ("trees", "many"), ("trees", 1.5),
     ("trees", -1), ("trees", None), ("rate", "fast"), ("objective", 3)],
)  # fmt: skip
def test_a_parameter_of_the_wrong_kind_is_refused_with_its_value(key: str, value: object) -> None:
    with pytest.raises(ModelError, match=f"'{key}'"):
        parameters_of("x", {key: value}, DEFAULTS)


@pytest.mark.parametrize(
    ("key", "value"),
    [("lags", 3), ("lags", [1, 52]), ("lags", None), ("trees", 7), ("rate", 1), ("rate", 0.1),
     ("objective", "l2")],
)  # fmt: skip
def test_a_parameter_of_the_right_kind_is_taken(key: str, value: object) -> None:
    assert parameters_of("x", {key: value}, DEFAULTS) == {**DEFAULTS, key: value}


def future(steps: int = 2, stores: tuple[str, ...] = ("001", "1")) -> Future:
    rows = [
        (store, date(2022, 11, 6 + 7 * step), step + 1, False)
        for store in stores
        for step in range(steps)
    ]
    schema = {"store_id": pl.String, "date": pl.Date, "step": pl.Int32, "closed": pl.Boolean}
    return Future(pl.DataFrame(rows, schema=schema, orient="row"))


def frame_of(ahead: Future) -> pl.DataFrame:
    return ahead.rows.select("store_id", "date", "step").with_columns(
        forecast=pl.lit(1.0), forecast_mean=pl.lit(2.0)
    )


def test_a_right_frame_passes_as_it_is() -> None:
    ahead = future()
    frame = frame_of(ahead)
    assert checked(frame, ahead, rules_of()).equals(frame)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused_with_its_store(value: float | None) -> None:
    ahead = future()
    frame = frame_of(ahead).with_columns(
        forecast_mean=pl.Series([1.0, 1.0, value, 1.0], dtype=pl.Float64)
    )
    with pytest.raises(ModelError, match="'1'") as caught:
        checked(frame, ahead, rules_of())
    assert caught.value.code is Code.MODEL_OUTPUT_INVALID
    assert "'001'" not in caught.value.message


def test_missing_rows_columns_and_another_order_are_refused() -> None:
    ahead = future()
    frame = frame_of(ahead)
    with pytest.raises(ModelError, match=r"rows for store '1'"):
        checked(frame.head(3), ahead, rules_of())
    with pytest.raises(ModelError, match="another order"):
        checked(frame.reverse(), ahead, rules_of())
    with pytest.raises(ModelError, match=r"lacks the column forecast_mean$"):
        checked(frame.drop("forecast_mean"), ahead, rules_of())
    with pytest.raises(ModelError, match=r"lacks the columns q50, q90 .*all of the quantiles"):
        checked(frame.with_columns(q10=pl.lit(0.0)), ahead, rules_of())


numbers = st.floats(-1e6, 1e6)


@given(
    st.lists(st.tuples(numbers, numbers, numbers, numbers, numbers, st.booleans()), min_size=1),
    st.booleans(),
)
def test_finish_floors_closes_and_sorts(
    rows: list[tuple[float, float, float, float, float, bool]], non_negative: bool
) -> None:
    columns = ["forecast", "forecast_mean", "q10", "q50", "q90"]
    frame = pl.DataFrame([r[:5] for r in rows], schema=columns, orient="row")
    closed = [r[5] for r in rows]
    ahead = Future(pl.DataFrame({"closed": closed}))
    made = finish(frame, ahead, rules_of(non_negative=non_negative)).to_numpy()
    assert (np.diff(made[:, 2:], axis=1) >= 0).all()
    assert (made[closed] == 0).all()
    if non_negative:
        assert (made >= 0).all()
        assert not np.signbit(made).any()
    else:
        opened = ~np.array(closed)
        assert (made[opened, 0] == frame["forecast"].to_numpy()[opened]).all()
