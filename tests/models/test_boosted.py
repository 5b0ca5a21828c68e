"""LightGBM through Darts: back from files to the bit, and honest about what is unknown."""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from storecast.core.panel import Known
from storecast.core.window import Window
from storecast.errors import Code, ModelError
from storecast.models.base import Recipe, checked, create, restore

from .small_chains import rules_of

FAST = {"n_estimators": 20, "lags": [1, 2, 3, 7], "colsample_bytree": 1.0}


def chain(stores: int = 6, weeks: int = 120, seed: int = 0) -> dict[str, list[float | None]]:
    chance = np.random.default_rng(seed)
    return {
        f"00{i}": [
            float((i + 1) * 10 * (1 + 0.5 * np.sin(t / 4)) + chance.normal()) for t in range(weeks)
        ]
        for i in range(stores)
    }


def fitted(made: Window, **parameters: Any) -> Any:
    model = create(Recipe("l", "lightgbm", {**FAST, **parameters}))
    model.fit(made.past)
    return model


def attributes(values: dict[str, list[float | None]]) -> pl.DataFrame:
    names = list(values)
    return pl.DataFrame(
        {
            "store_id": names,
            "region": [["Süd", "1e5", "NULL"][i % 3] for i in range(len(names))],
            "name": [f"shop {s}" for s in names],
        }
    )


def test_a_model_comes_back_from_plain_files_to_the_bit(window: Callable[..., Window]) -> None:
    values = chain()
    made = window(values, stores=attributes(values), attributes=("region", "name"))
    model = fitted(made)
    files = model.state()
    for content in files.values():
        content.decode("utf-8")
        with pytest.raises(ValueError, match=r"."):
            list(pickletools.genops(content))
    back = restore(model.recipe, files)
    told = checked(model.predict(made.past, made.future), made.future, rules_of())
    assert back.predict(made.past, made.future).equals(told)
    assert back.state() == files
    assert fitted(made).predict(made.past, made.future).equals(told)
    assert told["forecast"].n_unique() > 30


def test_an_attribute_of_one_store_each_is_left_out_and_a_new_value_is_forecast(
    window: Callable[..., Window],
) -> None:
    values = chain()
    more = {"attributes": ("region", "name")}
    model = fitted(window(values, stores=attributes(values), **more))
    assert b'"statics": ["region"]' in model.state()["lightgbm.json"]
    later = {**values, "new": [40.0] * 5}
    strange = attributes(later).with_columns(
        region=pl.when(pl.col("store_id") == "001").then(pl.lit("never seen")).otherwise("region")
    )
    made = window(later, stores=strange, **more)
    told = checked(model.predict(made.past, made.future), made.future, rules_of())
    new = told.filter(pl.col("store_id") == "new")["forecast"]
    assert new.len() == 8
    assert new.is_between(10, 80).all()


def test_the_forecast_follows_a_store_s_own_size(window: Callable[..., Window]) -> None:
    made = window(chain())
    told = fitted(made).predict(made.past, made.future)
    means = told.group_by("store_id", maintain_order=True).agg(pl.col("forecast").mean())
    np.testing.assert_allclose(
        means["forecast"].to_numpy() / means["forecast"][0], [1, 2, 3, 4, 5, 6], rtol=0.2
    )


@pytest.mark.parametrize("code", ["D", "W-SUN", "MS"])
def test_short_silent_and_unknown_stores_get_forecasts(
    window: Callable[..., Window], code: str
) -> None:
    values = chain()
    values |= {
        "one": [12.0],
        "zeros": [0.0] * 110,
        "unknown": [None, None],
        "gone": [8.0] * 20 + [0.0] * 95,
        "holes": [None if i % 3 else 5.0 for i in range(60)],
    }
    made = window(values, code=code)
    model = create(Recipe("l", "lightgbm", {"n_estimators": 20}))
    model.fit(made.past)
    told = checked(model.predict(made.past, made.future), made.future, rules_of(code))
    by_store = dict(told.group_by("store_id").agg("forecast").iter_rows())
    assert set(by_store) == set(values)
    assert by_store["zeros"] == by_store["gone"] == [0.0] * 8
    assert min(by_store["one"]) > 1.0
    assert 2.5 < np.mean(by_store["holes"]) < 10


def test_unknown_periods_are_no_samples(window: Callable[..., Window]) -> None:
    """A padded or masked target taken as zero would pull the median to zero."""
    values = {s: [None if i % 4 else v for i, v in enumerate(told)] for s, told in chain().items()}
    made = window(values)
    model = fitted(made)
    trees = model._trees["median"].booster.trees_to_dataframe()
    roots = trees[trees["node_depth"] == 1]
    assert set(roots["count"]) == {made.past.rows["sales"].drop_nulls().len()}
    told = model.predict(made.past, made.future)
    assert told["forecast"].min() > 3.0


def test_a_known_covariate_counts_as_far_as_it_is_known(
    window: Callable[..., Window],
) -> None:
    chance = np.random.default_rng(2)
    promotion = chance.integers(0, 2, 160).astype(float)
    values = {f"{i}": [10.0 * (i + 1) * (1 + promotion[t]) for t in range(150)] for i in range(4)}
    dates = window({"x": [1.0] * 150}, horizon=10)
    days = [*dates.past.rows["date"], *dates.future.rows["date"]]
    covariates = pl.DataFrame(
        [(s, day, p) for s in values for day, p in zip(days, promotion, strict=True)],
        schema={"store_id": pl.String, "date": pl.Date, "promo": pl.Float64},
        orient="row",
    )
    for ahead in (None, 8, 4):
        made = window(values, covariates=covariates, known={"promo": Known(ahead)})
        told = fitted(made, n_estimators=60).predict(made.past, made.future)
        promoted = made.future.rows["date"].is_in(
            [d for d, p in zip(days, promotion, strict=True) if p]
        )
        for seen in (True, False):
            steps = (told["step"] <= (ahead or 8)) == seen
            high, low = told.filter(promoted & steps), told.filter(~promoted & steps)
            if high.height:
                gap = high["forecast"].mean() / low["forecast"].mean()
                assert (gap > 1.6) is seen, (ahead, seen, gap)


def test_nothing_but_zeros_is_an_error_with_a_code(window: Callable[..., Window]) -> None:
    with pytest.raises(ModelError) as caught:
        fitted(window({"a": [0.0] * 30}))
    assert caught.value.code is Code.MODEL_FAILED


@pytest.mark.parametrize("lags", [0, [], [0, 1], ["1"]])
def test_wrong_lags_are_refused(window: Callable[..., Window], lags: Any) -> None:
    with pytest.raises(ModelError, match="lags"):
        fitted(window({"a": [1.0] * 30}), lags=lags)
