"""The future rows of a store: made, or checked and completed."""

from __future__ import annotations

import datetime as dt

import polars as pl

from storecast.core.calendar import PERIOD, Frequency
from storecast.errors import Code, InputError

STEP = pl.Int32
_ROW = "__row"


def make(stores: pl.Series, frequency: Frequency, cutoff: dt.date, horizon: int) -> pl.DataFrame:
    """The ``horizon`` periods after the cutoff of each store.

    Args:
        stores: store ids, N of them.
        frequency: of the periods.
        cutoff: last day of a period.
        horizon: H.

    Returns:
        store_id, date, period, step (1 … H): N × H rows, by store as given, then by step.
    """
    last = frequency.complete(cutoff)
    steps = pl.DataFrame({"step": pl.int_range(1, horizon + 1, dtype=STEP, eager=True)})
    return (
        pl.DataFrame({"store_id": stores.cast(pl.String)})
        .join(steps, how="cross", maintain_order="left_right")
        .with_columns(period=(pl.col("step") + last).cast(PERIOD))
        .select("store_id", frequency.labels("period").alias("date"), "period", "step")
    )


def complete(given: pl.DataFrame, skeleton: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Check future rows that were handed in, and fill those that are missing.

    Args:
        given: store_id, date and further columns, in any order.
        skeleton: store_id, date and further columns: every row that there has to be.

    Returns:
        the skeleton with the further columns of ``given`` (null in filled rows), in the
        skeleton's order; and the skeleton's rows that had to be filled.

    Raises:
        InputError: INPUT_INVALID, naming the row (counted from 1), where a key is null or occurs
            twice, a store is not expected, or a date is no label, before or past the horizon.
    """
    rows = given.with_row_index(_ROW, offset=1)
    keys = ["store_id", "date"]
    _refuse(rows.filter(pl.any_horizontal(pl.col(keys).is_null())), "a store or date is null")
    _refuse(rows.filter(pl.struct(keys).is_duplicated()), "a store and date occur more than once")
    _refuse(
        rows.join(skeleton, on="store_id", how="anti", maintain_order="left"),
        "the store is not one to forecast",
    )
    labels = skeleton["date"].unique().sort().to_list()
    first, last = labels[0], labels[-1]
    expected = f"the {len(labels)} labels from {first} to {last}"
    _refuse(rows.filter(pl.col("date") > last), "the date is beyond the horizon", expected)
    _refuse(rows.filter(pl.col("date") < first), "the date is not after the cutoff", expected)
    _refuse(
        rows.join(skeleton, on=keys, how="anti", maintain_order="left"),
        "the date is no label of a period",
        expected,
    )
    further = [name for name in given.columns if name not in skeleton.columns]
    whole = skeleton.join(given.select(*keys, *further), on=keys, how="left", maintain_order="left")
    filled = skeleton.join(given, on=keys, how="anti", maintain_order="left")
    return whole, filled


def _refuse(wrong: pl.DataFrame, what: str, expected: str = "one row a store and period") -> None:
    if wrong.is_empty():
        return
    row = wrong.sort(_ROW).row(0, named=True)
    raise InputError(
        Code.INPUT_INVALID,
        f"{what} ({wrong.height} row{'s' if wrong.height > 1 else ''})",
        where=f"row {row[_ROW]}: store {row['store_id']!r}, {row['date']}",
        expected=expected,
        found=str(row["date"]),
        next_step="correct the row, or leave it out: rows that are missing are filled",
    )
