"""Metrics against a slow loop over plain numbers."""

import datetime as dt
import math
import random
from collections import defaultdict

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storecast.core.calendar import Frequency
from storecast.core.metrics import central_interval, nominal_coverage, scale, score
from storecast.core.panel import SeriesRules
from storecast.core.schema import METRICS, quantile_column
from storecast.errors import Code, ModelError

D = dt.date
STORES = ("001", "1", "é", "z")


def rules_of(quantiles):
    return SeriesRules(
        frequency=Frequency("D"), season=7, missing="zero", training_from=D(2020, 1, 1),
        quantiles=quantiles,
    )  # fmt: skip


def mean(values):
    values = [v for v in values if v is not None]
    return sum(values) / len(values) if values else None


def slow(rows, quantiles, interval):
    """The section 'Metrics' of the specification, one number after the other."""
    known = [r for r in rows if r["sales"] is not None and not math.isnan(r["sales"])]
    by_cutoff = defaultdict(lambda: defaultdict(list))
    for r in known:
        by_cutoff[r["cutoff"]][r["store_id"]].append(r)

    def loss(r):
        total = 0.0
        for q in quantiles:
            e = r["sales"] - r[quantile_column(q)]
            total += 2 * (q * e if e >= 0 else (q - 1) * e)
        return total / len(quantiles)

    parts, unscaled = defaultdict(list), 0
    for stores in by_cutoff.values():
        pool = [r for some in stores.values() for r in some]
        amount = sum(abs(r["sales"]) for r in pool)
        over = lambda total, below: total / below if below else None  # noqa: E731
        error = [r["forecast"] - r["sales"] for r in pool]
        parts["wape"].append(over(sum(map(abs, error)), amount))
        parts["bias"].append(over(sum(error), amount))
        parts["wql"].append(over(sum(map(loss, pool)), amount))
        is_open = [r for r in pool if r["open"]] if interval else []
        low, high = map(quantile_column, interval or (0.5, 0.5))
        inside = [r for r in is_open if r[low] <= r["sales"] <= r[high]]
        parts["coverage"].append(over(len(inside), len(is_open)))
        mase, rmsse, sql = [], [], []
        for some in stores.values():
            s, sq = some[0]["scale"], some[0]["scale_sq"]
            if not s:
                unscaled += 1
                continue
            mase.append(mean([abs(r["sales"] - r["forecast"]) / s for r in some]))
            rmsse.append(math.sqrt(mean([(r["sales"] - r["forecast"]) ** 2 for r in some]) / sq))
            sql.append(mean([loss(r) / s for r in some]))
        parts["mase"].append(mean(mase))
        parts["rmsse"].append(mean(rmsse))
        parts["sql"].append(mean(sql))
    result = {m: mean(parts[m]) for m in METRICS}
    result |= {
        "n_scored": len(known),
        "n_filled": sum(r["origin"] == "filled" for r in known),
        "n_unknown": len(rows) - len(known),
        "n_unscaled": unscaled,
        "n_cutoffs": len(by_cutoff),
    }
    return result


def random_rows(chance, quantiles):
    rows = []
    zeros = chance.random() < 0.3
    scales = {(c, i): chance.choice([None, 0.0, 0.5, 3.0]) for c in range(3) for i in STORES}
    for model in "ab":
        for cutoff in range(chance.randint(1, 3)):
            for store in STORES:
                s = scales[cutoff, store]
                for step in range(1, chance.randint(1, 4)):
                    y = chance.choice([None, math.nan, 0.0, chance.gauss(0, 9), 1e7])
                    rows.append(
                        {
                            "model": model, "cutoff": D(2020, 1, 1 + cutoff), "store_id": store,
                            "step": step, "segment": chance.choice(["headline", None]),
                            "sales": 0.0 if zeros and cutoff == 0 else y,
                            "forecast": chance.gauss(0, 9), "open": chance.random() < 0.8,
                            "origin": chance.choice(["model", "filled"]), "scale": s,
                            "scale_sq": s and s * s * 1.5,
                            **{quantile_column(q): chance.gauss(9 * (q - 0.5), 3)
                               for q in quantiles},
                        }
                    )  # fmt: skip
    return rows


def schema(quantiles):
    number = ["sales", "forecast", "scale", "scale_sq", *map(quantile_column, quantiles)]
    return {
        "model": pl.String, "cutoff": pl.Date, "store_id": pl.String, "step": pl.Int32,
        "segment": pl.String, "open": pl.Boolean, "origin": pl.String,
        **dict.fromkeys(number, pl.Float64),
    }  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([(0.1, 0.5, 0.9), (0.025, 0.1, 0.9, 0.975), (0.5,), (0.1, 0.4)]),
    st.sampled_from([(), ("model",), ("model", "cutoff"), ("store_id",), ("model", "step"),
                     ("segment",), ("model", "cutoff", "segment")]),
)  # fmt: skip
def test_scores_are_those_of_a_slow_loop(seed, quantiles, by):
    rows = random_rows(random.Random(seed), quantiles)
    frame = pl.DataFrame(rows, schema=schema(quantiles)).sample(fraction=1, shuffle=True, seed=1)
    made = score(frame, rules_of(quantiles), by)
    groups = defaultdict(list, {} if by else {(): []})
    for row in rows:
        groups[tuple(row[k] for k in by)].append(row)
    assert {row[: len(by)] for row in made.rows()} == set(groups)
    assert made.height == len(groups)
    for row in made.iter_rows(named=True):
        some = groups[tuple(row[k] for k in by)]
        expected = slow(some, quantiles, central_interval(quantiles))
        for name, value in expected.items():
            assert row[name] == (
                value if value is None else pytest.approx(value, rel=1e-9, abs=1e-9)
            ), name


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.lists(st.one_of(st.none(), st.just(math.nan), st.floats(-1e6, 1e6)), min_size=1),
        min_size=1, max_size=5,
    ),
    st.integers(1, 4),
)  # fmt: skip
def test_the_scale_is_that_of_a_slow_loop(series, season):
    frame = pl.DataFrame(
        [(f"{i}", t, y) for i, ys in enumerate(series) for t, y in enumerate(ys)],
        schema={"store_id": pl.String, "period": pl.Int32, "sales": pl.Float64},
        orient="row",
    )
    made = scale(frame, season)
    assert made["store_id"].to_list() == [f"{i}" for i in range(len(series))]
    for row, ys in zip(made.iter_rows(named=True), series, strict=True):
        ys = [None if y is None or math.isnan(y) else y for y in ys]
        d = [a - b for a, b in zip(ys[season:], ys, strict=False) if None not in (a, b)]
        assert row["differences"] == len(d)
        if len(d) < season:
            assert row["scale"] is row["scale_sq"] is None
        else:
            assert row["scale"] == pytest.approx(mean([abs(x) for x in d]), rel=1e-9, abs=1e-12)
            assert row["scale_sq"] == pytest.approx(mean([x * x for x in d]), rel=1e-9, abs=1e-12)


def test_a_hand_made_example():
    frame = pl.DataFrame(
        {
            "cutoff": [1, 1, 1, 2], "store_id": ["a", "a", "b", "a"],
            "sales": [10.0, 20.0, -10.0, 5.0], "forecast": [12.0, 15.0, 0.0, 5.0],
            "q10": [9.0, 12.0, -9.0, 5.0], "q50": [12.0, 15.0, 0.0, 5.0],
            "q90": [14.0, 19.0, 1.0, 5.0], "scale": [2.0, 2.0, 0.0, 2.0],
            "scale_sq": [4.0, 4.0, 0.0, 4.0],
        }
    )  # fmt: skip
    row = score(frame, rules_of((0.1, 0.5, 0.9))).row(0, named=True)
    assert row["wape"] == pytest.approx((17 / 40 + 0) / 2)
    assert row["bias"] == pytest.approx((7 / 40 + 0) / 2)
    assert row["mase"] == pytest.approx((1.75 + 0) / 2)
    assert row["rmsse"] == pytest.approx((math.sqrt(14.5 / 4) + 0) / 2)
    assert row["coverage"] == pytest.approx((1 / 3 + 1) / 2)
    assert (row["n_scored"], row["n_unscaled"], row["n_cutoffs"]) == (4, 1, 2)


def test_with_the_median_alone_the_quantile_loss_is_the_absolute_error():
    frame = pl.DataFrame(random_rows(random.Random(7), (0.5,)), schema=schema((0.5,)))
    made = score(frame.with_columns(q50="forecast"), rules_of((0.5,)), ["model"])
    assert made["wql"].to_list() == pytest.approx(made["wape"].to_list())
    assert made["sql"].to_list() == pytest.approx(made["mase"].to_list())
    assert set(made["coverage"].to_list()) == {None}


def test_the_nominal_share_is_that_of_the_outermost_central_pair():
    assert nominal_coverage([i / 10 for i in range(1, 10)]) == pytest.approx(0.8)
    assert nominal_coverage([0.5, 0.9, 0.975, 0.025]) == pytest.approx(0.95)
    assert central_interval([0.05, 0.1, 0.9]) == (0.1, 0.9)
    assert nominal_coverage([0.1, 0.5]) is None


@pytest.mark.parametrize("hole", [None, math.nan, math.inf])
@pytest.mark.parametrize("column", ["forecast", "q50"])
def test_a_forecast_that_is_missing_does_not_leave_the_average_in_silence(hole, column):
    rows = random_rows(random.Random(3), (0.5,))
    frame = pl.DataFrame(rows, schema=schema((0.5,))).with_columns(sales=1.0)
    frame = frame.with_columns(
        pl.when(pl.col("store_id") == "001").then(pl.lit(hole, pl.Float64)).otherwise(column)
        .alias(column)
    )  # fmt: skip
    with pytest.raises(ModelError) as wrong:
        score(frame, rules_of((0.5,)))
    assert wrong.value.code == Code.MODEL_OUTPUT_INVALID
    assert wrong.value.where == "stores '001'"


def test_nothing_to_score_is_null_and_counted():
    empty = pl.DataFrame(schema=schema((0.5,)))
    row = score(empty, rules_of((0.5,))).row(0, named=True)
    assert [row[m] for m in METRICS] == [None] * len(METRICS)
    assert row["n_scored"] == row["n_unknown"] == row["n_cutoffs"] == 0
    assert score(empty, rules_of((0.5,)), ["model"]).is_empty()


@pytest.mark.parametrize("seed", range(8))
def test_equal_forecasts_score_equally_to_the_bit_in_any_company_and_order(seed):
    chance = np.random.default_rng(seed)
    stores, steps = 5 + 4 * seed, 3 + seed

    def of(model):
        rows = [
            (model, D(2022, 1, cutoff), f"{store:02}", step)
            for cutoff in (1, 11, 21) for store in range(stores) for step in range(steps)
        ]  # fmt: skip
        made = pl.DataFrame(rows, ["model", "cutoff", "store_id", "step"], orient="row")
        names = ("sales", "forecast", "scale", "scale_sq", "q10", "q50", "q90")
        made = made.with_columns(pl.Series(n, chance.gamma(2, 20, made.height)) for n in names)
        return made.with_columns(pl.col("scale", "scale_sq").first().over("cutoff", "store_id"))

    mine, others = of("mine"), [of(f"other {n}") for n in range(3)]
    rules = rules_of((0.1, 0.5, 0.9))
    alone = score(mine, rules, by=["model"])
    for company in (pl.concat([*others, mine]), pl.concat([mine, *others[: seed % 3]])):
        for frame in (company, company.sample(fraction=1.0, shuffle=True, seed=seed)):
            told = score(frame, rules, by=["model"]).filter(pl.col("model") == "mine")
            assert told.equals(alone)
