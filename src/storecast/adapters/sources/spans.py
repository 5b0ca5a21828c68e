"""A span as a condition over Arrow columns, for sources that Arrow reads."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from storecast.adapters.sources.sql import (
    DAY_AFTER_LAST,
    FIRST_DAY,
    WRITTEN_DAY,
    day_after,
    day_before,
)
from storecast.ports import Span

_DAY = r"^\d{4}-\d{2}-\d{2}"
_WITH_OFFSET = r"^.{10}.*[+-]"


def as_filter(span: Span | None, schema: pa.Schema) -> pc.Expression | None:
    """The condition of a span; None where all rows are wanted, or the type has no days."""
    if span is None or (span.since is None and span.until is None):
        return None
    if schema.names.count(span.column) != 1:
        return None
    kind, column = schema.field(span.column).type, pc.field(span.column)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        wanted = _typed(span, kind, column)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        wanted = _written(span, column)
    else:
        return None
    for name in (span.column, *span.or_null):
        wanted = wanted | pc.field(name).is_null()
        if pa.types.is_string(schema.field(name).type):
            wanted = wanted | (pc.field(name) == "")
    return wanted if span.or_undated is None else wanted | _undated(span, schema)


def _undated(span: Span, schema: pa.Schema) -> pc.Expression:
    kind, column = schema.field(span.or_undated).type, pc.field(span.or_undated)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return ~pc.match_substring_regex(column, WRITTEN_DAY)
    if span.or_undated != span.column:
        return pc.scalar(False)
    # An instant's local day may be the one before or after.
    inside = Span(span.column, day_after(FIRST_DAY), day_before(DAY_AFTER_LAST))
    return ~_typed(inside, kind, column)


def _typed(span: Span, kind: pa.DataType, column: pc.Expression) -> pc.Expression:
    if pa.types.is_date(kind):
        return _between(column, span.since, span.until)
    if kind.tz is None:
        return _between(column, _midnight(span.since, kind), _midnight(span.until, kind))
    # An instant whose local day may be the one before or after.
    since = day_before(span.since) if span.since is not None else None
    until = day_after(span.until) if span.until is not None else None
    return _between(column, _midnight(since, kind), _midnight(until, kind))


def _midnight(day: date | None, kind: pa.TimestampType) -> pa.Scalar | None:
    if day is None:
        return None
    zone = UTC if kind.tz is not None else None
    moment = datetime.combine(day, time(), zone)
    try:
        return pa.scalar(moment, kind)
    except (pa.ArrowInvalid, OverflowError):
        # Nanoseconds reach from 1677 to 2262: beyond, nothing is left out.
        return None


def _written(span: Span, column: pc.Expression) -> pc.Expression:
    since, until = span.since, span.until
    near = _between(
        column,
        since.isoformat() if since is not None else None,
        until.isoformat() if until is not None else None,
    )
    wide = _between(
        column,
        day_before(since).isoformat() if since is not None else None,
        day_after(until).isoformat() if until is not None else None,
    )
    offset = pc.match_substring_regex(column, _WITH_OFFSET)
    return near | (wide & offset) | ~pc.match_substring_regex(column, _DAY)


def _between(column: pc.Expression, since: Any, until: Any) -> pc.Expression:
    within = pc.scalar(True)
    if since is not None:
        within = within & (column >= since)
    if until is not None:
        within = within & (column < until)
    return within
