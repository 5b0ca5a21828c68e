"""What flat rows have to be: each violation is an error that names the row and the value."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from storecast.artifact import flat
from storecast.core.schema import DAYS

if TYPE_CHECKING:
    from storecast.core.panel import SeriesRules

_SALES = 1e14
"""Sales of a period are smaller: the tables keep 14 digits before the point."""
_NUMBER = 1e27
"""Other numbers are smaller, as ingestion has it."""


def checked(rows: pl.DataFrame, rules: SeriesRules, trained: Collection[str] = ()) -> pl.DataFrame:
    """The rows as they are, once nothing is wrong with them.

    Args:
        rows: flat rows; optional columns may be absent.
        rules: what a series is.
        trained: the stores of the training.

    Raises:
        InputError: INPUT_INVALID for a null key, an identifier that is empty, has a control
            character or differs from another by the spaces around it alone, a date before 1900 or
            after 2200 or that is no period's label, a store and date that occur twice, a number
            that is infinite or too large.
    """
    for name in ("store_id", "date"):
        for row in rows[name].is_null().arg_true():
            raise flat.invalid(row, f"{name} is null", f"a {name} in every row", "null")
    _identifiers(rows["store_id"], trained)
    there = [column for column in flat.columns(rules) if column.name in rows.columns]
    for column in there:
        if column.kind == "day":
            _range(rows[column.name])
    _labels(rows["date"], rules)
    _once(rows)
    for column in there:
        if column.kind == "number":
            _size(rows[column.name])
    return rows


def not_ahead(rows: pl.DataFrame, rules: SeriesRules) -> None:
    """Refuse sales of a period that begins after tomorrow, where they would be the newest known.

    A day more than today's in UTC is allowed, for chains east of it.

    Raises:
        InputError: INPUT_INVALID with the first such row.
    """
    latest = datetime.now(UTC).date() + timedelta(days=1)
    frequency = rules.frequency
    late = rows.select((pl.col("date") > latest) & pl.col("sales").is_not_null()).to_series()
    for row in late.arg_true():
        day: date = rows["date"][row]
        if frequency.first_day(frequency.ordinal(day)) > latest:
            raise flat.invalid(
                row,
                "sales are dated after tomorrow, and no cutoff says that they are of the future",
                f"sales up to {latest}, or a cutoff",
                str(day),
            )


def _range(days: pl.Series) -> None:
    first, last = DAYS
    low, high = days.min(), days.max()
    if (low is None or low >= first) and (high is None or high <= last):  # type: ignore[operator]
        return
    row = int(((days < first) | (days > last)).fill_null(value=False).arg_true()[0])
    raise flat.invalid(
        row, f"{days.name} is out of range", f"a date from {first} to {last}", str(days[row])
    )


def _size(values: pl.Series) -> None:
    largest = _SALES if values.name == "sales" else _NUMBER
    wrong = (values.abs() >= largest).fill_null(value=False)
    if not wrong.any():
        return
    row = int(wrong.arg_true()[0])
    if values.is_infinite()[row]:
        raise flat.invalid(row, f"{values.name} is infinite", "a finite number", str(values[row]))
    raise flat.invalid(
        row, f"{values.name} is too large", f"less than {largest:g}", str(values[row])
    )


def _identifiers(ids: pl.Series, trained: Collection[str]) -> None:
    once = ids.rle().struct.field("value").unique(maintain_order=True)

    def first(wrong: pl.Series) -> int | None:
        at = ids.is_in(once.filter(wrong).implode()).arg_max() if wrong.any() else None
        return at if at is None else int(at)

    row = first(once.str.strip_chars() == "")
    if row is not None:
        raise flat.invalid(row, "store_id is empty", "a store_id in every row", repr(ids[row]))
    row = first(once.str.contains(r"\p{Cc}"))
    if row is not None:
        raise flat.invalid(
            row, "store_id has a control character", "printable characters", repr(ids[row])
        )
    _spaces(ids, once, trained)


def _spaces(ids: pl.Series, once: pl.Series, trained: Collection[str]) -> None:
    """Identifiers that differ by the spaces around them alone: is it one store, or two?"""
    seen = {store.strip(): store for store in trained}
    for store in once:
        other = seen.setdefault(store.strip(), store)
        if other != store:
            there = ids.eq(other).arg_max() if other in set(once) else None
            row = ids.eq(store).arg_max()
            assert row is not None  # noqa: S101 - it comes from there
            raise flat.invalid(
                row,
                "store_id differs from another by the spaces around it alone",
                f"{other!r}, as "
                + ("the training has it" if there is None else f"row {there + 1} has it"),
                repr(store),
            )


def _labels(days: pl.Series, rules: SeriesRules) -> None:
    frequency = rules.frequency
    once = days.unique()
    labels = pl.Series([frequency.label(frequency.ordinal(day)) for day in once], dtype=pl.Date)
    strange = once.filter(once != labels)
    for row in days.is_in(strange.implode()).arg_true() if len(strange) else ():
        label = frequency.label(frequency.ordinal(days[row]))
        raise flat.invalid(
            row,
            f"date is not a label of frequency {frequency.code}",
            f"{label}",
            f"{days[row]}",
        )


def _once(rows: pl.DataFrame) -> None:
    keys = rows.select("store_id", "date")
    if flat.ascending(keys) or keys.n_unique() == keys.height:
        return
    first = keys.select(pl.struct("store_id", "date").is_first_distinct()).to_series()
    row = int((~first).arg_true()[0])
    store, day = keys.row(row)
    earlier = keys.select(
        ((pl.col("store_id") == store) & (pl.col("date") == day)).arg_max()
    ).item()
    raise flat.invalid(
        row,
        f"store and date occur before, in row {earlier + 1}",
        "one row a store and date",
        f"{store!r}, {day}",
    )
