"""The tables, in Arrow: names, types, keys. Delta, Spark, MLflow and the docs derive from it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

import pyarrow as pa

from storecast.errors import Code, ConfigurationError

AMOUNT = pa.decimal128(18, 4)
INSTANT = pa.timestamp("us", tz="UTC")
TEXT = pa.string()
DAY = pa.date32()
NUMBER = pa.float64()
COUNT = pa.int64()
DAYS: Final = (date(1900, 1, 1), date(2200, 12, 31))
"""The first and the last day that a date may be: what lies outside is a slip of the pen."""


@dataclass(frozen=True)
class Column:
    """One column: its name, Arrow type, whether it may be null, and what it means."""

    name: str
    type: pa.DataType
    nullable: bool = True
    description: str = ""


@dataclass(frozen=True)
class TableSpec:
    """One table: columns in order, the primary key, and SQL conditions that every row meets."""

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    description: str = ""
    checks: tuple[tuple[str, str], ...] = ()
    """Pairs (constraint name, SQL condition)."""

    @property
    def arrow(self) -> pa.Schema:
        """The Arrow schema, nullability included."""
        return pa.schema([pa.field(c.name, c.type, c.nullable) for c in self.columns])

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [c.name for c in self.columns]

    def empty(self) -> pa.Table:
        """A table of this schema without rows."""
        return self.arrow.empty_table()


@dataclass(frozen=True)
class Layout:
    """What a configuration adds to the fixed part of the tables.

    ``transaction_key`` is None where source rows are store-days already; else pairs
    (normalised name, source column) of the key's columns.
    """

    transaction_key: tuple[str, ...] | None = None
    has_watermark: bool = False
    realised: tuple[str, ...] = ()
    known_by_store: tuple[str, ...] = ()
    known_by_date: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    store_versions: bool = False
    covariate_versions: bool = False
    quantiles: tuple[float, ...] = field(default=())


def normalised(name: str) -> str:
    """A column name that needs no quoting in SQL: lower case, ASCII, digits and underscores.

    ``'Região da loja'`` becomes ``'regiao_da_loja'``. A name that would start with a digit
    gets ``c_`` in front, a word reserved in SQL gets ``_`` behind.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^0-9a-zA-Z]+", "_", plain).strip("_").lower()
    if not plain:
        plain = "c_" + "_".join(f"{ord(c):x}" for c in name)
    if plain[0].isdigit():
        plain = f"c_{plain}"
    return f"{plain}_" if plain in _RESERVED else plain


_RESERVED = frozenset(
    """all and any as asc between by case cast check column constraint create cross current_date
    default delete desc distinct drop else end escape except exists false fetch filter for foreign
    from full grant group having in inner insert intersect into is join key leading left like
    limit natural not null offset on only or order outer overlaps primary references right select
    session_user set some table then to trailing true union unique unknown update user using
    values when where with window order""".split()  # noqa: SIM905 - a list of 80 quoted words reads worse
)


def normalised_names(
    names: Sequence[str], taken: Sequence[str] = (), places: Sequence[str] = ()
) -> tuple[str, ...]:
    """Normalise each name.

    Args:
        names: of columns.
        taken: names that they may not become.
        places: where each name stands, for the message; none where all stand in one table.

    Raises:
        ConfigurationError: COLUMN_NAMES_COLLIDE where two become one, or one is ``taken``.
    """
    seen = dict.fromkeys(taken, "storecast's own column")
    result = []
    for number, name in enumerate(names):
        plain = normalised(name)
        of = f" of {places[number]}" if places else ""
        if plain in seen:
            raise ConfigurationError(
                Code.COLUMN_NAMES_COLLIDE,
                f"column {name!r}{of} becomes {plain!r}, which is {seen[plain]}",
                where=f"{places[number]}: {name}" if places else name,
                expected="names that stay different without accents, spaces and case",
                found=plain,
                next_step="rename one in a view or in `query:`",
            )
        seen[plain] = f"the name of {name!r}{of} too"
        result.append(plain)
    return tuple(result)


def quantile_column(level: float) -> str:
    """0.1 is ``q10``, 0.9 is ``q90``, 0.025 is ``q025``."""
    digits = f"{level:.6f}".split(".")[1].rstrip("0")
    return f"q{digits.ljust(2, '0')}"


def _c(name: str, kind: pa.DataType, description: str, *, null: bool = False) -> Column:
    return Column(name, kind, null, description)


def _numbers(names: Sequence[str], description: str) -> tuple[Column, ...]:
    return tuple(_c(name, NUMBER, description, null=True) for name in names)


_RUN = _c("run_id", TEXT, "the run that wrote the row")
_INGESTED = _c("ingested_at", INSTANT, "when the row was last written")
_STORE = _c("store_id", TEXT, "the store, exactly as the source has it")
_LABEL = _c("date", DAY, "the period's label")


def _forecast_columns(quantiles: Sequence[float]) -> tuple[Column, ...]:
    return (
        _c("step", pa.int32(), "1 is the first period after the cutoff"),
        _c("forecast", NUMBER, "the point that forecast.point names"),
        _c("forecast_mean", NUMBER, "the expected value: the one to sum"),
        *(_c(quantile_column(q), NUMBER, f"quantile {q:g}") for q in quantiles),
    )


METRICS = ("wape", "mase", "rmsse", "bias", "sql", "wql", "coverage")


def table_specs(layout: Layout) -> dict[str, TableSpec]:
    """Every table that a project of this layout has, by name, in the order of commitment."""
    specs = [*_feature_tables(layout), *_forecast_tables(layout), *_ledger_tables()]
    return {spec.name: spec for spec in specs}


def _feature_tables(layout: Layout) -> list[TableSpec]:
    attributes = tuple(_c(n, TEXT, "attribute of the store", null=True) for n in layout.attributes)
    life = (
        _c("opened_on", DAY, "first day of business, where the source says", null=True),
        _c("closed_on", DAY, "last day of business, where the source says", null=True),
    )
    watermark = (
        (_c("watermark", INSTANT, "version of the row", null=True),) if layout.has_watermark else ()
    )
    specs = [
        TableSpec(
            "sales",
            (
                _STORE,
                _LABEL,
                _c("sales", AMOUNT, "net sales of the period, in the source's currency"),
                *(watermark if layout.transaction_key is None else ()),
                *_numbers(layout.realised, "realised covariate: known after the period"),
                _INGESTED,
                _RUN,
            ),
            ("store_id", "date"),
            "Net sales by store and period.",
        ),
        TableSpec(
            "stores",
            (_STORE, *life, *attributes, _INGESTED, _RUN),
            ("store_id",),
            "The stores, in their latest version.",
        ),
        TableSpec(
            "rejected_rows",
            (
                _c("table_name", TEXT, "the table that the row was meant for"),
                _c("row_hash", TEXT, "SHA-256 of the raw row"),
                _c("occurrence", COUNT, "1, 2, … among equal raw rows"),
                _c("reason_code", TEXT, "a code of docs/errors.md"),
                _c("reason", TEXT, "the rule and the remedy, in words"),
                _c("raw_row", TEXT, "the row as it came, in JSON"),
                _c("first_run_id", TEXT, "the run that rejected it first"),
                _c("last_run_id", TEXT, "the run that rejected it last"),
            ),
            ("table_name", "row_hash", "occurrence"),
            "Quarantine: source rows that break a rule, each with its reason.",
        ),
    ]
    if layout.transaction_key is not None:
        own = tuple(n for n in layout.transaction_key if n not in ("store_id", "date"))
        specs.insert(
            0,
            TableSpec(
                "transactions",
                (
                    *(_c(n, TEXT, "part of the source's key") for n in own),
                    _STORE,
                    _c("date", DAY, "the day of the sale"),
                    _c("sales", AMOUNT, "amount, in the source's currency"),
                    *watermark,
                    _INGESTED,
                    _RUN,
                ),
                layout.transaction_key,
                "The source's rows, one a key.",
            ),
        )
    if layout.store_versions:
        specs.append(
            TableSpec(
                "store_versions",
                (
                    _STORE,
                    _c("valid_from", DAY, "first day of the version"),
                    *life,
                    *attributes,
                    _INGESTED,
                    _RUN,
                ),
                ("store_id", "valid_from"),
                "Every version of a store's attributes.",
            )
        )
    known = _numbers(layout.known_by_store, "known covariate: known before the period")
    if layout.known_by_store:
        specs.append(
            TableSpec(
                "covariates",
                (_STORE, _LABEL, *known, _INGESTED, _RUN),
                ("store_id", "date"),
                "Known covariates by store and period, latest version.",
            )
        )
    if layout.known_by_date:
        specs.append(
            TableSpec(
                "covariates_by_date",
                (_LABEL, *_numbers(layout.known_by_date, "known covariate"), _INGESTED, _RUN),
                ("date",),
                "Known covariates by period, for all stores, latest version.",
            )
        )
    if layout.covariate_versions:
        both = _numbers((*layout.known_by_store, *layout.known_by_date), "known covariate")
        specs.append(
            TableSpec(
                "covariate_versions",
                (
                    _c("store_id", TEXT, "the store, or an empty text where it is for all"),
                    _LABEL,
                    _c("known_at", DAY, "day on which the version was recorded"),
                    *both,
                    _INGESTED,
                    _RUN,
                ),
                ("store_id", "date", "known_at"),
                "Every recorded version of the known covariates.",
            )
        )
    return specs


def _forecast_tables(layout: Layout) -> list[TableSpec]:
    columns = _forecast_columns(layout.quantiles)
    forecast = (
        _STORE,
        _LABEL,
        _c("model_name", TEXT, "registered model's name"),
        _c("model_version", TEXT, "registered model's version"),
        _c("cutoff", DAY, "last day that the forecast knows"),
        *columns,
        _c("origin", TEXT, "champion, previous_champion, last_forecast or seasonal_naive"),
        _c("created_at", INSTANT, "when the forecast was made"),
        _RUN,
    )
    identity = _c("forecast_id", TEXT, "follows from cutoff, version, input and configuration")
    metrics = tuple(_c(m, NUMBER, f"{m}, by docs/metrics.md", null=True) for m in METRICS)
    return [
        TableSpec(
            "backtest_forecasts",
            (
                _c("validation_id", TEXT, "follows from data, recipes and windows"),
                _c("model", TEXT, "the model's name"),
                _c("cutoff", DAY, "last day that the forecast knows"),
                _STORE,
                _LABEL,
                columns[0],
                _c("sales", NUMBER, "what was sold; null where unknown", null=True),
                *columns[1:],
                _c("segment", TEXT, "headline, cold_start, closed_in_window or warmup"),
                _c("origin", TEXT, "model, or filled by the baseline"),
                _RUN,
            ),
            ("validation_id", "model", "cutoff", "store_id", "date"),
            "Forecasts of the walk-forward validation beside what was sold.",
        ),
        TableSpec(
            "backtest_scores",
            (
                _c("validation_id", TEXT, "the validation"),
                _c("model", TEXT, "the model's name"),
                _c("scope", TEXT, "overall, cutoff, store, segment, step, …"),
                _c("member", TEXT, "the member of the scope, as text"),
                *metrics,
                _c("n_scored", COUNT, "store-periods scored"),
                _c("n_filled", COUNT, "of these, filled by the baseline"),
                _RUN,
            ),
            ("validation_id", "model", "scope", "member"),
            "Accuracy of each model, overall and by part.",
        ),
        TableSpec(
            "forecasts",
            (identity, *forecast),
            ("forecast_id", "store_id", "date"),
            "Every forecast that was ever made.",
        ),
        TableSpec(
            "forecasts_latest",
            (*forecast[:2], identity, *forecast[2:]),
            ("store_id", "date"),
            "The newest valid forecast of each store and period.",
        ),
        TableSpec(
            "forecast_ledger",
            (
                identity,
                _STORE,
                _c("status", TEXT, "forecast, fallback or excluded"),
                _c("reason", TEXT, "why it was excluded or fell back", null=True),
                _c("expected", COUNT, "periods that were to be forecast"),
                _c("forecast", COUNT, "periods forecast by the champion"),
                _c("fallback", COUNT, "periods forecast by a fallback"),
                _c("excluded", COUNT, "periods left out"),
                _RUN,
            ),
            ("forecast_id", "store_id"),
            "What became of each store: expected = forecast + fallback + excluded.",
        ),
    ]


_COUNTS = (
    "rows_read", "rows_inserted", "rows_updated", "rows_unchanged", "rows_rejected",
    "rows_deduplicated", "rows_deleted",
)  # fmt: skip


def _ledger_tables() -> list[TableSpec]:
    return [
        TableSpec(
            "runs",
            (
                _RUN,
                _c("command", TEXT, "the storecast command"),
                _c("started_at", INSTANT, "when it began"),
                _c("ended_at", INSTANT, "when it ended"),
                _c("status", TEXT, "done, failed, refused or unhealthy"),
                _c("error_code", TEXT, "a code of docs/errors.md", null=True),
                _c("error", TEXT, "the message", null=True),
                *(_c(n, COUNT, n.replace("_", " "), null=True) for n in _COUNTS),
                _c("through", DAY, "last complete day of the source", null=True),
                _c("config_hash", TEXT, "SHA-256 of the configuration without secrets"),
                _c("tables_read", TEXT, "JSON: table to version"),
                _c("tables_written", TEXT, "JSON: table to committed version"),
                _c("details", TEXT, "JSON: what the command adds", null=True),
                _c("package_version", TEXT, "storecast's version"),
            ),
            ("run_id",),
            "The ledger. A table's version counts once a completed run names it.",
        ),
    ]
