"""The promotion gate's three questions: of a first model, of the same recipe anew, of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from storecast.backtest.judgement import Judgement, Limits

if TYPE_CHECKING:
    from storecast.core.panel import SeriesRules


def first(
    candidate: pl.DataFrame,
    naive: pl.DataFrame,
    rules: SeriesRules,
    limits: Limits,
    *,
    metric: str = "wape",
) -> Judgement:
    """A first deployment: the candidate's mean loss must be below the naive's, or it is refused.

    Where the candidate is the naive itself there is nothing to ask: do not call this.

    Args:
        candidate: scored windows, as ``challenge`` takes them.
        naive: the same rows, forecast by the baseline.
        rules: of the series.
        limits: of the gate.
        metric: of the validation; lower is better.

    Raises:
        ModelError: GATE_ROWS_DIFFER.
    """
    raise NotImplementedError


def refresh(
    recipe: pl.DataFrame,
    baseline: pl.DataFrame | None,
    new: pl.DataFrame,
    serving: pl.DataFrame | None,
    history: pl.DataFrame,
    rules: SeriesRules,
    limits: Limits,
    *,
    metric: str = "wape",
) -> Judgement:
    """The champion's recipe on newer data: it is not compared with itself.

    Args:
        recipe: the recipe's newest scored windows, as ``challenge`` takes them.
        baseline: the same rows by the baseline; None where the recipe is the baseline.
        new: store_id, date, forecast, forecast_mean of the new artefact, for the periods after
            its cutoff.
        serving: the same of the serving artefact, given the same history; it may lack stores.
            None: it cannot be asked (that check is left out).
        history: store_id, date, sales up to the new artefact's cutoff (null is unknown), at
            least a year and a horizon where there is as much.
        rules: of the series.
        limits: of the gate.
        metric: of the validation; lower is better.

    Raises:
        ModelError: GATE_ROWS_DIFFER.
    """
    raise NotImplementedError


def challenge(
    champion: pl.DataFrame,
    challenger: pl.DataFrame,
    rules: SeriesRules,
    limits: Limits,
    *,
    metric: str = "wape",
) -> Judgement:
    """Another recipe: it must gain ``min_gain`` on the champion's at level ``alpha``.

    Args:
        champion: scored windows, one row a cutoff, store and period: store_id, date, cutoff,
            step, sales, forecast, the quantile columns, the segment attributes of ``rules``,
            ``compared`` (the part up to the next cutoff), and, where there are: segment (rows
            outside the headline do not count), open, origin, scale, scale_sq. What
            ``backtest.road.walk_forward`` gives, with ``backtest.comparison.compared``.
        challenger: the same rows, forecast by the other recipe.
        rules: of the series.
        limits: of the gate.
        metric: of the validation; lower is better.

    Raises:
        ModelError: GATE_ROWS_DIFFER.
    """
    raise NotImplementedError
