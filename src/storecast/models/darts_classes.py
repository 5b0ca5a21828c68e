"""Any other Darts model, by its class in ``darts.models``: ``{name: tide, darts: TiDEModel, …}``.

What a class is decides how it is served; what it can use is read off it.

- Networks that are taught here (``DartsNetwork``) get what ``neural`` gives its own: windows,
  quantiles, steps, safetensors. Their parameters are the class's, and those of ``SCHOOLING``.
- Pretrained networks (``Pretrained``) read their weights from a local folder, ``weights``, and
  are never taught nor downloaded. Their training data may hold what they are tested on.
- Models of one series (``DartsLocal``) are fitted to each store at the forecast.
- Regressions over all series (``DartsRegression``) come back from the estimator below Darts'
  wrapper; where that has no form but a pickle, they can be validated, and ``deploy`` refuses them.

Left out are classes that are made of other models, those that classify, ``RNNModel`` and
``TCNModel`` (Darts teaches them on moved windows; ``BlockRNNModel`` is served), and pretrained
ones that packages of their own load: what those read, and from where, cannot be answered for.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from storecast.errors import Code, ModelError

if TYPE_CHECKING:
    from storecast.models.base import Forecaster, Recipe

KIND: Final = "darts"
PRETRAINED: Final = ("Chronos2Model", "PatchTSTFMModel", "TimesFM2p5Model", "TimesFM3Model")
"""Classes that read ``config.json`` and ``model.safetensors`` from a folder by Darts' own code."""
_LEFT_OUT: Final = (
    "EnsembleModel", "NaiveEnsembleModel", "RegressionEnsembleModel", "ConformalNaiveModel",
    "ConformalQRModel", "MultivariateModel", "SKLearnModel", "RegressionModel", "RNNModel",
    "SKLearnClassifierModel", "LightGBMClassifierModel", "XGBClassifierModel",
    "CatBoostClassifierModel", "NeuralForecastModel", "StatsForecastModel", "TCNModel",
    "TiRexModel", "TiRex2Model", "T0Model", "GaussianProcessFilter", "KalmanFilter",
    "MovingAverageFilter",
)  # fmt: skip
_OURS: Final = (
    "self", "args", "kwargs", "output_chunk_length", "output_chunk_shift", "add_encoders",
    "likelihood", "quantiles", "loss_fn", "random_state", "local_dir", "hub_model_name",
    "hub_model_revision", "use_static_covariates", "multi_models", "categorical_past_covariates",
    "categorical_future_covariates", "categorical_static_covariates", "lags_past_covariates",
    "lags_future_covariates", "categorical_embedding_sizes", "custom_encoder", "custom_decoder",
    "model", "kf", "cal_num_samples", "random_errors", "show_warnings", "pl_trainer_kwargs",
)  # fmt: skip
"""Parameters that storecast sets, or that take objects."""


def is_pretrained(kind: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a model's training data may hold what it is tested on; nothing is imported."""
    return kind == KIND and "weights" in parameters


def named(recipe: Recipe) -> tuple[str, dict[str, Any]]:
    """The class that a recipe names, and its other parameters.

    Raises:
        ModelError: MODEL_UNKNOWN, with the nearest names.
    """
    own = dict(recipe.parameters)
    name = own.pop("darts", None)
    check_class(recipe.name, name)
    return str(name), own


def check_class(model: str, name: Any) -> None:
    """Raise MODEL_UNKNOWN where there is no such class, or none that is served."""
    import darts.models

    served = [c for c in darts.models.__all__ if c not in _LEFT_OUT]
    if name in served:
        return
    near = difflib.get_close_matches(str(name), served, 3, 0.5)
    why = "is not served" if name in _LEFT_OUT else "is not a model of Darts"
    raise ModelError(
        Code.MODEL_UNKNOWN,
        f"model {model!r}: {name!r} {why}" + (f"; did you mean {', '.join(near)}?" if near else ""),
        where=f"models: {model}.darts",
        expected=f"a class of darts.models: {', '.join(served)}",
        found=str(name),
    )


def found(recipe: Recipe) -> Any:
    """The class itself.

    Raises:
        ModelError: MODEL_UNKNOWN; EXTRA_MISSING where a package that it needs is absent.
    """
    import darts.models

    name, _ = named(recipe)
    cls = getattr(darts.models, name)
    if not inspect.isclass(cls):
        from storecast.models.neural import need_torch

        need_torch(recipe.name)
        raise ModelError(
            Code.EXTRA_MISSING,
            f"model {recipe.name!r}: {name} needs a package that is not installed",
            where=f"models: {recipe.name}",
            expected=f"what Darts says of {name}",
            found="no such package",
            next_step=f"install what the documentation of Darts names for {name}, or leave the "
            "model out of `models`",
        )
    return cls


def forecaster_of(recipe: Recipe) -> type[Forecaster]:
    """The class of ours that serves the class that a recipe names. Raises as ``found``."""
    from darts.models.forecasting.forecasting_model import LocalForecastingModel

    name, own = named(recipe)
    if name in PRETRAINED or "weights" in own:
        from storecast.models.darts_networks import Pretrained

        return Pretrained
    cls = found(recipe)
    if issubclass(cls, LocalForecastingModel):
        from storecast.models.darts_series import DartsLocal

        return DartsLocal
    if any(base.__name__ == "TorchForecastingModel" for base in cls.__mro__):
        from storecast.models.darts_networks import DartsNetwork

        return DartsNetwork
    from storecast.models.darts_series import DartsRegression

    return DartsRegression


def parameters_for(
    recipe: Recipe, cls: Any, more: Mapping[str, Any], own_lags: bool = False
) -> dict[str, Any]:
    """A recipe's parameters, ``more`` being the defaults of those that are not the class's.

    Those that the class's constructor does not name are refused, unless it hands unknown ones to
    the library below it (a regression to LightGBM, say: ``own_lags`` stands for such a class).

    Raises:
        ModelError: MODEL_FAILED, with the nearest names.
    """
    _, own = named(recipe)
    signature = inspect.signature(cls.__init__).parameters
    known = sorted({*(n for n in signature if n not in _OURS), *more})
    open_ended = own_lags and "kwargs" in signature
    for key, value in own.items():
        if key in known or (open_ended and key not in _OURS):
            _check_plain(recipe, key, value, more)
            continue
        near = difflib.get_close_matches(key, known, 1)
        why = "is set by storecast" if key in _OURS else f"is none of {cls.__name__}"
        raise ModelError(
            Code.MODEL_FAILED,
            f"model {recipe.name!r}: parameter {key!r} {why}"
            + (f"; did you mean {near[0]!r}?" if near else ""),
            where=f"models: {recipe.name}.{key}",
            expected=", ".join(known),
            found=key,
        )
    return {**more, **own}


def _check_plain(recipe: Recipe, key: str, value: Any, more: Mapping[str, Any]) -> None:
    from storecast.models.base import parameters_of

    if key in more:
        parameters_of(recipe.name, {key: value}, {key: more[key]})


def made(recipe: Recipe, cls: Any, parameters: Mapping[str, Any]) -> Any:
    """An instance of a Darts class; what it says of its parameters is an error of ours.

    Raises:
        ModelError: MODEL_FAILED.
    """
    try:
        return cls(**parameters)
    except (TypeError, ValueError, KeyError, ImportError) as fault:
        raise ModelError(
            Code.MODEL_FAILED,
            f"model {recipe.name!r}: {cls.__name__} refuses its parameters: {fault}",
            where=f"models: {recipe.name}",
            expected=f"parameters of {cls.__name__}",
            found=", ".join(f"{k}={v!r}" for k, v in recipe.parameters.items()),
        ) from fault
