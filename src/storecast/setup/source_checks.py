"""What ``storecast doctor`` asks of the source, reading it as ingestion would."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import polars as pl

from storecast.core.calendar import known_subdivision
from storecast.core.window import cutoffs
from storecast.errors import Code, SourceError
from storecast.ingestion import through
from storecast.ingestion.contract import check
from storecast.ingestion.feeds import checked, feeds_of
from storecast.ports import Relation, Source, SourceColumn, Through
from storecast.setup import attribute_checks
from storecast.setup.findings import Finding, failed, guarded, ok, warning
from storecast.setup.reading import ALL, SAMPLE, days, relation_of, rows_of

if TYPE_CHECKING:
    from storecast.config import Config, Sales, Stores
    from storecast.project import Project


def of(project: Project) -> Iterator[Finding]:
    """Open the source and look at every table that the configuration names."""
    config = project.config
    source = project.open_source()
    try:
        tables = _tables(config)
        reached = guarded("source", lambda: _reached(source, config, tables[0].relation))
        yield from reached
        sound = all(f.status != "failed" for f in reached)
        for table in tables if sound else ():
            found = guarded(f"source {table.relation}", lambda t=table: _table(source, t))  # type: ignore[misc]
            sound = sound and all(f.status != "failed" for f in found)
            yield from found
        if sound:
            as_ingested = guarded("source", lambda: _as_ingested(source, config))
            sound = not as_ingested
            yield from as_ingested
        if sound:
            yield from guarded("sales", lambda: _sales(source, config))
            yield from guarded("history", lambda: _history(source, config))
        stores = config.source.stores
        if stores is not None:
            known = source if sound else None
            yield from guarded(
                "attributes",
                lambda: attribute_checks.of_stores(known, config.source.sales, stores),
            )
    finally:
        source.close()


_CLOSED = (
    Code.SOURCE_UNREACHABLE,
    Code.SOURCE_LOGIN_FAILED,
    Code.SOURCE_CERTIFICATE_INVALID,
    Code.EXTRA_MISSING,
)


def _reached(source: Source, config: Config, first: Relation) -> Iterator[Finding]:
    """Connection and login, told once and not again for each table."""
    try:
        source.columns(first)
    except SourceError as fault:
        if fault.code in _CLOSED:
            raise
    place = config.source
    where = place.path or (f"{place.database} on {place.host}" if place.host else "the lakehouse")
    yield ok("source", f"{place.type}: {where} can be opened")


@dataclass(frozen=True)
class _Table:
    relation: Relation
    columns: tuple[str, ...]
    store_id: str | None
    watermark: str | None = None


def _tables(config: Config) -> list[_Table]:
    sales, stores = config.source.sales, config.source.stores
    named = [*sales.primary_key, *sales.columns.model_dump().values(), sales.watermark]
    found = [_Table(relation_of(sales), _unique(named), sales.columns.store_id, sales.watermark)]
    if stores is not None:
        named = [*stores.columns.model_dump().values(), *stores.attributes, stores.valid_from]
        found.append(_Table(relation_of(stores), _unique(named), stores.columns.store_id))
    for table in config.source.covariates:
        recorded = [k.known_at for k in table.known.values()]
        named = [*table.columns.model_dump().values(), *table.known, *table.realised, *recorded]
        found.append(_Table(relation_of(table), _unique(named), table.columns.store_id))
    log = sales.through
    if log is not None and not isinstance(log, date):
        found.append(_Table(Relation(table=log.table), (log.column,), None))
    return found


def _unique(names: Sequence[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))


def _table(source: Source, table: _Table) -> Iterator[Finding]:
    name = f"source {table.relation}"
    there = source.columns(table.relation)
    by_name = {column.name: column for column in there}
    missing = [column for column in table.columns if column not in by_name]
    for column in missing:
        near = _nearest(column, there)
        yield failed(
            name,
            f"{Code.SOURCE_COLUMN_NOT_FOUND.value}: there is no column {column!r}; there are "
            f"{', '.join(list(by_name)[:20])}",
            f"did you mean {near!r}? Correct storecast.yaml" if near else "correct storecast.yaml",
        )
    store = by_name.get(table.store_id or "")
    if store is not None and store.kind == "float":
        yield failed(
            name,
            f"{Code.IDENTIFIER_IS_FLOAT.value}: the store column {store.name!r} is "
            f"{store.type_name}: 001 would be 1.0",
            "give the store as text or a whole number, by a view or by `query`",
        )
    mark = by_name.get(table.watermark or "")
    if mark is not None and mark.is_row_version:
        yield failed(
            name,
            f"{Code.COLUMN_TYPE_INVALID.value}: the watermark {mark.name!r} is a {mark.type_name}, "
            "which numbers changes and says no time",
            "name a column that says when the row was changed, such as a datetime2",
        )
    if not missing:
        # What is listed may still not be read: for want of a permission, for one.
        next(iter(source.read(table.relation, table.columns)), None)
        yield ok(name, f"{len(table.columns)} configured columns are there and can be read")


def _as_ingested(source: Source, config: Config) -> list[Finding]:
    """What an ingestion would refuse of columns and their types, in the same words."""
    feeds = checked(feeds_of(config), source)
    for feed in feeds.all():
        batch = next(iter(source.read(feed.relation, feed.sources)), None)
        if batch is not None:
            check(batch, feed)
    return []


def _nearest(column: str, there: Sequence[SourceColumn]) -> str | None:
    lowered = {c.name.lower(): c.name for c in there}
    near = difflib.get_close_matches(column.lower(), lowered, 1)
    return lowered[near[0]] if near else None


# ----------------------------------------------------------------------------- the rows


def _sales(source: Source, config: Config) -> Iterator[Finding]:
    sales = config.source.sales
    columns = sales.columns
    named = _unique([*sales.primary_key, columns.store_id, columns.date, columns.sales])
    sample = rows_of(source, relation_of(sales), named, SAMPLE)
    if sample.is_empty():
        yield failed(
            "sales",
            f"{Code.SOURCE_EMPTY.value}: {relation_of(sales)} has no rows",
            "name the table that holds the sales",
        )
        return
    yield _key(sample, sales)
    yield from _stores(sample[columns.store_id])
    if config.source.stores is not None:
        yield from _store_rows(source, config.source.stores, sample[columns.store_id])
        yield from _subdivisions(source, config, config.source.stores)
    dates, amounts = sample[columns.date], sample[columns.sales]
    step = (
        "write dates YYYY-MM-DD, by a view or by `query`; or name the way they are written by "
        "`date_format`"
        if sales.date_format is None
        else f"name the way they are written by `date_format`; it is {sales.date_format}"
    )
    yield _readable(
        "dates", dates, days(dates, sales.date_format).is_null(), config.max_rejected, step
    )
    step = "write amounts as plain numbers with a decimal point, such as 1234.56"
    yield _readable("amounts", amounts, _no_number(amounts), config.max_rejected, step)


def _key(sample: pl.DataFrame, sales: Sales) -> Finding:
    name = "primary key"
    key = list(sales.primary_key)
    columns = ", ".join(key)
    nulls = sample.filter(pl.any_horizontal(pl.col(key).is_null())).height
    if nulls:
        return failed(
            name,
            f"{Code.NULL_KEY.value}: {nulls:,} of {sample.height:,} rows have no {columns}",
            "choose columns that every row has",
        )
    different = sample.unique()
    twice = different.height - different.select(key).n_unique()
    if twice and sales.watermark is None:
        return failed(
            name,
            f"{Code.CONFLICTING_DUPLICATE.value}: {columns} does not tell the rows apart: "
            f"{twice:,} of {sample.height:,} have the key of another and differ from it",
            "add the column that tells lines apart to `primary_key`, or name the `watermark` "
            "that says which version holds",
        )
    if twice > sample.height // 10:
        return warning(
            name,
            f"{twice:,} of {sample.height:,} rows have the key {columns} of another; of each "
            "key only the newest row will count",
            "if they are different sales, add the column that tells them apart",
        )
    return ok(name, f"{columns} tells the rows apart ({sample.height:,} looked at)")


def _stores(values: pl.Series) -> Iterator[Finding]:
    if values.dtype.is_float() or (
        values.dtype == pl.String and bool(values.drop_nulls().str.contains(r"^\d+\.0$").all())
        and values.drop_nulls().len()
    ):  # fmt: skip
        yield failed(
            "stores",
            f"{Code.IDENTIFIER_IS_FLOAT.value}: store identifiers look like "
            f"{values.drop_nulls().cast(pl.String).first()!r}",
            "give the store as text or a whole number, by a view or by `query`",
        )
        return
    n = values.n_unique()
    yield ok(
        "stores", f"{n:,} stores in the rows looked at, such as {values.drop_nulls().first()!r}"
    )


def _store_rows(source: Source, stores: Stores, sold: pl.Series) -> Iterator[Finding]:
    """Whether the rows of the stores are about the stores that sell."""
    name, column = f"source {relation_of(stores)}", stores.columns.store_id
    rows = rows_of(source, relation_of(stores), [column], ALL)[column].cast(pl.String).drop_nulls()
    twice = len(rows) - rows.n_unique()
    if twice and stores.valid_from is None:
        yield warning(
            name,
            f"{twice:,} of {len(rows):,} rows are about a store that has a row already",
            "one row a store; or name the column `valid_from` where rows are versions",
        )
    sellers = sold.cast(pl.String).drop_nulls().unique()
    strangers = sellers.filter(~sellers.is_in(rows.unique().to_list())).sort()
    if len(strangers) > len(sellers) // 2:
        yield warning(
            name,
            f"{len(strangers):,} of {len(sellers):,} stores that sell have no row here, such as "
            f"{strangers.first()!r}, while there is one for {rows.first()!r}",
            "write identifiers alike in both, leading zeros included",
        )


def _readable(
    name: str, values: pl.Series, unreadable: pl.Series, allowed: float, step: str
) -> Finding:
    bad = int(unreadable.sum())
    if not bad:
        return ok(name, f"all of {len(values):,} looked at can be read")
    example = values.filter(unreadable).first()
    sentence = f"{bad:,} of {len(values):,} cannot be read, such as {example!r}"
    if bad > allowed * len(values):
        return failed(name, f"{sentence}: more than max_rejected allows", step)
    return warning(name, f"{sentence}; they will go to rejected_rows", step)


def _no_number(values: pl.Series) -> pl.Series:
    return ~values.cast(pl.Float64, strict=False).is_finite().fill_null(value=False)


# -------------------------------------------------------------------------- the history


def _history(source: Source, config: Config) -> Iterator[Finding]:
    sales = config.source.sales
    read = rows_of(source, relation_of(sales), [sales.columns.date], ALL)
    dated = days(read[sales.columns.date], sales.date_format).drop_nulls()
    first, last = dated.min(), dated.max()
    if not isinstance(first, date) or not isinstance(last, date):
        return
    yield from guarded("frequency", lambda: _frequency(dated, config.series.frequency))
    complete: list[Through] = []
    yield from guarded("through", lambda: _through(source, sales, dated, complete))
    if complete:
        yield _windows(config, first, complete[0].day)


def _through(
    source: Source, sales: Sales, dated: pl.Series, complete: list[Through]
) -> Iterator[Finding]:
    """How far the source is complete, put into ``complete`` too, as an ingestion would find it."""
    believed = dated.filter(dated <= through.last_believed(datetime.now(UTC).date()))
    newest = believed.max()
    said = through.said(source, sales.through)
    if said is None:
        day = newest if isinstance(newest, date) else None
        complete.append(through.of_sales(day, len(dated) - len(believed)))
        yield ok(
            "through",
            f"complete through {complete[0].day}, {complete[0].origin}; rows of a day that is not "
            "over yet would be taken as whole",
            "name a load log or a date by `source.sales.through` where days arrive in parts",
        )
        return
    complete.append(said)
    first, last = dated.min(), dated.max()
    if not isinstance(first, date) or not isinstance(last, date):
        return
    doubt = through.doubt(said, first, last)
    if doubt is not None:
        yield warning("through", doubt, "check source.sales.through")
        return
    yield ok(
        "through", f"complete through {said.day}, by {said.origin}; the newest sale is of {last}"
    )


_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


def _frequency(days: pl.Series, frequency: str) -> Iterator[Finding]:
    unique = days.unique()
    if len(unique) < 3:
        return
    weekdays = unique.dt.weekday().unique().to_list()
    first_of_month = bool((unique.dt.day() == 1).all())
    last_of_month = bool((unique.dt.offset_by("1d").dt.day() == 1).all())
    better = None
    if (first_of_month or last_of_month) and frequency not in ("MS", "ME"):
        better = "MS" if first_of_month else "ME"
        reason = f"every date is the {'first' if first_of_month else 'last'} day of a month"
    elif len(weekdays) == 1 and frequency == "D":
        better = f"W-{_WEEKDAYS[weekdays[0] - 1]}"
        reason = f"every date is a {_WEEKDAYS[weekdays[0] - 1]}"
    if better is not None:
        yield warning(
            "frequency",
            f"{reason}, but series.frequency is {frequency}: the periods between would have no "
            "sales",
            f"series.frequency: {better}",
        )
        return
    yield ok("frequency", f"{frequency} fits {len(unique):,} different dates")


def _windows(config: Config, first: date, through: date) -> Finding:
    validation, horizon = config.validation, config.forecast.horizon
    until = min(through, config.training.until or through)
    start = max(first, config.training.from_)
    found = cutoffs(config.rules(), until, horizon, validation.windows, validation.step, start)
    return ok(
        "history",
        f"{first} to {through}: room for {len(found)} windows, cutoffs {found[0]} to {found[-1]}",
    )


def _subdivisions(source: Source, config: Config, stores: Stores) -> Iterator[Finding]:
    """Whether each store's subdivision is one of the country."""
    attribute, rules = config.calendar.subdivision, config.rules().calendar
    if attribute is None or rules.subdivision_attribute is None:
        return
    column = stores.columns.store_id
    rows = rows_of(source, relation_of(stores), [column, attribute], ALL).cast(pl.String)
    given = rows[attribute].drop_nulls().unique().sort()
    strange = [name for name in given if known_subdivision(rules, name) is None]
    if strange:
        store = rows.filter(pl.col(attribute) == strange[0])[column].first()
        yield warning(
            "calendar",
            f"{attribute} {', '.join(map(repr, strange[:5]))}, of store {store!r} for one, is no "
            f"subdivision of {rules.country}: such a store gets the country's own holidays alone",
            "correct the attribute in the source",
        )
