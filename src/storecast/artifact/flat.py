"""The flat frame: one row a store and period, the form in which histories reach the artefact.

store_id, date (the period's label), sales, realised covariates, known covariates, attributes,
opened_on, closed_on. Rows after the cutoff are future rows: of them only the known covariates
count.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from storecast.core.panel import History
from storecast.core.window import Window
from storecast.errors import Code, InputError

if TYPE_CHECKING:
    from storecast.core.panel import SeriesRules

TYPES: dict[str, Any] = {"text": pl.String, "day": pl.Date, "number": pl.Float64}


@dataclass(frozen=True)
class FlatColumn:
    """A column of the flat frame; ``kind`` is text, day or number."""

    name: str
    kind: str
    required: bool = False


def columns(rules: SeriesRules) -> list[FlatColumn]:
    """The flat frame's columns, in order."""
    return [
        FlatColumn("store_id", "text", True),
        FlatColumn("date", "day", True),
        FlatColumn("sales", "number", True),
        *(FlatColumn(name, "number") for name in rules.realised),
        *(FlatColumn(name, "number") for name in rules.known),
        *(FlatColumn(name, "text") for name in rules.attributes),
        FlatColumn("opened_on", "day"),
        FlatColumn("closed_on", "day"),
    ]


def invalid(row: int, message: str, expected: str, found: str) -> InputError:
    """INPUT_INVALID at the row of that position, named by its number, counted from 1."""
    row += 1
    return InputError(
        Code.INPUT_INVALID,
        f"row {row}: {message}",
        where=f"row {row}",
        expected=expected,
        found=found,
    )


def checked(rows: pl.DataFrame, rules: SeriesRules) -> pl.DataFrame:
    """The rows as they are, once nothing is wrong with them.

    Raises:
        InputError: INPUT_INVALID for a null key, a date that is no period's label, a store and
            date that occur twice, an infinite number.
    """
    for name in ("store_id", "date"):
        for row in rows[name].is_null().arg_true():
            raise invalid(row, f"{name} is null", f"a {name} in every row", "null")
    for row in (rows["store_id"].str.len_bytes() == 0).arg_true():
        raise invalid(row, "store_id is empty", "a store_id in every row", "''")
    frequency = rules.frequency
    days = rows["date"].unique()
    labels = [frequency.label(frequency.ordinal(day)) for day in days]
    strange = days.filter(days != pl.Series(labels, dtype=pl.Date))
    for row in rows["date"].is_in(strange.implode()).arg_true():
        day = rows["date"][row]
        label = frequency.label(frequency.ordinal(day))
        raise invalid(
            row, f"date is not a label of frequency {frequency.code}", f"{label}", f"{day}"
        )
    first = rows.select(pl.struct("store_id", "date").is_first_distinct()).to_series()
    for row in (~first).arg_true():
        store, day = rows["store_id"][row], rows["date"][row]
        raise invalid(
            row, "store and date occur before", "one row a store and date", f"{store!r}, {day}"
        )
    for column in columns(rules):
        if column.kind == "number":
            for row in rows[column.name].is_infinite().fill_null(value=False).arg_true():
                raise invalid(
                    row,
                    f"{column.name} is infinite",
                    "a finite number",
                    str(rows[column.name][row]),
                )
    return rows


def history(rows: pl.DataFrame, rules: SeriesRules, cutoff: date | None) -> History:
    """The history that checked flat rows tell, complete through ``cutoff``.

    Args:
        rows: at least one.
        rules: what a series is.
        cutoff: last day of the newest period to use; None: of the last period with sales.

    Raises:
        InputError: CUTOFF_INVALID where no row has sales, or the rows end before the cutoff.
    """
    frequency = rules.frequency
    sold = rows.filter(pl.col("sales").is_not_null())
    if cutoff is None:
        if sold.is_empty():
            raise InputError(
                Code.CUTOFF_INVALID,
                "the rows have no sales, so they say no cutoff",
                expected="rows with sales, or the parameter cutoff",
                found=f"{rows.height} rows without sales",
            )
        cutoff = frequency.last_day(frequency.ordinal(_newest(sold)))
    last = cutoff_label(rules, cutoff)
    if _newest(rows) < last:
        raise InputError(
            Code.CUTOFF_INVALID,
            "the history ends before the cutoff",
            expected=f"rows up to {last}",
            found=f"the last row is of {_newest(rows)}",
        )
    return History(
        sales=sold.filter(pl.col("date") <= last)
        .select("store_id", "date", "sales", *rules.realised)
        .sort("store_id", "date"),
        stores=_stores(rows, rules, cutoff),
        store_versions=None,
        covariates=rows.select("store_id", "date", *rules.known)
        .filter(pl.any_horizontal(pl.col(*rules.known).is_not_null()))
        .sort("store_id", "date")
        if rules.known
        else None,
        covariates_by_date=None,
        covariate_versions=None,
        through=cutoff,
        rules=rules,
    )


def _newest(rows: pl.DataFrame) -> date:
    newest = rows["date"].max()
    assert isinstance(newest, date)  # noqa: S101 - the caller gives at least one row
    return newest


def _stores(rows: pl.DataFrame, rules: SeriesRules, cutoff: date) -> pl.DataFrame:
    """One row a store, each attribute as the newest row that has it says.

    A store of which there are future rows alone counts as opened in the cutoff's period.
    """
    frequency = rules.frequency
    names = ("opened_on", "closed_on", *rules.attributes)
    newborn = frequency.first_day(frequency.complete(cutoff))
    return (
        rows.sort("store_id", "date")
        .group_by("store_id", maintain_order=True)
        .agg(
            *(pl.col(name).drop_nulls().last() for name in names),
            first_row=pl.col("date").min(),
        )
        .with_columns(
            opened_on=pl.when(
                pl.col("opened_on").is_null() & (pl.col("first_row") > cutoff_label(rules, cutoff))
            )
            .then(pl.lit(newborn))
            .otherwise(pl.col("opened_on"))
        )
        .drop("first_row")
    )


def cutoff_label(rules: SeriesRules, cutoff: date) -> date:
    """The label of the newest period that is complete at the cutoff."""
    return rules.frequency.label(rules.frequency.complete(cutoff))


def flatten(told: History, window: Window) -> pl.DataFrame:
    """The flat rows of what was known at the window's cutoff: its past and its future.

    Sales are those of the tables: a period without a row has none, so that whoever reads the
    rows applies the rule for absent periods once.
    """
    past, rules = window.past, window.past.rules
    keys, known = ["store_id", "date"], list(rules.known)
    rows = pl.concat(
        [past.rows.select(*keys, *known), window.future.rows.select(*keys, *known)]
    ).join(
        told.sales.filter(pl.col("date") <= cutoff_label(rules, window.cutoff)).select(
            *keys, "sales", *rules.realised
        ),
        on=keys,
        how="left",
    )
    return (
        rows.join(past.stores, on="store_id", how="left")
        .select(pl.col(c.name).cast(TYPES[c.kind]) for c in columns(rules))
        .sort(keys)
    )
