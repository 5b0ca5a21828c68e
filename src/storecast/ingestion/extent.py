"""How much of the sales a run reads: everything, or what their watermark says is new."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from storecast.ingestion.contract import Feed, Field, converted
from storecast.ports import Span

if TYPE_CHECKING:
    from storecast.config import Config

_ZONES = timedelta(days=1)
"""No zone is further from UTC."""


@dataclass(frozen=True)
class Extent:
    """What of the sales is read.

    Attributes:
        digest: of all that a reading depends on; where it changes, everything is read again.
        why: why everything is read; empty where it is not.
        since: rows with a watermark from this day on are read, and those without one; None where
            everything is.
        mark: the day of the newest watermark that the tables have.
        types: what the source calls the types of the columns: where one is another, ``001`` may
            come as ``1``.
    """

    digest: str
    why: str = ""
    since: date | None = None
    mark: date | None = None
    types: Mapping[str, str] = field(default_factory=dict)

    def span(self, feed: Feed) -> Span | None:
        """What the source is asked for; it may give more."""
        watermark = next((f for f in feed.fields if f.name == "watermark"), None)
        if self.since is None or watermark is None or not watermark.known_to_the_source:
            return None
        day = _day(feed)
        return Span(
            watermark.source,
            since=self.since - _ZONES,
            or_null=_without_null(feed),
            or_undated=day.source if day.known_to_the_source else None,
        )

    def reaches(self, batch: pa.RecordBatch, feed: Feed) -> pa.BooleanArray:
        """Which rows are read: it follows from a row alone, whoever gave it."""
        if self.since is None:
            return pa.array([True] * batch.num_rows, pa.bool_())
        watermark = next(f for f in feed.fields if f.name == "watermark")
        marks, codes = converted(batch, watermark, feed)
        new = pc.greater_equal(marks, pa.scalar(_begin(self.since), marks.type))
        reached = pc.or_(pc.fill_null(new, True), pc.is_valid(codes))
        for source in _without_null(feed):
            reached = pc.or_(reached, pc.is_null(batch.column(source)))
        day = _day(feed)
        if day.known_to_the_source and pa.types.is_string(batch.schema.field(day.source).type):
            _, undated = converted(batch, day, feed)
            reached = pc.or_(reached, pc.is_valid(undated))
        return reached


def _day(feed: Feed) -> Field:
    """The day: where it is text that no tally can read, such rows are always read."""
    return next(f for f in feed.fields if f.name == "date")


def _without_null(feed: Feed) -> tuple[str, ...]:
    """Columns without which a row can be found again by nothing: such rows are always read."""
    names = {*feed.key, "store_id", "date"}
    return tuple(dict.fromkeys(f.source for f in feed.fields if f.name in names))


def _begin(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def of_run(
    config: Config, feed: Feed, before: Mapping[str, Any] | None, *, there: bool, full: bool
) -> Extent:
    """What a run reads.

    Args:
        config: the configuration.
        feed: the sales, as the source has them.
        before: the ledger's row of the newest completed ingestion.
        there: whether the tables of the sales exist.
        full: whether the user asked for everything.
    """
    sales = config.source.sales
    digest = _digest(config)
    state = before["details"].get("sales", {}) if before is not None else {}
    mark = state.get("watermark")
    types = {f.source: f.type_there for f in feed.fields}
    why = _why_everything(sales.watermark, state, digest, there=there, full=full)
    why = why or _retyped(state.get("types", {}), types)
    if why:
        return Extent(digest, why, types=types)
    day = date.fromisoformat(str(mark))
    return Extent(digest, since=_earlier(day, sales.overlap), mark=day, types=types)


def _retyped(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Why a change of types makes everything be read; empty where there is none."""
    changes = [
        f"{name!r} was {before[name]} and is {kind}"
        for name, kind in now.items()
        if before.get(name, kind) != kind
    ]
    return f"the source's types have changed: {', '.join(changes)}" if changes else ""


def _why_everything(
    watermark: str | None, state: Mapping[str, Any], digest: str, *, there: bool, full: bool
) -> str:
    if watermark is None:
        return "no watermark is configured"
    if full:
        return "--full"
    if not state:
        return "the first ingestion"
    if not there:
        return "a table that an earlier run wrote is gone"
    if state.get("digest") != digest:
        return "the configuration of the sales or the version of storecast has changed"
    if state.get("watermark") is None:
        return "no row has had a watermark so far"
    return ""


def _earlier(day: date, days: int) -> date:
    first = date(1900, 1, 2)
    return day - timedelta(days=days) if (day - first).days > days else first


def _digest(config: Config) -> str:
    """Of the source's place, of the sales' configuration but for how much is read, and so on."""
    from storecast.runs import package_version

    source = config.source
    plain = {
        "place": source.model_dump(
            mode="json", include={"type", "path", "host", "port", "database"}
        ),
        "sales": source.sales.model_dump(
            mode="json", by_alias=True, exclude={"overlap", "reconcile", "through"}
        ),
        "frequency": config.series.frequency,
        "version": package_version(),
    }
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def new_mark(
    extent: Extent, newest: datetime | None, any_later: bool, start: datetime
) -> str | None:
    """The day up to which the tables know the source's watermarks, for the next run.

    A watermark of the year 2999 must not keep later ones out: what lies in the future says no
    more than that this run has read everything until its start.

    Args:
        extent: of this run.
        newest: the newest watermark read that is not after ``start`` by more than a day.
        any_later: whether one was.
        start: of the run.
    """
    days = [extent.mark] if extent.mark is not None else []
    if newest is not None:
        days.append(min(newest, start).date())
    elif any_later and not days:
        days.append(start.date())
    return max(days).isoformat() if days else None
