"""Rows of the source as ``storecast doctor`` looks at them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import polars as pl

from storecast.core.written import DateFormat
from storecast.ports import Relation, Source

if TYPE_CHECKING:
    from storecast.config import From

SAMPLE = 50_000
ALL = 20_000_000


def relation_of(place: From) -> Relation:
    """The relation of a part of the configuration."""
    return Relation(table=place.from_, query=place.query)


def batches(
    source: Source, relation: Relation, columns: Sequence[str], most: int
) -> Iterator[pl.DataFrame]:
    """The named columns, in batches, until there are ``most`` rows."""
    rows = 0
    for batch in source.read(relation, columns):
        yield pl.DataFrame(pl.from_arrow(batch))
        rows += batch.num_rows
        if rows >= most:
            break


def rows_of(source: Source, relation: Relation, columns: Sequence[str], most: int) -> pl.DataFrame:
    """The first rows, ``most`` or a little more."""
    frames = list(batches(source, relation, columns, most))
    if not frames:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    return pl.concat(frames, how="vertical_relaxed")


def days(values: pl.Series, date_format: str | None = None) -> pl.Series:
    """The dates; null where a value is none."""
    if values.dtype == pl.Date:
        return values
    if values.dtype == pl.Datetime:
        return values.cast(pl.Date)
    text = values.cast(pl.String)
    if date_format is not None:
        return _in_format(text, DateFormat.of(date_format))
    iso = text.str.extract(r"^(\d{4}-\d{2}-\d{2})(?:$|[ T])")
    return iso.str.to_date("%Y-%m-%d", strict=False)


def _in_format(text: pl.Series, written: DateFormat) -> pl.Series:
    once = text.drop_nulls().unique()
    read = [written.read(t) for t in once]
    known = pl.Series([None if r is None else r.date() for r in read], dtype=pl.Date)
    if once.is_empty():
        return pl.Series(text.name, [None] * len(text), dtype=pl.Date)
    return text.replace_strict(once, known, default=None, return_dtype=pl.Date)
