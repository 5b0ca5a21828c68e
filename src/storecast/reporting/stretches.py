"""From rows to lines: consecutive periods, a value each."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from storecast.reporting.content import Line, Setting


def lines(setting: Setting, frame: pl.DataFrame, column: str) -> dict[str, Line]:
    """A line for each store; periods without a row are None."""
    rows = (
        frame.select(
            "store_id",
            setting.frequency.ordinals(pl.col("date")).cast(pl.Int64).alias("at"),
            pl.col(column).cast(pl.Float64).alias("value"),
        )
        .sort("store_id", "at")
        .group_by("store_id", maintain_order=True)
        .agg("at", "value")
    )
    return {
        store_id: line(at, values)
        for store_id, at, values in zip(*(rows[c].to_list() for c in rows.columns), strict=True)
    }


def line(at: Sequence[int], values: Sequence[float | None]) -> Line:
    """The line of values at ascending ordinals; those that are missed out are None."""
    if at[-1] - at[0] + 1 == len(at):
        return Line(at[0], tuple(values))
    by_ordinal = dict(zip(at, values, strict=True))
    return Line(at[0], tuple(by_ordinal.get(o) for o in range(at[0], at[-1] + 1)))
