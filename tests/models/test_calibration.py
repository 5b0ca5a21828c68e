"""Conformal intervals: coverage, exactness, pooling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from storecast.core.window import Window
from storecast.models.calibration import ENOUGH, Conformal, store_scales

from .small_chains import rules_of

LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)


def errors_of(chance: np.random.Generator, stores: int, steps: int = 4) -> pl.DataFrame:
    scale = chance.uniform(1, 1000, stores)
    rows = [
        (f"s{i}", h, 100 + scale[i] * h * chance.gamma(2.0), 100.0, scale[i])
        for i in range(stores)
        for h in range(1, steps + 1)
    ]
    names = ["store_id", "step", "sales", "forecast", "scale"]
    return pl.DataFrame(rows, schema=names, orient="row").cast({"step": pl.Int32})


def test_levels_are_covered_at_each_step_for_small_and_large_stores() -> None:
    rules = rules_of(quantiles=LEVELS, horizon=4)
    chance = np.random.default_rng(1)
    conformal = Conformal.learn(errors_of(chance, 2000), rules)
    new = errors_of(chance, 4000)
    made = conformal.apply(new.drop("scale"), new.select("store_id", "scale").unique())
    for level, column in zip(LEVELS, ("q025", "q10", "q50", "q90", "q975"), strict=True):
        below = made.group_by("step").agg(p=(pl.col("sales") <= pl.col(column)).mean())
        assert (below["p"] - level).abs().max() < 0.03, column
    assert made["forecast"].to_list() == new["forecast"].to_list()
    truth = made.group_by("step").agg(
        gap=(pl.col("forecast_mean").mean() / pl.col("sales").mean() - 1).abs()
    )
    assert truth["gap"].max() < 0.05


@given(
    st.lists(
        st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), st.floats(1e-3, 1e6)), max_size=30
    )
)
def test_json_is_exact_and_quantiles_never_cross(rows: list[tuple[float, float, float]]) -> None:
    rules = rules_of(quantiles=LEVELS, horizon=3)
    errors = pl.DataFrame(
        {
            "store_id": [f"{i}" for i in range(len(rows))],
            "step": [i % 3 + 1 for i in range(len(rows))],
            "sales": [r[0] for r in rows],
            "forecast": [r[1] for r in rows],
            "scale": [r[2] for r in rows],
        },
        schema_overrides={"store_id": pl.String, "step": pl.Int32, "sales": pl.Float64,
                          "forecast": pl.Float64, "scale": pl.Float64},
    )  # fmt: skip
    conformal = Conformal.learn(errors, rules)
    assert Conformal.from_json(conformal.to_json()) == conformal
    assert Conformal.learn(errors.reverse(), rules) == conformal
    frame = pl.DataFrame({"store_id": ["0", "z"], "step": [1, 9], "forecast": [1.0, -2.0]})
    made = conformal.apply(frame, pl.DataFrame({"store_id": ["0"], "scale": [3.0]}))
    told = made.select("q025", "q10", "q50", "q90", "q975").to_numpy()
    assert (np.diff(told, axis=1) >= 0).all()


def test_nothing_to_learn_from_leaves_the_forecast_alone() -> None:
    unknown = pl.DataFrame(
        {"store_id": ["a", "b"], "step": [1, 1], "sales": [None, 5.0],
         "forecast": [1.0, 2.0], "scale": [1.0, 0.0]}
    )  # fmt: skip
    conformal = Conformal.learn(unknown, rules_of())
    made = conformal.apply(
        pl.DataFrame({"store_id": ["a"], "step": [4], "forecast": [7.0]}),
        pl.DataFrame({"store_id": ["a"], "scale": [2.0]}),
    )
    assert made.row(0) == ("a", 4, 7.0, 7.0, 7.0, 7.0, 7.0)


def test_a_step_with_few_residuals_takes_in_its_neighbours() -> None:
    rules = rules_of(horizon=3, quantiles=(0.5,))
    chance = np.random.default_rng(3)
    few, many = ENOUGH // 2, ENOUGH
    rows = [("a", 1, 1.0)] * few + [("a", 2, 2.0)] * many + [("a", 3, 3.0)] * many
    chance.shuffle(rows)
    errors = pl.DataFrame(rows, schema=["store_id", "step", "sales"], orient="row").with_columns(
        forecast=pl.lit(0.0), scale=pl.lit(1.0)
    )
    conformal = Conformal.learn(errors, rules)
    assert conformal.counts == (few + many, many, many)
    assert conformal.offsets == ((2.0,), (2.0,), (3.0,))


def test_the_mean_is_the_point_where_it_is_asked_for() -> None:
    errors = pl.DataFrame(
        {"store_id": ["a"] * 4, "step": [1] * 4, "sales": [1.0, 1.0, 1.0, 9.0],
         "forecast": [1.0] * 4, "scale": [2.0] * 4}
    )  # fmt: skip
    frame = pl.DataFrame({"store_id": ["a"], "step": [1], "forecast": [10.0]})
    scales = pl.DataFrame({"store_id": ["a"], "scale": [3.0]})
    for point, expected in (("median", 10.0), ("mean", 13.0)):
        made = Conformal.learn(errors, rules_of(horizon=1, point=point)).apply(frame, scales)
        assert made["forecast"].to_list() == [expected]
        assert made["forecast_mean"].to_list() == [13.0]


def test_a_store_is_as_large_as_its_last_two_seasons(window: Callable[..., Window]) -> None:
    made = window(
        {
            "big": [1000.0] * 100 + [-4.0] * 104,
            "new": [6.0],
            "silent": [7.0] * 60 + [0.0] * 20,
            "unknown": [None],
        }
    )
    told = dict(store_scales(made.past).iter_rows())
    assert told == {"big": 4.0, "new": 6.0, "silent": 0.0, "unknown": None}
