"""Neural networks through Darts: N-BEATS and the Temporal Fusion Transformer, one for all stores.

A network reads a stretch of a store's past and forecasts the whole horizon at once, each quantile
by its own output. How its windows are made is told in ``windows``: what is unknown carries no
weight, every store has its own scale, new and short histories are taught as well.

It is sized in gradient steps. The last horizon before the cutoff is kept back, the number of
steps after which it was forecast best is found (``patience``), and then a fresh network is taught
with all of the past for as many. On one thread and from one seed: two fits are equal to the bit.

- **N-BEATS** (Oreshkin and others, ICLR 2020) takes neither future covariates nor attributes in
  Darts. It gets what is known ahead as covariates of the past, moved by the horizon, so that the
  stretch it reads tells it of the coming periods; the calendar is among them.
- **TFT** (Lim and others, International Journal of Forecasting 37, 2021) takes known covariates
  and the calendar as they are, and a store's attributes as embedded codes; code 0, of what is not
  known, is taught with 5% of the stores.

``forecast`` is the median; ``forecast_mean`` is the mean of the distribution that the quantiles
draw: straight lines between them (the trapezoid rule), and beyond the outermost ones nothing.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import polars as pl

from storecast.core.identifiers import StoreCodes
from storecast.core.schema import quantile_column
from storecast.errors import Code, ModelError
from storecast.models.base import Recipe, parameters_of
from storecast.models.baselines import Matrix, horizon_of
from storecast.models.encoding import categories, coded, taught
from storecast.models.windows import Shape, Windows, columns_of, scaling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storecast.core.panel import SeriesRules
    from storecast.core.window import Future, Past
    from storecast.models.torch_bridge import Schooling

    Floats = NDArray[np.float64]

_READ = {"D": 42, "W": 26, "M": 18}
WEIGHTS, DESCRIPTION = "network.safetensors", "network.json"
SCHOOLING: Mapping[str, Any] = {
    "input_chunk_length": None,
    "max_steps": 400,
    "batch_size": 128,
    "learning_rate": 0.003,
    "patience": 4,
    "seed": 0,
}
"""Parameters of every network that is taught here. A patience of 0 takes ``max_steps`` as it is."""
CHECKS = 20
"""Validations in ``max_steps``."""


def need_torch(name: str) -> None:
    """Nothing is imported.

    Raises:
        ModelError: EXTRA_MISSING where torch or what Darts needs beside it is absent.
    """
    missing = [
        package
        for package in ("torch", "pytorch_lightning", "safetensors")
        if importlib.util.find_spec(package) is None
    ]
    if missing:
        raise ModelError(
            Code.EXTRA_MISSING,
            f"model {name!r} needs {', '.join(missing)}",
            where=f"models: {name}",
            expected="the extra `neural`, and torch",
            found=f"no {missing[0]}",
            next_step='install torch first (for the processor alone: `pip install "torch" '
            "--index-url https://download.pytorch.org/whl/cpu`), then `pip install "
            '"storecast[neural]"`; or leave the model out of `models`',
        )


def symmetric(quantiles: Sequence[float]) -> list[float]:
    """The levels that Darts asks for: those wanted, their mirror images, and the median."""
    return sorted({0.5, *(round(level, 9) for q in quantiles for level in (q, 1 - q))})


def mean_of(levels: Sequence[float], values: Floats) -> Floats:
    """The mean of the distribution that ascending quantiles draw; values are … × Q, levels Q."""
    width = np.diff(levels)
    share = np.concatenate([[levels[0]], width / 2]) + np.concatenate([width / 2, [1 - levels[-1]]])
    # at both ends a flat tail, between them half of each width on either side
    mean: Floats = values @ share
    return mean


class Network:
    """What the networks have in common; a subclass says which one it is."""

    kind: ClassVar[str]
    stateless: ClassVar[bool] = False
    fast: ClassVar[bool] = False
    """Too dear for the leak audit that every validation makes."""
    takes_past = True
    takes_future = False
    takes_statics = ""

    def __init__(self, recipe: Recipe) -> None:
        need_torch(recipe.name)
        self.recipe = recipe
        self.parameters = self._parameters()
        self._categories: dict[str, StoreCodes] = {}
        self._shape: Shape | None = None
        self._levels: list[float] = []
        self._model: Any = None
        self.steps = 0
        """Gradient steps of the final teaching."""

    def fit(self, past: Past) -> None:
        """Find the number of steps, then teach a fresh network with all of the past.

        Raises:
            ModelError: MODEL_FAILED where no window has anything to learn from.
        """
        from storecast.models.torch_bridge import teach

        matrix, rules = Matrix.of(past), past.rules
        self._levels = symmetric(rules.quantiles)
        self._categories = categories(past) if self.takes_statics else {}
        ahead, columns = columns_of(matrix, past, None)
        periods = matrix.values.shape[1]
        self._shape = self._shaped(rules, ahead, columns)
        seed = int(self.parameters["seed"])
        codes = taught(coded(past, self._categories), matrix.stores, seed)
        windows = Windows(matrix.values, columns, codes, self._shape)
        chosen = windows.usable(periods)
        if not chosen[0].size:
            raise ModelError(
                Code.MODEL_FAILED,
                f"model {self.recipe.name!r} has nothing to learn from",
                where=f"cutoff {past.cutoff}",
                expected=f"a store with known sales other than zero over {rules.horizon} periods "
                "and some before",
                found="none",
            )
        self.steps = self._search(windows, periods)
        self._model = self._built()
        teach(self._model, windows, chosen, self.steps, self._schooling())

    def _search(self, windows: Windows, periods: int) -> int:
        """The number of steps after which the last horizon was forecast best."""
        from storecast.models.torch_bridge import teach

        schooling, horizon = self._schooling(), windows.shape.future
        store, t = windows.usable(periods)
        last = t == periods - horizon
        early = windows.usable(periods - horizon)
        if not schooling.patience or not last.any() or not early[0].size:
            return schooling.max_steps
        proof = (store[last], t[last])
        return teach(self._built(), windows, early, schooling.max_steps, schooling, proof)

    def predict(self, past: Past, future: Future) -> pl.DataFrame:
        """Forecast every row of ``future``, with quantiles.

        Raises:
            ModelError: MODEL_FAILED where the future is longer than the horizon that was taught.
        """
        from storecast.models.torch_bridge import ask

        shape, matrix, horizon = self._fitted(), Matrix.of(past), horizon_of(future)
        if horizon > shape.future:
            raise ModelError(
                Code.MODEL_FAILED,
                f"model {self.recipe.name!r} forecasts its whole horizon at once, and no farther",
                expected=f"1 to {shape.future} periods",
                found=str(horizon),
            )
        count = len(matrix.stores)
        told = np.full((count, shape.future, len(self._levels)), np.nan)
        if count and horizon:
            _, columns = columns_of(matrix, past, future)
            codes = coded(past, self._categories)
            windows = Windows(matrix.values, columns, codes, shape)
            batch = windows.batch(np.arange(count), np.full(count, windows.periods))
            awake = ~past.stores.get_column("dormant").to_numpy()
            unit = (batch.scale * awake)[:, None, None]
            told = np.sort(ask(self._model, batch, self._asked_on()), axis=2) * unit
            told[np.isnan(matrix.values).all(axis=1)] = np.nan
        return spread(told, self._levels, matrix, future, past.rules)

    def state(self) -> dict[str, bytes]:
        """The weights in safetensors, the rest in JSON."""
        from storecast.models.torch_bridge import weights

        description = {
            "shape": vars(self._fitted()),
            "levels": self._levels,
            "steps": self.steps,
            "categories": {name: codes.values for name, codes in self._categories.items()},
        }
        return {
            WEIGHTS: weights(self._model),
            DESCRIPTION: json.dumps(description, ensure_ascii=False).encode(),
        }

    @classmethod
    def from_state(cls, recipe: Recipe, files: Mapping[str, bytes]) -> Self:
        """Rebuild a fitted model; its forecasts are equal to the bit."""
        from storecast.models.torch_bridge import put_weights

        model = cls(recipe)
        model._described(files[DESCRIPTION])
        model._model = model._built()
        model._sized()
        put_weights(model._model, files[WEIGHTS])
        return model

    def _described(self, content: bytes) -> None:
        plain = json.loads(content)
        self._categories = {
            name: StoreCodes(tuple(values)) for name, values in plain["categories"].items()
        }
        self._shape = Shape.from_plain(plain["shape"])
        self._levels, self.steps = plain["levels"], plain["steps"]

    def _sized(self) -> None:
        """Give an untaught network its sizes, which Darts learns of a window."""
        from storecast.models.torch_bridge import teach

        shape = self._fitted()
        periods = shape.past + shape.future
        windows = Windows(
            np.ones((1, periods)),
            np.zeros((1, periods, len(shape.columns))),
            np.zeros((1, len(shape.categories))),
            shape,
        )
        teach(self._model, windows, windows.usable(periods), 0, self._schooling())

    def _shaped(self, rules: SeriesRules, ahead: dict[str, int], columns: Floats) -> Shape:
        horizon, season = rules.horizon, rules.season
        usual = min(self._reads(rules.frequency.kind), max(columns.shape[1] - 2 * horizon, 1))
        mean, scale = scaling(columns)
        return Shape(
            past=int(self.parameters["input_chunk_length"] or usual),
            future=horizon,
            lag=season * -(-horizon // season),
            columns=tuple(ahead),
            ahead=tuple(ahead.values()),
            mean=mean,
            scale=scale,
            categories=tuple(len(codes) for codes in self._categories.values()),
            takes_past=self.takes_past,
            takes_future=self.takes_future,
            takes_statics=self.takes_statics,
        )

    def _reads(self, kind: str) -> int:
        """How many periods a window reads at most, where no parameter says so."""
        return _READ[kind]

    def _asked_on(self) -> str:
        """Which accelerator forecasts.

        A small network is asked on the processor, wherever it was taught: so its forecasts are
        the same to the bit with a GPU and without.
        """
        return "cpu"

    def _schooling(self) -> Schooling:
        from storecast.models.torch_bridge import Schooling

        told = {**SCHOOLING, **self.parameters}
        steps = int(told["max_steps"])
        return Schooling(
            max_steps=steps,
            batch_size=int(told["batch_size"]),
            learning_rate=float(told["learning_rate"]),
            patience=int(told["patience"]),
            check_every=max(steps // CHECKS, 1),
            seed=int(told["seed"]),
            accelerator=self.recipe.accelerator,
        )

    def _built(self) -> Any:
        from storecast.models.torch_bridge import build

        shape = self._fitted()
        own = {k: v for k, v in self.parameters.items() if k not in SCHOOLING}
        chunks = {"input_chunk_length": shape.past, "output_chunk_length": shape.future}
        name, parameters = self._native(shape, own)
        return build(name, {**chunks, **parameters}, self._levels, self._schooling())

    def _parameters(self) -> dict[str, Any]:
        """All parameters; raises ModelError where the recipe's are not the kind's."""
        raise NotImplementedError

    def _native(self, shape: Shape, own: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The class in Darts, and its parameters beside the chunk lengths."""
        raise NotImplementedError

    def _fitted(self) -> Shape:
        if self._shape is None:
            raise ModelError(
                Code.MODEL_FAILED,
                f"model {self.recipe.name!r} is asked before it is fitted",
                expected="fit(past), or from_state",
            )
        return self._shape


class NBEATS(Network):
    """N-BEATS in its generic form."""

    kind: ClassVar[str] = "nbeats"
    defaults: ClassVar[Mapping[str, Any]] = {
        **SCHOOLING,
        "num_stacks": 2,
        "num_blocks": 1,
        "num_layers": 2,
        "layer_widths": 32,
        "expansion_coefficient_dim": 5,
        "dropout": 0.1,
    }

    def _parameters(self) -> dict[str, Any]:
        return parameters_of(self.recipe.name, self.recipe.parameters, self.defaults)

    def _native(self, shape: Shape, own: dict[str, Any]) -> tuple[str, dict[str, Any]]:  # noqa: ARG002
        return "NBEATSModel", own


class TFT(Network):
    """The Temporal Fusion Transformer."""

    kind: ClassVar[str] = "tft"
    takes_future = True
    takes_statics = "codes"
    defaults: ClassVar[Mapping[str, Any]] = {
        **SCHOOLING,
        "max_steps": 100,
        "hidden_size": 16,
        "lstm_layers": 1,
        "num_attention_heads": 2,
        "hidden_continuous_size": 8,
        "dropout": 0.1,
    }

    def _parameters(self) -> dict[str, Any]:
        return parameters_of(self.recipe.name, self.recipe.parameters, self.defaults)

    def _native(self, shape: Shape, own: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        # without names, Darts counts the static covariates
        return "TFTModel", {
            **own,
            "categorical_embedding_sizes": dict(enumerate(shape.categories)),
        }


def spread(
    told: Floats, levels: Sequence[float], matrix: Matrix, future: Future, rules: SeriesRules
) -> pl.DataFrame:
    """A quantile frame from N × H × Q ascending forecasts; a store that is NaN is as the others.

    ``levels`` are Q, 0.5 among them; where the wanted ones are not, the frame has points alone.
    """
    own = set(symmetric(rules.quantiles)) <= set(levels)
    wanted = rules.quantiles if own else ()
    named = {quantile_column(q): told[:, :, _place(levels, q)] for q in wanted}
    mean = mean_of(levels, told)
    point = mean if rules.point == "mean" else told[:, :, _place(levels, 0.5)]
    return matrix.frame(point, future).with_columns(
        matrix.frame(values, future).get_column("forecast").alias(name)
        for name, values in {"forecast_mean": mean, **named}.items()
    )


def _place(levels: Sequence[float], wanted: float) -> int:
    return int(np.abs(np.asarray(levels) - wanted).argmin())
