"""The artefact as an MLflow pyfunc: a flat frame in, the declared schema out. No pickle.

The model is logged from code (``loader.py``) with the artefact's folder beside it, so that
what MLflow stores is text, native weights and parquet.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
from mlflow.pyfunc.model import PythonModel

from storecast.artifact import flat
from storecast.artifact.future import Noted
from storecast.artifact.load import forecaster_of, opened
from storecast.artifact.reading import as_polars
from storecast.artifact.unified import UnifiedForecaster, output_schema
from storecast.core.schema import DAYS
from storecast.errors import Code, InputError, ModelError, StorecastError

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

    from storecast.core.panel import SeriesRules

log = logging.getLogger(__name__)

_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
ARTIFACT = "forecaster"
EMPTY = "empty"
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
                packed history. Columns of other names are left out, as MLflow does.
            params: cutoff (ISO date; empty: the end of the history), horizon (periods; None or
                absent: the packed one), on_error: ``raise``, or ``empty`` for a zero-row frame
                of the same schema.

        Returns:
            One row a store and period: store_id, date, cutoff, step, forecast, forecast_mean,
            the quantiles, basis (model, cold_start or closed). Its ``attrs["storecast"]`` tell
            what was filled, ignored or taken from the packed tables, and the error where the
            frame is empty for one.

        Raises:
            InputError: INPUT_COLUMN_MISSING, INPUT_INVALID with the row, CUTOFF_INVALID,
                HORIZON_TOO_LONG.
            ModelError: MODEL_FAILED, MODEL_OUTPUT_INVALID.
        """
        given = dict(params or {})
        try:
            with _coded():
                frame, noted = self._forecast(model_input, given)
        except StorecastError as fault:
            if given.get("on_error") != EMPTY:
                raise
            log.error("forecast is empty: %s: %s", fault.code.value, fault.message)  # noqa: TRY400
            return self.empty(fault)
        _tell(noted)
        answer = as_pandas(frame)
        answer.attrs["storecast"] = noted.as_dict()
        return answer

    def empty(self, fault: StorecastError | None = None) -> pd.DataFrame:
        """The typed frame without rows that stands for a forecast that failed."""
        frame = as_pandas(pl.DataFrame(schema=output_schema(self.forecaster.rules)))
        if fault is not None:
            frame.attrs["storecast"] = {"error": fault.as_dict()}
        return frame

    def _forecast(self, model_input: Any, params: dict[str, Any]) -> tuple[pl.DataFrame, Noted]:
        rules = self.forecaster.rules
        on_error = params.get("on_error", "raise")
        if on_error not in ("raise", EMPTY):
            raise _wrong("on_error", "raise or empty", on_error)
        cutoff, horizon = _day(params.get("cutoff") or None), _whole(params.get("horizon"))
        nothing = isinstance(model_input, pd.DataFrame) and not len(model_input)
        rows = pl.DataFrame() if nothing else as_polars(model_input, rules)
        return self.forecaster.answer(rows, cutoff=cutoff, horizon=horizon)


def _tell(noted: Noted) -> None:
    """Log what was made of the future rows."""
    if noted.filled:
        shown = ", ".join(f"{store!r}: {n}" for store, n in list(noted.filled.items())[:5])
        log.warning(
            "%s: %d future periods of %d stores had no row and were filled (%s%s)",
            Code.FUTURE_ROWS_FILLED.value,
            sum(noted.filled.values()),
            len(noted.filled),
            shown,
            ", …" if len(noted.filled) > 5 else "",
        )
    if noted.ignored:
        log.warning(
            "%s: %d future rows are beyond the horizon, or of stores that are closed or open "
            "after the cutoff",
            Code.FUTURE_ROWS_IGNORED.value,
            noted.ignored,
        )
    if noted.alone:
        log.warning(
            "%s: no open store with sales is there for %s%s to take after: zero is forecast",
            Code.COLD_START_ALONE.value,
            ", ".join(map(repr, noted.alone[:5])),
            ", …" if len(noted.alone) > 5 else "",
        )


@contextmanager
def _coded() -> Iterator[None]:
    """Give a code to what fails without one."""
    try:
        yield
    except StorecastError:
        raise
    except (SystemExit, Exception) as fault:
        raise ModelError(
            Code.MODEL_FAILED, f"the forecaster failed: {type(fault).__name__}: {fault}"
        ) from fault


def _day(value: Any) -> date | None:
    if value is None:
        return None
    text = str(value)
    try:
        # of ISO's many forms this one alone: not 20241130, nor 2024-W48-6
        day = date.fromisoformat(text) if _ISO.fullmatch(text) else None
    except ValueError:
        day = None
    if day is None or not DAYS[0] <= day <= DAYS[1]:
        raise InputError(
            Code.CUTOFF_INVALID,
            "the parameter cutoff is not a date",
            where="params",
            expected=f"YYYY-MM-DD, from {DAYS[0]} to {DAYS[1]}",
            found=repr(value),
        )
    return day


def _whole(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise _wrong("horizon", "a whole number of periods", value)
    return int(value)


def _wrong(name: str, expected: str, found: Any) -> InputError:
    return InputError(
        Code.INPUT_INVALID,
        f"the parameter {name} is not {expected}",
        where="params",
        expected=expected,
        found=repr(found),
    )


# ------------------------------------------------------------------ frames


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
