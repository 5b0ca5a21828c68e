"""Attributes without versions that say what a store is today.

An attribute that is kept in one version may have been written after the cutoff: ``status =
closed`` tells a model which stores are going to close. Past versions do not exist, so nothing can
be altered; what can be seen is whether an attribute tells the stores that have ended from those
that go on. It is suspect where, over all stores of the history, one value (or its absence)

- belongs to at least nine tenths of the stores that ended, by a closing or by falling silent,
- and to at most one tenth of those that go on,
- so that chance would do it in less than one chain of a hundred (Fisher's exact test, one-sided,
  times the number of values tried),
- and at least one of the stores had not ended at the cutoff.

A region that the chain has left altogether looks the same: keep versions (``valid_from``) or leave
the attribute out. What cannot be seen: an attribute that tells of today something else than the
end of a store (its sales class, its size after a rebuilding), and one in a chain in which too few
stores have ended (with two of 79 it is seen, with one it is not).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from math import comb
from typing import Final

import polars as pl

from storecast.backtest.alteration import How
from storecast.core.panel import History, lives

SHARE: Final = 0.9
LEVEL: Final = 0.01


def ended(history: History) -> pl.DataFrame:
    """When each store that has ended did so, as the whole history tells.

    A store ended on its closing, or, where it has none, at its last sale before a silence of a
    quarter of a year that lasts to the end of the history.

    Returns:
        store_id and ended_on (null: it goes on), one row a store that ever lived.
    """
    rules, frequency = history.rules, history.rules.frequency
    last = frequency.complete(history.through)
    sold = (
        history.sales.filter(
            (pl.col("sales").fill_nan(None).fill_null(0) != 0)
            & (frequency.ordinals("date") <= last)
        )
        .group_by("store_id")
        .agg(_newest=frequency.ordinals("date").max())
    )
    silent = pl.col("_newest") <= last - rules.frequency.silence
    return (
        lives(history, last)
        .join(sold, on="store_id", how="left")
        .select(
            "store_id",
            ended_on=pl.coalesce("closed_on", pl.when(silent).then(frequency.last_days("_newest"))),
        )
    )


def suspects(history: History, cutoff: date) -> tuple[str, ...]:
    """The timeless attributes that tell which stores end after the cutoff (see the module)."""
    stores = history.stores
    if history.store_versions is not None or stores is None:
        return ()
    told = ended(history).join(stores, on="store_id", how="left", maintain_order="left")
    if not told.select((pl.col("ended_on") > cutoff).any()).item():
        return ()
    gone = told["ended_on"].is_not_null()
    names = [n for n in history.rules.attributes if n in stores.columns]
    return tuple(name for name in names if _tells(told[name].cast(pl.String), gone))


def _tells(values: pl.Series, gone: pl.Series) -> bool:
    total, ends = len(gone), int(gone.sum())
    kinds = values.unique(maintain_order=True)
    for kind in kinds:
        same = values.eq_missing(kind)
        # the value of those that ended, or of those that go on
        for hit in (same, ~same):
            n, both = int(hit.sum()), int((hit & gone).sum())
            enough = both >= SHARE * ends and n - both <= (1 - SHARE) * (total - ends)
            if enough and 2 * len(kinds) * by_chance(total, ends, n, both) < LEVEL:
                return True
    return False


def by_chance(total: int, ends: int, n: int, both: int) -> float:
    """Probability that of ``n`` stores drawn from ``total`` at least ``both`` are of ``ends``."""
    ways = sum(comb(ends, k) * comb(total - ends, n - k) for k in range(both, min(n, ends) + 1))
    return ways / comb(total, n)


def forgotten(history: History, cutoff: date, attributes: tuple[str, ...], how: How) -> History:
    """The stores that end after the cutoff as if they went on.

    Altered, they have the most common value of the stores that go on; deleted, none.
    """
    stores = history.stores
    if stores is None or not attributes:
        return history
    when = ended(history)
    ending = when.filter(pl.col("ended_on") > cutoff)["store_id"].to_list()
    lasting = when.filter(pl.col("ended_on").is_null())["store_id"].to_list()
    usual = stores.filter(pl.col("store_id").is_in(lasting)).select(
        pl.col(name).drop_nulls().mode().sort().first() for name in attributes
    )
    return replace(
        history,
        stores=stores.with_columns(
            pl.when(pl.col("store_id").is_in(ending))
            .then(pl.lit(usual[name][0] if how == "altered" and usual.height else None, pl.String))
            .otherwise(name)
            .alias(name)
            for name in attributes
        ),
    )
