"""A file of flat rows, CSV or parquet: what ``storecast forecast --input`` scores."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from polars.exceptions import PolarsError

from storecast.artifact import flat
from storecast.artifact.checking import checked
from storecast.artifact.reading import as_polars
from storecast.errors import Code, InputError

if TYPE_CHECKING:
    from storecast.core.panel import SeriesRules


def read(file: Path, rules: SeriesRules) -> pl.DataFrame:
    """The checked flat rows of a file; optional columns may be absent.

    In a CSV every identifier is the text that stands there, dates are YYYY-MM-DD, numbers have
    a point, and nothing at all is null.

    Raises:
        InputError: INPUT_FILE_UNREADABLE, INPUT_COLUMN_MISSING, INPUT_INVALID with row and value.
    """
    try:
        found = _table(file)
    except (OSError, PolarsError) as fault:
        raise InputError(
            Code.INPUT_FILE_UNREADABLE,
            f"the file cannot be read: {(str(fault).splitlines() or [''])[0]}",
            where=str(file),
            expected="a CSV (.csv) or parquet (.parquet) file of flat rows",
            found=type(fault).__name__,
        ) from fault
    _known_columns(found.columns, rules)
    rows = (
        _from_texts(found, rules)
        if file.suffix.lower() == ".csv"
        else as_polars(found.to_pandas(), rules)
    )
    if rows.is_empty():
        raise InputError(
            Code.INPUT_INVALID, "the file has no row", where=str(file), expected="rows with sales"
        )
    return checked(rows, rules)


def _table(file: Path) -> pl.DataFrame:
    match file.suffix.lower():
        case ".csv":
            return pl.read_csv(file, infer_schema=False)
        case ".parquet":
            return pl.read_parquet(file)
        case other:
            raise OSError(f"the ending {other!r} is neither .csv nor .parquet")


def _known_columns(found: Sequence[str], rules: SeriesRules) -> None:
    """Refuse a column of another name: a misspelt covariate would be left out without a word."""
    names = [column.name for column in flat.columns(rules)]
    for name in found:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            raise InputError(
                Code.INPUT_INVALID,
                f"the file has a column {name!r} that is none of a flat row",
                where=name,
                expected=", ".join(names),
                found=name,
                next_step=f"rename it {near[0]!r}, or leave it out" if near else "leave it out",
            )


def _from_texts(found: pl.DataFrame, rules: SeriesRules) -> pl.DataFrame:
    columns = []
    for column in flat.columns(rules):
        if column.name not in found.columns:
            if column.required:
                raise flat.column_missing(column.name, rules, found.columns)
            continue
        texts = found[column.name]
        match column.kind:
            case "day":
                values = texts.str.to_date("%Y-%m-%d", strict=False)
            case "number":
                values = texts.str.strip_chars().cast(pl.Float64, strict=False).fill_nan(None)
            case _:
                values = texts
        wrong = (values.is_null() & texts.is_not_null()).arg_true()
        if len(wrong):
            row = int(wrong[0])
            expected = "YYYY-MM-DD" if column.kind == "day" else "a number with a point"
            raise flat.invalid(
                row, f"{column.name} is not a {_KINDS[column.kind]}", expected, repr(texts[row])
            )
        columns.append(values)
    return pl.DataFrame(columns)


_KINDS = {"day": "date", "number": "number", "text": "text"}
