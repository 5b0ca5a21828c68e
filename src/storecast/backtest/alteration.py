"""What must not matter to a forecast: all that the tables say past a cutoff, altered or deleted.

Each function takes a history and gives one that says the same of everything that was known at
the end of the cutoff's day, and something else, or nothing, of a kind of what came later. The
cutoff and ``through`` stay. Values are altered by rule, not by chance: an audit can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Final, Literal

import polars as pl

from storecast.core.panel import History, lives
from storecast.core.window import attributes_at

How = Literal["altered", "deleted"]
HOWS: Final[tuple[How, ...]] = ("altered", "deleted")
_DAY = timedelta(days=1)
_FOR_ALL = ""
"""The store of covariate versions that hold for all stores."""


@dataclass(frozen=True)
class Past:
    """A cutoff, as alterations need it: its day, its period, and the stores seen by then."""

    cutoff: date
    last: int
    seen: frozenset[str]

    @classmethod
    def of(cls, history: History, cutoff: date) -> Past:
        """At the end of the day ``cutoff``."""
        last = history.rules.frequency.ordinal(cutoff)
        return cls(cutoff, last, frozenset(lives(history, last)["store_id"]))


Alteration = Callable[[History, Past, How], History]


def sales(history: History, past: Past, how: How) -> History:
    """Sales of later periods."""
    later = _periods(history) > past.last
    return replace(history, sales=_changed(history.sales, later, ["sales"], how, rows=True))


def realised(history: History, past: Past, how: How) -> History:
    """Realised covariates of later periods."""
    later = _periods(history) > past.last
    return replace(history, sales=_changed(history.sales, later, list(history.rules.realised), how))


def known_beyond(history: History, past: Past, how: How) -> History:
    """Known covariates of periods past those for which they are known (``ahead``, the horizon)."""
    rules, period = history.rules, _periods(history)
    told: dict[str, Any] = {}
    for name in ("covariates", "covariates_by_date", "covariate_versions"):
        frame: pl.DataFrame | None = getattr(history, name)
        if frame is None:
            continue
        for column, known in rules.known.items():
            reach = rules.horizon if known.ahead is None else known.ahead
            if column in frame.columns:
                frame = _changed(frame, period > past.last + reach, [column], how)
        told[name] = frame
    return replace(history, **told)


def recorded_later(history: History, past: Past, how: How) -> History:
    """Versions of known covariates that were recorded after the cutoff, and the latest ones."""
    versions = history.covariate_versions
    if versions is None:
        return history
    names = [n for n in history.rules.known if n in versions.columns]
    later = pl.col("known_at") > past.cutoff
    if how == "deleted":
        kept = versions.filter(~later)
    else:
        recent = _periods(history) > past.last - history.rules.season
        again = versions.filter(recent & ~later).unique(["store_id", "date"], maintain_order=True)
        again = again.with_columns(known_at=pl.lit(past.cutoff + _DAY))
        kept = _changed(
            pl.concat([versions, again.select(versions.columns)]).unique(
                ["store_id", "date", "known_at"], keep="first", maintain_order=True
            ),
            later, names, how,
        )  # fmt: skip
    told: dict[str, Any] = {"covariate_versions": kept}
    source = versions if how == "deleted" else kept
    for name, keys in (("covariates", ["store_id", "date"]), ("covariates_by_date", ["date"])):
        frame: pl.DataFrame | None = getattr(history, name)
        columns = [n for n in names if frame is not None and n in frame.columns]
        if frame is None or not columns:
            continue
        revised = source.filter(later).select(keys).unique()
        hit = pl.struct(keys).is_in(revised.to_struct().implode())
        told[name] = _changed(frame, hit, columns, how)
    return replace(history, **told)


def attribute_versions(history: History, past: Past, how: How) -> History:
    """Versions of the stores that became valid after the cutoff, and the latest ones."""
    versions, stores = history.store_versions, history.stores
    if versions is None:
        return history
    names = list(history.rules.attributes)
    later = pl.col("valid_from") > past.cutoff
    if how == "deleted":
        versions = versions.filter(~later)
    else:
        newest = versions.sort("valid_from").unique("store_id", keep="last", maintain_order=True)
        added = newest.filter(~later).with_columns(valid_from=pl.lit(past.cutoff + _DAY))
        versions = _labelled(pl.concat([versions, added]), later, names)
    if stores is not None:
        given = [n for n in names if n in stores.columns]
        if how == "deleted":
            then = attributes_at(history, stores["store_id"], past.cutoff)
            stores = stores.with_columns(then.select(given))
        else:
            stores = _labelled(stores, pl.lit(True), given)
    return replace(history, store_versions=versions, stores=stores)


def openings_and_closures(history: History, past: Past, how: How) -> History:
    """Openings and closures dated after the cutoff; altered ones are joined by invented ones."""
    told: dict[str, Any] = {}
    for name in ("stores", "store_versions"):
        frame: pl.DataFrame | None = getattr(history, name)
        if frame is not None:
            told[name] = _moved(frame, past, how)
    return replace(history, **told)


def _moved(frame: pl.DataFrame, past: Past, how: How) -> pl.DataFrame:
    absent = [n for n in ("opened_on", "closed_on") if n not in frame.columns]
    frame = frame.with_columns(pl.lit(None, dtype=pl.Date).alias(n) for n in absent)
    number = pl.int_range(pl.len())
    seen = pl.col("store_id").is_in(past.seen)
    invented = {
        "opened_on": ~seen & pl.col("opened_on").is_null() & pl.col("closed_on").is_null(),
        "closed_on": seen & pl.col("closed_on").is_null() & (number % 3 == 0),
    }
    changes = []
    for name, made in invented.items():
        later = pl.col(name) > past.cutoff
        if how == "deleted":
            changes.append(pl.when(~later).then(name).alias(name))
            continue
        day = pl.lit(past.cutoff) + pl.duration(days=1 + number % 29)
        other = day + pl.when(day == pl.col(name)).then(_DAY).otherwise(timedelta(0))
        changes.append(pl.when(later | made).then(other).otherwise(name).alias(name))
    return frame.with_columns(changes)


def born_later(history: History, past: Past, how: How) -> History:
    """Stores of which nothing was known at the cutoff; altered ones are joined by invented ones."""
    born = _born(history, past)
    if how == "deleted":
        return _mapped(history, lambda frame: frame.filter(~pl.col("store_id").is_in(born)))
    theirs = pl.col("store_id").is_in(born)
    stores, versions = history.stores, history.store_versions
    names = list(history.rules.attributes)
    altered = replace(
        history,
        sales=_changed(history.sales, theirs, ["sales", *history.rules.realised], how),
        stores=None if stores is None else _labelled(stores, theirs, names),
        store_versions=None if versions is None else _labelled(versions, theirs, names),
    )
    return _joined(altered, past)


def _born(history: History, past: Past) -> list[str]:
    sold = history.sales.filter(_periods(history) <= past.last)["store_id"]
    told = history.sales["store_id"].unique()
    if history.stores is not None:
        told = pl.concat([told, history.stores["store_id"]]).unique()
        dates = [n for n in ("opened_on", "closed_on") if n in history.stores.columns]
        dated = history.stores.filter(
            pl.any_horizontal(pl.lit(False), *(pl.col(n) <= past.cutoff for n in dates))
        )["store_id"]
        sold = pl.concat([sold, dated])
    return sorted(set(told) - set(sold) - past.seen)


def _joined(history: History, past: Past) -> History:
    """The history and two stores that begin after the cutoff, first and last by name."""
    frequency = history.rules.frequency
    taken = set(history.sales["store_id"])
    ids = [_free(name, taken) for name in ("!born later", "\U0010fffdborn later")]
    labels = [
        frequency.label(n) for n in range(past.last + 1, frequency.complete(history.through) + 1)
    ]
    size = _size(history.sales, "sales")
    rows = pl.DataFrame({"store_id": ids}).join(
        pl.DataFrame({"date": labels}, schema={"date": pl.Date}), how="cross"
    )
    dates = {
        "opened_on": past.cutoff + _DAY,
        "valid_from": past.cutoff + _DAY,
        "known_at": past.cutoff + _DAY,
    }

    def added(frame: Any, keys: pl.DataFrame) -> Any:
        if frame is None or "store_id" not in frame.columns:
            return frame
        values = []
        for number, (name, kind) in enumerate(frame.schema.items()):
            if name in keys.columns:
                continue
            if name in dates:
                value = pl.lit(dates[name])
            elif kind == pl.String:
                value = pl.concat_str(pl.col("store_id"), pl.lit(f" {number}"))
            elif kind.is_numeric():
                value = pl.lit(7.0 * size + number)
            else:
                value = pl.lit(None)
            values.append(value.cast(kind).alias(name))
        new = keys.with_columns(values).select(frame.columns).cast(frame.schema)
        return pl.concat([frame, new])

    one = pl.DataFrame({"store_id": ids})
    return replace(
        history,
        sales=added(history.sales, rows),
        stores=added(history.stores, one),
        store_versions=added(history.store_versions, one),
        covariates=added(history.covariates, rows),
        covariate_versions=added(history.covariate_versions, rows),
    )


def _free(name: str, taken: Iterable[str]) -> str:
    while name in taken:
        name += "'"
    return name


KINDS: Final[Mapping[str, Alteration]] = {
    "openings_and_closures": openings_and_closures,
    "attribute_versions": attribute_versions,
    "covariates_recorded_later": recorded_later,
    "covariates_beyond_ahead": known_beyond,
    "realised_covariates": realised,
    "sales": sales,
    "stores_born_later": born_later,
}
"""Every kind by its name, in the order in which several are applied."""


def altered(history: History, cutoff: date, kinds: Iterable[str], how: How) -> History:
    """The history with everything of these kinds past the cutoff altered, or deleted."""
    past = Past.of(history, cutoff)
    for name, alteration in KINDS.items():
        if name in kinds:
            history = alteration(history, past, how)
    return history


def doubled(history: History, cutoff: date, *, whole: bool = False) -> History:
    """The control: sales of the season before the cutoff, or of the whole past, doubled.

    Periods under the mask do not count: nobody sees them.
    """
    rules, frequency = history.rules, history.rules.frequency
    last = frequency.ordinal(cutoff)
    periods = list(range(rules.first_period, last + 1)) if whole else _season(history, last)
    hit = _periods(history).is_in(periods)
    return replace(
        history,
        sales=history.sales.with_columns(
            sales=pl.when(hit).then(pl.col("sales") * 2).otherwise("sales")
        ),
    )


def _season(history: History, last: int) -> list[int]:
    rules, frequency = history.rules, history.rules.frequency
    spans = [(frequency.ordinal(a), frequency.ordinal(b)) for a, b in rules.mask]
    periods: list[int] = []
    period = last
    while len(periods) < rules.season and period >= rules.first_period:
        if not any(a <= period <= b for a, b in spans):
            periods.append(period)
        period -= 1
    return periods


# --------------------------------------------------------------------------- the changes


def _periods(history: History) -> pl.Expr:
    return history.rules.frequency.ordinals("date")


def _size(frame: pl.DataFrame, column: str) -> float:
    """How large a column's numbers are; 1 where there are none."""
    mean = frame[column].cast(pl.Float64).fill_nan(None).abs().mean()
    return float(mean) if isinstance(mean, float) and mean > 0 else 1.0


def _changed(
    frame: pl.DataFrame, where: pl.Expr, columns: list[str], how: How, *, rows: bool = False
) -> pl.DataFrame:
    """Numbers of the hit rows altered, unknown ones too; deleted: null, or the rows gone."""
    if how == "deleted":
        if rows:
            return frame.filter(~where)
        return frame.with_columns(pl.when(~where).then(n).alias(n) for n in columns)
    number = 1 + pl.int_range(pl.len()) % 7
    return frame.with_columns(
        pl.when(where)
        .then(
            2 * pl.col(name).cast(pl.Float64).fill_nan(None).fill_null(0).abs()
            + _size(frame, name) * number
        )
        .otherwise(name)
        .alias(name)
        for name in columns
    )


def _labelled(frame: pl.DataFrame, where: pl.Expr, columns: list[str]) -> pl.DataFrame:
    """Texts of the hit rows altered."""
    number = (pl.int_range(pl.len()) % 3).cast(pl.String)
    return frame.with_columns(
        pl.when(where).then(pl.concat_str(pl.lit("altered "), number)).otherwise(name).alias(name)
        for name in columns
        if name in frame.columns
    )


def _mapped(history: History, change: Callable[[pl.DataFrame], pl.DataFrame]) -> History:
    """Change every frame that has a store."""
    changed: dict[str, Any] = {}
    for name in ("sales", "stores", "store_versions", "covariates", "covariate_versions"):
        frame = getattr(history, name)
        changed[name] = None if frame is None else change(frame)
    return replace(history, **changed)


def of_stores(history: History, stores: Iterable[str]) -> History:
    """The history of these stores alone."""
    kept = [*stores, _FOR_ALL]
    return _mapped(history, lambda frame: frame.filter(pl.col("store_id").is_in(kept)))
