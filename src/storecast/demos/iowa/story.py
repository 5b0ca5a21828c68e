"""What the source of the demo shows after each weekly delivery.

The shipped cut is the truth. Its last eight weeks are held back and arrive one delivery at a
time, and as in any till system some lines arrive a week or two late, some are wrong at first
and corrected later, and some are booked in error and cancelled. Which line has which fate
follows from a hash of its invoice number alone, so every project sees the same story, on
every machine. By the last delivery all is settled and the source equals the cut.

Delivery 0 is the state that a new project begins with.
"""

from __future__ import annotations

import hashlib
from datetime import date, timedelta
from functools import cache
from importlib.resources import as_file, files

import polars as pl

DELIVERIES = 8
OPENING = date(2022, 9, 4)
"""The Sunday through which the source is complete at the start."""

LINE = ["invoice_id", "date", "store_id", "item_id", "bottles", "sales"]
"""The columns of a line in the cut; a state has ``updated_at`` besides."""

# Fates, as spans of a draw from 0 to 9,999. The lines of the last fortnight before the
# opening take part like those of the held weeks; of the year before only a few corrections
# are left to come, since a till's errors are mostly found within weeks.
_LATE = (0, 150)
_WRONG_AMOUNT = (150, 250)
_WRONG_SHOP = (250, 290)
_WRONG_DATE = (290, 330)
_SHADOWED_BY_PHANTOM = (330, 370)
_OLD_WRONG_AMOUNT = (0, 8)
_OLD_WRONG_SHOP = (8, 10)

_FIRST_RECENT_WEEK = -1
_OLDEST_CORRECTED = OPENING - timedelta(days=364)
_AT = "T05:30:00"


def cut() -> pl.DataFrame:
    """The shipped invoice lines, sorted by ``invoice_id``; amounts are exact decimals."""
    with as_file(files(__package__) / "invoice_lines.parquet") as path:
        return pl.read_parquet(path)


def stores() -> pl.DataFrame:
    """The shipped shops: 66 of the 79 have a row, as in the State's own list."""
    with as_file(files(__package__) / "stores.parquet") as path:
        return pl.read_parquet(path)


def complete_through(delivery: int) -> date:
    """The Sunday through which the source is complete after ``delivery``."""
    return OPENING + timedelta(weeks=delivery)


def loaded_at(delivery: int) -> str:
    """The ISO time of ``delivery``: early on the day after the last day that it brings."""
    # The last one also brings the Monday on which the cut ends.
    days = 2 if delivery == DELIVERIES else 1
    return (complete_through(delivery) + timedelta(days=days)).isoformat() + _AT


def settled() -> pl.DataFrame:
    """The lines older than a year at the opening, which no delivery touches."""
    lines = cut().filter(pl.col("date") < _OLDEST_CORRECTED)
    return lines.with_columns(updated_at=_own_load()).select(*LINE, "updated_at")


def unsettled(delivery: int) -> pl.DataFrame:
    """The lines of the last year and the held weeks, as the source has them after ``delivery``.

    Args:
        delivery: 0 for the state at the start, up to :data:`DELIVERIES`.

    Returns:
        The columns of :data:`LINE` and ``updated_at``, the ISO time of the line's last change.
    """
    wrong = pl.col("settles") > delivery
    changed = (
        pl.when(pl.col("settles") <= delivery)
        .then("settles")
        .otherwise(pl.when(pl.col("arrives") > 0).then("arrives"))
    )
    times = {number: loaded_at(number) for number in range(1, DELIVERIES + 1)}
    return (
        _fates()
        .filter((pl.col("arrives") <= delivery) & (pl.col("leaves").fill_null(99) > delivery))
        .with_columns(
            updated_at=changed.replace_strict(
                times, default=None, return_dtype=pl.String
            ).fill_null(_own_load()),
            **{
                name: pl.when(wrong).then(f"first_{name}").otherwise(name)
                for name in ("date", "store_id", "bottles", "sales")
            },
        )
        .select(*LINE, "updated_at")
        .sort("invoice_id")
    )


def _own_load() -> pl.Expr:
    """The load that brought a line in its own time: the Monday after its week."""
    monday = pl.col("date").dt.truncate("1w") + pl.duration(days=7)
    return monday.dt.strftime("%Y-%m-%d") + _AT


@cache
def _fates() -> pl.DataFrame:
    """Each unsettled line with its story, and the phantoms.

    Beside the true line: ``arrives``, ``settles`` (null: right from the start) and ``leaves``
    (null: never) as numbers of deliveries, and ``first_…``, what it says until it settles.
    """
    lines = cut()
    steady = (
        lines.group_by("store_id")
        .agg(first=pl.col("date").min(), last=pl.col("date").max())
        .filter((pl.col("first") < date(2012, 3, 1)) & (pl.col("last") > date(2022, 10, 1)))
        .get_column("store_id")
        .sort()
    )
    lines = lines.filter(pl.col("date") >= _OLDEST_CORRECTED)
    draws = pl.Series("draw", [_draw(invoice) for invoice in lines["invoice_id"]], pl.Int64)
    # Week 1 is the first that is held back, week 0 the last of the opening.
    week = ((pl.col("date") - OPENING).dt.total_days() + 6).floordiv(7)
    lines = lines.with_columns(draws, week=week.clip(upper_bound=DELIVERIES))

    draw = pl.col("draw") % 10_000
    lag = pl.col("draw") // 10_000 % 3 + 1
    recent = pl.col("week").is_between(_FIRST_RECENT_WEEK, DELIVERIES - 1)
    old = pl.col("week") < _FIRST_RECENT_WEEK

    def fate(span: tuple[int, int], old_span: tuple[int, int] = (0, 0)) -> pl.Expr:
        return (recent & draw.is_between(*span, closed="left")) | (
            old & draw.is_between(*old_span, closed="left")
        )

    due = pl.col("week").clip(lower_bound=0)
    late = fate(_LATE)
    # An amount of zero is the same when doubled.
    wrong_amount = fate(_WRONG_AMOUNT, _OLD_WRONG_AMOUNT) & (pl.col("sales") != 0)
    wrong_shop = fate(_WRONG_SHOP, _OLD_WRONG_SHOP)
    wrong_date = fate(_WRONG_DATE)

    # A line is booked on another shop that sold throughout: so an error neither opens a shop
    # too early nor revives a closed one.
    at = pl.col("draw") // 30_000 % (len(steady) - 1)
    candidate = _pick(steady, at)
    other_shop = (
        pl.when(candidate == pl.col("store_id")).then(_pick(steady, at + 1)).otherwise(candidate)
    )

    lines = lines.with_columns(
        arrives=pl.when(late)
        .then((due + (lag + 1) // 2).clip(upper_bound=DELIVERIES))
        .otherwise(due),
        settles=pl.when(wrong_amount | wrong_shop | wrong_date).then(
            pl.when(old)
            .then(pl.col("draw") // 10_000 % DELIVERIES + 1)
            .otherwise((due + lag).clip(upper_bound=DELIVERIES))
        ),
        leaves=pl.lit(None, pl.Int64),
        first_sales=pl.when(wrong_amount).then(_doubled("sales")).otherwise("sales"),
        first_bottles=pl.when(wrong_amount).then(_doubled("bottles")).otherwise("bottles"),
        first_store_id=pl.when(wrong_shop).then(other_shop).otherwise("store_id"),
        first_date=pl.when(wrong_date)
        .then(pl.col("date") - pl.duration(days=pl.col("draw") // 30_000 % 9 + 1))
        .otherwise("date"),
    )
    return pl.concat([lines, _phantoms(lines.filter(fate(_SHADOWED_BY_PHANTOM)), lag)])


def _phantoms(shadowed: pl.DataFrame, lag: pl.Expr) -> pl.DataFrame:
    """Bookings in error: a line once more, under a line number that no invoice reaches."""
    return shadowed.with_columns(
        invoice_id=pl.col("invoice_id").str.head(-5) + "9" + pl.col("invoice_id").str.tail(4),
        leaves=(pl.col("arrives") + (lag + 1) // 2).clip(upper_bound=DELIVERIES),
    )


def _pick(shops: pl.Series, at: pl.Expr) -> pl.Expr:
    return at.replace_strict(pl.int_range(len(shops), eager=True), shops, return_dtype=pl.String)


def _doubled(column: str) -> pl.Expr:
    # A sum of decimals widens them, and every amount has one type.
    total = pl.col(column) + pl.col(column)
    return total.cast(pl.Decimal(18, 2)) if column == "sales" else total


def _draw(invoice_id: str) -> int:
    """A number of 63 bits that follows from the invoice line and from nothing else."""
    return int.from_bytes(hashlib.blake2b(invoice_id.encode(), digest_size=8).digest()) >> 1
