"""``storecast.yaml``: frozen, validated before anything is read or written, secrets masked.

The whole surface of the specification is declared here. A key or value that this version does
not serve yet is refused by name; every error is reported at once, with its path in the file.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)

from storecast.backtest.judgement import Limits
from storecast.backtest.significance import windows_needed
from storecast.core.calendar import CalendarRules, Event, Frequency
from storecast.core.panel import Known, SeriesRules
from storecast.core.schema import (
    Layout,
    TableSpec,
    normalised_names,
    quantile_column,
    table_specs,
)
from storecast.core.written import DateFormat
from storecast.errors import ConfigurationError, ModelError
from storecast.models.base import check_parameters
from storecast.models.ensemble import KIND as ENSEMBLE
from storecast.models.ensemble import member_names
from storecast.models.space import space_of

NOT_SERVED = "NOT_SERVED "
"""Begins the message of a fault that a later version cures."""


class Unserved:
    """Marks a field, or all but some of its values, that a later version serves."""

    def __init__(self, *served: Any) -> None:
        self.served = served

    def __call__(self, value: Any) -> Any:
        """Refuse a value that is not among the served ones."""
        if value in self.served:
            return value
        shown = "this key" if not self.served or self.served == (None,) else f"the value {value!r}"
        also = [v for v in self.served if v is not None]
        served = f"; served: {', '.join(map(str, also))}" if also else ""
        raise ValueError(f"{NOT_SERVED}{shown} is not served by this version{served}")


def _unserved(*served: Any) -> AfterValidator:
    return AfterValidator(Unserved(*served))


class Section(BaseModel):
    """A part of the configuration: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, strict=False)


Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]


def _parse_duration(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"\d+d", value):
        return int(value[:-1])
    if isinstance(value, str) and not value.isdigit():
        raise ValueError(f"write whole days, as 1d; there is {value!r}")
    return value


def _date_format(value: str) -> str:
    """A format that says a whole day, whatever the machine."""
    DateFormat.of(value)
    return value


DateFormatText = Annotated[Text, AfterValidator(_date_format)]


class LoadLog(Section):
    """A table of the source that says how far it is complete."""

    table: Text = Field(alias="from")
    column: Text


class From(Section):
    """Where rows come from: ``from:`` a table or view, or ``query:``.

    ``date_format`` names how text dates of these rows are written, in the numeric directives of
    ``strptime``; with it nothing else is read, without it ISO 8601 is.
    """

    from_: Text | None = Field(None, alias="from")
    query: Text | None = None
    date_format: DateFormatText | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.from_ is None) == (self.query is None):
            raise ValueError("needs either `from` (a table or view) or `query`")
        return self


class SalesColumns(Section):
    """Source columns of the sales."""

    store_id: Text
    date: Text
    sales: Text


class Sales(From):
    """The sales: transactions, or store-days."""

    primary_key: Annotated[tuple[Text, ...], Field(min_length=1)]
    columns: SalesColumns
    watermark: Text | None = None
    watermark_format: DateFormatText | None = None
    overlap: Annotated[int, BeforeValidator(_parse_duration), Field(ge=0)] = 1
    through: date | LoadLog | None = None
    reconcile: Annotated[int, BeforeValidator(_parse_duration), Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _needs_a_watermark(self) -> Self:
        given = [
            n for n in ("watermark_format", "overlap", "reconcile") if n in self.model_fields_set
        ]
        if self.watermark is None and given:
            raise ValueError(
                f"{' and '.join(given)} without watermark has no meaning: every run reads and "
                "compares all rows"
            )
        return self


class StoreColumns(Section):
    """Source columns of the stores."""

    store_id: Text
    opened_on: Text | None = None
    closed_on: Text | None = None


class Stores(From):
    """The stores and their attributes."""

    columns: StoreColumns
    attributes: tuple[Text, ...] = ()
    segments: tuple[Text, ...] = ()
    valid_from: Text | None = None

    @model_validator(mode="after")
    def _segments_are_attributes(self) -> Self:
        unknown = [s for s in self.segments if s not in self.attributes]
        if unknown:
            raise ValueError(f"segments {unknown} are not among the attributes")
        return self


class CovariateColumns(Section):
    """Source columns of a covariate table; without ``store_id`` it holds for all stores."""

    store_id: Text | None = None
    date: Text


class KnownCovariate(Section):
    """How long ahead, in periods, a covariate is known, and where its recording day stands."""

    ahead: Annotated[int, Field(ge=0)] | None = None
    known_at: Text | None = None


class Covariates(From):
    """A table of covariates by store and date, or by date alone."""

    columns: CovariateColumns
    known: dict[str, KnownCovariate] = {}
    realised: tuple[Text, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _list_of_known(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping) and isinstance(raw.get("known"), list):
            return {**raw, "known": {name: {} for name in raw["known"]}}
        return raw

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.known and not self.realised:
            raise ValueError("names neither `known` nor `realised` covariates")
        if self.realised and self.columns.store_id is None:
            raise ValueError("realised covariates need a store_id column")
        if len({k.known_at for k in self.known.values()}) > 1:
            raise ValueError("all known covariates of one table need the same known_at")
        return self


class Source(Section):
    """The user's database, folder or lakehouse.

    A connection is encrypted and its certificate checked, unless ``encrypt`` or
    ``trust_server_certificate`` says otherwise.
    """

    type: Literal["mssql", "postgresql", "sqlite", "files", "table"]
    path: Text | None = None
    host: Text | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    database: Text | None = None
    auth: Literal["password", "entra_service_principal", "entra_managed_identity"] = "password"
    user: Text | None = None
    password: SecretStr | None = None
    encrypt: bool = True
    trust_server_certificate: bool = False
    sales: Sales
    stores: Stores | None = None
    covariates: tuple[Covariates, ...] = ()

    @model_validator(mode="after")
    def _keys_of_the_type(self) -> Self:
        server = (
            "host", "port", "database", "auth", "user", "password", "encrypt",
            "trust_server_certificate",
        )  # fmt: skip
        needed, taken = {
            "mssql": (("host", "database"), server),
            "postgresql": (("host", "database"), server),
            "sqlite": (("path",), ("path",)),
            "files": (("path",), ("path",)),
            "table": ((), ()),
        }[self.type]
        missing = [name for name in needed if getattr(self, name) is None]
        if missing:
            raise ValueError(f"type {self.type} needs {' and '.join(f'`{n}`' for n in missing)}")
        extra = [n for n in ("path", *server) if n in self.model_fields_set and n not in taken]
        if extra:
            what = f"takes `{taken[0]}`, not" if len(taken) == 1 else "does not take"
            raise ValueError(f"type {self.type} {what} {', '.join(extra)}")
        if self.type in ("files", "table") and any(
            f.query for f in (self.sales, self.stores, *self.covariates) if f is not None
        ):
            raise ValueError(f"type {self.type} takes `from`, not `query`")
        self._check_credentials()
        return self

    def _check_credentials(self) -> None:
        if self.type == "postgresql" and self.auth != "password":
            raise ValueError(f"type postgresql has no auth {self.auth}; it has password")
        by_password = self.type == "mssql" and self.auth != "entra_managed_identity"
        if by_password and (self.user is None or self.password is None):
            raise ValueError(f"auth {self.auth} needs `user` and `password`")
        if self.auth == "entra_managed_identity" and self.password is not None:
            raise ValueError("auth entra_managed_identity takes no password")


class Series(Section):
    """What a series is."""

    frequency: Annotated[str, Field(pattern=r"^(D|MS|ME|W-(SUN|MON|TUE|WED|THU|FRI|SAT))$")] = "D"
    season: Annotated[int, Field(ge=1)] | None = None
    missing: Literal["zero", "unknown"] = "zero"
    mask: tuple[tuple[date, date], ...] = ()
    closed_when: dict[str, float] = {}
    non_negative: bool = True

    @model_validator(mode="after")
    def _spans(self) -> Self:
        if any(first > last for first, last in self.mask):
            raise ValueError("a span of mask ends before it begins")
        return self


class Training(Section):
    """The span that every window and the final fit may see; both ends inclusive."""

    from_: date = Field(date(1900, 1, 1), alias="from")
    until: date | None = None

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.until is not None and self.until < self.from_:
            raise ValueError("until is before from")
        return self


class CalendarEvent(Section):
    """A recurring event of the user's: its name and its days, or spans of days."""

    name: Identifier
    dates: tuple[date | tuple[date, date], ...]


class Calendar(Section):
    """Holidays and events."""

    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None
    subdivision: Text | None = None
    categories: tuple[Text, ...] | None = None
    events: tuple[CalendarEvent, ...] = ()

    @model_validator(mode="after")
    def _needs_a_country(self) -> Self:
        given = [n for n in ("subdivision", "categories") if getattr(self, n) is not None]
        if self.country is None and given:
            raise ValueError(f"{' and '.join(given)} without country has no meaning")
        return self


class Forecast(Section):
    """What is forecast."""

    horizon: Annotated[int, Field(ge=1, le=730)] = 31
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = tuple(i / 10 for i in range(1, 10))
    point: Literal["median", "mean"] = "median"

    @model_validator(mode="after")
    def _levels(self) -> Self:
        if list(self.quantiles) != sorted(set(self.quantiles)) or not self.quantiles:
            raise ValueError("quantiles must ascend without repetition")
        if len({quantile_column(q) for q in self.quantiles}) < len(self.quantiles):
            raise ValueError("two quantiles are one to six decimal places")
        return self


class Validation(Section):
    """The walk-forward validation."""

    windows: Annotated[int, Field(ge=1)] = 15
    step: (
        Annotated[int, Field(ge=1)]
        | Annotated[str, Field(pattern=r"^(MS|D|W-(SUN|MON|TUE|WED|THU|FRI|SAT))$")]
    ) = "MS"
    warmup: Annotated[int, Field(ge=0)] = 3
    metric: Literal["wape", "mase", "rmsse", "sql", "wql"] = "wape"
    baseline: Text = "seasonal_naive"
    compare_from: tuple[date | None, ...] = (None,)
    align: Literal["calendar", "series_end"] = "calendar"

    @model_validator(mode="after")
    def _warmup(self) -> Self:
        if self.warmup >= self.windows:
            raise ValueError("windows include the warmup: windows must be the larger")
        if self.align == "series_end" and not isinstance(self.step, int):
            raise ValueError(
                "align: series_end goes back from each store's own end: step must be a number of "
                f"periods, not {self.step}"
            )
        if self.align == "series_end" and any(self.compare_from):
            raise ValueError("compare_from does not go with align: series_end")
        return self


DEFAULT_MODELS = ("seasonal_naive", "local_level", "ets", "theta", "lightgbm")
SERVED_MODELS = (*DEFAULT_MODELS, "xgboost", "nbeats", "tft", "ensemble")
DARTS = "darts"
"""The kind of every model that is named by its class in Darts, and the key that names it."""


class Tune(Section):
    """How a model is tuned on the windows before the first scored one."""

    trials: Annotated[int, Field(ge=2, le=1000)]


class ModelConfig(BaseModel):
    """A model to validate: a name, or a mapping with ``name`` and its parameters."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: Identifier
    kind: str = ""
    tune: Tune | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, raw: Any) -> Any:
        return {"name": raw} if isinstance(raw, str) else raw

    @model_validator(mode="after")
    def _known(self) -> Self:
        by_class = DARTS in (self.__pydantic_extra__ or {})
        kind = self.kind or (DARTS if by_class else self.name)
        if by_class and kind != DARTS:
            raise ValueError(f"the key `{DARTS}` names a class, so `kind` is not {kind!r}")
        if kind not in (*SERVED_MODELS, DARTS) and kind not in _third_party_models():
            near = difflib.get_close_matches(kind, SERVED_MODELS, 1)
            raise ValueError(
                f"there is no model {kind!r}" + (f"; did you mean {near[0]!r}?" if near else "")
            )
        object.__setattr__(self, "kind", kind)
        return self

    @property
    def parameters(self) -> dict[str, Any]:
        """What the mapping says beside ``name``, ``kind`` and ``tune``."""
        return dict(self.__pydantic_extra__ or {})

    @property
    def trials(self) -> int:
        """By how many trials it is tuned; 0: not at all."""
        return self.tune.trials if self.tune else 0


def _third_party_models() -> tuple[str, ...]:
    from importlib.metadata import entry_points

    return tuple(e.name for e in entry_points(group="storecast.models"))


GATE_WINDOWS = 6
"""Windows that the gate keeps where the configuration does not say."""


class Gate(Section):
    """The promotion gate.

    ``windows`` null: as ``Config.gated`` counts them. The bounds are those of
    ``backtest.judgement.Limits``.
    """

    windows: Annotated[int, Field(ge=1)] | None = None
    min_gain: Annotated[float, Field(ge=0, lt=1)] = 0.0
    alpha: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    max_bias: Annotated[float, Field(gt=0)] = Limits.max_bias
    coverage: tuple[Share, Share] | None = None
    max_segment_loss: Annotated[float, Field(ge=0)] = Limits.max_segment_loss
    max_shift: Annotated[float, Field(gt=0)] = Limits.max_shift
    max_level: Annotated[float, Field(gt=0)] = Limits.max_level

    @model_validator(mode="after")
    def _can_pass(self) -> Self:
        if self.windows is not None and 0.5**self.windows > self.alpha:
            raise ValueError(
                f"{self.windows} windows cannot show a gain at alpha {self.alpha:g}, since even a "
                f"model better in each of them is so by chance once in {2**self.windows}: it "
                f"takes {windows_needed(self.alpha)} windows"
            )
        if self.coverage is not None and self.coverage[0] >= self.coverage[1]:
            raise ValueError("coverage is the lowest and the highest share: it must ascend")
        return self

    @property
    def limits(self) -> Limits:
        """What the gate asks for."""
        return Limits(**self.model_dump(exclude={"windows"}))


class Inference(Section):
    """What is tried when the champion cannot forecast, in order."""

    fallback: tuple[
        Literal["previous_champion", "last_forecast", "seasonal_naive", "empty"], ...
    ] = ("previous_champion", "last_forecast", "seasonal_naive", "empty")


class Tables(Section):
    """The lakehouse."""

    retention_days: Annotated[int, Field(ge=7)] = 400


MODEL_NAME = r"^[^\s./:\\]+(\.[^\s./:\\]+){0,2}$"
"""One to three levels: model, schema.model, catalog.schema.model."""


class MLflowSettings(Section):
    """Where MLflow stands; null: in the project folder."""

    tracking_uri: Text | None = None
    registry_uri: Text | None = None
    experiment: Text | None = None
    model_name: Annotated[str, Field(pattern=MODEL_NAME)] | None = None


class Config(Section):
    """The whole of ``storecast.yaml``."""

    project: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
    locale: Literal["en", "pt-BR"] = "en"
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] | None = None
    platform: Annotated[Literal["local", "spark", "databricks"], _unserved("local")] = "local"
    catalog: Identifier = "main"
    schema_: Identifier = Field("storecast", alias="schema")
    warehouse: Annotated[Text | None, _unserved(None)] = None
    tables: Tables = Tables()
    source: Source
    series: Series = Series()
    training: Training = Training()
    calendar: Calendar = Calendar()
    forecast: Forecast = Forecast()
    validation: Validation = Validation()
    models: tuple[ModelConfig, ...] = tuple(ModelConfig(name=name) for name in DEFAULT_MODELS)
    gate: Gate | None = None
    inference: Inference = Inference()
    max_rejected: Annotated[float, Field(ge=0, le=1)] = 0.01
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    mlflow: MLflowSettings = MLflowSettings()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = [m.name for m in self.models]
        if not names:
            raise ValueError("models names none")
        if len(set(names)) < len(names):
            raise ValueError("two models have one name")
        for model in self.models:
            try:
                check_parameters(model.name, model.kind, model.parameters)
                if model.kind == ENSEMBLE:
                    member_names(model, self.models)
                if model.tune:
                    space_of(model.name, model.kind, model.parameters)
                    self._check_tuned(model.name)
            except ModelError as fault:
                raise ValueError(fault.message) from fault
        if self.validation.baseline not in names:
            raise ValueError(
                f"validation.baseline {self.validation.baseline!r} is not among the models"
            )
        if any(m.name == self.validation.baseline and m.kind == ENSEMBLE for m in self.models):
            raise ValueError(
                "validation.baseline fills for models that fail, so it cannot be an ensemble"
            )
        known = {n for table in self.source.covariates for n in table.known}
        strangers = [n for n in self.series.closed_when if n not in known]
        if strangers:
            raise ValueError(f"series.closed_when names {strangers}, no known covariate")
        self._check_alignment()
        self._check_gate()
        self._check_calendar()
        return self

    def _check_tuned(self, model: str) -> None:
        if not self.validation.warmup:
            raise ValueError(
                f"{model} is to be tuned on the warm-up windows, and validation.warmup is 0"
            )

    def _check_alignment(self) -> None:
        """Each store's dates are moved by its own end: days of the calendar cannot be kept."""
        if self.validation.align == "calendar":
            return
        stores = self.source.stores
        given = {
            "series.mask": bool(self.series.mask),
            "source.stores.valid_from": stores is not None and stores.valid_from is not None,
            "known_at": any(k.known_at for t in self.source.covariates for k in t.known.values()),
        }
        refused = [name for name, there in given.items() if there]
        if refused:
            raise ValueError(f"validation.align: series_end does not go with {refused}")

    def _check_gate(self) -> None:
        """What the gate keeps takes no part in choosing: both need windows."""
        windows = self.gate.windows if self.gate else None
        if windows is None:
            return
        needed = self.validation.warmup + windows + 1
        if self.validation.windows < needed:
            raise ValueError(
                f"gate.windows {windows} leaves none of the {self.validation.windows} "
                f"validation.windows to choose a model by, {self.validation.warmup} of which are "
                f"warm-up: set validation.windows to at least {needed}, or fewer gate.windows"
            )

    def _check_calendar(self) -> None:
        stores = self.source.stores
        attributes = {n: n for n in stores.attributes} if stores is not None else {}
        try:
            self._calendar_rules(attributes)
        except ConfigurationError as fault:
            raise ValueError(f"calendar: {fault.message}; there is {fault.expected}") from fault

    # ------------------------------------------------------------------ derived

    def gated(self) -> Gate:
        """The gate as it is applied, its windows a number.

        Where the configuration does not say, it keeps 6, or half of the scored windows, rounded
        down, where these are fewer than twelve.
        """
        gate = self.gate or Gate()
        if gate.windows is not None:
            return gate
        scored = self.validation.windows - self.validation.warmup
        return gate.model_copy(update={"windows": min(GATE_WINDOWS, scored // 2)})

    def other_starts(self) -> tuple[date, ...]:
        """First days of training that are compared with the configured one; null is that one."""
        days = {day for day in self.validation.compare_from if day is not None}
        return tuple(sorted(days - {self.training.from_}))

    def layout(self) -> Layout:
        """What this configuration adds to the fixed part of the tables."""
        sales, covariates = self.source.sales, self.source.covariates
        given = {sales.columns.store_id: "store_id", sales.columns.date: "date"}
        own = [c for c in sales.primary_key if c not in given]
        taken = ("store_id", "date", "sales", "watermark", "ingested_at", "run_id")
        renamed = dict(zip(own, normalised_names(own, taken), strict=True))
        key = tuple(given.get(c) or renamed[c] for c in sales.primary_key)
        store_day = set(key) == {"store_id", "date"} and self.series.frequency == "D"
        tables = [
            (t, f"source.covariates[{i}] ({t.from_ or 'query'})") for i, t in enumerate(covariates)
        ]
        known_store = [(n, where) for t, where in tables if t.columns.store_id for n in t.known]
        known_date = [(n, where) for t, where in tables if not t.columns.store_id for n in t.known]
        realised = [(n, where) for t, where in tables for n in t.realised]
        each = [*known_store, *known_date, *realised]
        numbers = normalised_names(
            [name for name, _ in each],
            ("store_id", "date", "sales", "known_at", "period", "step", "closed", "ingested_at",
             "run_id"),
            [where for _, where in each],
        )  # fmt: skip
        first, second = len(known_store), len(known_store) + len(known_date)
        stores = self.source.stores
        return Layout(
            transaction_key=None if store_day else key,
            has_watermark=sales.watermark is not None,
            known_by_store=numbers[:first],
            known_by_date=numbers[first:second],
            realised=numbers[second:],
            attributes=self._attributes(),
            store_versions=stores is not None and stores.valid_from is not None,
            covariate_versions=any(k.known_at for t in covariates for k in t.known.values()),
            quantiles=self.forecast.quantiles,
        )

    def _attributes(self) -> tuple[str, ...]:
        stores = self.source.stores
        own = ("store_id", "opened_on", "closed_on", "valid_from", "ingested_at", "run_id",
               "sales", "date", "period", "dormant")  # fmt: skip
        return normalised_names(stores.attributes, own) if stores else ()

    def specs(self) -> dict[str, TableSpec]:
        """Every table of this project, by name."""
        return table_specs(self.layout())

    def rules(self) -> SeriesRules:
        """What the panel, the windows and the artefact need to know of the configuration."""
        layout, stores = self.layout(), self.source.stores
        frequency = Frequency(self.series.frequency)
        settings = [
            (k, t) for by_store in (True, False) for t in self.source.covariates
            if (t.columns.store_id is not None) == by_store for k in t.known.items()
        ]  # fmt: skip
        columns = (*layout.known_by_store, *layout.known_by_date)
        renamed = {name: column for ((name, _), _), column in zip(settings, columns, strict=True)}
        attributes = dict(zip(stores.attributes, layout.attributes, strict=True)) if stores else {}
        return SeriesRules(
            frequency=frequency,
            season=self.series.season or frequency.season,
            missing=self.series.missing,
            mask=self.series.mask,
            closed_when={renamed[n]: v for n, v in self.series.closed_when.items()},
            non_negative=self.series.non_negative,
            training_from=self.training.from_,
            known={renamed[n]: Known(ahead=s.ahead) for (n, s), _ in settings},
            realised=layout.realised,
            attributes=layout.attributes,
            segments=tuple(attributes[s] for s in stores.segments) if stores else (),
            timeless=not layout.store_versions,
            calendar=self._calendar_rules(attributes),
            horizon=self.forecast.horizon,
            quantiles=self.forecast.quantiles,
            point=self.forecast.point,
        )

    def _calendar_rules(self, attributes: Mapping[str, str]) -> CalendarRules:
        subdivision = self.calendar.subdivision
        by_attribute = attributes.get(subdivision) if subdivision else None
        return CalendarRules(
            country=self.calendar.country,
            subdivision=None if by_attribute else subdivision,
            subdivision_attribute=by_attribute,
            categories=self.calendar.categories,
            events=tuple(Event(e.name, _event_days(e)) for e in self.calendar.events),
        )

    def model_name(self) -> str:
        """The registered model's name, of three levels on every platform.

        ``mlflow.model_name``, or else ``project``; the levels that it leaves out are ``catalog``
        and ``schema``.
        """
        given = (self.mlflow.model_name or self.project).split(".")
        return ".".join([*(self.catalog, self.schema_)[: 3 - len(given)], *given])

    def plain(self) -> dict[str, Any]:
        """Every key as JSON has it, defaults filled in, without the password."""
        plain = self.model_dump(mode="json", by_alias=True, exclude={"source": {"password"}})
        plain["models"] = [
            {"name": m.name, "kind": m.kind, **({"tune": m.trials} if m.tune else {})}
            | m.parameters
            for m in self.models
        ]
        return plain

    def hash(self) -> str:
        """SHA-256 of the configuration; secrets do not enter it."""
        return hashlib.sha256(json.dumps(self.plain(), sort_keys=True).encode()).hexdigest()


def _event_days(event: CalendarEvent) -> tuple[tuple[date, date], ...]:
    return tuple(d if isinstance(d, tuple) else (d, d) for d in event.dates)
