"""The two libraries that grow trees, behind one small surface: bin, grow, keep as plain bytes.

Each on one thread and with nothing left to chance, so that a refit is equal to the bit. A target
that is unknown is no sample: whoever bins leaves it out (LightGBM would take it as zero, XGBoost
would refuse).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from storecast.errors import Code, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MEDIAN: Final = "median"
MEAN: Final = "mean"
Target = float | str
"""What a booster says: ``MEDIAN`` (by the objective of the parameters), ``MEAN``, or a level."""


class Trees(Protocol):
    """A fitted booster."""

    def predict(self, x: Floats) -> Floats:
        """S predictions for S × F features."""

    def to_bytes(self) -> bytes:
        """The trees, never a pickle; the library's ``read`` gives equal ones back."""


class Library(Protocol):
    """What grows them."""

    name: str
    suffix: str

    def native(self, parameters: Mapping[str, Any], known: int, times: int = 1) -> dict[str, Any]:
        """A model's parameters as the library has them.

        What was left open, ``known`` values decide, each of which is a sample so many ``times``.
        """

    def bin(self, x: Floats, y: Floats, categories: int, native: Mapping[str, Any]) -> Any:
        """S × F features, the last ``categories`` of them codes, with S known targets, binned."""

    def grow(self, binned: Any, native: Mapping[str, Any], target: Target) -> Trees:
        """Fit one booster."""

    def read(self, content: bytes) -> Trees:
        """The trees of ``to_bytes``."""


def fewest_samples(given: Any, known: int, times: int) -> int:
    """How many samples a leaf has at least: a 200th of all, from 5 to 100, where none is given.

    A value that is a sample several times is no more than one: it takes as many times more.
    """
    return int(given) if given is not None else min(max(known // 200, 5), 100) * times


# -------------------------------------------------------------------------------- LightGBM


@dataclass(frozen=True)
class LightGBMTrees:
    """Trees of LightGBM."""

    booster: Any

    def predict(self, x: Floats) -> Floats:
        """S predictions for S × F features."""
        return np.asarray(self.booster.predict(x, num_threads=1), dtype=np.float64)

    def to_bytes(self) -> bytes:
        """LightGBM's own text."""
        return str(self.booster.model_to_string()).encode()


class LightGBMLibrary:
    """LightGBM; it is always installed. Codes are categories to it."""

    name = "lightgbm"
    suffix = "txt"

    def native(self, parameters: Mapping[str, Any], known: int, times: int = 1) -> dict[str, Any]:
        """One thread, and nothing left to chance."""
        own = {k: v for k, v in parameters.items() if k != "seed"}
        own["min_child_samples"] = fewest_samples(own["min_child_samples"], known, times)
        return {
            **own,
            "random_state": int(parameters["seed"]),
            "n_jobs": 1,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }

    def bin(self, x: Floats, y: Floats, categories: int, native: Mapping[str, Any]) -> Any:
        """A constructed data set: the features themselves are let go."""
        import lightgbm

        codes = list(range(x.shape[1] - categories, x.shape[1]))
        return lightgbm.Dataset(
            x, y, categorical_feature=codes, params=dict(native), free_raw_data=True
        ).construct()

    def grow(self, binned: Any, native: Mapping[str, Any], target: Target) -> Trees:
        """Fit one booster."""
        import lightgbm

        told = dict(native)
        if target == MEAN:
            told["objective"] = "l2"
        elif target != MEDIAN:
            told |= {"objective": "quantile", "alpha": target}
        rounds = told.pop("n_estimators")
        return LightGBMTrees(lightgbm.train(told, binned, rounds))

    def read(self, content: bytes) -> Trees:
        """From LightGBM's own text."""
        import lightgbm

        return LightGBMTrees(lightgbm.Booster(model_str=content.decode()))


# --------------------------------------------------------------------------------- XGBoost


@dataclass(frozen=True)
class XGBoostTrees:
    """Trees of XGBoost, with the bytes that they are kept as."""

    booster: Any
    content: bytes

    def predict(self, x: Floats) -> Floats:
        """S predictions for S × F features."""
        return np.asarray(self.booster.inplace_predict(x), dtype=np.float64)

    def to_bytes(self) -> bytes:
        """Universal binary JSON."""
        return self.content


class XGBoostLibrary:
    """XGBoost, an extra. Codes are numbers to it: Darts has no categories for it either."""

    name = "xgboost"
    suffix = "ubj"

    def native(self, parameters: Mapping[str, Any], known: int, times: int = 1) -> dict[str, Any]:
        """One thread, histograms, and nothing left to chance."""
        own = {k: v for k, v in parameters.items() if k != "seed"}
        own["min_child_weight"] = fewest_samples(own["min_child_weight"], known, times)
        return {
            **own,
            "tree_method": "hist",
            "random_state": int(parameters["seed"]),
            "n_jobs": 1,
            "verbosity": 0,
        }

    def bin(
        self,
        x: Floats,
        y: Floats,
        categories: int,  # noqa: ARG002 - the other library's
        native: Mapping[str, Any],
    ) -> Any:
        """A quantised matrix: the features themselves are let go."""
        import xgboost

        return xgboost.QuantileDMatrix(x, y, nthread=1, max_bin=native["max_bin"])

    def grow(self, binned: Any, native: Mapping[str, Any], target: Target) -> Trees:
        """Fit one booster."""
        import xgboost

        told = dict(native)
        if target == MEAN:
            told["objective"] = "reg:squarederror"
        elif target != MEDIAN:
            told |= {"objective": "reg:quantileerror", "quantile_alpha": target}
        rounds = told.pop("n_estimators")
        grown = xgboost.train(told, binned, rounds)
        # what it says from its own bytes is what it says: no state of the training is left
        return self.read(bytes(grown.save_raw("ubj")))

    def read(self, content: bytes) -> Trees:
        """From universal binary JSON."""
        import xgboost

        booster = xgboost.Booster({"nthread": 1})
        booster.load_model(bytearray(content))
        return XGBoostTrees(booster, content)


LIBRARIES: Final[Mapping[str, Library]] = {
    "lightgbm": LightGBMLibrary(),
    "xgboost": XGBoostLibrary(),
}


def require(library: str) -> None:
    """Raise where a library is not installed.

    Raises:
        ModelError: EXTRA_MISSING.
    """
    if find_spec(library) is None:
        raise ModelError(
            Code.EXTRA_MISSING,
            f"the package {library!r} is not installed",
            where="models",
            expected=f"the extra {library!r}",
            found="none",
            next_step=f'pip install "storecast[{library}]", or leave it out of `models`',
        )
