"""Any Darts model by its class: found or refused by name, and honest about what it can do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from storecast.backtest.identity import model_identity
from storecast.core.window import Window
from storecast.errors import Code, ModelError
from storecast.models.base import (
    Recipe,
    check_parameters,
    checked,
    create,
    is_pretrained,
    restore,
)
from tests.engines import needs

from .test_neural import chain, regions

needs("torch")

TINY = {"max_steps": 5, "patience": 0, "input_chunk_length": 12, "batch_size": 32}
NETWORKS: dict[str, dict[str, Any]] = {
    "TiDEModel": {**TINY, "hidden_size": 8, "decoder_output_dim": 4, "temporal_decoder_hidden": 4},
    "TSMixerModel": {**TINY, "hidden_size": 4, "ff_size": 4, "num_blocks": 1},
    "DLinearModel": {**TINY, "kernel_size": 5},
    "NHiTSModel": {**TINY, "num_stacks": 1, "num_layers": 1, "layer_widths": 8},
    "BlockRNNModel": {**TINY, "hidden_dim": 4},
    "TransformerModel": {**TINY, "d_model": 4, "nhead": 1, "dim_feedforward": 8},
    "TFTModel": {**TINY, "hidden_size": 4, "num_attention_heads": 1},
    "GlobalNaiveSeasonal": {"input_chunk_length": 12},
}


def recipe(darts: str, **parameters: Any) -> Recipe:
    return Recipe("d", "darts", {"darts": darts, **parameters})


def asked(model: Any, made: Window) -> pl.DataFrame:
    return checked(model.predict(made.past, made.future), made.future, made.past.rules)


def known(window: Callable[..., Window], **more: Any) -> Window:
    values = chain(stores=6, weeks=50)
    values |= {"one": [12.0], "holes": [None if i % 3 else 5.0 for i in range(50)]}
    return window(values, stores=regions(values), attributes=("region",), **more)


@pytest.mark.parametrize("darts", list(NETWORKS))
def test_a_network_by_its_class_comes_back_to_the_bit(
    window: Callable[..., Window], darts: str
) -> None:
    made = known(window)
    model: Any = create(recipe(darts, **NETWORKS[darts]))
    model.fit(made.past)
    told = asked(model, made)
    assert ("q10" in told.columns) is (darts != "GlobalNaiveSeasonal")
    back = restore(model.recipe, model.state())
    assert back.predict(made.past, made.future).equals(told)
    shape = json.loads(model.state()["network.json"])["shape"]
    takes = {
        "TiDEModel": (True, True, "one_hot"),
        "TFTModel": (True, True, "codes"),
        "NHiTSModel": (True, False, ""),
        "GlobalNaiveSeasonal": (False, False, ""),
    }
    if darts in takes:
        assert (
            shape["takes_past"],
            shape["takes_future"],
            shape["takes_statics"],
        ) == takes[darts]


def test_a_network_without_weights_learns_nothing(window: Callable[..., Window]) -> None:
    made = window({"a": [100.0] * 20 + [float(i % 12) + 1 for i in range(60)]})
    model: Any = create(recipe("GlobalNaiveAggregate", input_chunk_length=12, agg_fn="mean"))
    model.fit(made.past)
    np.testing.assert_allclose(asked(model, made)["forecast"], 6.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("darts", "parameters"),
    [
        ("ExponentialSmoothing", {}),
        ("NaiveSeasonal", {"K": 4}),
        ("FourTheta", {}),
        ("AutoTheta", {"season_length": 1}),
        ("Croston", {}),
        ("FFT", {}),
    ],
)
def test_a_model_of_one_series_is_fitted_to_each_store(
    window: Callable[..., Window], darts: str, parameters: dict[str, Any]
) -> None:
    made = known(window)
    model: Any = create(recipe(darts, **parameters))
    assert model.stateless
    told = asked(model, made)
    assert restore(model.recipe, model.state()).predict(made.past, made.future).equals(told)
    assert "q10" not in told.columns
    assert told.filter(pl.col("store_id") == "one")["forecast"].to_list() == [12.0] * 8
    means = told.group_by("store_id").agg(pl.col("forecast").mean()).sort("store_id")
    assert means["forecast"][5] > 2 * means["forecast"][1]


def test_where_no_store_can_be_fitted_the_reason_is_told(window: Callable[..., Window]) -> None:
    made = window({"a": [5.0] * 30, "b": [7.0] * 30})
    model: Any = create(recipe("NaiveMovingAverage", input_chunk_length=500))
    with pytest.raises(ModelError, match="any store") as caught:
        model.predict(made.past, made.future)
    assert caught.value.code is Code.MODEL_FAILED


@pytest.mark.parametrize(
    ("darts", "file"),
    [
        ("LinearRegressionModel", "regression.skops"),
        ("LightGBMModel", "regression.txt"),
        ("XGBModel", "regression.ubj"),
    ],
)
def test_a_regression_by_its_class_comes_back_to_the_bit(
    window: Callable[..., Window], darts: str, file: str
) -> None:
    more = {} if darts == "LinearRegressionModel" else {"n_estimators": 5}
    made = known(window)
    model: Any = create(recipe(darts, lags=[1, 2, 3], **more))
    model.fit(made.past)
    told = asked(model, made)
    again: Any = create(model.recipe)
    again.fit(made.past)
    assert asked(again, made).equals(told)
    files = model.state()
    assert set(files) == {"regression.json", file}
    back = restore(model.recipe, files)
    assert back.predict(made.past, made.future).equals(told)
    assert set(back.state()) == set(files)
    means = told.group_by("store_id").agg(pl.col("forecast").mean()).sort("store_id")
    assert means["forecast"][5] > 2 * means["forecast"][1]


def test_a_regression_with_no_form_but_a_pickle_is_validated_and_not_packed(
    window: Callable[..., Window],
) -> None:
    made = known(window)
    model: Any = create(recipe("RandomForestModel", lags=[1, 2, 3], n_estimators=5))
    model.fit(made.past)
    asked(model, made)
    with pytest.raises(ModelError, match="RandomForestRegressor") as refused:
        model.state()
    assert refused.value.code is Code.MODEL_FAILED
    assert "sklearn.tree._tree.Tree" in str(refused.value.expected)


def test_a_skops_file_with_types_that_are_not_trusted_is_refused(
    window: Callable[..., Window],
) -> None:
    import skops.io
    from sklearn.tree import DecisionTreeRegressor

    made = known(window)
    model: Any = create(recipe("LinearRegressionModel", lags=[1, 2, 3]))
    model.fit(made.past)
    strange = skops.io.dumps(DecisionTreeRegressor().fit([[0.0], [1.0]], [0.0, 1.0]))
    with pytest.raises(ModelError) as refused:
        restore(model.recipe, {**model.state(), "regression.skops": strange})
    assert refused.value.code is Code.ARTIFACT_FILE_REFUSED


def test_a_class_that_is_not_there_is_told_with_the_nearest() -> None:
    for name, says in (
        ("TideModel", "TiDEModel"),
        ("RNNModel", "BlockRNNModel"),
        ("TCNModel", "not served"),
        (None, "None is not a model"),
    ):
        with pytest.raises(ModelError, match=says) as caught:
            check_parameters("d", "darts", {"darts": name})
        assert caught.value.code is Code.MODEL_UNKNOWN
    with pytest.raises(ModelError, match="not served"):
        create(recipe("NaiveEnsembleModel"))
    with pytest.raises(ModelError) as caught:
        create(recipe("Prophet"))
    assert caught.value.code is Code.EXTRA_MISSING


@pytest.mark.parametrize(
    ("darts", "parameters", "says"),
    [
        ("TiDEModel", {"hidden_sise": 4}, "did you mean 'hidden_size'"),
        ("TiDEModel", {"output_chunk_length": 4}, "set by storecast"),
        ("TiDEModel", {"max_steps": "many"}, "'many'"),
        ("NHiTSModel", {"num_stacks": 1, "layer_widths": [4, 4, 4]}, "NHiTSModel refuses"),
        ("ExponentialSmoothing", {"seasons": 4}, "'seasonal'"),
        ("LinearRegressionModel", {"likelihood": "quantile"}, "set by storecast"),
        ("Chronos2Model", {}, "needs `weights`"),
        ("TiDEModel", {"weights": "here"}, "reads no weights"),
    ],
)
def test_a_parameter_that_is_not_the_class_s_is_refused(
    darts: str, parameters: dict[str, Any], says: str
) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        create(recipe(darts, **parameters))
    assert caught.value.code is Code.MODEL_FAILED


def chronos(folder: Path) -> None:
    """A Chronos-2 of random weights, a few thousand of them."""
    import torch
    from darts.models.forecasting.chronos2_model import _Chronos2Module
    from safetensors.torch import save_file

    config = {
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 32,
        "num_layers": 1,
        "num_heads": 2,
        "dropout_rate": 0.0,
        "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "relu",
        "rope_theta": 10000.0,
        "attn_implementation": "eager",
        "chronos_config": {
            "context_length": 64,
            "output_patch_size": 4,
            "input_patch_size": 4,
            "input_patch_stride": 4,
            "quantiles": [0.1, 0.3, 0.5, 0.7, 0.9],
            "use_reg_token": True,
            "use_arcsinh": True,
            "max_output_patches": 4,
            "time_encoding_scale": 64,
        },
    }
    torch.manual_seed(0)
    (folder / "config.json").write_text(json.dumps(config))
    import inspect

    wanted = inspect.signature(_Chronos2Module.__init__).parameters
    module = _Chronos2Module(
        **{k: v for k, v in config.items() if k in wanted},
        input_chunk_length=16,
        output_chunk_length=8,
    )
    state = {k: v.clone().contiguous() for k, v in module.state_dict().items()}
    save_file(state, folder / "model.safetensors")


def test_a_pretrained_model_reads_a_local_folder_and_needs_it_no_more(
    window: Callable[..., Window], tmp_path: Path
) -> None:
    chronos(tmp_path)
    made = known(window)
    model: Any = create(recipe("Chronos2Model", weights=str(tmp_path), input_chunk_length=16))
    model.fit(made.past)
    told = asked(model, made)
    assert {"q10", "q50", "q90"} <= set(told.columns)
    assert is_pretrained(model.recipe)
    assert not is_pretrained(recipe("TiDEModel"))
    files = model.state()
    for file in tmp_path.iterdir():
        file.unlink()
    assert restore(model.recipe, files).predict(made.past, made.future).equals(told)
    other = known(window, quantiles=(0.25, 0.75))
    (tmp_path / "config.json").write_bytes(files["config.json"])
    (tmp_path / "model.safetensors").write_bytes(files["network.safetensors"])
    points: Any = create(model.recipe)
    points.fit(other.past)
    assert "q25" not in asked(points, other).columns


def test_relative_weights_are_those_of_the_home_and_absolute_ones_their_own(
    window: Callable[..., Window], tmp_path: Path
) -> None:
    (tmp_path / "w").mkdir()
    chronos(tmp_path / "w")
    relative = recipe("Chronos2Model", weights="w", input_chunk_length=16)
    made, told = known(window), []
    for given in (
        replace(relative, home=str(tmp_path)),
        replace(recipe("Chronos2Model", weights=str(tmp_path / "w"), input_chunk_length=16),
                home=str(tmp_path / "nowhere")),
    ):  # fmt: skip
        model: Any = create(given)
        model.fit(made.past)
        told.append(asked(model, made))
    assert told[0].equals(told[1])
    # it says where the folder is, not what the recipe is; what lies in the folder does
    assert replace(relative, home=str(tmp_path)).digest == relative.digest
    assert model_identity(replace(relative, home=str(tmp_path))) != model_identity(relative)


def test_weights_that_are_not_there_are_not_fetched(
    window: Callable[..., Window], tmp_path: Path
) -> None:
    model: Any = create(recipe("Chronos2Model", weights=str(tmp_path)))
    with pytest.raises(ModelError, match=r"no config.json and no model.safetensors") as caught:
        model.fit(known(window).past)
    assert caught.value.code is Code.MODEL_FAILED
