"""Independent tasks of a backtest: a recipe at a cutoff, fitted on the past alone.

Workers read the history from Arrow files in a scratch folder, cut the window themselves, and
give back what the model said beside what happened. Validation and, later, the gate share this
room; intervals are added afterwards, walking forward, by ``calibrated``. What a task found can be
kept (``keeping``), under a key of all that decides it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from storecast.backtest import keeping
from storecast.backtest.identity import model_identity, surroundings, window_digest
from storecast.backtest.keeping import Done
from storecast.backtest.measuring import forget_peak, peak_memory_mb
from storecast.core import metrics
from storecast.core.panel import History, SeriesRules
from storecast.core.window import Future, Window, actuals, cut
from storecast.errors import Code, Interruption, ModelError, StorecastError
from storecast.models.base import (
    KEY,
    POINTS,
    Recipe,
    checked,
    create,
    finish,
    is_foreign,
    quantile_columns,
)
from storecast.models.calibration import Conformal, store_scales

if TYPE_CHECKING:
    from storecast.ports import Compute

MODEL, FILLED = "model", metrics.FILLED
COLD_START = "cold_start"
_FRAMES = (
    "sales", "stores", "store_versions", "covariates", "covariates_by_date", "covariate_versions",
)  # fmt: skip
_log = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """What came of one recipe at one cutoff.

    ``frame`` is one row a store and period that happened: store_id, date, period, step, sales
    (null is unknown), open, segment, closed, the point forecasts (and quantiles, where the model
    has its own), origin (model, filled), size (of the store, for the calibration), scale and
    scale_sq (for the metrics), and the segment attributes. Forecasts of ``cold_start`` are null
    until ``calibrated``. ``failure`` says why a share was filled. ``seconds``,
    ``peak_memory_mb`` and ``kept`` as in ``keeping.Done``.
    """

    recipe: Recipe
    cutoff: date
    frame: pl.DataFrame
    failure: str | None
    seconds: float = 0.0
    peak_memory_mb: float | None = None
    kept: bool = False


@dataclass(frozen=True)
class Task:
    """A recipe at a cutoff; plain enough to pickle.

    ``keep`` is the folder of finished tasks (None: nothing is taken from one, nothing kept), and
    ``key`` what decides the outcome beside the window.
    """

    folder: str
    recipe: Recipe
    baseline: Recipe
    cutoff: date
    horizon: int
    keep: str | None = None
    key: str = ""


def backtest(
    history: History,
    recipes: Sequence[Recipe],
    cutoffs: Sequence[date],
    horizon: int,
    compute: Compute,
    *,
    baseline: Recipe | None = None,
    scratch: Path | None = None,
    keep: Path | None = None,
) -> Iterator[Outcome]:
    """Run every recipe at every cutoff, in worker processes; yield as they finish.

    A model that fails, or leaves stores out, does not leave the average: its share is filled by
    ``baseline`` (None: the seasonal naive) and marked; so it is where its worker was killed,
    twice. With ``keep``, a folder, tasks that were finished earlier are taken from it, and those
    that finish now are kept in it.

    Raises:
        ModelError: MODEL_UNKNOWN, or MODEL_FAILED for a parameter that a kind has not, before
            anything runs; MODEL_FAILED where the baseline itself fails.
    """
    baseline = baseline or Recipe(
        "seasonal_naive",
        "seasonal_naive",
        training_from=history.rules.training_from,
        mask=history.rules.mask,
    )
    for recipe in (*recipes, baseline):
        create(recipe)
    with tempfile.TemporaryDirectory(prefix="backtest-", dir=scratch) as folder:
        write_history(history, Path(folder))
        kept = None if keep is None else str(keep)
        keys = [_key(recipe, baseline) if keep is not None else "" for recipe in recipes]
        tasks = [
            Task(folder, recipe, baseline, cutoff, horizon, kept, key)
            for cutoff in cutoffs
            for recipe, key in zip(recipes, keys, strict=True)
        ]
        try:
            for task, done in compute.run_tasks(
                run_task,
                tasks,
                cost=lambda task: cost_of(task.recipe),
                lost=_lost,
                apart=any(is_foreign(recipe) for recipe in (*recipes, baseline)),
            ):
                if done.failure is not None:
                    _log.info("%s at %s: %s", task.recipe.name, task.cutoff, done.failure)
                yield Outcome(
                    task.recipe, task.cutoff, done.frame, done.failure, done.seconds,
                    done.peak_memory_mb, done.kept,
                )  # fmt: skip
        finally:
            # where tasks ran in this very process, the history is still held
            _cut.cache_clear()
            _digest.cache_clear()
            _history.cache_clear()
            if keep is not None:
                keeping.clean(keep)


def told(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """What the tasks took, by model and cutoff: seconds, peak_memory_mb, kept; plain values."""
    return [
        {
            "model": outcome.recipe.name,
            "cutoff": outcome.cutoff.isoformat(),
            "seconds": round(outcome.seconds, 3),
            "peak_memory_mb": outcome.peak_memory_mb and round(outcome.peak_memory_mb, 1),
            "kept": outcome.kept,
        }
        for outcome in sorted(outcomes, key=lambda o: (o.recipe.name, o.cutoff))
    ]


def cost_of(recipe: Recipe) -> float:
    """What a task of a recipe may take, roughly, where a boosted model takes 1."""
    model = create(recipe)
    if model.stateless:
        return 0.05
    return 1.0 if getattr(model, "fast", True) else 20.0


def _key(recipe: Recipe, baseline: Recipe) -> str:
    """All that decides an outcome beside the window."""
    return json.dumps([model_identity(recipe), model_identity(baseline), surroundings()])


def write_history(history: History, folder: Path) -> None:
    """Write a history as Arrow files that ``read_history`` reads."""
    for name in _FRAMES:
        frame: pl.DataFrame | None = getattr(history, name)
        if frame is not None:
            frame.write_ipc(folder / f"{name}.arrow", compression="uncompressed")
    (folder / "rules.json").write_text(history.rules.to_json(), "utf-8")
    (folder / "through").write_text(history.through.isoformat(), "utf-8")


def read_history(folder: Path) -> History:
    """The history that ``write_history`` wrote."""
    frames = {
        name: pl.read_ipc(file) for name in _FRAMES if (file := folder / f"{name}.arrow").is_file()
    }
    return History(
        **frames,
        through=date.fromisoformat((folder / "through").read_text("utf-8")),
        rules=SeriesRules.from_json((folder / "rules.json").read_text("utf-8")),
    )


@lru_cache(maxsize=1)
def _history(folder: str) -> History:
    return read_history(Path(folder))


@lru_cache(maxsize=2)
def _cut(folder: str, cutoff: date, horizon: int) -> tuple[Window, pl.DataFrame]:
    history = _history(folder)
    window = cut(history, cutoff, horizon)
    return window, actuals(history, window)


@lru_cache(maxsize=2)
def _digest(folder: str, cutoff: date, horizon: int) -> str:
    return window_digest(*_cut(folder, cutoff, horizon))


def run_task(task: Task) -> Done:
    """Fit, forecast and set beside what happened; or take what was found before."""
    if task.keep is None:
        return _computed(task)
    told = f"{task.key} {_digest(task.folder, task.cutoff, task.horizon)}"
    key, folder = hashlib.sha256(told.encode()).hexdigest(), Path(task.keep)
    done = keeping.taken(folder, key)
    if done is None:
        done = _computed(task)
        keeping.keep(folder, key, done)
    return done


def _computed(task: Task) -> Done:
    began = perf_counter()
    forget_peak()
    window, actual = _cut(task.folder, task.cutoff, task.horizon)
    forecast, failure = forecast_window(task.recipe, task.baseline, window)
    frame = _beside(actual, window, forecast)
    return Done(frame, failure, perf_counter() - began, peak_memory_mb())


def _lost(task: Task, fault: StorecastError) -> Done:
    """What stands for a task whose worker was killed: the baseline's forecasts.

    Raises:
        ModelError: MODEL_FAILED where it was the baseline's own task.
    """
    if task.recipe == task.baseline:
        raise fault
    window, actual = _cut(task.folder, task.cutoff, task.horizon)
    failure = f"{fault.message}: {fault.found}"
    whole = _filled(None, _baseline(task.baseline, window, failure))
    frame = _beside(actual, window, finish(whole, window.future, window.past.rules))
    return Done(frame, failure, 0.0, None)


def forecast_window(
    recipe: Recipe, baseline: Recipe, window: Window
) -> tuple[pl.DataFrame, str | None]:
    """The model's forecast of a window, what is missing filled by the baseline; and why.

    Returns:
        a finished quantile frame with ``origin``, one row for each row of the future.

    Raises:
        ModelError: MODEL_FAILED where the baseline itself fails.
    """
    rules, future = window.past.rules, window.future
    failure = None
    frame: pl.DataFrame | None = None
    if future.rows.is_empty():
        return _nothing(), None
    try:
        frame = _asked(recipe, window)
        forecast = checked(frame, future, rules).with_columns(origin=pl.lit(MODEL))
    except (KeyboardInterrupt, Interruption):
        raise
    except BaseException as fault:  # noqa: BLE001 - a model is anybody's code, and may leave by sys.exit: counted, shown, filled
        failure = fault.message if isinstance(fault, StorecastError) else f"{_said(fault)}"
        forecast = _filled(frame, _baseline(baseline, window, failure))
    return finish(forecast, future, rules), failure


def _asked(recipe: Recipe, window: Window) -> pl.DataFrame:
    model = create(recipe)
    model.fit(window.past)
    return model.predict(window.past, window.future)


def _baseline(baseline: Recipe, window: Window, failure: str) -> pl.DataFrame:
    try:
        return checked(_asked(baseline, window), window.future, window.past.rules)
    except (KeyboardInterrupt, Interruption):
        raise
    except BaseException as fault:
        raise ModelError(
            Code.MODEL_FAILED,
            f"the baseline {baseline.name!r}, which fills for a model that failed, fails as well: "
            f"{_said(fault)}",
            where=f"cutoff {window.cutoff}",
            found=failure,
        ) from fault


def _filled(frame: pl.DataFrame | None, baseline: pl.DataFrame) -> pl.DataFrame:
    """The model's whole stores, the others by the baseline; points only where any is filled."""
    whole = baseline.select(*KEY, *POINTS).with_columns(origin=pl.lit(FILLED))
    wanted = [*KEY, *POINTS]
    if not isinstance(frame, pl.DataFrame) or not set(wanted) <= set(frame.columns):
        return whole
    given = frame.select(
        pl.col("store_id").cast(pl.String, strict=False),
        pl.col("date").cast(pl.Date, strict=False),
        pl.col("step").cast(pl.Int32, strict=False),
        pl.col(POINTS).cast(pl.Float64, strict=False),
    )
    if given.select(KEY).is_duplicated().any():
        return whole
    finite = pl.all_horizontal(pl.col("m_" + p).is_finite() for p in POINTS).fill_null(False)
    both = whole.join(
        given.rename({p: f"m_{p}" for p in POINTS}),
        on=list(KEY),
        how="left",
        maintain_order="left",
    ).with_columns(_good=finite.all().over("store_id"))
    return both.select(
        *KEY,
        *(pl.when("_good").then(f"m_{p}").otherwise(p).alias(p) for p in POINTS),
        pl.when("_good").then(pl.lit(MODEL)).otherwise(pl.lit(FILLED)).alias("origin"),
    )


def _nothing() -> pl.DataFrame:
    return pl.DataFrame(
        schema={
            "store_id": pl.String,
            "date": pl.Date,
            "step": pl.Int32,
            **dict.fromkeys(POINTS, pl.Float64),
            "origin": pl.String,
        }
    )


def _beside(actual: pl.DataFrame, window: Window, forecast: pl.DataFrame) -> pl.DataFrame:
    rules, past = window.past.rules, window.past
    told = [
        window.future.rows.select("store_id", "date", "closed"),
        store_scales(past).rename({"scale": "size"}),
        metrics.scale(past.rows, rules.season).select("store_id", "scale", "scale_sq"),
        past.stores.select("store_id", *rules.segments),
    ]
    cold = actual.filter(pl.col("segment") == COLD_START).select("store_id")
    frame = actual.join(
        # as the artefact has it: the model is not heard on a store that never sold
        forecast.drop("step").join(cold, on="store_id", how="anti", maintain_order="left"),
        on=["store_id", "date"],
        how="left",
        maintain_order="left",
    )
    for further in told:
        keys = [name for name in ("store_id", "date") if name in further.columns]
        frame = frame.join(further, on=keys, how="left", maintain_order="left")
    return frame.with_columns(pl.col("closed").fill_null(False), pl.col("origin").fill_null(FILLED))


def calibration_errors(frames: Sequence[pl.DataFrame], until: int) -> pl.DataFrame:
    """What ``Conformal.learn`` takes, from windows' frames: targets of periods up to ``until``.

    Only what the model itself said of stores that it was asked for.
    """
    shape = {
        "store_id": pl.String,
        "step": pl.Int32,
        "sales": pl.Float64,
        "forecast": pl.Float64,
        "scale": pl.Float64,
    }
    own = [
        frame.filter(
            (pl.col("period") <= until)
            & (pl.col("origin") == MODEL)
            & (pl.col("segment") != COLD_START)
        ).select("store_id", "step", "sales", "forecast", scale="size")
        for frame in frames
    ]
    return pl.concat([pl.DataFrame(schema=shape), *own])


def calibrated(
    frame: pl.DataFrame,
    conformal: Conformal,
    rules: SeriesRules,
    filling: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """An outcome's frame with every forecast column, finished, cold starts filled.

    A model's own quantiles are kept. Rows that the baseline filled are those of ``filling``, the
    baseline's calibrated frame of this cutoff (None: they have the model's intervals). A store
    without a sale by the cutoff cannot be forecast from its past: at each step it gets, in each
    column, the median over the open stores that were forecast (zero where there are none), and
    zero on a closed day, as the artefact does.
    """
    quantiles = quantile_columns(rules)
    cold = frame.filter(pl.col("segment") == COLD_START)
    seen = frame.filter(pl.col("segment") != COLD_START)
    if not set(quantiles) <= set(seen.columns):
        sizes = seen.select("store_id", scale="size").unique("store_id", maintain_order=True)
        seen = conformal.apply(seen, sizes)
        seen = finish(seen, Future(seen.select("store_id", "date", "step", "closed")), rules)
    if filling is not None:
        seen = _as_the_baseline(seen, filling, [*POINTS, *quantiles])
    if cold.is_empty():
        return seen
    numbers = [*POINTS, *quantiles]
    usual = seen.filter(~pl.col("closed")).group_by("step").agg(pl.col(numbers).median())
    cold = cold.drop(numbers, strict=False).join(usual, on="step", how="left")
    filled = cold.with_columns(
        pl.when("closed").then(0.0).otherwise(pl.col(numbers).fill_null(0.0)).name.keep(),
        origin=pl.lit(FILLED),
    )
    return pl.concat([seen, filled.select(seen.columns)]).sort("store_id", "period")


def _as_the_baseline(
    frame: pl.DataFrame, filling: pl.DataFrame, numbers: Sequence[str]
) -> pl.DataFrame:
    """The filled rows with the numbers of the same store and period in ``filling``."""
    others = filling.select("store_id", "period", *(pl.col(n).alias(f"b_{n}") for n in numbers))
    filled = pl.col("origin") == FILLED
    return frame.join(others, on=["store_id", "period"], how="left", maintain_order="left").select(
        pl.when(filled).then(pl.coalesce(f"b_{name}", name)).otherwise(name).alias(name)
        if name in numbers
        else name
        for name in frame.columns
    )


def _said(fault: BaseException) -> str:
    lines = str(fault).splitlines()
    return f"{type(fault).__name__}: {lines[0]}" if lines else type(fault).__name__
