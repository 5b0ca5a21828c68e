"""Several models as one: weights by segment, and the forecaster that packs its members."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from storecast.configfile import parse_config
from storecast.core.window import Window
from storecast.errors import ConfigurationError
from storecast.models.base import Recipe, create, finish, recipes_of, restore
from storecast.models.ensemble import ENOUGH, Weights, computed, mixed, with_members
from tests.fills import settings

MEMBERS = [
    Recipe("naive", "seasonal_naive"),
    Recipe("level", "local_level", {"window": 8}),
    Recipe("trees", "lightgbm", {"n_estimators": 5, "lags": [1, 2, 3]}),
]
Make = Callable[..., Window]


def rows_of(
    stores: dict[str, str], said: Callable[[str, float], list[float | None]]
) -> pl.DataFrame:
    """Six periods a store, its region, and what each member said."""
    told = []
    for store, region in stores.items():
        for actual in (5.0, 7.0, 4.0, 9.0, 6.0, 8.0):
            told.append((store, actual, region, *said(region, actual)))
    members = len(told[0]) - 3
    schema = {"store_id": pl.String, "sales": pl.Float64, "region": pl.String,
              **{str(i): pl.Float64 for i in range(members)}}  # fmt: skip
    return pl.DataFrame(told, schema=schema, orient="row")


def test_of_a_perfect_and_a_terrible_member_the_perfect_one_alone() -> None:
    rows = rows_of({"a": "n"}, lambda _, actual: [actual + 5, actual])
    learnt = Weights.learn(rows, ["bad", "good"], ())
    assert learnt.table == {(): (0.0, 1.0)}
    assert learnt.used() == ("good",)


def test_weights_by_segment_where_there_are_stores_enough() -> None:
    many = {f"n{i}": "n" for i in range(ENOUGH)} | {f"s{i}": "s" for i in range(ENOUGH - 1)}
    rows = rows_of(many, lambda r, actual: [actual, actual + 9] if r == "n" else [0.0, actual])
    learnt = Weights.learn(rows, ["one", "two"], ("region",))
    assert set(learnt.table) == {(), ("n",)}
    assert learnt.table["n",] == (1.0, 0.0)
    asked = pl.DataFrame({"region": ["s", "n", None]})
    everyone = list(learnt.table[()])
    assert learnt.matrix(asked, ("region",)).tolist() == [everyone, [1.0, 0.0], everyone]


def test_equals_keep_a_part_and_two_that_err_apart_are_better_together() -> None:
    signs = iter([1.0, -1.0] * 50)

    def apart(_: str, actual: float) -> list[float | None]:
        sign = next(signs)
        return [actual + 2 * sign, actual - 2 * sign, actual + 2.2]

    learnt = Weights.learn(rows_of({"a": "n", "b": "n"}, apart), ["up", "down", "high"], ())
    up, down, high = learnt.table[()]
    # half of it goes to all three alike
    assert (up, down, high) == pytest.approx((1 / 4 + 1 / 6, 1 / 4 + 1 / 6, 1 / 6))


def test_one_far_behind_the_best_has_no_weight_and_one_near_it_has() -> None:
    far = rows_of({"a": "n"}, lambda _, actual: [actual + 1, actual + 1.6])
    assert Weights.learn(far, ["best", "far"], ()).table[()] == (1.0, 0.0)
    near = rows_of({"a": "n"}, lambda _, actual: [actual + 1, actual + 1.4])
    assert Weights.learn(near, ["best", "near"], ()).table[()] == (0.75, 0.25)


def test_what_a_member_did_not_say_itself_teaches_nothing_of_it() -> None:
    rows = rows_of({"a": "n"}, lambda _, actual: [None, actual, actual + 1])
    learnt = Weights.learn(rows, ["mute", "good", "near"], ())
    assert learnt.table[()] == (0.0, 1.0, 0.0)
    silent = rows_of({"a": "n"}, lambda _, __: [None, None])
    assert Weights.learn(silent, ["x", "y"], ()) == Weights.equal(["x", "y"])
    unknown = rows.with_columns(sales=pl.lit(None, pl.Float64))
    assert Weights.learn(unknown, ["x", "y", "z"], ()) == Weights.equal(["x", "y", "z"])


def test_members_that_are_not_there_leave_their_weight_to_the_others() -> None:
    weights = Weights(("a", "b", "c"), {(): (0.5, 0.25, 0.25), ("n",): (1.0, 0.0, 0.0)})
    left = weights.among([False, True, True])
    assert left.table == {(): (0.0, 0.5, 0.5), ("n",): (0.0, 0.5, 0.5)}
    assert weights.among([False, False, False]) is weights
    nan = np.array([[1.0, np.nan, 3.0]])
    assert mixed(np.array([[0.5, 0.0, 0.5]]), nan).tolist() == [2.0]


def test_weights_come_back_from_a_recipe() -> None:
    weights = Weights(("naive", "level", "trees"), {(): (0.1, 0.2, 0.7), ("n",): (1.0, 0.0, 0.0)})
    recipe = with_members(Recipe("both", "ensemble"), MEMBERS)
    assert Weights.of(recipe) == Weights.equal(["naive", "level", "trees"])
    put = weights.put(recipe)
    assert Weights.of(Recipe.from_json(put.to_json())) == weights
    assert put.digest != recipe.digest


def test_the_mean_of_its_members_and_back_from_its_files_to_the_bit(window: Make) -> None:
    chance = np.random.default_rng(3)
    made = window({s: list(chance.gamma(2, 20, 60)) for s in "abc"}, season=4, missing="zero")
    past, future = made.past, made.future
    weights = Weights(("naive", "level", "trees"), {(): (0.5, 0.0, 0.5)})
    recipe = weights.put(with_members(Recipe("both", "ensemble"), MEMBERS))
    model = create(recipe)
    model.fit(past)
    told = model.predict(past, future)
    parts = []
    for member in (MEMBERS[0], MEMBERS[2]):
        alone = create(member)
        alone.fit(past)
        parts.append(finish(alone.predict(past, future), future, past.rules))
    for point in ("forecast", "forecast_mean"):
        by_hand = (parts[0][point] + parts[1][point]) / 2
        assert told[point].to_list() == pytest.approx(by_hand.to_list())
    files = model.state()
    assert {name.split("/")[0] for name in files} == {"2"}
    back = restore(Recipe.from_json(recipe.to_json()), files)
    assert back.predict(past, future).equals(told)
    again = create(recipe)
    again.fit(past)
    assert again.predict(past, future).equals(told)


# ------------------------------------------------------------------------ configuration


def configured(*models: Any) -> list[Recipe]:
    config = parse_config(settings(models=["seasonal_naive", "local_level", *models]))
    return recipes_of(config.models, config.rules())


def test_an_ensemble_of_the_others_by_default_or_of_those_named() -> None:
    recipes = configured("ensemble", {"name": "few", "kind": "ensemble",
                                      "members": ["local_level", "third"]},
                         {"name": "third", "kind": "local_level", "window": 4})  # fmt: skip
    by_name = {r.name: r for r in recipes}
    assert Weights.of(by_name["ensemble"]).members == ("seasonal_naive", "local_level", "third")
    assert Weights.of(by_name["few"]).members == ("local_level", "third")
    assert [r.name for r in computed(recipes)] == ["seasonal_naive", "local_level", "third"]
    assert [r.name for r in computed([by_name["few"]])] == ["local_level", "third"]
    # another member is another ensemble
    other = configured("ensemble", {"name": "third", "kind": "local_level", "window": 5})
    assert other[2].digest != by_name["ensemble"].digest
    json.dumps(recipes[2].parameters)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (["local_level", "locallevel"], "did you mean 'local_level'"),
        (["local_level"], "at least two different"),
        (["local_level", "local_level"], "at least two different"),
        ("local_level", "at least two different"),
        (["local_level", "ensemble"], "no member 'ensemble'"),
    ],
)
def test_members_that_cannot_be_are_refused_when_the_file_is_read(members: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        configured({"name": "ensemble", "members": members})


def test_other_parameters_and_an_ensemble_as_the_baseline_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="no parameter 'member'"):
        configured({"name": "ensemble", "member": ["local_level"]})
    with pytest.raises(ConfigurationError, match="cannot be an ensemble"):
        parse_config(
            settings(
                models=["seasonal_naive", "local_level", "ensemble"],
                validation={"baseline": "ensemble"},
            )
        )
