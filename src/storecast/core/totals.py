"""Sums by group to the bit: what a group's rows are, in their order, decides its sum alone.

A group-by of several threads adds in an order that other rows of the frame change, and with it the
last bit of a sum in floating point.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl


def totals(
    rows: pl.DataFrame, keys: Sequence[str], columns: Sequence[str], firsts: Sequence[str] = ()
) -> pl.DataFrame:
    """Sum each of ``columns`` by group, one row after the other.

    Args:
        rows: the columns, numbers, in which null and NaN are unknown, and the keys.
        keys: at least one.
        columns: to add up.
        firsts: columns of which each group's first value is taken.

    Returns:
        keys, firsts, ``{column}`` (the sum of what is known) and ``{column}_mean`` (null where
        nothing is), one row a group, in the order in which the groups appear.
    """
    groups = (
        rows.select(*keys, *firsts)
        .with_row_index("_row")
        .group_by(keys, maintain_order=True)
        .agg("_row", *(pl.col(name).first() for name in firsts))
    )
    members = groups.get_column("_row")
    codes = np.empty(rows.height, dtype=np.int64)
    codes[members.explode().to_numpy()] = np.repeat(
        np.arange(groups.height), members.list.len().to_numpy()
    )
    made = []
    for name in columns:
        values = rows.get_column(name).cast(pl.Float64).to_numpy()
        known = ~np.isnan(values)
        total = np.bincount(codes, np.where(known, values, 0.0), groups.height)
        count = np.bincount(codes, known, groups.height)
        with np.errstate(invalid="ignore"):
            mean = pl.Series(f"{name}_mean", total / count, nan_to_null=True)
        made += [pl.Series(name, total), mean]
    return groups.drop("_row").with_columns(made)
