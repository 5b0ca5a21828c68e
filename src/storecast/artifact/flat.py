"""The flat frame: one row a store and period, the form in which histories reach the artefact.

store_id, date (the period's label), sales, realised covariates, known covariates, attributes,
opened_on, closed_on. Only the first three are required. Rows after the cutoff are future rows: of
them only the known covariates count, and what they say of the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from storecast.core.panel import History, lifetimes
from storecast.core.window import Window, attributes_at
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


def column_missing(name: str, rules: SeriesRules, found: Iterable[str]) -> InputError:
    """INPUT_COLUMN_MISSING for a required column."""
    return InputError(
        Code.INPUT_COLUMN_MISSING,
        f"the input has no column {name}",
        where=name,
        expected=", ".join(c.name for c in columns(rules) if c.required),
        found=", ".join(found),
    )


def ascending(keys: pl.DataFrame) -> bool:
    """Whether each store is one run of rows with ever later dates: then none occurs twice."""
    store, day = keys["store_id"], keys["date"]
    new = store.ne_missing(store.shift())
    if store.filter(new).is_duplicated().any():
        return False
    return bool((new | (day > day.shift())).all())


def history(
    rows: pl.DataFrame,
    rules: SeriesRules,
    cutoff: date | None,
    packed: History | None = None,
    *,
    sold_needed: bool = True,
) -> History:
    """The history that checked flat rows tell, complete through ``cutoff``.

    A store without a sale by the cutoff and without an opening date counts as opened in the
    cutoff's period, unless it was closed by the cutoff. Of columns that the rows do not have,
    ``packed`` tells the stores and periods that it knows; a closing that later sales contradict
    is not one.

    Args:
        rows: at least one; optional columns may be absent.
        rules: what a series is.
        cutoff: last day of the newest period to use; None: of the last period with sales.
        packed: what the artefact was packed with; None: what is absent is null.
        sold_needed: whether rows without any sale by a given cutoff are refused.

    Raises:
        InputError: CUTOFF_INVALID where no row has sales by the cutoff, or the rows end before it.
    """
    if not ascending(rows):
        rows = rows.sort("store_id", "date")
    sold = rows.filter(pl.col("sales").is_not_null())
    cutoff = _cutoff(rows, sold, rules, cutoff, sold_needed=sold_needed)
    sold = sold.filter(pl.col("date") <= cutoff_label(rules, cutoff))
    return History(
        sales=_sales(sold, rules, packed),
        stores=_stores(rows, sold, rules, cutoff, packed),
        store_versions=None,
        **_covariates(rows, rules, packed),
        through=cutoff,
        rules=rules,
    )


def _cutoff(
    rows: pl.DataFrame,
    sold: pl.DataFrame,
    rules: SeriesRules,
    cutoff: date | None,
    *,
    sold_needed: bool,
) -> date:
    frequency = rules.frequency
    if cutoff is None:
        if sold.is_empty():
            raise InputError(
                Code.CUTOFF_INVALID,
                "the rows have no sales, so they say no cutoff",
                expected="rows with sales, or the parameter cutoff",
                found=f"{rows.height} rows without sales",
            )
        return frequency.last_day(frequency.ordinal(_day(sold["date"].max())))
    last = cutoff_label(rules, cutoff)
    newest = _day(rows["date"].max())
    if newest < last:
        raise InputError(
            Code.CUTOFF_INVALID,
            "the history ends before the cutoff",
            where="cutoff",
            expected=f"rows up to {last}",
            found=f"the last row is of {newest}",
        )
    if sold_needed and (sold.is_empty() or _day(sold["date"].min()) > last):
        raise InputError(
            Code.CUTOFF_INVALID,
            "no row at or before the cutoff has sales",
            where="cutoff",
            expected="a cutoff at or after the first sale",
            found=str(cutoff),
        )
    return cutoff


def _sales(sold: pl.DataFrame, rules: SeriesRules, packed: History | None) -> pl.DataFrame:
    keys = ["store_id", "date"]
    absent = [name for name in rules.realised if name not in sold.columns]
    told = [name for name in absent if packed is not None and name in packed.sales.columns]
    if packed is not None and told:
        sold = sold.join(packed.sales.select(*keys, *told), on=keys, how="left").sort(keys)
    nothing = (pl.lit(None, pl.Float64).alias(name) for name in absent if name not in told)
    return sold.with_columns(*nothing).select(*keys, "sales", *rules.realised)


def _day(value: Any) -> date:
    assert isinstance(value, date)  # noqa: S101 - of at least one row, none of them null
    return value


def _covariates(
    rows: pl.DataFrame, rules: SeriesRules, packed: History | None
) -> dict[str, pl.DataFrame | None]:
    """The known covariates: the columns that the rows have, and of the others the packed ones."""
    keys = ["store_id", "date"]
    own = [name for name in rules.known if name in rows.columns]
    absent = [name for name in rules.known if name not in rows.columns]
    tables: dict[str, pl.DataFrame | None] = {
        "covariates": rows.select(*keys, *own).filter(pl.any_horizontal(pl.col(*own).is_not_null()))
        if own
        else None,
        **{
            name: _part(getattr(packed, name, None), absent)
            for name in ("covariates_by_date", "covariate_versions")
        },
    }
    by_store, given = _part(getattr(packed, "covariates", None), absent), tables["covariates"]
    if by_store is not None:
        tables["covariates"] = (
            by_store
            if given is None
            else given.join(by_store, on=keys, how="full", coalesce=True).sort(keys)
        )
    return tables


def _part(table: pl.DataFrame | None, names: Iterable[str]) -> pl.DataFrame | None:
    """Of a table of covariates its keys and those of the names that it has; None without any."""
    if table is None:
        return None
    there = [name for name in names if name in table.columns]
    keys = [name for name in ("store_id", "date", "known_at") if name in table.columns]
    return table.select(*keys, *there) if there else None


def _stores(
    rows: pl.DataFrame,
    sold: pl.DataFrame,
    rules: SeriesRules,
    cutoff: date,
    packed: History | None,
) -> pl.DataFrame:
    """One row a store, each attribute as the newest row that has it says."""
    names = ("opened_on", "closed_on", *rules.attributes)
    given = [name for name in names if name in rows.columns]
    empty = [name for name in given if rows[name].null_count() == rows.height]
    stores = (
        rows.select("store_id", *given)
        .group_by("store_id", maintain_order=True)
        .agg(pl.col(name).drop_nulls().last() for name in given if name not in empty)
        .with_columns(pl.lit(None, rows.schema[name]).alias(name) for name in empty)
        .join(
            sold.group_by("store_id").agg(
                _last_sale=pl.col("date").filter(pl.col("sales") != 0).max(), _sold=pl.lit(1)
            ),
            on="store_id",
            how="left",
            maintain_order="left",
        )
    )
    stores = _completed(stores, [n for n in names if n not in given], cutoff, packed)
    newborn = rules.frequency.first_day(rules.frequency.complete(cutoff))
    shut = (pl.col("closed_on") <= cutoff).fill_null(value=False)
    nothing = pl.col("opened_on").is_null() & pl.col("_sold").is_null() & ~shut
    return stores.select(
        "store_id",
        pl.when(nothing).then(pl.lit(newborn)).otherwise("opened_on").alias("opened_on"),
        "closed_on",
        *rules.attributes,
    )


def _completed(
    stores: pl.DataFrame,
    absent: Sequence[str],
    cutoff: date,
    packed: History | None,
) -> pl.DataFrame:
    """``stores`` with the absent columns, as far as the packed tables know the stores."""
    types = {"opened_on": pl.Date, "closed_on": pl.Date}
    if packed is None or not absent:
        return stores.with_columns(
            pl.lit(None, types.get(name, pl.String)).alias(name) for name in absent
        )
    told = attributes_at(packed, stores["store_id"], cutoff)
    dates = stores.select("store_id").join(
        lifetimes(packed.stores), on="store_id", how="left", maintain_order="left"
    )
    stores = stores.with_columns(dates[name] if name in types else told[name] for name in absent)
    if "closed_on" not in absent:
        return stores
    open_again = (pl.col("_last_sale") > pl.col("closed_on")).fill_null(value=False)
    return stores.with_columns(
        closed_on=pl.when(open_again).then(None).otherwise(pl.col("closed_on"))
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
