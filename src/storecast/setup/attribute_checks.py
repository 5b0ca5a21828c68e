"""Attributes that tell what is to become of a store: who had closed, by what is known today.

An attribute without versions, or with one version of each store, is shown to every backtest as it
is today. One that changes when a store closes tells the models of the past which stores were to
close, and flatters them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import polars as pl

from storecast.ports import Source
from storecast.setup.findings import Finding, warning
from storecast.setup.reading import ALL, batches, days, relation_of, rows_of

if TYPE_CHECKING:
    from storecast.config import Sales, Stores

_TODAY = re.compile(
    r"(^|_)(status|situacao|ativ[oa]|inativ[oa]|active|inactive|is_open|is_closed|aberta|"
    r"fechada|encerrada|closed|enabled|desativad[oa]|vigente)(_|$)"
)
_QUARTER = timedelta(days=91)
_MOSTLY = 0.8
_MOST = 0.5
_AT_LEAST = 3
_STEP = (
    "leave it out of `attributes`, or keep its versions by `valid_from`; a closing itself belongs "
    "in `closed_on`"
)


_STEP_OF_ONE_VERSION = (
    "`valid_from` keeps its versions, but no store has a second one yet: leave it out of "
    "`attributes` until they do, or write a row for each change; a closing itself belongs in "
    "`closed_on`"
)


@dataclass(frozen=True)
class Telltale:
    """A value of an attribute, or its absence, that goes with closing.

    Attributes:
        attribute: its name.
        value: the value; None is null.
        with_it: whether the stores that have the value closed, or those that have another.
        closed: how many of these have closed.
        of: how many they are.
        others: the share of closed among all others.
    """

    attribute: str
    value: str | None
    with_it: bool
    closed: int
    of: int
    others: float


def of_stores(source: Source | None, sales: Sales, stores: Stores) -> Iterator[Finding]:
    """Warn of each attribute that is without versions and gives closures away.

    By its rows, or where these say nothing (or ``source`` is None) by its name. Where no store
    has a second version, `valid_from` keeps none.
    """
    if not stores.attributes or (stores.valid_from is not None and source is None):
        return
    if source is not None and stores.valid_from is not None and _kept(source, stores):
        return
    step = _STEP if stores.valid_from is None else _STEP_OF_ONE_VERSION
    found = {} if source is None else _by_rows(source, sales, stores)
    named = tell_of_today(stores.attributes)
    for name in stores.attributes:
        if name in found:
            yield warning("attributes", _told(found[name]), step)
        elif name in named:
            yield warning(
                "attributes",
                f"{name!r} sounds like what a store is today: in a backtest it may tell the "
                "models which stores were to close, and flatter them",
                step,
            )


def _kept(source: Source, stores: Stores) -> bool:
    """Whether some store has a second version."""
    columns = [stores.columns.store_id, str(stores.valid_from)]
    read = rows_of(source, relation_of(stores), columns, ALL)
    versions = read.select(
        _identifier(stores.columns.store_id).alias("store"), pl.col(columns[1]).alias("from")
    ).unique()
    return versions["store"].n_unique() < versions.height


def tell_of_today(names: Sequence[str]) -> list[str]:
    """The attributes whose name sounds like a state that is overwritten when it changes."""
    return [name for name in names if _TODAY.search(_plain(name))]


def telltales(stores: pl.DataFrame, closed: pl.Series) -> list[Telltale]:
    """The attributes of which one value, or its absence, goes with closing.

    At least four fifths of the stores that it marks have closed, three at least; they are most of
    all that have; and among the others closing is less than half as frequent.

    Args:
        stores: a column for each attribute, a row for each store.
        closed: whether the store has closed, or fallen silent.
    """
    found = []
    for name in stores.columns:
        told = _telltale(stores[name], closed)
        if told is not None:
            found.append(told)
    return found


def _telltale(values: pl.Series, closed: pl.Series) -> Telltale | None:
    total, n = int(closed.sum()), len(closed)
    counts = (
        pl.DataFrame({"value": values.cast(pl.String), "closed": closed})
        .group_by("value")
        .agg(of=pl.len(), closed=pl.col("closed").sum())
        .sort("closed", "of", "value", descending=[True, False, False])
    )
    for value, of, gone in counts.iter_rows():
        for with_it, size, left in ((True, of, gone), (False, n - of, total - gone)):
            if not 0 < size < n or left < _AT_LEAST:
                continue
            others = (total - left) / (n - size)
            share = left / size
            if share >= _MOSTLY and left > _MOST * total and others < share / 2:
                return Telltale(values.name, value, with_it, left, size, others)
    return None


def _told(found: Telltale) -> str:
    shown = "no value" if found.value is None else f"{found.value!r}"
    marked = f"with {shown}" if found.with_it else f"with another value than {shown}"
    if found.value is None and not found.with_it:
        marked = "with any value"
    return (
        f"{found.attribute!r} gives closures away: of {found.of:,} stores {marked}, "
        f"{found.closed:,} ({found.closed / found.of:.0%}) have closed or sold nothing for a "
        f"quarter of a year, of the others {found.others:.0%}; every backtest would know so in "
        "advance"
    )


def _by_rows(source: Source, sales: Sales, stores: Stores) -> dict[str, Telltale]:
    last = _last_sales(source, sales)
    newest = last["last"].max()
    if not isinstance(newest, date):
        return {}
    columns = stores.columns
    named = [columns.store_id, *stores.attributes]
    if columns.closed_on is not None:
        named.append(columns.closed_on)
    read = rows_of(source, relation_of(stores), list(dict.fromkeys(named)), ALL)
    closed_on = (
        pl.lit(None, dtype=pl.Date)
        if columns.closed_on is None
        else pl.lit(days(read[columns.closed_on], stores.date_format))
    )
    seen = (
        read.select(
            *(pl.col(a).alias(f"attribute {a}") for a in stores.attributes),
            store=_identifier(columns.store_id),
            closed_on=closed_on,
        )
        .unique("store", keep="last", maintain_order=True)
        .join(last, on="store", how="inner", maintain_order="left")
    )
    closed = seen.select(
        (pl.col("closed_on") <= newest).fill_null(value=False)
        | (pl.col("last") < newest - _QUARTER)
    ).to_series()
    frame = seen.select(pl.col(f"attribute {a}").alias(a) for a in stores.attributes)
    return {t.attribute: t for t in telltales(frame, closed)}


def _last_sales(source: Source, sales: Sales) -> pl.DataFrame:
    """The day of each store's last sale: store, last."""
    parts = [pl.DataFrame(schema={"store": pl.String, "last": pl.Date})]
    columns = [sales.columns.store_id, sales.columns.date]
    for batch in batches(source, relation_of(sales), columns, ALL):
        dated = batch.select(
            store=_identifier(sales.columns.store_id),
            last=days(batch[sales.columns.date], sales.date_format),
        )
        parts.append(dated.group_by("store").agg(pl.col("last").max()))
    latest = date.today() + timedelta(days=1)
    return (
        pl.concat(parts)
        .filter(pl.col("store").is_not_null() & (pl.col("last") <= latest))
        .group_by("store")
        .agg(pl.col("last").max())
    )


def _identifier(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.String).str.strip_chars_end(" ")


def _plain(name: str) -> str:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    ascii_only = unicodedata.normalize("NFKD", spaced).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", ascii_only.lower())
