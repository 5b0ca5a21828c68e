"""UnifiedForecaster: one object that takes a history and gives a forecast, alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from storecast.artifact import flat
from storecast.artifact.checking import checked as checked_rows
from storecast.artifact.checking import not_ahead
from storecast.artifact.future import Noted, completed
from storecast.core.panel import History, SeriesRules
from storecast.core.schema import quantile_column
from storecast.core.window import Window, cut, unsold
from storecast.errors import Code, InputError
from storecast.models.base import (
    KEY,
    POINTS,
    Forecaster,
    Recipe,
    checked,
    create,
    finish,
    quantile_columns,
)
from storecast.models.calibration import Conformal, store_scales


def output_schema(rules: SeriesRules) -> dict[str, pl.DataType]:
    """The columns of a forecast, in order, with their types; the same when it has no row."""
    return {
        "store_id": pl.String(),
        "date": pl.Date(),
        "cutoff": pl.Date(),
        "step": pl.Int32(),
        "forecast": pl.Float64(),
        "forecast_mean": pl.Float64(),
        **{quantile_column(q): pl.Float64() for q in rules.quantiles},
        "basis": pl.String(),
    }


@dataclass(frozen=True)
class UnifiedForecaster:
    """A recipe, what it learnt, and everything else that a forecast needs.

    Attributes:
        recipe: which model, with what parameters.
        model: the fitted model; None where the recipe is fitted at each forecast.
        conformal: the quantile calibration, where one was learnt.
        rules: what a series is.
        tail: what the tables said at the cutoff, for a forecast from nothing but a date.
        cutoff: last day that the training knew.
        fingerprint: of the data that it was fitted on.
        stores: the stores of the training, sorted.
    """

    recipe: Recipe
    model: Forecaster | None
    conformal: Conformal | None
    rules: SeriesRules
    tail: History
    cutoff: date
    fingerprint: str
    stores: tuple[str, ...]

    @classmethod
    def fit(
        cls, recipe: Recipe, history: History, cutoff: date, conformal: Conformal | None
    ) -> UnifiedForecaster:
        """Fit ``recipe`` on what was known at ``cutoff`` and put the whole together."""
        rules = history.rules
        window = cut(history, cutoff, rules.horizon)
        model = create(recipe)
        if not model.stateless:
            model.fit(window.past)
        return cls(
            recipe=recipe,
            model=None if model.stateless else model,
            conformal=conformal,
            rules=rules,
            tail=until(history, cutoff),
            cutoff=cutoff,
            fingerprint=fingerprint(history, cutoff),
            stores=tuple(window.past.stores["store_id"].to_list()),
        )

    def forecast(
        self,
        history: History | None = None,
        cutoff: date | None = None,
        horizon: int | None = None,
    ) -> pl.DataFrame:
        """Forecast every open store of ``history`` for the periods after ``cutoff``.

        A store that never had a sale gets the cold-start forecast: at each step, in each column,
        the median over the open stores that had one; where there is none, over those of the
        packed history, as far as it reaches; else 0. A store known to be closed gets none, and a
        day known to be closed is exactly 0.

        Args:
            history: None: the packed one.
            cutoff: last day of a complete period; None: of the history's last one.
            horizon: periods; None: the packed horizon.

        Returns:
            One row a store and step, sorted, with the columns of ``output_schema``.

        Raises:
            InputError: HORIZON_TOO_LONG, CUTOFF_INVALID.
            ModelError: MODEL_FAILED, MODEL_OUTPUT_INVALID.
        """
        told, window = self._cut(self.tail if history is None else history, cutoff, horizon)
        return self._predicted(told, window)[0]

    def answer(
        self, rows: pl.DataFrame, cutoff: date | None = None, horizon: int | None = None
    ) -> tuple[pl.DataFrame, Noted]:
        """Forecast from flat rows: history alone, history with future rows, or no row at all.

        Args:
            rows: store_id, date and sales, and what there is of the further columns of
                ``flat.columns``, typed as they are. Rows after the cutoff are future rows, whose
                sales are not read. No row stands for the packed history.
            cutoff: last day of a complete period; None: of the last period with sales.
            horizon: periods; None: the packed horizon.

        Returns:
            the forecast, as ``forecast`` gives it, and what was filled, ignored or taken from
            the packed tables.

        Raises:
            InputError: INPUT_INVALID with the row and the value, HORIZON_TOO_LONG, CUTOFF_INVALID.
            ModelError: MODEL_FAILED, MODEL_OUTPUT_INVALID.
        """
        horizon, noted = self._horizon(horizon), Noted()
        if rows.is_empty():
            told, window = self._cut(self.tail, cutoff, horizon)
        else:
            rows = checked_rows(rows, self.rules, self.stores)
            if cutoff is None:
                not_ahead(rows, self.rules)
            known = rows["store_id"].unique().is_in(self.stores).any()
            history = flat.history(rows, self.rules, cutoff, self.tail, sold_needed=known)
            told, window = self._cut(history, cutoff, horizon)
            window, noted = completed(window, rows, self.tail)
        made, alone = self._predicted(told, window)
        return made, replace(noted, alone=alone)

    def _cut(
        self, told: History, cutoff: date | None, horizon: int | None
    ) -> tuple[History, Window]:
        told, frequency = replace(told, rules=self.rules), self.rules.frequency
        if cutoff is None:
            cutoff = frequency.last_day(frequency.complete(told.through))
        first = told.sales["date"].min()
        if isinstance(first, date) and frequency.complete(cutoff) < frequency.ordinal(first):
            raise InputError(
                Code.CUTOFF_INVALID,
                "the history begins after the cutoff",
                where="cutoff",
                expected=f"the last day of a period, from {first} on",
                found=str(cutoff),
            )
        return told, cut(told, cutoff, self._horizon(horizon))

    def _predicted(self, told: History, window: Window) -> tuple[pl.DataFrame, tuple[str, ...]]:
        """The forecast, and the stores that found nobody to take after."""
        cold = unsold(told, window)
        alone = bool(cold) and window.future.rows["store_id"].is_in(cold).all()
        others = self._packed_others(window) if alone else None
        if others is None and told.sales.is_empty():
            raise InputError(
                Code.CUTOFF_INVALID,
                "no row at or before the cutoff has sales, and the packed history, after whose "
                "stores the others could take, ends before it",
                where="cutoff",
                expected=f"rows with sales, or a cutoff up to {self.tail.through}",
                found=str(window.cutoff),
            )
        made = predicted(self.recipe, self.model, self.conformal, window, cold, others)
        return made, tuple(cold) if alone and others is None else ()

    def _packed_others(self, window: Window) -> pl.DataFrame | None:
        """The forecasts of the packed stores, closed days left out; None where there are none."""
        try:
            told, there = self._cut(self.tail, window.cutoff, window.horizon)
        except InputError:  # the packed history does not reach the cutoff
            return None
        made = predicted(self.recipe, self.model, self.conformal, there, unsold(told, there))
        made = made.filter(pl.col("basis") == "model")
        return None if made.is_empty() else made

    def _horizon(self, horizon: int | None) -> int:
        if horizon is None:
            return self.rules.horizon
        if horizon > self.rules.horizon:
            raise InputError(
                Code.HORIZON_TOO_LONG,
                "the horizon is longer than the one that was validated and packed",
                where="horizon",
                expected=f"1 to {self.rules.horizon} periods",
                found=str(horizon),
                next_step="set forecast.horizon, validate and deploy again",
            )
        if horizon < 1:
            raise InputError(
                Code.INPUT_INVALID,
                "the horizon is not a positive number of periods",
                where="horizon",
                expected=f"1 to {self.rules.horizon} periods",
                found=str(horizon),
            )
        return horizon


def predicted(
    recipe: Recipe,
    model: Forecaster | None,
    conformal: Conformal | None,
    window: Window,
    cold: Sequence[str] = (),
    others: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """The whole road from a window to finished rows.

    Args:
        recipe: which model.
        model: the fitted one; None: one is fitted on the window's past.
        conformal: the calibration of a model without quantiles of its own.
        window: what is known, and what is to be forecast.
        cold: stores that get the cold-start forecast.
        others: forecasts for them to take after; None: those of the window's other open stores.
    """
    future, rules = window.future, window.past.rules
    if cold and future.rows["store_id"].is_in(cold).all():
        numbers = [*POINTS, *quantile_columns(rules)]  # there is nothing to ask a model of
        frame = future.rows.select(*KEY, *(pl.lit(0.0).alias(n) for n in numbers))
    else:
        frame = _modelled(recipe, model, conformal, window)
    frame = finish(_with_cold_start(frame, window, cold, others), future, rules)
    frame = frame.with_columns(pl.lit(window.cutoff).alias("cutoff"))
    return frame.select(pl.col(n).cast(t) for n, t in output_schema(rules).items())


def _modelled(
    recipe: Recipe, model: Forecaster | None, conformal: Conformal | None, window: Window
) -> pl.DataFrame:
    """What the model says of every store, with quantiles."""
    past, future, rules = window.past, window.future, window.past.rules
    if model is None:
        model = create(recipe)
        model.fit(past)
    frame = checked(model.predict(past, future), future, rules)
    if not set(quantile_columns(rules)) <= set(frame.columns):
        calibration = conformal or Conformal(tuple(rules.quantiles), rules.point)
        frame = calibration.apply(frame, store_scales(past))
    return frame


def _with_cold_start(
    frame: pl.DataFrame, window: Window, cold: Sequence[str], others: pl.DataFrame | None
) -> pl.DataFrame:
    """Replace the rows of the stores in ``cold``, and add ``basis``."""
    rules = window.past.rules
    warm = ~frame.get_column("store_id").is_in(list(cold))
    closed = window.future.rows.get_column("closed")
    frame = frame.with_columns(
        pl.when(pl.lit(closed))
        .then(pl.lit("closed"))
        .when(pl.lit(warm))
        .then(pl.lit("model"))
        .otherwise(pl.lit("cold_start"))
        .alias("basis")
    )
    if warm.all():
        return frame
    if others is None:
        others = frame.filter(warm & ~closed)
    numbers = ["forecast", "forecast_mean", *quantile_columns(rules)]
    rule = others.group_by("step").agg(pl.col(numbers).median())
    looked_up = frame.select("step").join(rule, on="step", how="left", maintain_order="left")
    return frame.with_columns(
        # on a day on which nobody else is open, there is nothing to take after
        pl.when(pl.lit(warm)).then(pl.col(n)).otherwise(looked_up[n].fill_null(0.0)).alias(n)
        for n in numbers
    )


def until(history: History, cutoff: date) -> History:
    """The history without the sales after ``cutoff``; known covariates stay."""
    frequency = history.rules.frequency
    last = frequency.label(frequency.complete(cutoff))
    return replace(history, sales=history.sales.filter(pl.col("date") <= last), through=cutoff)


def fingerprint(history: History, cutoff: date) -> str:
    """SHA-256 over every value that a fit at ``cutoff`` can see."""
    told = until(history, cutoff)
    total = hashlib.sha256(f"{cutoff} {told.rules.to_json()}".encode())
    for name in ("sales", "stores", "store_versions", "covariates", "covariates_by_date",
                 "covariate_versions"):  # fmt: skip
        frame = getattr(told, name)
        if frame is not None:
            total.update(name.encode())
            total.update(frame.sort(frame.columns).write_csv().encode())
    return total.hexdigest()
