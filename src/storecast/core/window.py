"""Window: what a model may see at a cutoff, and what it must forecast.

A cutoff is the last day of a complete period. ``cut`` reads of a history nothing that was not
known at the end of that day, save known covariates of which no recorded versions are kept: these
are named in ``Window.perfect_foresight``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import polars as pl

from storecast.core import skeleton
from storecast.core.calendar import Frequency
from storecast.core.panel import Grid, History, SeriesRules, forced_closed, lives, masked
from storecast.errors import Code, ContractError, InputError

date = dt.date


@dataclass(frozen=True)
class Past:
    """What was known at the cutoff.

    Attributes:
        rows: store_id, date, period, sales (null is unknown), the realised and known covariates
            and the calendar features; sorted by store and period, without gap from a store's
            start to its closing or the cutoff.
        stores: store_id, opened_on, closed_on (null unless known), the attributes in the version
            valid at the cutoff, dormant: one row a store, sorted by store_id. Stores that are
            known closed are here, and not in the future.
        rules: of the series.
        cutoff: last day that is known.
    """

    rows: pl.DataFrame
    stores: pl.DataFrame
    rules: SeriesRules
    cutoff: date


@dataclass(frozen=True)
class Future:
    """What has to be forecast.

    Attributes:
        rows: store_id, date, period, step (1 … horizon), closed (a forecast of exactly zero),
            the known covariates (null where not known at the cutoff) and the calendar features;
            sorted by store and period, ``horizon`` rows a store.
    """

    rows: pl.DataFrame


@dataclass(frozen=True)
class Window:
    """One cutoff: its past and its future.

    ``perfect_foresight`` names the known covariates of which only the latest version is kept,
    so that their future values may be better than what was known at the cutoff.
    """

    cutoff: date
    horizon: int
    past: Past
    future: Future
    perfect_foresight: tuple[str, ...]


def cut(history: History, cutoff: date, horizon: int) -> Window:
    """What may be seen at the end of ``cutoff``, and the ``horizon`` periods after it.

    A store is dormant when it had no sale other than zero in its last quarter of a year: 91
    days, 13 weeks or 3 months, periods under the mask not counted.

    Raises:
        InputError: CUTOFF_INVALID where the cutoff is not the last day of a complete period, or
            no store had been seen by then.
    """
    rules, frequency = history.rules, history.rules.frequency
    last = _cutoff_period(history, cutoff)
    stores = lives(history, last)
    if stores.is_empty():
        raise InputError(
            Code.CUTOFF_INVALID,
            f"no store had been seen by {cutoff}",
            where="cutoff",
            expected=f"a cutoff after the first sale since {rules.training_from}",
            found=str(cutoff),
        )
    attributes = attributes_at(history, stores["store_id"], cutoff)
    subdivision = rules.calendar.subdivision_attribute
    stores = stores.hstack(attributes.get_columns()).with_columns(
        _subdivision=pl.col(subdivision) if subdivision else pl.lit(None, dtype=pl.String)
    )

    grid = Grid.over(stores, stores["start"], stores["end"])
    sales = grid.sales(history)
    past = _with_columns(
        grid.frame(rules).with_columns(pl.Series("sales", sales, nan_to_null=True)),
        {
            **{c: grid.place(history.sales, c, rules, float("nan")) for c in rules.realised},
            **{c: grid.known(history, c, last, None) for c in rules.known},
        },
        grid.calendar(rules, stores["_subdivision"]),
    )

    coming = stores.filter(~pl.col("known_closed"))
    ahead = Grid.over(
        coming,
        pl.Series([last + 1] * coming.height, dtype=pl.Int64),
        pl.Series([last + horizon] * coming.height, dtype=pl.Int64),
    )
    known = {c: ahead.known(history, c, last, k.ahead) for c, k in rules.known.items()}
    closed = forced_closed(rules, known, ahead.height)
    future = _with_columns(
        skeleton.make(coming["store_id"], frequency, cutoff, horizon).with_columns(
            pl.Series("closed", closed, dtype=pl.Boolean)
        ),
        known,
        ahead.calendar(rules, coming["_subdivision"]),
    )

    told = stores.select("store_id", "opened_on", "closed_on", *rules.attributes).with_columns(
        pl.Series("dormant", _dormant(rules, grid, sales)),
    )
    versions = history.covariate_versions
    recorded = () if versions is None else versions.columns
    return Window(
        cutoff=cutoff,
        horizon=horizon,
        past=Past(past, told, rules, cutoff),
        future=Future(future),
        perfect_foresight=tuple(
            c for c, k in rules.known.items() if c not in recorded and k.ahead != 0
        ),
    )


def actuals(history: History, window: Window) -> pl.DataFrame:
    """What happened in a window, as far as its periods are complete.

    Returns:
        store_id, date, period, step, sales (null is unknown), open, segment; sorted by store
        and period. ``headline`` is a store that was to be forecast, ``closed_in_window`` its
        periods after a closing that was not known at the cutoff (sales are zero, not open),
        ``cold_start`` a store without a sale by the cutoff: one that was known to be open, and
        one whose life began after the cutoff, from its start.
    """
    rules, frequency = history.rules, history.rules.frequency
    last = frequency.complete(window.cutoff)
    end = min(last + window.horizon, frequency.complete(history.through))
    truth = lives(history, frequency.complete(history.through))
    forecast = window.future.rows.select(pl.col("store_id").unique())
    cold = unsold(history, window)
    stores = (
        truth.join(forecast.with_columns(_seen=True), on="store_id", how="full", coalesce=True)
        .filter(pl.col("_seen") | pl.col("start").is_between(last + 1, end))
        .with_columns(
            _from=pl.when("_seen").then(last + 1).otherwise("start").fill_null(last + 1),
            _closing=pl.col("end").fill_null(end),
            _seen=pl.col("_seen").fill_null(False),
        )
        .sort("store_id")
    )
    grid = Grid.over(stores, stores["_from"], pl.repeat(end, stores.height, eager=True))
    after = grid.periods > stores["_closing"].to_numpy()[grid.codes]
    sales = grid.sales(history)
    sales[after] = 0.0
    known = {c: grid.known(history, c, end, None) for c in rules.closed_when}
    is_open = ~forced_closed(rules, known, grid.height) & ~after
    warm = (stores["_seen"] & ~stores["store_id"].is_in(cold)).to_numpy()[grid.codes]
    segment = np.where(warm, np.where(after, "closed_in_window", "headline"), "cold_start")
    return grid.frame(rules).with_columns(
        step=(pl.col("period") - last).cast(skeleton.STEP),
        sales=pl.Series(sales, nan_to_null=True),
        open=pl.Series(is_open),
        segment=pl.Series(segment, dtype=pl.String),
    )


def unsold(history: History, window: Window) -> list[str]:
    """Stores to forecast of which no sale is known by the cutoff, not even one of zero; sorted."""
    rules = window.past.rules
    last = rules.frequency.label(rules.frequency.complete(window.cutoff))
    sold = (
        history.sales.lazy()
        .filter((pl.col("date") <= last) & pl.col("sales").is_not_null())
        .select(pl.col("store_id").unique())
        .collect()
    )
    stores = window.future.rows.select(pl.col("store_id").unique())
    return stores.join(sold, on="store_id", how="anti")["store_id"].sort().to_list()


def cutoffs(
    rules: SeriesRules,
    through: date,
    horizon: int,
    windows: int,
    step: str | int,
    first_day: date,
) -> list[date]:
    """The cutoffs of a walk-forward validation, ascending.

    The last is the latest for which the whole horizon is complete, moved back to the step;
    earlier ones go back by it. Before the first there are at least ``horizon`` periods.

    Args:
        rules: of the series.
        through: last day for which everything is complete.
        horizon: periods to forecast.
        windows: how many cutoffs.
        step: ``MS`` (the last period's end in each month), ``W-MON`` … (the last period's end at
            or before each such day), ``D`` (each period's end), or a number of periods.
        first_day: the first day of the history.

    Raises:
        ContractError: HISTORY_TOO_SHORT, with the numbers.
    """
    frequency = rules.frequency
    last = frequency.complete(through) - horizon
    first = max(rules.first_period, frequency.ordinal(first_day))
    earliest = first + horizon - 1
    ordinals = list(islice(_steps(frequency, last, step, earliest), windows))
    if len(ordinals) < windows:
        complete = max(frequency.complete(through) - first + 1, 0)
        raise ContractError(
            Code.HISTORY_TOO_SHORT,
            f"{windows} windows of {horizon} periods do not fit into {complete} complete periods",
            where=f"{frequency.first_day(first)} to {through}, {frequency}",
            expected=f"{horizon} periods before the first cutoff and {horizon} after the last, "
            f"cutoffs {step} apart",
            found=f"room for {len(ordinals)} windows",
            next_step=f"set validation.windows to at most {len(ordinals)}, or a shorter horizon "
            "or step"
            if ordinals
            else "set a shorter forecast.horizon, or bring a longer history",
        )
    return [frequency.last_day(n) for n in reversed(ordinals)]


def _steps(frequency: Frequency, last: int, step: str | int, earliest: int) -> Iterator[int]:
    """Ordinals of possible cutoffs, newest first, down to ``earliest``."""
    if isinstance(step, int) or step == "D":
        yield from range(last, earliest - 1, -(step if isinstance(step, int) else 1))
        return
    anchors = Frequency("ME" if step == "MS" else step)
    number = anchors.ordinal(frequency.last_day(last)) + 1
    newest = last + 1
    while newest > earliest:
        ordinal = frequency.complete(anchors.last_day(number))
        number -= 1
        if ordinal < newest:
            newest = ordinal
            if newest >= earliest:
                yield newest


def _cutoff_period(history: History, cutoff: date) -> int:
    frequency = history.rules.frequency
    last = frequency.complete(cutoff)
    newest = frequency.last_day(frequency.complete(history.through))
    if frequency.last_day(last) != cutoff or cutoff > newest:
        raise InputError(
            Code.CUTOFF_INVALID,
            f"{cutoff} is not the last day of a complete period",
            where="cutoff",
            expected=f"the last day of a period ({frequency}), at most {newest}: the source is "
            f"complete through {history.through}",
            found=str(cutoff),
            next_step=f"use {min(frequency.last_day(last), newest)}",
        )
    return last


def attributes_at(history: History, store_ids: pl.Series, cutoff: date) -> pl.DataFrame:
    """The attributes in the version valid at the cutoff, one row a store; null where unknown."""
    names = history.rules.attributes
    source = history.stores
    if history.store_versions is not None:
        source = (
            history.store_versions.filter(pl.col("valid_from") <= cutoff)
            .sort("valid_from")
            .unique("store_id", keep="last", maintain_order=True)
        )
    stores = pl.DataFrame({"store_id": store_ids})
    if source is not None:
        given = [n for n in names if n in source.columns]
        stores = stores.join(
            source.select("store_id", *given), on="store_id", how="left", maintain_order="left"
        )
    absent = [n for n in names if n not in stores.columns]
    return stores.with_columns(pl.lit(None).alias(n) for n in absent).select(
        pl.col(n).cast(pl.String) for n in names
    )


def _with_columns(
    frame: pl.DataFrame, unknown_as_nan: dict[str, np.ndarray], whole: dict[str, np.ndarray]
) -> pl.DataFrame:
    return frame.with_columns(
        *(pl.Series(n, v, nan_to_null=True) for n, v in unknown_as_nan.items()),
        *(pl.Series(n, v) for n, v in whole.items()),
    )


def _dormant(rules: SeriesRules, grid: Grid, sales: np.ndarray) -> np.ndarray:
    """Whether each store has been silent for a quarter of a year, shape (S,)."""
    counted = (~masked(rules, grid.periods)).astype(np.int64)
    total = np.cumsum(counted)
    ends = np.cumsum(grid.lengths) - 1
    begins = ends - grid.lengths + 1
    sold = ~np.isnan(sales) & (sales != 0)
    at = np.where(sold, np.arange(grid.height), -1)
    newest = np.maximum.accumulate(at)[ends]
    before = np.where(newest >= begins, total[newest], total[begins] - counted[begins])
    silence: np.ndarray = total[ends] - before >= rules.frequency.silence
    return silence
