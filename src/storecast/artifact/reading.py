"""A pandas frame as typed flat rows: what is not of its column's kind is named by row and value.

MLflow's signature lets through what this room refuses: mixed identifiers, booleans as numbers,
times of day, categories.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from storecast.artifact import flat
from storecast.errors import Code, InputError

if TYPE_CHECKING:
    from storecast.core.panel import SeriesRules

_BITS = 1000
"""Of a whole number that a float can still hold."""


def as_polars(frame: Any, rules: SeriesRules) -> pl.DataFrame:
    """The flat columns of a pandas frame, typed and in order; columns of other names are left out.

    An optional column that the frame does not have is not in the result either.

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
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise InputError(
            Code.INPUT_INVALID,
            f"the input has two columns {twice[0]}",
            where=str(twice[0]),
            expected="each column once",
            found=", ".join(map(str, frame.columns)),
        )
    columns = {}
    for column in flat.columns(rules):
        if column.name in frame.columns:
            columns[column.name] = READERS[column.kind](frame[column.name], column.name)
        elif column.required:
            raise flat.column_missing(column.name, rules, map(str, frame.columns))
    return pl.DataFrame(columns)


def _plain(values: pd.Series[Any], name: str, expected: str) -> pd.Series[Any]:
    """The values without categories.

    Raises:
        InputError: INPUT_INVALID where they have some: what a category stands for is no value.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        raise flat.invalid(0, f"{name} is categorical", expected, str(values.dtype))
    return values


def _texts(values: pd.Series[Any], name: str) -> pl.Series:
    values = _plain(values, name, "text")
    try:
        return _as_texts(values, name)
    except UnicodeEncodeError as fault:
        row = next(n for n, value in enumerate(values) if not _encodable(value))
        raise flat.invalid(
            row, f"{name} is not a text: it has half a character", "a text", repr(values.iloc[row])
        ) from fault


def _encodable(value: Any) -> bool:
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_texts(values: pd.Series[Any], name: str) -> pl.Series:
    if values.dtype == object and pd.api.types.infer_dtype(values, skipna=False) == "string":
        return pl.Series(name, values.to_numpy(), dtype=pl.String)  # twice as fast as by Arrow
    if pd.api.types.infer_dtype(values, skipna=True) in ("string", "empty"):
        return pl.Series(name, pa.array(values, pa.large_string(), from_pandas=True))
    return pl.Series(name, _each(values, name, str, "text"), dtype=pl.String)


def _each(
    values: pd.Series[Any], name: str, kind: type | tuple[type, ...], expected: str
) -> list[Any]:
    nulls = values.isna().to_numpy()
    plain = [None if null else v for v, null in zip(values, nulls, strict=True)]
    for row, value in enumerate(plain):
        if value is not None and not isinstance(value, kind):
            raise flat.invalid(row, f"{name} is not a {expected}", f"a {expected}", repr(value))
        if getattr(value, "tzinfo", None) is not None:
            raise flat.invalid(row, f"{name} has a time zone", "a date without one", str(value))
    return plain


def _days(values: pd.Series[Any], name: str) -> pl.Series:
    values = _plain(values, name, "a date")
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        raise flat.invalid(0, f"{name} has a time zone", "a date without one", str(values.dtype))
    if values.dtype.kind == "M" and values.isna().all():
        return pl.Series(name, [None], dtype=pl.Date).new_from_index(0, len(values))
    if values.dtype.kind == "M":
        stamps = pl.Series(name, values.to_numpy().astype("datetime64[us]"))
    else:
        days_and_stamps = _each(values, name, (date, datetime), "date")
        plain = [
            datetime(v.year, v.month, v.day) if type(v) is date else v for v in days_and_stamps
        ]
        stamps = pl.Series(name, plain, dtype=pl.Datetime("us"))
    days = stamps.cast(pl.Date)
    timed = (stamps != days.cast(pl.Datetime("us"))).fill_null(value=False).arg_true()
    if len(timed):
        row = int(timed[0])
        raise flat.invalid(row, f"{name} has a time of day", "a date", str(stamps[row]))
    return days


def _numbers(values: pd.Series[Any], name: str) -> pl.Series:
    values = _plain(values, name, "a number")
    if values.dtype.kind not in "fiu":
        nulls = values.isna().to_numpy()
        for row, (value, null) in enumerate(zip(values, nulls, strict=True)):
            number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if not null and not number:
                raise flat.invalid(row, f"{name} is not a number", "a number", repr(value))
            if number and isinstance(value, int) and value.bit_length() > _BITS:
                found = f"a number of {value.bit_length()} bits"
                raise flat.invalid(row, f"{name} is too large", f"at most {_BITS} bits", found)
    numbers = values.to_numpy(dtype="float64", na_value=np.nan)
    return pl.Series(name, numbers, nan_to_null=True)


READERS: dict[str, Callable[[pd.Series[Any], str], pl.Series]] = {
    "text": _texts,
    "day": _days,
    "number": _numbers,
}
