"""Losses taken apart by store and cutoff, so that stores and cutoffs can be counted anew.

Every metric of a cutoff is a quotient of two sums over its stores: of errors and sales for WAPE,
bias and WQL, of periods for the coverage, and of the stores' scaled losses and of ones for MASE,
RMSSE and SQL (``core.metrics``). So a few matrices say what a metric would be with other stores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from storecast.backtest.comparison import HEADLINE
from storecast.core import metrics
from storecast.errors import Code, ModelError

if TYPE_CHECKING:
    from storecast.core.panel import SeriesRules

Floats = npt.NDArray[np.float64]
_KEY: Final = ["cutoff", "store_id", "date"]


@dataclass(frozen=True)
class Parts:
    """A metric's two sums, by store and cutoff: shapes (S, C) each; zero where there is nothing."""

    above: Floats
    below: Floats

    def by_cutoff(self, stores: Floats | None = None) -> Floats:
        """The metric at each cutoff; NaN where it is undefined.

        Args:
            stores: how often each store counts, shape (R, S); None: each once.

        Returns:
            shape (C,), or (R, C).
        """
        counts = np.ones(self.above.shape[0]) if stores is None else stores
        above, below = counts @ self.above, counts @ self.below
        return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)

    def among(self, inside: npt.NDArray[np.bool_]) -> Parts:
        """The same of some stores at some cutoffs: ``inside`` has shape (S, C)."""
        return Parts(self.above * inside, self.below * inside)


@dataclass(frozen=True)
class Scored:
    """A model's scored windows, by store and cutoff.

    Attributes:
        loss: of the metric that is asked for; lower is better.
        bias, coverage: as ``core.metrics`` has them.
        filled: rows that the baseline filled, of all rows.
        members: by segment (``attribute=value``) which stores belong to it, shape (S, C).
    """

    loss: Parts
    bias: Parts
    coverage: Parts
    filled: Parts
    members: Mapping[str, npt.NDArray[np.bool_]]

    @property
    def shape(self) -> tuple[int, int]:
        """How many stores and cutoffs."""
        stores, cutoffs = self.loss.above.shape
        return stores, cutoffs


def scored_alike(
    frames: Sequence[pl.DataFrame], rules: SeriesRules, metric: str
) -> tuple[Scored, ...]:
    """The compared rows of the headline, of models that were asked for the same.

    Args:
        frames: one a model, as ``gating.challenge`` takes them.
        rules: of the series.
        metric: of ``schema.METRICS``.

    Raises:
        ModelError: GATE_ROWS_DIFFER; MODEL_OUTPUT_INVALID where a forecast is missing;
            NO_VARIATION where no row is left.
    """
    ours = [_counting(frame) for frame in frames]
    for other in ours[1:]:
        _refuse_difference(ours[0], other)
    stores = ours[0]["store_id"].unique().sort()
    cutoffs = ours[0]["cutoff"].unique().sort()
    if not stores.len():
        raise ModelError(
            Code.NO_VARIATION,
            "the windows that the gate compares have no row of a store that counts",
            where="gate",
            expected="stores seen by the cutoff, with known sales up to the next cutoff",
            next_step="set other gate.windows or validation.step",
        )
    members = _members(ours[0], rules, stores, cutoffs)
    return tuple(_scored(frame, rules, metric, stores, cutoffs, members) for frame in ours)


def _counting(frame: pl.DataFrame) -> pl.DataFrame:
    rows = frame.filter("compared")
    if "segment" in rows.columns:
        rows = rows.filter(pl.col("segment").is_in(HEADLINE))
    absent = [name for name in ("scale", "scale_sq") if name not in rows.columns]
    rows = rows.with_columns(pl.lit(None, pl.Float64).alias(name) for name in absent)
    return rows.sort(_KEY)


def _refuse_difference(one: pl.DataFrame, other: pl.DataFrame) -> None:
    same = [*_KEY, "sales"]
    if one.select(same).equals(other.select(same), null_equal=True):
        return
    missing = one.join(other, on=_KEY, how="anti").height
    added = other.join(one, on=_KEY, how="anti").height
    found = (
        f"{missing:,} rows of the first alone, {added:,} of the second alone"
        if missing or added
        else "the same stores and dates with other sales, or one of them twice"
    )
    raise ModelError(
        Code.GATE_ROWS_DIFFER,
        "the two models that the gate compares were not asked for the same rows",
        where="gate",
        expected=f"{one.height:,} and {other.height:,} rows with the same keys and sales",
        found=found,
        next_step="storecast deploy again; if it stays so, this is a fault: please report it",
    )


def _members(
    rows: pl.DataFrame, rules: SeriesRules, stores: pl.Series, cutoffs: pl.Series
) -> dict[str, npt.NDArray[np.bool_]]:
    found = {}
    for attribute in rules.segments:
        known = rows.filter(pl.col(attribute).is_not_null())
        for value in known[attribute].unique().sort():
            ones = known.filter(pl.col(attribute) == value).select(
                "store_id", "cutoff", one=pl.lit(1.0)
            )
            inside = _matrix(ones.unique(["store_id", "cutoff"]), "one", stores, cutoffs) > 0
            found[f"{attribute}={value}"] = inside
    return found


def _scored(
    rows: pl.DataFrame,
    rules: SeriesRules,
    metric: str,
    stores: pl.Series,
    cutoffs: pl.Series,
    members: Mapping[str, npt.NDArray[np.bool_]],
) -> Scored:
    sums = metrics.store_sums(rows, rules).with_columns(**_scaled())

    def parts(above: str, below: str) -> Parts:
        return Parts(*(_matrix(sums, name, stores, cutoffs) for name in (above, below)))

    return Scored(
        loss=parts(*_QUOTIENTS[metric]),
        bias=parts("_signed", "_actual"),
        coverage=parts("_within", "_open"),
        filled=parts("_filled", "_rows"),
        members=members,
    )


_QUOTIENTS: Final = {
    "wape": ("_abs", "_actual"),
    "wql": ("_ql", "_actual"),
    "mase": ("_mase", "_has_scale"),
    "sql": ("_sql", "_has_scale"),
    "rmsse": ("_rmsse", "_has_scale_sq"),
}


def _scaled() -> dict[str, pl.Expr]:
    """The stores' own scaled losses; zero beside a zero where a store has no scale."""
    return {
        **{f"_{name}": pl.col(name).fill_null(0.0) for name in ("mase", "sql", "rmsse")},
        "_has_scale": pl.col("mase").is_not_null().cast(pl.Float64),
        "_has_scale_sq": pl.col("rmsse").is_not_null().cast(pl.Float64),
    }


def _matrix(sums: pl.DataFrame, name: str, stores: pl.Series, cutoffs: pl.Series) -> Floats:
    """A column as stores × cutoffs; both series are sorted."""
    matrix = np.zeros((stores.len(), cutoffs.len()))
    rows = stores.search_sorted(sums["store_id"])
    columns = cutoffs.search_sorted(sums["cutoff"])
    matrix[rows.to_numpy(), columns.to_numpy()] = sums[name].cast(pl.Float64).to_numpy()
    return matrix
