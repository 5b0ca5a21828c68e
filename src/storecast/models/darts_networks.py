"""Networks of Darts by their class: taught as ``neural`` teaches its own, or pretrained."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from storecast.errors import Code, ModelError
from storecast.models.base import Recipe
from storecast.models.baselines import Matrix
from storecast.models.darts_classes import KIND, PRETRAINED, found, made, named, parameters_for
from storecast.models.neural import DESCRIPTION, SCHOOLING, WEIGHTS, Network, symmetric
from storecast.models.windows import Shape, columns_of

if TYPE_CHECKING:
    from storecast.core.window import Past

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_USUAL: Mapping[str, Any] = {"weights": "", "input_chunk_length": None}
_BY_HAND = "download the model's files by other means; storecast downloads nothing"
_PROBE = {"input_chunk_length": 48, "output_chunk_length": 1}


class DartsNetwork(Network):
    """A network of Darts that is taught here."""

    kind: ClassVar[str] = KIND

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        own = {k: v for k, v in self.parameters.items() if k not in SCHOOLING}
        chunk = self.parameters["input_chunk_length"]
        chunks = {**_PROBE, **({"input_chunk_length": chunk} if chunk else {})}
        probe = made(recipe, self._class, {**chunks, **own})
        # those that carry a rule on, rather than weights, have nothing to learn
        self._learns = bool(probe._requires_training)
        self.takes_past = bool(probe.supports_past_covariates)
        self.takes_future = bool(probe.supports_future_covariates)
        embeds = "categorical_embedding_sizes" in inspect.signature(self._class.__init__).parameters
        if probe.supports_static_covariates:
            self.takes_statics = "codes" if embeds else "one_hot"

    def _parameters(self) -> dict[str, Any]:
        self._class = found(self.recipe)
        return parameters_for(self.recipe, self._class, SCHOOLING)

    def _search(self, windows: Any, periods: int) -> int:
        return super()._search(windows, periods) if self._learns else 0

    def _native(self, shape: Shape, own: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        if self.takes_statics == "codes":
            own = {**own, "categorical_embedding_sizes": dict(enumerate(shape.categories))}
        return self._class.__name__, own

    def _built(self) -> Any:
        if self._learns:
            return super()._built()
        shape = self._fitted()
        self._levels = [0.5]
        own = {k: v for k, v in self.parameters.items() if k not in SCHOOLING}
        chunks = {"input_chunk_length": shape.past, "output_chunk_length": shape.future}
        return made(self.recipe, self._class, {**chunks, **own, "random_state": 0})


class Pretrained(Network):
    """A pretrained network from a local folder; never taught, never downloaded.

    ``weights`` is the folder with ``config.json`` and ``model.safetensors``, absolute or in the
    project folder;
    ``input_chunk_length`` is how many periods it reads (512, or what there is). Its own quantiles
    are taken where it has all the wanted ones.
    """

    kind: ClassVar[str] = KIND
    pretrained: ClassVar[bool] = True
    takes_past = False

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self._config = b""
        # read off the class: without its weights there is no instance to be asked
        self.takes_future = bool(self._class.supports_future_covariates.fget(None))

    def _parameters(self) -> dict[str, Any]:
        name, own = named(self.recipe)
        if name not in PRETRAINED or not isinstance(own.get("weights"), str):
            raise ModelError(
                Code.MODEL_FAILED,
                f"model {self.recipe.name!r}: {name} "
                + ("needs `weights`" if name in PRETRAINED else "reads no weights from a folder"),
                where=f"models: {self.recipe.name}.weights",
                expected=f"a folder with {_CONFIG} and {_WEIGHTS}, for one of "
                f"{', '.join(PRETRAINED)}",
                found=str(own.get("weights")),
                next_step=_BY_HAND,
            )
        self._class = found(self.recipe)
        return parameters_for(self.recipe, self._class, _USUAL)

    def fit(self, past: Past) -> None:
        """Read the weights; nothing is learnt.

        Raises:
            ModelError: MODEL_FAILED where the folder lacks a file.
        """
        folder, rules = Path(self.recipe.home, self.parameters["weights"]), past.rules
        lacking = [name for name in (_CONFIG, _WEIGHTS) if not (folder / name).is_file()]
        if lacking:
            # Darts would fetch from the network what is not there
            raise ModelError(
                Code.MODEL_FAILED,
                f"model {self.recipe.name!r}: {folder} has no {' and no '.join(lacking)}",
                where=f"models: {self.recipe.name}.weights",
                expected=f"a folder with {_CONFIG} and {_WEIGHTS}",
                found=str(folder),
                next_step=_BY_HAND,
            )
        self._config = (folder / _CONFIG).read_bytes()
        self._levels = symmetric(rules.quantiles)
        self._shape = self._shaped(rules, *columns_of(Matrix.of(past), past, None))
        self._loaded(folder)

    def state(self) -> dict[str, bytes]:
        """The weights that it came with, its own configuration, the rest in JSON."""
        return {**super().state(), _CONFIG: self._config}

    @classmethod
    def from_state(cls, recipe: Recipe, files: Mapping[str, bytes]) -> Self:
        """Rebuild without the folder; its forecasts are equal to the bit."""
        model = cls(recipe)
        model._described(files[DESCRIPTION])
        model._config = files[_CONFIG]
        with tempfile.TemporaryDirectory(prefix="weights-") as folder:
            (Path(folder) / _CONFIG).write_bytes(files[_CONFIG])
            (Path(folder) / _WEIGHTS).write_bytes(files[WEIGHTS])
            model._loaded(Path(folder))
        return model

    def _reads(self, kind: str) -> int:  # noqa: ARG002 - all the same to it
        return 512

    def _asked_on(self) -> str:
        return self.recipe.accelerator

    def _loaded(self, folder: Path) -> None:
        """Build the network and read its weights from ``folder``, which Darts does at a fit."""
        from storecast.models.torch_bridge import quantile_likelihood

        shape = self._fitted()
        own = {k: v for k, v in self.parameters.items() if k not in _USUAL}
        own |= {"input_chunk_length": shape.past, "output_chunk_length": shape.future}
        own |= {"local_dir": str(folder), "random_state": 0}
        if len(self._levels) > 1:
            try:
                self._model = self._class(**own, likelihood=quantile_likelihood(self._levels))
            except ValueError:  # it has other quantiles: its median, then
                self._levels = [0.5]
        if len(self._levels) == 1:
            self._model = made(self.recipe, self._class, own)
        self._sized()
