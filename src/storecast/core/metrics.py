"""How good forecasts were, by the project's definitions (docs/metrics.md).

WAPE, bias and WQL are pooled over the stores and steps of a cutoff; MASE, RMSSE and SQL are
scaled by each store, meaned over stores; all are then meaned over cutoffs. The scaled errors
are those of Hyndman & Koehler (2006), "Another look at measures of forecast accuracy",
International Journal of Forecasting 22(4); RMSSE, store by store, is that of Makridakis,
Spiliotis & Assimakopoulos (2022), "The M5 accuracy competition", International Journal of
Forecasting 38(4); the quantile losses are, as in GluonTS and fev, twice the pinball loss, so that
at the median alone they equal the absolute error. Tests hold all of them to fev's.

Shapes: S stores, H steps, Q quantile levels; a frame has one row a cutoff, store and step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import polars as pl

from storecast.core.schema import METRICS, quantile_column
from storecast.core.totals import totals
from storecast.errors import Code, ModelError

if TYPE_CHECKING:
    from storecast.core.panel import SeriesRules

FILLED: Final = "filled"
_STORE: Final = ["cutoff", "store_id"]
_ADDED: Final = (
    "_abs", "_sq", "_signed", "_actual", "_ql", "_within", "_open", "_filled", "_rows",
)  # fmt: skip


def scale(past_rows: pl.DataFrame, season: int) -> pl.DataFrame:
    """Each store's own yardstick, from its known history to a cutoff.

    Args:
        past_rows: store_id, period, sales (null is unknown), sorted and without gaps.
        season: m, in periods.

    Returns:
        store_id, scale = mean of the absolute y(t) − y(t−m), scale_sq = mean (y(t) − y(t−m))²,
        differences (how many were known), sorted by store_id. The scales are null where there
        are fewer than m differences.
    """
    sales = pl.col("sales").fill_nan(None)
    difference = sales - sales.shift(season).over("store_id")
    rows = past_rows.select(
        "store_id",
        scale=difference.abs(),
        scale_sq=difference**2,
        differences=difference.is_not_null().cast(pl.Int64),
    )
    enough = pl.col("differences") >= season
    return (
        totals(rows, ["store_id"], ["scale", "scale_sq", "differences"])
        .select(
            "store_id",
            pl.when(enough).then("scale_mean").alias("scale"),
            pl.when(enough).then("scale_sq_mean").alias("scale_sq"),
            pl.col("differences").cast(pl.Int64),
        )
        .sort("store_id")
    )


def central_interval(quantiles: Sequence[float]) -> tuple[float, float] | None:
    """The widest central interval whose two levels are both there; None without any."""
    levels = sorted(q for q in quantiles if q < 0.5)
    for low in levels:
        for high in quantiles:
            if abs(low + high - 1) < 1e-9:
                return low, high
    return None


def nominal_coverage(quantiles: Sequence[float]) -> float | None:
    """The share that ``coverage`` should be: 0.8 for 0.1 … 0.9; None without an interval."""
    interval = central_interval(quantiles)
    return None if interval is None else interval[1] - interval[0]


def score(frame: pl.DataFrame, rules: SeriesRules, by: Sequence[str] = ()) -> pl.DataFrame:
    """Every metric, for each group of ``by`` (``model``, ``segment``, ``step``, ``store_id``, …).

    With y sales, f the point forecast, s(i) the scale of store i:

    - wape = Σ|y−f| / Σ|y|, bias = Σ(f−y) / Σ|y|, wql = Σ quantile loss / Σ|y|, each pooled over
      the stores and steps of a cutoff, then the mean over cutoffs;
    - mase = mean of |y−f| / s(i), sql = mean of quantile loss / s(i), rmsse = √(mean (y−f)² /
      scale_sq(i)): over a store's steps, then the mean over stores, then over cutoffs;
    - quantile loss is 2 × pinball, averaged over the levels;
    - coverage is the share of open periods within the central interval (both ends inclusive), of
      a cutoff, then the mean over cutoffs. Its nominal value is ``nominal_coverage``.

    A row of unknown sales is not scored. A store without scale, or with one of zero, is left
    out of mase, sql and rmsse and counted; a cutoff in which a metric is undefined is left out
    of its mean. A metric that is nowhere defined is null.

    Args:
        frame: cutoff, store_id, sales, forecast, the quantile columns, scale and scale_sq, the
            columns of ``by``; optional: open (bool; absent: all are), origin (``filled`` is
            counted). One row a store-period that was forecast.
        rules: for its quantiles.
        by: columns to group by.

    Returns:
        the columns of ``by`` (sorted), the columns of ``schema.METRICS``, n_scored, n_filled,
        n_unknown (rows of unknown sales), n_unscaled (stores of a cutoff left out of the scaled
        metrics), n_cutoffs. One row a group; without ``by`` one row.

    Raises:
        ModelError: MODEL_OUTPUT_INVALID where a row to score has no finite forecast: a store
            must not leave the average in silence.
    """
    by = _unique(by, ())
    cutoffs = _by_cutoff(store_sums(frame, rules, by), by)
    counted = ("n_scored", "n_filled", "n_unscaled", "n_cutoffs")
    keys = by or ["_all"]
    scores = totals(cutoffs.with_columns(_all=pl.lit(0, pl.Int32)), keys, [*METRICS, *counted])
    scores = scores.select(
        *keys,
        *(pl.col(f"{m}_mean").alias(m) for m in METRICS),
        pl.col(counted).cast(pl.Int64),
    )
    unknown = (
        frame.lazy()
        .with_columns(pl.col("sales").fill_nan(None), _all=pl.lit(0, pl.Int32))
        .group_by(keys, maintain_order=True)
        .agg(n_unknown=pl.col("sales").is_null().sum().cast(pl.Int64))
        .collect()
    )
    if frame.is_empty() and not by:
        unknown = pl.DataFrame({"_all": [0], "n_unknown": [0]}, schema_overrides={"_all": pl.Int32})
    return (
        unknown.join(scores, on=keys, how="left", nulls_equal=True)
        .with_columns(pl.col(counted).fill_null(0))
        .select(*by, *METRICS, "n_scored", "n_filled", "n_unknown", "n_unscaled", "n_cutoffs")
        .sort(keys if by else ["n_scored"])
    )


def store_sums(frame: pl.DataFrame, rules: SeriesRules, by: Sequence[str] = ()) -> pl.DataFrame:
    """What each store adds to the metrics of a cutoff: sums over its known rows.

    Args:
        frame: as of ``score``.
        rules: for its quantiles.
        by: columns to group by, beside cutoff and store.

    Returns:
        the columns of ``by``, cutoff, store_id, and: _abs = Σ|y−f|, _signed = Σ(f−y), _actual =
        Σ|y|, _ql = Σ quantile loss, _within and _open (periods), _filled, _rows; mase, rmsse and
        sql of the store, null without a scale. One row a group.

    Raises:
        ModelError: MODEL_OUTPUT_INVALID, as ``score``.
    """
    known = (
        frame.lazy()
        .with_columns(pl.col("sales").fill_nan(None))
        .filter(pl.col("sales").is_not_null())
    )
    _refuse_holes(known, ["forecast", *(quantile_column(q) for q in rules.quantiles)])
    # one order, whatever the frame's: a sum in floating point depends on it
    order = [name for name in ("date", "period", "step") if name in frame.columns][:1]
    errors = known.with_columns(**_errors(frame, rules), _rows=pl.lit(1)).sort(
        *_STORE, *order, maintain_order=True
    )
    stores = totals(errors.collect(), _unique(by, _STORE), _ADDED, firsts=("scale", "scale_sq"))
    scale_of, square_of = (
        pl.when(pl.col(name).cast(pl.Float64).fill_nan(None) > 0).then(name)
        for name in ("scale", "scale_sq")
    )
    return stores.with_columns(
        mase=pl.col("_abs_mean") / scale_of,
        rmsse=(pl.col("_sq_mean") / square_of).sqrt(),
        sql=pl.col("_ql_mean") / scale_of,
        _unscaled=scale_of.is_null().cast(pl.Int64),
    )


def _by_cutoff(stores: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Every metric of each cutoff, and its counts."""
    added = [name for name in _ADDED if name != "_sq"]
    scaled = ("mase", "rmsse", "sql")
    cutoffs = totals(stores, _unique(by, ["cutoff"]), [*added, *scaled, "_unscaled"])
    actual = pl.when(pl.col("_actual") > 0).then("_actual")
    told = pl.when(pl.col("_ql_mean").is_not_null()).then("_ql")
    return cutoffs.with_columns(
        wape=pl.col("_abs") / actual,
        bias=pl.col("_signed") / actual,
        wql=told / actual,
        coverage=pl.col("_within") / pl.when(pl.col("_open") > 0).then("_open"),
        **{name: pl.col(f"{name}_mean") for name in scaled},
        n_scored="_rows",
        n_filled="_filled",
        n_unscaled="_unscaled",
        n_cutoffs=pl.lit(1),
    )


def _errors(frame: pl.DataFrame, rules: SeriesRules) -> dict[str, pl.Expr]:
    """What each row adds to the sums."""
    y, f = pl.col("sales"), pl.col("forecast")
    losses = []
    for level in rules.quantiles:
        error = y - pl.col(quantile_column(level))
        losses.append(2 * pl.max_horizontal(level * error, (level - 1) * error))
    is_open = pl.col("open") if "open" in frame.columns else pl.lit(True)
    filled = pl.col("origin") == FILLED if "origin" in frame.columns else pl.lit(False)
    interval = central_interval(rules.quantiles)
    within = is_open_within = pl.lit(False)
    if interval is not None:
        low, high = (pl.col(quantile_column(level)) for level in interval)
        within = y.is_between(low, high)
        is_open_within = is_open
    return {
        "_abs": (y - f).abs(),
        "_sq": (y - f) ** 2,
        "_signed": f - y,
        "_actual": y.abs(),
        "_ql": pl.sum_horizontal(losses) / len(losses) if losses else pl.lit(None, pl.Float64),
        "_within": (within & is_open_within).cast(pl.Int64),
        "_open": is_open_within.cast(pl.Int64),
        "_filled": filled.cast(pl.Int64),
    }


def _refuse_holes(known: pl.LazyFrame, columns: list[str]) -> None:
    finite = [pl.col(c).cast(pl.Float64).is_finite().fill_null(False) for c in columns]
    holes = known.filter(~pl.all_horizontal(finite)).select(_STORE).collect()
    if holes.is_empty():
        return
    stores = holes["store_id"].unique().sort().to_list()
    raise ModelError(
        Code.MODEL_OUTPUT_INVALID,
        f"{holes.height} rows to score have no finite forecast",
        where=f"stores {', '.join(map(repr, stores[:5]))}{' …' if len(stores) > 5 else ''}",
        expected=f"a finite number in {', '.join(columns)}",
        found="null, NaN or infinite",
    )


def _unique(by: Sequence[str], further: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([*by, *further]))
