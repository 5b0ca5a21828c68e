"""A registered version asked for a forecast, as MLflow serves it; its answer is checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from storecast.artifact.unified import output_schema
from storecast.errors import Code, ModelError, StorecastError
from storecast.models.base import POINTS, quantile_columns
from storecast.tracking import Tracking

if TYPE_CHECKING:
    from storecast.core.window import Window
    from storecast.project import Project
    from storecast.registry import ModelVersion

_KEYS = ["store_id", "date", "step", "cutoff"]


@dataclass(frozen=True)
class Scored:
    """What a version answered: rows of ``output_schema``, and the last day of its training."""

    rows: pl.DataFrame
    trained_through: date


def score(project: Project, version: ModelVersion, rows: pl.DataFrame, window: Window) -> Scored:
    """Load a version and ask it for the window's future.

    Args:
        project: whose registry it is in.
        version: which.
        rows: the flat rows that the window was cut from.
        window: what is to be forecast.

    Raises:
        StorecastError: whatever happens, what MLflow refuses before the model is asked among it:
            what has no code of its own is FORECAST_FAILED.
    """
    import mlflow.artifacts
    import mlflow.pyfunc

    from storecast.artifact.logged import checked_copy
    from storecast.artifact.pyfunc import NO_BAR, as_pandas

    os.environ.setdefault(NO_BAR, "false")
    asked = {
        "cutoff": window.cutoff.isoformat(), "horizon": window.horizon, "on_error": "raise",
    }  # fmt: skip
    try:
        with Tracking.of(project).active():
            # by number: an alias could move between two questions
            place = mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.number}")
            # before anything of it runs
            with checked_copy(Path(place), version.tags.get("digest")) as copy:
                model = mlflow.pyfunc.load_model(str(copy))
        inner = model.unwrap_python_model()
        answer = pl.from_pandas(model.predict(as_pandas(rows), params=asked))
        return Scored(_accepted(answer, window), inner.forecaster.cutoff)
    except StorecastError:
        raise
    except Exception as fault:
        raise ModelError(
            Code.FORECAST_FAILED,
            f"version {version.number} failed: {said(fault)}",
            where=version.name,
        ) from fault


def said(fault: Exception) -> str:
    """A failure in one line, with its code where it has one."""
    if isinstance(fault, StorecastError):
        return f"{fault.code.value}: {fault.message}"
    return f"{type(fault).__name__}: {(str(fault).splitlines() or [''])[0][:300]}"


def _accepted(made: pl.DataFrame, window: Window) -> pl.DataFrame:
    """The answer, once it is one row of finite numbers for each row of the window's future."""
    rules = window.past.rules
    schema = output_schema(rules)
    missing = [name for name in schema if name not in made.columns]
    if missing:
        raise ModelError(
            Code.MODEL_OUTPUT_INVALID,
            "the forecast lacks a column",
            expected=", ".join(schema),
            found=f"no {', '.join(missing)}",
            next_step="the configuration changed since the deployment: validate and deploy again",
        )
    made = made.select(pl.col(n).cast(t) for n, t in schema.items())
    wanted = window.future.rows.select(*_KEYS[:3], pl.lit(window.cutoff).alias("cutoff"))
    absent = wanted.join(made, on=_KEYS, how="anti")
    if absent.height or made.height != wanted.height:
        raise ModelError(
            Code.MODEL_OUTPUT_INVALID,
            f"the forecast does not cover the open stores: {_named(absent) or 'extra rows'}",
            expected=f"{wanted.height} rows",
            found=f"{made.height} rows",
        )
    numbers = pl.col(*POINTS, *quantile_columns(rules))
    strange = made.filter(~pl.all_horizontal(numbers.is_finite().fill_null(value=False)))
    if strange.height:
        raise ModelError(
            Code.MODEL_OUTPUT_INVALID,
            f"the forecast has NaN, null or infinity for {_named(strange)}",
            expected="finite numbers",
            found=f"{strange.height} rows without",
        )
    return made


def _named(rows: pl.DataFrame) -> str:
    return ", ".join(map(repr, rows["store_id"].unique().sort().to_list()[:5]))
