"""Where a source row belongs: its store and month, by which a source and a table are compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from storecast.core.schema import AMOUNT, TEXT
from storecast.ingestion.contract import Feed, converted
from storecast.ingestion.extent import Extent

NO_STORE, NO_MONTH = "", -1
"""Stand for a store or a date that cannot be read; no store and no month is so called."""

PLACE = ("row__store", "row__month")
MONTH = "CAST(EXTRACT(YEAR FROM {0}) * 12 + EXTRACT(MONTH FROM {0}) - 1 AS INTEGER)"
"""The number of a day's month, in a statement."""

_PLACED = pa.schema(
    [
        pa.field("row__store", TEXT),
        pa.field("row__month", pa.int32()),
        pa.field("row__amount", AMOUNT),
    ]
)


def placed(batch: pa.RecordBatch, feed: Feed) -> pa.RecordBatch:
    """Store, number of the month, and amount of each row.

    An amount that cannot be read is zero. A day that no row may have, such as one of the year 9999,
    is in no month.

    Args:
        batch: N rows with the source columns of store, date and sales.
        feed: what they are meant to be.
    """
    by_name = {f.name: f for f in feed.fields}
    stores, wrong = converted(batch, by_name["store_id"], feed)
    stores = pc.if_else(pc.is_valid(wrong), NO_STORE, stores)
    days, undated = converted(batch, by_name["date"], feed)
    days = pc.if_else(pc.is_valid(undated), pa.scalar(None, days.type), days)
    amounts, _ = converted(batch, by_name["sales"], feed)
    return pa.RecordBatch.from_arrays(
        [
            pc.fill_null(stores, NO_STORE),
            months(days),
            pc.fill_null(amounts.cast(AMOUNT), 0),
        ],
        schema=_PLACED,
    )


def months(days: pa.Array) -> pa.Array:
    """The number of each day's month: 12 a year, January of the year 0 is 0."""
    number = pc.subtract(pc.add(pc.multiply(pc.year(days), 12), pc.month(days)), 1)
    return pc.fill_null(number, NO_MONTH).cast(pa.int32())


def keyed(batch: pa.RecordBatch, feed: Feed) -> dict[str, pa.Array]:
    """The key's columns of N rows, null in each where one cannot be read."""
    keys, unreadable = [], pa.array([False] * batch.num_rows, pa.bool_())
    for name in feed.key:
        field = next(f for f in feed.fields if f.name == name)
        values, codes = converted(batch, field, feed)
        keys.append(values)
        unreadable = pc.or_(unreadable, pc.or_(pc.is_null(values), pc.is_valid(codes)))
    return {
        name: pc.if_else(unreadable, pa.scalar(None, values.type), values)
        for name, values in zip(feed.key, keys, strict=True)
    }


def columns(sources: Feed) -> list[str]:
    """The source columns that say where a row belongs and what it amounts to."""
    by_name = {f.name: f.source for f in sources.fields}
    return list(dict.fromkeys(by_name[n] for n in ("store_id", "date", "sales")))


def described(
    raw_rows: Sequence[str], feed: Feed, extent: Extent, schema: pa.Schema | None
) -> pa.Table:
    """What rejected rows say of themselves, as far as they can be read.

    Args:
        raw_rows: N rows in JSON, as they came.
        feed: what they were meant to be.
        extent: of this run.
        schema: of the source's batches; None where none came.

    Returns:
        N rows: the key's columns, null in each where one cannot be read; the place and amount;
        ``row__reached``, whether this run has read all such rows.
    """
    batch = _as_it_came([json.loads(row) for row in raw_rows], feed, schema)
    place = placed(batch, feed)
    return pa.table(
        {
            **keyed(batch, feed),
            **{name: place.column(name) for name in place.schema.names},
            "row__reached": extent.reaches(batch, feed),
        }
    )


def _as_it_came(
    rows: Sequence[Mapping[str, Any]], feed: Feed, schema: pa.Schema | None
) -> pa.RecordBatch:
    arrays = []
    for source in feed.sources:
        values = [row.get(source) for row in rows]
        text = pa.array([v if v is None or isinstance(v, str) else _text(v) for v in values], TEXT)
        arrays.append(_typed(text, schema.field(source).type if schema is not None else TEXT))
    return pa.RecordBatch.from_arrays(arrays, names=feed.sources)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _typed(text: pa.Array, kind: pa.DataType) -> pa.Array:
    """The text in the source's own type, so that the same rule meets the same value."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind):
        return text
    try:
        return text.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return text
