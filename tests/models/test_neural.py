"""N-BEATS and TFT through Darts: to the bit, honest about what is unknown, blind to what comes."""

from __future__ import annotations

import importlib.util
import pickletools
import sys
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from storecast.core.panel import Known
from storecast.core.window import Window
from storecast.errors import Code, ModelError
from storecast.models.base import Recipe, checked, create, restore
from storecast.models.neural import mean_of, symmetric
from tests.engines import needs

needs("torch")

TINY: dict[str, dict[str, Any]] = {
    "nbeats": {"layer_widths": 16, "num_stacks": 1, "num_layers": 1, "dropout": 0.0},
    "tft": {"hidden_size": 4, "hidden_continuous_size": 2, "num_attention_heads": 1},
}
BOTH = pytest.mark.parametrize("kind", list(TINY))


def recipe(kind: str, **parameters: Any) -> Recipe:
    usual = {"max_steps": 20, "input_chunk_length": 12, "batch_size": 32, "patience": 2}
    return Recipe("n", kind, {**TINY[kind], **usual, **parameters})


def fitted(made: Window, kind: str, **parameters: Any) -> Any:
    model = create(recipe(kind, **parameters))
    model.fit(made.past)
    return model


def asked(model: Any, made: Window) -> pl.DataFrame:
    return checked(model.predict(made.past, made.future), made.future, made.past.rules)


def chain(stores: int = 6, weeks: int = 60, seed: int = 0) -> dict[str, list[float | None]]:
    chance = np.random.default_rng(seed)
    return {
        f"00{i}": [
            float((i + 1) * 10 * (1 + 0.5 * np.sin(t / 4)) + chance.normal()) for t in range(weeks)
        ]
        for i in range(stores)
    }


def regions(values: dict[str, list[float | None]]) -> pl.DataFrame:
    names = list(values)
    return pl.DataFrame(
        {"store_id": names, "region": [["Süd", "1e5", "NULL"][i % 3] for i in range(len(names))]}
    )


@BOTH
def test_a_network_comes_back_from_plain_files_to_the_bit(
    window: Callable[..., Window], kind: str
) -> None:
    values = chain()
    made = window(values, stores=regions(values), attributes=("region",))
    model = fitted(made, kind)
    files = model.state()
    assert set(files) == {"network.safetensors", "network.json"}
    for content in files.values():
        with pytest.raises(ValueError, match=r"."):
            list(pickletools.genops(content))
    told = asked(model, made)
    back = restore(model.recipe, files)
    assert back.predict(made.past, made.future).equals(told)
    assert back.state() == files
    assert fitted(made, kind).state() == files, "two fits are one"
    assert fitted(made, kind, seed=1).state() != files
    assert 1 <= model.steps <= 20


@pytest.mark.slow
@BOTH
def test_the_quantiles_are_its_own_and_ascend(window: Callable[..., Window], kind: str) -> None:
    made = window(chain(), quantiles=(0.05, 0.3, 0.9))
    told = asked(fitted(made, kind), made)
    columns = ["q05", "q30", "q90"]
    levels = told.select(columns).to_numpy()
    assert (np.diff(levels, axis=1) >= 0).all()
    assert (levels[:, 2] - levels[:, 0]).max() > 0
    assert told["forecast"].is_between(told["q30"], told["q90"]).all()
    assert told["forecast_mean"].is_between(told["q05"], told["q90"]).all()
    assert not told["forecast_mean"].equals(told["forecast"])
    by_mean = window(chain(), quantiles=(0.05, 0.3, 0.9), point="mean")
    again = asked(fitted(by_mean, kind), by_mean)
    assert again["forecast"].equals(again["forecast_mean"])


def test_the_mean_is_that_of_the_lines_between_the_quantiles() -> None:
    levels = symmetric((0.1, 0.5, 0.9))
    assert levels == [0.1, 0.5, 0.9]
    assert symmetric((0.2,)) == [0.2, 0.5, 0.8]
    fine = np.linspace(0.0005, 0.9995, 1000)
    values = np.array([1.0, 2.0, 6.0])
    np.testing.assert_allclose(
        mean_of(levels, values), np.interp(fine, levels, values).mean(), rtol=1e-4
    )
    np.testing.assert_allclose(mean_of([0.5], np.array([7.0])), 7.0)


@BOTH
def test_the_forecast_learns_and_follows_a_store_s_own_size(
    window: Callable[..., Window], kind: str
) -> None:
    made = window(chain(weeks=120))
    told = asked(fitted(made, kind, max_steps=60, learning_rate=0.01), made)
    means = told.group_by("store_id", maintain_order=True).agg(pl.col("forecast").mean())
    np.testing.assert_allclose(
        means["forecast"].to_numpy() / means["forecast"][0], [1, 2, 3, 4, 5, 6], rtol=0.25
    )


@BOTH
@pytest.mark.parametrize("code", ["D", "W-SUN", "MS"])
def test_new_short_silent_and_unknown_stores_get_forecasts(
    window: Callable[..., Window], kind: str, code: str
) -> None:
    values = chain(weeks=70)
    quick = {"max_steps": 4, "patience": 0}
    model = fitted(window(values, code=code), kind, **quick)
    values |= {
        "one": [12.0],
        "five": [12.0] * 5,
        "zeros": [0.0] * 70,
        "unknown": [None, None],
        "gone": [8.0] * 20 + [0.0] * 95,
        "holes": [None if i % 3 else 5.0 for i in range(60)],
    }
    made = window(values, code=code)
    for asked_model in (model, fitted(made, kind, **quick)):
        told = asked(asked_model, made)
        by_store = dict(told.group_by("store_id").agg("forecast").iter_rows())
        assert set(by_store) == set(values)
        assert by_store["zeros"] == by_store["gone"] == [0.0] * 8
        assert abs(np.mean(by_store["one"])) < 60
        assert abs(np.mean(by_store["holes"])) < 20
        assert by_store["unknown"] != [0.0] * 8, "as the others"


@pytest.mark.slow
@BOTH
def test_a_known_covariate_counts_and_one_not_known_far_enough_does_not(
    window: Callable[..., Window], kind: str
) -> None:
    chance = np.random.default_rng(2)
    promotion = chance.integers(0, 2, 108).astype(float)
    values = {f"{i}": [10.0 * (i + 1) * (1 + promotion[t]) for t in range(100)] for i in range(4)}
    dates = window({"x": [1.0] * 100})
    days = [*dates.past.rows["date"], *dates.future.rows["date"]]
    covariates = pl.DataFrame(
        [(s, day, p) for s in values for day, p in zip(days, promotion, strict=True)],
        schema={"store_id": pl.String, "date": pl.Date, "promo": pl.Float64},
        orient="row",
    )
    for ahead, helps in ((None, True), (0, False)):
        made = window(values, covariates=covariates, known={"promo": Known(ahead)})
        told = asked(
            fitted(made, kind, max_steps=150, learning_rate=0.03, patience=0, **WIDER[kind]), made
        )
        promoted = made.future.rows["date"].is_in(
            [d for d, p in zip(days, promotion, strict=True) if p]
        )
        gap = told.filter(promoted)["forecast"].mean() / told.filter(~promoted)["forecast"].mean()
        assert (gap > 1.5) is helps, (ahead, gap)


WIDER: dict[str, dict[str, Any]] = {"nbeats": {"layer_widths": 48}, "tft": {"hidden_size": 8}}


def test_the_refit_has_the_last_horizon(
    window: Callable[..., Window],
) -> None:
    states = []
    for last in (900.0, 0.0):
        made = window({s: [*told[:-1], last] for s, told in chain().items()})
        states.append(fitted(made, "nbeats", patience=0).state())
    assert states[0]["network.safetensors"] != states[1]["network.safetensors"]
    assert b'"steps": 20' in states[0]["network.json"]


def test_the_best_step_is_kept_and_patience_ends() -> None:
    from storecast.models.torch_bridge import BestStep

    stop = BestStep(patience=2)
    trainer = SimpleNamespace(callback_metrics={}, global_step=0, should_stop=False)
    told = []
    for step, loss in enumerate([3.0, 1.0, 2.0, 0.5, 0.6, 0.7], 1):
        trainer.callback_metrics["val_loss"], trainer.global_step = loss, 10 * step
        stop.on_validation_end(trainer, None)
        told.append(trainer.should_stop)
    assert stop.best == 40
    assert told == [False] * 5 + [True]


@BOTH
def test_a_shorter_future_is_a_cut_and_a_longer_one_an_error(
    window: Callable[..., Window], kind: str
) -> None:
    made = window(chain())
    model = fitted(made, kind)
    whole = asked(model, made)
    short = type(made.future)(made.future.rows.filter(pl.col("step") <= 3))
    told = model.predict(made.past, short)
    assert told.equals(whole.filter(pl.col("step") <= 3).select(told.columns))
    longer = made.future.rows.with_columns(
        step=pl.col("step") + 1, date=pl.col("date") + timedelta(days=7)
    )
    with pytest.raises(ModelError, match="horizon") as caught:
        model.predict(made.past, type(made.future)(longer))
    assert caught.value.code is Code.MODEL_FAILED


def test_the_attributes_of_new_stores_are_the_unknown_that_was_taught(
    window: Callable[..., Window],
) -> None:
    values = chain()
    made = window(values, stores=regions(values), attributes=("region",))
    model = fitted(made, "tft")
    later = {**values, "new": [40.0] * 5}
    strange = regions(later).with_columns(
        region=pl.when(pl.col("store_id") == "001").then(pl.lit("never seen")).otherwise("region")
    )
    told = asked(model, window(later, stores=strange, attributes=("region",)))
    assert told.filter(pl.col("store_id") == "new").height == 8
    assert b'"categories": [4]' in model.state()["network.json"]


def test_the_accelerator_is_no_part_of_a_recipe() -> None:
    one, other = (Recipe("n", "tft", {}, accelerator=a) for a in ("cpu", "gpu"))
    assert one.digest == other.digest
    assert one.to_json() == other.to_json()
    assert one == other


def test_a_gpu_that_is_not_there_is_an_error(window: Callable[..., Window]) -> None:
    import torch

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("there is one")
    model = create(Recipe("n", "nbeats", {"max_steps": 2}, accelerator="gpu"))
    with pytest.raises(ModelError, match="GPU"):
        model.fit(window(chain()).past)


@BOTH
def test_nothing_but_zeros_is_an_error_with_a_code(
    window: Callable[..., Window], kind: str
) -> None:
    with pytest.raises(ModelError) as caught:
        fitted(window({"a": [0.0] * 40}), kind)
    assert caught.value.code is Code.MODEL_FAILED


@BOTH
def test_without_torch_the_extra_is_named_before_anything_runs(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "torch" else there(n, *a)
    )
    with pytest.raises(ModelError) as caught:
        create(recipe(kind))
    assert caught.value.code is Code.EXTRA_MISSING
    assert "storecast[neural]" in str(caught.value.next_step)


def test_a_recipe_alone_imports_no_torch() -> None:
    import subprocess

    code = (
        "import sys; from storecast.models.base import Recipe, create; "
        "create(Recipe('n', 'tft', {})); print('torch' in sys.modules, 'darts' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
