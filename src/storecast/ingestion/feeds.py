"""Which relations are read, and what each of their columns is: from configuration to feeds."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from storecast.config import Config, Covariates, From
from storecast.core.schema import Layout
from storecast.errors import Code, ContractError, SourceError
from storecast.ingestion.contract import Feed, Field, Kind
from storecast.ports import Relation, Source, SourceColumn


@dataclass(frozen=True)
class CovariateFeed:
    """A feed of covariates: which of its columns are known, which realised."""

    feed: Feed
    known: tuple[str, ...]
    realised: tuple[str, ...]
    by_store: bool
    versions: bool


@dataclass(frozen=True)
class Feeds:
    """Everything that an ingestion reads."""

    sales: Feed
    stores: Feed | None
    covariates: tuple[CovariateFeed, ...]

    def all(self) -> list[Feed]:
        """Every feed, the sales first."""
        stores = [self.stores] if self.stores is not None else []
        return [self.sales, *stores, *(c.feed for c in self.covariates)]


def relation(origin: From) -> Relation:
    """The relation of a part of the configuration."""
    return Relation(origin.from_, origin.query)


def feeds_of(config: Config) -> Feeds:
    """The feeds of a configuration, not yet checked against the source."""
    layout = config.layout()
    return Feeds(
        sales=_sales(config, layout),
        stores=_stores(config, layout),
        covariates=tuple(_covariates(config, layout)),
    )


def _sales(config: Config, layout: Layout) -> Feed:
    sales = config.source.sales
    given = {sales.columns.store_id: "store_id", sales.columns.date: "date"}
    key = layout.transaction_key or ("store_id", "date")
    fields = [
        Field(name, source, Kind.KEY)
        for name, source in zip(key, sales.primary_key, strict=True)
        if source not in given
    ]
    fields += [
        Field("store_id", sales.columns.store_id, Kind.IDENTIFIER),
        Field("date", sales.columns.date, Kind.DATE, date_format=sales.date_format),
        Field("sales", sales.columns.sales, Kind.AMOUNT),
    ]
    if sales.watermark is not None:
        form = sales.watermark_format
        fields.append(Field("watermark", sales.watermark, Kind.TIMESTAMP, date_format=form))
    table = "sales" if layout.transaction_key is None else "transactions"
    return Feed("sales", table, relation(sales), tuple(fields), key)


def _stores(config: Config, layout: Layout) -> Feed | None:
    stores = config.source.stores
    if stores is None:
        return None
    form = stores.date_format
    fields = [Field("store_id", stores.columns.store_id, Kind.IDENTIFIER)]
    if stores.valid_from is not None:
        fields.append(Field("valid_from", stores.valid_from, Kind.VERSION, date_format=form))
    for name in ("opened_on", "closed_on"):
        source = getattr(stores.columns, name)
        if source is not None:
            fields.append(Field(name, source, Kind.OPTIONAL_DATE, date_format=form))
    fields += [
        Field(name, source, Kind.TEXT)
        for name, source in zip(layout.attributes, stores.attributes, strict=True)
    ]
    versions = stores.valid_from is not None
    key = ("store_id", "valid_from") if versions else ("store_id",)
    table = "store_versions" if versions else "stores"
    return Feed("stores", table, relation(stores), tuple(fields), key)


def _covariates(config: Config, layout: Layout) -> Iterable[CovariateFeed]:
    tables = config.source.covariates
    by_store, by_date = iter(layout.known_by_store), iter(layout.known_by_date)
    realised = iter(layout.realised)
    for number, table in enumerate(tables):
        columns = table.columns
        names = by_store if columns.store_id is not None else by_date
        known = {source: next(names) for source in table.known}
        after = {source: next(realised) for source in table.realised}
        yield _covariate_feed(number, table, known, after)


def _covariate_feed(
    number: int, table: Covariates, known: dict[str, str], realised: dict[str, str]
) -> CovariateFeed:
    columns, key, form = table.columns, ["date"], table.date_format
    fields = []
    if columns.store_id is not None:
        key.insert(0, "store_id")
        fields.append(Field("store_id", columns.store_id, Kind.IDENTIFIER))
    fields.append(Field("date", columns.date, Kind.DATE, date_format=form))
    recorded = next((k.known_at for k in table.known.values() if k.known_at is not None), None)
    if recorded is not None:
        key.append("known_at")
        fields.append(Field("known_at", recorded, Kind.VERSION, date_format=form))
    numbers = {**known, **realised}
    fields += [Field(name, source, Kind.NUMBER) for source, name in numbers.items()]
    if not known:
        meant_for = "sales"
    elif recorded is not None:
        meant_for = "covariate_versions"
    else:
        meant_for = "covariates" if columns.store_id is not None else "covariates_by_date"
    return CovariateFeed(
        Feed(f"covariates[{number}]", meant_for, relation(table), tuple(fields), tuple(key)),
        known=tuple(known.values()),
        realised=tuple(realised.values()),
        by_store=columns.store_id is not None,
        versions=recorded is not None,
    )


# ---------------------------------------------------------------------- against the source


def checked(feeds: Feeds, source: Source) -> Feeds:
    """The feeds, with what only the source knows of their columns.

    Raises:
        SourceError: SOURCE_COLUMN_NOT_FOUND with all that are missing,
            SOURCE_COLUMN_AMBIGUOUS.
        ContractError: IDENTIFIER_IS_FLOAT.
    """
    there = {feed.name: source.columns(feed.relation) for feed in feeds.all()}
    missing = [
        (feed, field, [c.name for c in there[feed.name]])
        for feed in feeds.all()
        for field in _once(feed.fields)
        if field.source not in {c.name for c in there[feed.name]}
    ]
    if missing:
        raise _not_found(missing)

    def known(feed: Feed) -> Feed:
        columns = {c.name: c for c in there[feed.name]}
        _refuse_ambiguous(feed, there[feed.name], source)
        for field in feed.fields:
            if field.kind is Kind.IDENTIFIER and columns[field.source].kind == "float":
                raise _float(feed, field, columns[field.source])
            if field.kind is Kind.TIMESTAMP and columns[field.source].is_row_version:
                raise _row_version(feed, field, columns[field.source])
        return replace(feed, fields=tuple(_as_there(f, columns[f.source]) for f in feed.fields))

    return Feeds(
        known(feeds.sales),
        known(feeds.stores) if feeds.stores is not None else None,
        tuple(replace(c, feed=known(c.feed)) for c in feeds.covariates),
    )


def _as_there(field: Field, column: SourceColumn) -> Field:
    kind = f"padded {column.kind}" if column.fixed_width else column.kind
    return replace(field, fixed_width=column.fixed_width, type_there=kind)


def _once(fields: Sequence[Field]) -> list[Field]:
    return list({f.source: f for f in fields}.values())


def _not_found(missing: Sequence[tuple[Feed, Field, list[str]]]) -> SourceError:
    sentences = []
    for feed, field, names in missing:
        near = difflib.get_close_matches(field.source, names, 1, 0.55) or [
            n for n in names if n.lower() == field.source.lower()
        ]
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        sentences.append(f"{feed.relation} has no column {field.source!r}{hint}")
    found = {str(feed.relation): ", ".join(names) for feed, _, names in missing}
    return SourceError(
        Code.SOURCE_COLUMN_NOT_FOUND,
        "; ".join(sentences),
        where=", ".join(dict.fromkeys(f"source.{feed.name}" for feed, _, _ in missing)),
        expected=", ".join(dict.fromkeys(field.source for _, field, _ in missing)),
        found="; ".join(f"{name}: {names}" for name, names in found.items()),
        next_step="correct the names in storecast.yaml",
    )


def _refuse_ambiguous(feed: Feed, columns: Sequence[SourceColumn], source: Source) -> None:
    names = [c.name for c in columns]
    twice = sorted({name for name in feed.sources if names.count(name) > 1})
    said = f"two columns named {', '.join(map(repr, twice))}"
    if not twice:
        # Asked for one of these by name, the source gives the first of them, whichever is meant.
        alike = ([n for n in names if source.same_name(n, name)] for name in feed.sources)
        twice = next((found for found in alike if len(found) > 1), [])
        said = f"columns whose names are one to the source: {', '.join(map(repr, twice))}"
    if twice:
        raise SourceError(
            Code.SOURCE_COLUMN_AMBIGUOUS,
            f"{feed.relation} has {said}",
            where=f"source.{feed.name}",
            expected="one column of each name",
            found=", ".join(names),
            next_step="name each column once: with AS in a view or `query:`, or in a file's header",
        )


def _float(feed: Feed, field: Field, column: SourceColumn) -> ContractError:
    return ContractError(
        Code.IDENTIFIER_IS_FLOAT,
        f"{feed.relation}.{field.source} identifies a store and is a floating-point number, "
        "which cannot hold 001 or 20 digits",
        where=f"source.{feed.name}: {field.source}",
        expected="text, an integer, or a decimal without decimal places",
        found=column.type_name,
        next_step="keep the column as text in the source, or CAST it in a view or `query:`",
    )


def _row_version(feed: Feed, field: Field, column: SourceColumn) -> ContractError:
    return ContractError(
        Code.COLUMN_TYPE_INVALID,
        f"{feed.relation}.{field.source} is a {column.type_name}, which numbers changes and says "
        "no time",
        where=f"source.{feed.name}: {field.source}",
        expected="a column that says when the row was changed, such as a datetime2",
        found=column.type_name,
        next_step="name another watermark, or none",
    )
