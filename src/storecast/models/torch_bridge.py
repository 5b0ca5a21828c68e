"""The passage to Darts' torch models, and the only room that knows torch.

A model is built by its class in ``darts.models`` and its own parameters, taught with our windows
through Darts' ``fit_from_dataset`` in gradient steps, never in seconds, and comes back from
safetensors. Everything runs on one thread and from one seed, so that two fits are equal to the
bit. Importing this module imports torch, which takes seconds: do it where a model is used.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import darts.models
import numpy as np
import pytorch_lightning as lightning
import torch
from darts.utils.data.torch_datasets.training_dataset import TorchTrainingDataset
from darts.utils.data.torch_datasets.utils import (
    PLModuleInput,
    TorchTrainingBatch,
    TorchTrainingSample,
)
from darts.utils.likelihood_models.torch import QuantileRegression
from safetensors.torch import load, save

from storecast.errors import Code, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storecast.models.windows import Batch, Windows

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

LARGEST_BATCH = 1024
"""Windows asked at once."""


@dataclass(frozen=True)
class Schooling:
    """How a network is taught.

    Attributes:
        max_steps: gradient steps, also the length of the learning rate's way to zero (a cosine).
        batch_size: windows a step.
        learning_rate: of Adam, at the start.
        patience: validations without gain after which the search for the number of steps ends.
        check_every: steps between validations.
        seed: of everything that is drawn.
        accelerator: auto, cpu or gpu.
    """

    max_steps: int
    batch_size: int
    learning_rate: float
    patience: int
    check_every: int
    seed: int
    accelerator: str


class _Lessons(TorchTrainingDataset):  # type: ignore[misc]  # darts has no types
    """Windows as Darts takes them, a batch at a time."""

    def __init__(self, windows: Windows, store: Integers, t: Integers, hides: Integers) -> None:
        super().__init__()
        self._windows, self._store, self._t, self._hides = windows, store, t, hides

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, index: int) -> TorchTrainingSample:
        """One window, of which Darts learns the sizes."""
        batch = self._batch(np.array([index]))
        told = {k: None if v is None else v[0] for k, v in _fields(batch).items()}
        return TorchTrainingSample(**told)

    def __getitems__(self, indices: Sequence[int]) -> TorchTrainingBatch:
        """A whole batch, which saves the time of taking it together."""
        batch = self._batch(np.asarray(indices))
        tensors = {k: None if v is None else torch.from_numpy(v) for k, v in _fields(batch).items()}
        return TorchTrainingBatch(**tensors)

    def _batch(self, indices: Integers) -> Batch:
        return self._windows.batch(self._store[indices], self._t[indices], self._hides[indices])


def _fields(batch: Batch) -> dict[str, Any]:
    return {
        "past_target": batch.past_target,
        "past_covariates": batch.past_covariates,
        "historic_future_covariates": batch.historic,
        "future_covariates": batch.ahead,
        "static_covariates": batch.statics,
        "future_target": batch.target,
        "sample_weight": batch.weight,
    }


def build(
    name: str,
    parameters: Mapping[str, Any],
    quantiles: Sequence[float] | None,
    schooling: Schooling,
) -> Any:
    """An untaught Darts model.

    Args:
        name: of a class in ``darts.models``.
        parameters: of its constructor, the chunk lengths among them.
        quantiles: that it learns, 0.5 among them and as many above as below; None: the class has
            no likelihood, and learns the absolute error.
        schooling: how it will be taught.
    """
    learnt: dict[str, Any] = (
        {"loss_fn": torch.nn.L1Loss()}
        if quantiles is None
        else {"likelihood": quantile_likelihood(quantiles)}
    )
    taught = {
        "batch_size": schooling.batch_size,
        "optimizer_kwargs": {"lr": schooling.learning_rate},
        "lr_scheduler_cls": torch.optim.lr_scheduler.CosineAnnealingLR,
        "lr_scheduler_kwargs": {"T_max": max(schooling.max_steps, 1), "interval": "step"},
        "random_state": schooling.seed,
        "save_checkpoints": False,
        "log_tensorboard": False,
    }
    with _quiet():
        return getattr(darts.models, name)(**{**taught, **learnt, **parameters})


def quantile_likelihood(quantiles: Sequence[float]) -> Any:
    """What makes a network of Darts forecast quantiles."""
    return QuantileRegression(list(quantiles))


def teach(
    model: Any,
    windows: Windows,
    chosen: tuple[Integers, Integers],
    steps: int,
    schooling: Schooling,
    proof: tuple[Integers, Integers] | None = None,
) -> int:
    """Teach a model in at most ``steps`` gradient steps.

    Args:
        model: of ``build``.
        windows: of the past.
        chosen: stores and t of the windows to learn from.
        steps: 0 only gives the model its sizes.
        schooling: how.
        proof: stores and t of the windows to validate on; then the teaching ends early where
            they gain nothing any more.

    Returns:
        The step at which the validation was best; without one, ``steps``.
    """
    hides = windows.shortened(len(chosen[0]), schooling.seed)
    lessons = _Lessons(windows, *chosen, hides)
    stop = BestStep(schooling.patience)
    exam = None if proof is None else _Lessons(windows, *proof, np.zeros_like(proof[0]))
    with _quiet(), _one_thread():
        trainer = lightning.Trainer(
            max_steps=steps,
            max_epochs=0 if not steps else -1,
            accelerator=device(schooling.accelerator),
            devices=1,
            gradient_clip_val=1.0,
            val_check_interval=None if exam is None else schooling.check_every,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            callbacks=[] if exam is None else [stop],
            precision="32-true",
            **_SILENT,
        )
        model.fit_from_dataset(
            lessons,
            val_dataset=exam,
            trainer=trainer,
            dataloader_kwargs={
                "collate_fn": _as_it_is,
                "pin_memory": False,
                "generator": torch.Generator().manual_seed(schooling.seed),
            },
        )
        model.model.cpu()
    return steps if exam is None else stop.best


_SILENT: Mapping[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def _as_it_is(batch: Any) -> Any:
    return batch


class BestStep(lightning.Callback):  # type: ignore[misc]  # mypy does not follow lightning
    """Remembers at which step the validation was best, and stops when it has not been for long."""

    def __init__(self, patience: int) -> None:
        self._patience, self._least, self._since = patience, float("inf"), 0
        self.best = 1

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - a hook
        """Compare with the best so far."""
        loss = float(trainer.callback_metrics["val_loss"])
        self._since += 1
        if loss < self._least:
            self.best, self._least, self._since = trainer.global_step, loss, 0
        trainer.should_stop = trainer.should_stop or self._since >= self._patience


def ask(model: Any, batch: Batch, accelerator: str = "cpu") -> Floats:
    """B × H × Q forecasts in the windows' units, Q being 1 for a model without quantiles."""
    network, where = model.model, "cpu"
    if device(accelerator) == "gpu":
        where = "cuda" if torch.cuda.is_available() else "mps"
    told = {k: v for k, v in _fields(batch).items() if k != "sample_weight"}
    told["future_target"] = None
    parts = []
    with _quiet(), _one_thread(), torch.no_grad():
        network.eval()
        network.to(where)
        for start in range(0, len(batch.scale), LARGEST_BATCH):
            cut = slice(start, start + LARGEST_BATCH)
            tensors = {
                k: None if v is None else torch.from_numpy(v[cut]).to(where)
                for k, v in told.items()
            }
            parts.append(network(PLModuleInput(**tensors)).prediction[:, :, 0].cpu().numpy())
        network.cpu()
    return np.concatenate(parts).astype(np.float64)


def weights(model: Any) -> bytes:
    """What was learnt, in safetensors."""
    state = {k: v.detach().cpu().clone().contiguous() for k, v in model.model.state_dict().items()}
    told: bytes = save(state)
    return told


def put_weights(model: Any, content: bytes) -> None:
    """Give a model of the same sizes what was learnt."""
    model.model.load_state_dict(load(content))


def device(accelerator: str) -> str:
    """Lightning's accelerator: a GPU, where there is one and ``accelerator`` allows it.

    Raises:
        ModelError: MODEL_FAILED where a GPU is called for and there is none.
    """
    there = torch.cuda.is_available() or torch.backends.mps.is_available()
    if accelerator == "gpu" and not there:
        raise ModelError(
            Code.MODEL_FAILED,
            "`accelerator: gpu` calls for a GPU, and torch sees none",
            where="accelerator",
            expected="a GPU with its driver, and a build of torch that can use it",
            found=f"torch {torch.__version__}",
            next_step="set accelerator: auto",
        )
    return "gpu" if there and accelerator != "cpu" else "cpu"


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread: more of them sum in another order, and hinder each other beside other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _quiet() -> Iterator[None]:
    """Darts and Lightning say what a caller cannot change."""
    loggers = [logging.getLogger(n) for n in ("darts", "pytorch_lightning", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
