"""LightGBM and XGBoost: back from files to the bit, and honest about what is unknown."""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from storecast.core.panel import Known
from storecast.core.window import Window, cut
from storecast.errors import Code, ModelError
from storecast.models.base import Recipe, checked, create, restore
from storecast.models.baselines import Matrix
from storecast.models.encoding import hidden

from .small_chains import THROUGH, history_of, rules_of

FAST = {"n_estimators": 20, "lags": [1, 2, 3, 7], "colsample_bytree": 1.0}
KINDS = ("lightgbm", "xgboost")
STRATEGIES = ("recursive", "direct")
each_kind = pytest.mark.parametrize("kind", KINDS)
each_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


def chain(stores: int = 6, weeks: int = 120, seed: int = 0) -> dict[str, list[float | None]]:
    chance = np.random.default_rng(seed)
    return {
        f"00{i}": [
            float((i + 1) * 10 * (1 + 0.5 * np.sin(t / 4)) + chance.normal()) for t in range(weeks)
        ]
        for i in range(stores)
    }


def fitted(made: Window, kind: str = "lightgbm", **parameters: Any) -> Any:
    model = create(Recipe("l", kind, {**FAST, **parameters}))
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


@each_kind
@each_strategy
def test_a_model_comes_back_from_plain_files_to_the_bit(
    window: Callable[..., Window], kind: str, strategy: str
) -> None:
    values = chain()
    made = window(values, stores=attributes(values), attributes=("region", "name"))
    model = fitted(made, kind, strategy=strategy)
    files = model.state()
    for content in files.values():
        with pytest.raises(ValueError, match=r"."):
            list(pickletools.genops(content))
    back = restore(model.recipe, files)
    told = checked(model.predict(made.past, made.future), made.future, rules_of())
    assert back.predict(made.past, made.future).equals(told)
    assert back.state() == files
    again = fitted(made, kind, strategy=strategy)
    assert again.state() == files
    assert again.predict(made.past, made.future).equals(told)
    assert told["forecast"].n_unique() > 20


@each_kind
def test_a_model_made_through_darts_comes_back_to_the_bit(
    window: Callable[..., Window], kind: str
) -> None:
    values = chain()
    made = window(values, stores=attributes(values), attributes=("region", "name"))
    model = fitted(made, kind, engine="darts")
    back = restore(model.recipe, model.state())
    told = model.predict(made.past, made.future)
    assert back.predict(made.past, made.future).equals(told)


@each_kind
def test_an_attribute_of_one_store_each_is_left_out_and_a_new_value_is_forecast(
    window: Callable[..., Window], kind: str
) -> None:
    values = chain()
    more = {"attributes": ("region", "name")}
    model = fitted(window(values, stores=attributes(values), **more), kind)
    assert b'"statics": ["region"]' in model.state()[f"{kind}.json"]
    later = {**values, "new": [40.0] * 5}
    strange = attributes(later).with_columns(
        region=pl.when(pl.col("store_id") == "001").then(pl.lit("never seen")).otherwise("region")
    )
    made = window(later, stores=strange, **more)
    told = checked(model.predict(made.past, made.future), made.future, rules_of())
    new = told.filter(pl.col("store_id") == "new")["forecast"]
    assert new.len() == 8
    assert new.is_between(10, 80).all()


@each_kind
@each_strategy
def test_a_category_never_seen_is_forecast_as_the_hidden_stores_taught(
    window: Callable[..., Window], kind: str, strategy: str
) -> None:
    """A promotion is +8 in region a and -6 in b; in the hidden stores, +1 by construction."""
    stores = [f"{i:02}" for i in range(60)]
    hides = dict(zip(stores, hidden(stores), strict=True))
    assert sum(hides.values()) == 3
    regions = {s: "ab"[i % 2] for i, s in enumerate(stores)}
    more = {"attributes": ("region",), "known": {"promo": Known()}}

    def made(told: dict[str, str]) -> Window:
        dates = window({"x": [1.0] * 60})
        days = [*dates.past.rows["date"], *dates.future.rows["date"]]
        chance = np.random.default_rng(3)
        rows, values = [], {}
        for store in told:
            promo = chance.integers(0, 2, len(days)).astype(float)
            promo[60:] = np.arange(8) % 2
            effect = 1 if hides.get(store) else {"a": 8, "b": -6}.get(told[store], 0)
            values[store] = list(10 + promo[:60] * effect) if effect else [10.0, 10.0]
            rows += [(store, day, p) for day, p in zip(days, promo, strict=True)]
        schema = {"store_id": pl.String, "date": pl.Date, "promo": pl.Float64}
        return window(
            values,
            stores=pl.DataFrame({"store_id": list(told), "region": list(told.values())}),
            covariates=pl.DataFrame(rows, schema=schema, orient="row"),
            **more,
        )

    model = fitted(
        made(regions), kind, strategy=strategy, lags=[1], n_estimators=60, learning_rate=0.2
    )
    told = made({**regions, "new": "never seen"})
    frame = model.predict(told.past, told.future)
    promoted = frame.join(
        told.future.rows.select("store_id", "date", "promo"), on=["store_id", "date"]
    )

    def effect(store: str) -> float:
        own = promoted.filter(pl.col("store_id") == store)
        means = dict(own.group_by("promo").agg(pl.col("forecast").mean()).iter_rows())
        return float(means[1.0] - means[0.0])

    assert abs(effect("new") - 1) < 1.5
    taught_as_unknown = next(s for s in stores if hides[s] and regions[s] == "a")
    # the hiding is of the fit alone
    assert effect(taught_as_unknown) > 2.5
    assert effect("00") > 4
    assert effect("01") < -3


def test_the_forecast_follows_a_store_s_own_size(window: Callable[..., Window]) -> None:
    made = window(chain())
    told = fitted(made).predict(made.past, made.future)
    means = told.group_by("store_id", maintain_order=True).agg(pl.col("forecast").mean())
    np.testing.assert_allclose(
        means["forecast"].to_numpy() / means["forecast"][0], [1, 2, 3, 4, 5, 6], rtol=0.2
    )


@each_kind
@each_strategy
@pytest.mark.parametrize("code", ["D", "W-SUN", "MS"])
def test_short_silent_and_unknown_stores_get_forecasts(
    window: Callable[..., Window], code: str, kind: str, strategy: str
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
    model = create(Recipe("l", kind, {"n_estimators": 20, "strategy": strategy}))
    model.fit(made.past)
    told = checked(model.predict(made.past, made.future), made.future, rules_of(code))
    by_store = dict(told.group_by("store_id").agg("forecast").iter_rows())
    assert set(by_store) == set(values)
    assert by_store["zeros"] == by_store["gone"] == [0.0] * 8
    assert min(by_store["one"]) > 1.0
    assert 2.5 < np.mean(by_store["holes"]) < 10


@each_kind
@each_strategy
def test_unknown_periods_are_no_samples(
    window: Callable[..., Window], kind: str, strategy: str
) -> None:
    """A padded or masked target taken as zero would pull the median to zero."""
    values = {s: [None if i % 4 else v for i, v in enumerate(told)] for s, told in chain().items()}
    made = window(values)
    model = fitted(made, kind, strategy=strategy)
    if kind == "lightgbm":
        trees = next(iter(model._trees.values())).booster.trees_to_dataframe()
        roots = trees[trees["node_depth"] == 1]
        known = made.past.rows["sales"].drop_nulls().len()
        # a direct booster is taught each value at each of the 8 steps
        assert set(roots["count"]) == {known * (8 if strategy == "direct" else 1)}
    told = model.predict(made.past, made.future)
    assert told["forecast"].min() > 3.0


def test_a_direct_model_has_its_own_quantiles(window: Callable[..., Window]) -> None:
    """Sales are 10 times a lognormal: its quantiles and its mean are known."""
    chance = np.random.default_rng(0)
    told = {f"{i}": list(10 * np.exp(0.5 * chance.normal(size=200))) for i in range(25)}
    levels = (0.1, 0.25, 0.75, 0.9)
    made = window(told, quantiles=levels)
    for kind in KINDS:
        model = fitted(made, kind, strategy="direct")
        frame = model.predict(made.past, made.future)
        checked(frame, made.future, made.past.rules)
        names = ["q10", "q25", "forecast", "q75", "q90"]
        numbers = frame.select(names).to_numpy()
        assert (np.diff(numbers, axis=1) >= 0).all()
        truth = 10 * np.exp(0.5 * np.array([-1.2816, -0.6745, 0, 0.6745, 1.2816]))
        np.testing.assert_allclose(numbers.mean(axis=0), truth, rtol=0.15)
        assert abs(frame["forecast_mean"].mean() / (10 * np.exp(0.125)) - 1) < 0.1
        assert "q50" not in frame.columns
        mean = replace(made.past, rules=replace(made.past.rules, point="mean"))
        again = model.predict(mean, made.future)
        assert again["forecast"].equals(frame["forecast_mean"])


def test_a_direct_model_is_taught_each_value_at_each_step(window: Callable[..., Window]) -> None:
    made = window(chain())
    model = fitted(made, strategy="direct")
    scaled = np.array(list(chain().values()))
    laid = model._laid(made.past, Matrix.of(made.past), scaled, np.zeros((6, 0)), only_known=True)
    frame = pl.DataFrame(
        {"row": laid.samples.row, "at": laid.samples.at, "step": laid.samples.step}
    )
    assert frame.height == scaled.size * 8
    assert not frame.is_duplicated().any()


def test_a_direct_model_looks_no_further_than_it_was_taught(
    window: Callable[..., Window],
) -> None:
    model = fitted(window(chain(), horizon=4), strategy="direct")
    made = window(chain(), horizon=5)
    with pytest.raises(ModelError, match="at most 4 steps"):
        model.predict(made.past, made.future)


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


@each_kind
def test_a_realised_covariate_is_seen_a_season_before_and_never_ahead(kind: str) -> None:
    """Sales repeat what visitors there were 14 days before; the horizon is 8 days."""
    chance = np.random.default_rng(4)
    visits = {f"{i}": chance.uniform(1, 9, 214) for i in range(6)}
    values = {s: [float(x) for x in v[:200]] for s, v in visits.items()}
    rules = rules_of("D", realised=("visits",))
    history = history_of(values, rules)
    # the visits of the day, 14 days after which they become sales
    seen = [pl.Series(visits[s][14:]) for s in values]
    history = replace(history, sales=history.sales.with_columns(visits=pl.concat(seen)))
    made = cut(history, THROUGH, rules.horizon)
    model = fitted(made, kind, lags=[1], n_estimators=80)
    told = model.predict(made.past, made.future)
    truth = np.concatenate([visits[s][200:208] for s in made.past.stores["store_id"]])
    assert np.corrcoef(told["forecast"].to_numpy(), truth)[0, 1] > 0.9


def test_a_package_that_is_not_there_is_told_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)  # as if it were not installed
    with pytest.raises(ModelError) as caught:
        create(Recipe("x", "xgboost"))
    assert caught.value.code is Code.EXTRA_MISSING
    assert 'pip install "storecast[xgboost]"' in str(caught.value.next_step)
    create(Recipe("l", "lightgbm"))


@each_kind
@pytest.mark.parametrize(
    ("key", "wrong"), [("strategy", "both"), ("engine", 1), ("strategy", None)]
)
def test_a_choice_is_one_of_those_offered(kind: str, key: str, wrong: Any) -> None:
    with pytest.raises(ModelError, match=key):
        create(Recipe("x", kind, {key: wrong}))


def test_darts_makes_no_direct_samples_for_us() -> None:
    with pytest.raises(ModelError, match="engine"):
        create(Recipe("x", "lightgbm", {"strategy": "direct", "engine": "darts"}))
