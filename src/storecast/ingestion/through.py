"""How far the source is complete: as configured, as a load log says, or as the sales show."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from storecast.errors import Code, SourceError
from storecast.ingestion.bench import Workbench
from storecast.ingestion.contract import Feed, Field, Kind, check
from storecast.ports import Relation, Source, Through

if TYPE_CHECKING:
    from storecast.config import LoadLog


_THE_NEWEST = "the newest sale"
_FAR = timedelta(days=62)
"""Further behind the newest sale nobody has looked whether there were none."""


def said(source: Source, through: date | LoadLog | None) -> Through | None:
    """What the configuration or its load log says; None where neither does.

    Raises:
        SourceError: SOURCE_COLUMN_NOT_FOUND, SOURCE_THROUGH_INVALID.
    """
    if through is None:
        return None
    if isinstance(through, date):
        return Through(through, "the configuration")
    return Through(_newest_logged(source, through), through.table)


def newest_sale(bench: Workbench, days: str, today: date) -> Through:
    """The day of the newest accepted sale that is not in the future.

    Args:
        bench: where they are counted.
        days: the bench's table of the accepted sales by day: date, row__rows.
        today: the day of the run, in UTC.

    Raises:
        SourceError: SOURCE_THROUGH_INVALID where there is none.
    """
    latest = last_believed(today)
    newest, coming = bench.tuples(
        f"SELECT MAX(CASE WHEN date <= DATE '{latest}' THEN date END), "  # noqa: S608 - a table of the bench
        f"SUM(CASE WHEN date > DATE '{latest}' THEN row__rows END) FROM {days}"
    )[0]
    return of_sales(newest, int(coming or 0))


def last_believed(today: date) -> date:
    """The last day of which a sale may be: tomorrow, since a day begins east of Greenwich first.

    Args:
        today: in UTC.
    """
    return today + timedelta(days=1)


def of_sales(newest: date | None, coming: int) -> Through:
    """What the sales themselves say.

    Args:
        newest: the newest day of a sale that is believed; None where there is none.
        coming: how many sales lie after ``last_believed``.

    Raises:
        SourceError: SOURCE_THROUGH_INVALID where there is none.
    """
    if newest is None:
        raise SourceError(
            Code.SOURCE_THROUGH_INVALID,
            "no accepted sale says how far the source is complete",
            where="source.sales.through",
            next_step="mend the rejected rows, or set source.sales.through",
        )
    if coming:
        return Through(newest, f"{_THE_NEWEST} but {coming:,} dated in the future")
    return Through(newest, _THE_NEWEST)


def doubt(complete: Through, first: date, newest: date) -> str | None:
    """Why a day that the configuration or a load log says can hardly be meant; None if it can.

    Args:
        complete: the day, and who says so.
        first: where the sales begin.
        newest: where they end.
    """
    if complete.origin.startswith(_THE_NEWEST):
        return None
    who = f"{complete.origin} says complete through {complete.day}, but"
    if complete.day > newest + _FAR:
        return f"{who} the sales end with {newest}: what lies between counts as no sales"
    if complete.day < first:
        return f"{who} the sales begin with {first}: none of them is complete"
    return None


def _newest_logged(source: Source, log: LoadLog) -> date:
    """The newest date of a load log's column."""
    origin = Relation(log.table)
    names = [c.name for c in source.columns(origin)]
    if log.column not in names:
        raise SourceError(
            Code.SOURCE_COLUMN_NOT_FOUND,
            f"{log.table} has no column {log.column!r}",
            where="source.sales.through",
            expected=log.column,
            found=", ".join(names),
            next_step="correct the name in storecast.yaml",
        )
    column = Field("date", log.column, Kind.OPTIONAL_DATE)
    feed = Feed("sales.through", log.table, origin, (column,), ("date",))
    newest: date | None = None
    for batch in source.read(origin, [log.column]):
        result = check(batch, feed)
        if result.rejected.num_rows:
            raise _through_invalid(log, str(result.rejected["raw_row"][0].as_py()))
        here = pc.max(result.accepted["date"]).as_py()
        if here is not None and (newest is None or here > newest):
            newest = here
    if newest is None:
        raise _through_invalid(log, "no date")
    return newest


def _through_invalid(log: LoadLog, found: str) -> SourceError:
    return SourceError(
        Code.SOURCE_THROUGH_INVALID,
        f"{log.table}.{log.column} does not say how far the source is complete",
        where="source.sales.through",
        expected="dates YYYY-MM-DD",
        found=found,
        next_step="mend the load log, or set source.sales.through to a date or null",
    )
