"""The artefact as an MLflow pyfunc: a flat frame in, the declared schema out. No pickle.

The model is logged from code (``loader.py``) with the artefact's folder beside it, so that
what MLflow stores is text, native weights and parquet.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
from mlflow.pyfunc.model import PythonModel

from storecast.artifact import flat
from storecast.artifact.load import forecaster_of, opened
from storecast.artifact.unified import UnifiedForecaster, output_schema
from storecast.errors import Code, InputError, ModelError, StorecastError

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

    from storecast.core.panel import SeriesRules

log = logging.getLogger(__name__)

ARTIFACT = "forecaster"
NO_BAR = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"
"""MLflow draws a bar on standard error for each artefact unless this says false."""


class StoreForecaster(PythonModel):
    """What ``mlflow.pyfunc.load_model`` gives back, behind MLflow's own wrapper."""

    forecaster: UnifiedForecaster
    digest: str

    def load_context(self, context: Any) -> None:
        """Check the artefact against its manifest and the digest that was logged; then read it."""
        known = (getattr(context, "model_config", None) or {}).get("digest")
        packed = opened(Path(context.artifacts[ARTIFACT]), known)
        self.digest, self.forecaster = packed.digest, forecaster_of(packed)

    # pandas by name: MLflow warns of every other annotation, and of none
    def predict(
        self,
        context: Any,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Forecast.

        Args:
            context: MLflow's.
            model_input: pandas frame with store_id, date, sales and, as far as there are any,
                realised and known covariates, attributes, opened_on, closed_on. Rows after the
                cutoff are future rows: their sales are not read. No row at all stands for the
                packed history.
            params: cutoff (ISO date; empty: the end of the history), horizon (periods),
                on_error: ``raise``, or ``empty`` for a zero-row frame of the same schema.

        Returns:
            One row a store and period: store_id, date, cutoff, step, forecast, forecast_mean,
            the quantiles, basis (model, cold_start or closed).

        Raises:
            InputError: INPUT_COLUMN_MISSING, INPUT_INVALID with the row, CUTOFF_INVALID,
                HORIZON_TOO_LONG.
            ModelError: MODEL_FAILED, MODEL_OUTPUT_INVALID.
        """
        given = dict(params or {})
        try:
            with _coded():
                frame = self._forecast(model_input, given)
        except StorecastError as fault:
            if given.get("on_error") != "empty":
                raise
            log.error("forecast is empty: %s: %s", fault.code.value, fault.message)  # noqa: TRY400
            frame = pl.DataFrame(schema=output_schema(self.forecaster.rules))
        return as_pandas(frame)

    def _forecast(self, model_input: Any, params: dict[str, Any]) -> pl.DataFrame:
        rules = self.forecaster.rules
        if params.get("on_error", "raise") not in ("raise", "empty"):
            raise InputError(
                Code.INPUT_INVALID,
                "the parameter on_error is neither raise nor empty",
                where="params",
                expected="raise or empty",
                found=repr(params["on_error"]),
            )
        rows = flat.checked(as_polars(model_input, rules), rules)
        cutoff = _day(params.get("cutoff") or None)
        horizon = params.get("horizon")
        horizon = rules.horizon if horizon is None else int(horizon)
        if rows.is_empty():
            return self.forecaster.forecast(cutoff=cutoff, horizon=horizon)
        history = flat.history(rows, rules, cutoff)
        return self.forecaster.forecast(history, cutoff=cutoff, horizon=horizon)


@contextmanager
def _coded() -> Iterator[None]:
    """Give a code to what fails without one."""
    try:
        yield
    except StorecastError:
        raise
    except Exception as fault:
        raise ModelError(
            Code.MODEL_FAILED, f"the forecaster failed: {type(fault).__name__}: {fault}"
        ) from fault


def _day(text: Any) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(str(text))
    except ValueError as fault:
        raise InputError(
            Code.CUTOFF_INVALID,
            "the parameter cutoff is not a date",
            where="params",
            expected="YYYY-MM-DD",
            found=repr(text),
        ) from fault


# ------------------------------------------------------------------ frames


def as_polars(frame: Any, rules: SeriesRules) -> pl.DataFrame:
    """A pandas frame with every flat column, typed; missing optional ones are null.

    Raises:
        InputError: INPUT_COLUMN_MISSING; INPUT_INVALID naming the row and what it holds.
    """
    if not isinstance(frame, pd.DataFrame):
        raise InputError(
            Code.INPUT_INVALID,
            "the input is not a data frame",
            expected="a pandas data frame",
            found=type(frame).__name__,
        )
    columns = {}
    for column in flat.columns(rules):
        if column.name in frame.columns:
            columns[column.name] = _READERS[column.kind](frame[column.name], column.name)
        elif column.required and len(frame):
            raise InputError(
                Code.INPUT_COLUMN_MISSING,
                f"the input has no column {column.name}",
                where=column.name,
                expected=", ".join(c.name for c in flat.columns(rules) if c.required),
                found=", ".join(map(str, frame.columns)),
            )
        else:
            columns[column.name] = pl.Series(
                column.name, [None] * len(frame), dtype=flat.TYPES[column.kind]
            )
    return pl.DataFrame(columns)


def _texts(values: pd.Series[Any], name: str) -> pl.Series:
    return _objects(values, name, str, pl.String, "text")


def _objects(
    values: pd.Series[Any], name: str, kind: type | tuple[type, ...], dtype: Any, expected: str
) -> pl.Series:
    nulls = values.isna().to_numpy()
    plain = [None if null else v for v, null in zip(values, nulls, strict=True)]
    for row, value in enumerate(plain):
        if value is not None and not isinstance(value, kind):
            raise flat.invalid(row, f"{name} is not a {expected}", expected, repr(value))
    return pl.Series(name, plain, dtype=dtype)


def _days(values: pd.Series[Any], name: str) -> pl.Series:
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        raise flat.invalid(0, f"{name} has a time zone", "days without one", str(values.dtype))
    if values.dtype.kind == "M":
        stamps = pl.Series(name, values.to_numpy().astype("datetime64[us]"))
    else:
        stamps = _objects(values, name, (date, datetime), pl.Datetime("us"), "date")
    days = stamps.cast(pl.Date)
    timed = (stamps != days.cast(pl.Datetime("us"))).fill_null(value=False).arg_true()
    if len(timed):
        row = int(timed[0])
        raise flat.invalid(row, f"{name} has a time of day", "a date", str(stamps[row]))
    return days


def _numbers(values: pd.Series[Any], name: str) -> pl.Series:
    if values.dtype.kind not in "fiu" and not isinstance(
        values.dtype, pd.api.types.CategoricalDtype
    ):
        nulls = values.isna().to_numpy()
        for row, (value, null) in enumerate(zip(values, nulls, strict=True)):
            number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if not null and not number:
                raise flat.invalid(row, f"{name} is not a number", "a number", repr(value))
    numbers = values.to_numpy(dtype="float64", na_value=np.nan)
    return pl.Series(name, numbers, nan_to_null=True)


_READERS = {"text": _texts, "day": _days, "number": _numbers}


def as_pandas(frame: pl.DataFrame) -> pd.DataFrame:
    """Texts as objects, days as datetime64, the rest as numbers; typed when empty, too."""
    columns: dict[str, Any] = {}
    for name, dtype in frame.schema.items():
        series = frame[name]
        if dtype == pl.String:
            columns[name] = pd.Series(series.to_list(), dtype=object)
        elif dtype == pl.Date:
            stamps = series.cast(pl.Datetime("ns")).to_numpy()
            columns[name] = pd.Series(stamps.astype("datetime64[ns]"))
        else:
            columns[name] = pd.Series(series.to_numpy())
    return pd.DataFrame(columns)


def empty_input(rules: SeriesRules) -> pd.DataFrame:
    """The typed zero-row frame that asks for a forecast from the packed history."""
    schema = {c.name: flat.TYPES[c.kind] for c in flat.columns(rules)}
    return as_pandas(pl.DataFrame(schema=schema))


# --------------------------------------------------------------- signature


def signature(rules: SeriesRules) -> ModelSignature:
    """Input, output and parameters, as MLflow enforces them."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    kinds = {"text": "string", "day": "datetime", "number": "double"}
    outputs = {pl.String: "string", pl.Date: "datetime", pl.Int32: "integer", pl.Float64: "double"}
    return ModelSignature(
        Schema([ColSpec(kinds[c.kind], c.name, required=c.required) for c in flat.columns(rules)]),
        Schema([ColSpec(outputs[type(t)], n) for n, t in output_schema(rules).items()]),
        ParamSchema(
            [
                ParamSpec("cutoff", "string", ""),
                ParamSpec("horizon", "long", rules.horizon),
                ParamSpec("on_error", "string", "raise"),
            ]
        ),
    )
