"""The future rows that came with a history: used, and where some are missing, completed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from storecast.artifact import flat
from storecast.core.panel import Grid, History, forced_closed
from storecast.core.window import Future, Window

if TYPE_CHECKING:
    from storecast.core.panel import SeriesRules

_KEYS = ["store_id", "date"]


@dataclass(frozen=True)
class Noted:
    """What was made of an input beyond taking it as it is.

    Attributes:
        made: whether no future row came, so that the whole future was made here.
        filled: store to the number of its periods that had no row while others had.
        ignored: future rows that nothing was asked for: beyond the horizon, or of a store that
            is closed or opens after the cutoff.
        packed: columns that did not come and that the packed tables told instead.
        alone: stores without sales that found no open store with sales to take after.
    """

    made: bool = True
    filled: Mapping[str, int] = field(default_factory=dict)
    ignored: int = 0
    packed: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "future": "made" if self.made else "given",
            "filled": dict(self.filled),
            "ignored": self.ignored,
            "packed": list(self.packed),
            "alone": list(self.alone),
        }


def completed(window: Window, rows: pl.DataFrame, packed: History | None) -> tuple[Window, Noted]:
    """The window, in each store-period without a row what the packed tables know of it.

    Args:
        window: cut from the history that ``rows`` tell.
        rows: checked flat rows.
        packed: what the artefact was packed with; None: nothing.

    Returns:
        the window, and what was noted. Where the packed tables know nothing of a store-period
        either, its covariates are null, and it is not a closed day.
    """
    rules = window.past.rules
    after = rows.filter(pl.col("date") > flat.cutoff_label(rules, window.cutoff)).select(_KEYS)
    asked = window.future.rows.select(_KEYS)
    hole = asked.join(after.with_columns(_there=True), on=_KEYS, how="left", maintain_order="left")[
        "_there"
    ].is_null()
    counted = asked.filter(hole).group_by("store_id", maintain_order=True).len()
    noted = Noted(
        made=after.is_empty(),
        filled={} if after.is_empty() else dict(counted.iter_rows()),
        ignored=after.height - (asked.height - int(hole.sum())),
        packed=() if packed is None else _told_by(packed, rows, rules),
    )
    if packed is None:
        return window, noted
    given = [name for name in rules.known if name in rows.columns]
    return _filled(window, hole.to_numpy(), given, replace(packed, rules=rules)), noted


def _told_by(packed: History, rows: pl.DataFrame, rules: SeriesRules) -> tuple[str, ...]:
    tables = (packed.sales, packed.stores, packed.store_versions, packed.covariates,
              packed.covariates_by_date, packed.covariate_versions)  # fmt: skip
    there = {name for table in tables if table is not None for name in table.columns}
    absent = (c.name for c in flat.columns(rules) if c.name not in rows.columns)
    return tuple(name for name in absent if name in there)


def _filled(window: Window, hole: np.ndarray, given: list[str], packed: History) -> Window:
    rules, rows = window.past.rules, window.future.rows
    if not hole.any() or not given:
        return window
    last = rules.frequency.complete(window.cutoff)
    stores = rows.select("store_id").unique(maintain_order=True)
    ahead = Grid.over(
        stores,
        pl.Series([last + 1] * stores.height, dtype=pl.Int64),
        pl.Series([last + window.horizon] * stores.height, dtype=pl.Int64),
    )
    known = {c: rows[c].cast(pl.Float64).fill_null(float("nan")).to_numpy() for c in rules.known}
    for name in given:
        told = ahead.known(packed, name, last, rules.known[name].ahead)
        known[name] = np.where(hole, told, known[name])
    rows = rows.with_columns(
        *(pl.Series(name, known[name], nan_to_null=True) for name in given),
        pl.Series("closed", forced_closed(rules, known, rows.height), dtype=pl.Boolean),
    )
    return replace(window, future=Future(rows))
