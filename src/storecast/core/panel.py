"""The regular store × period panel: a store's life, and what its absent periods mean."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from storecast.core.calendar import (
    PERIOD,
    CalendarRules,
    Event,
    Frequency,
    Span,
    calendar_features,
    feature_names,
    known_subdivision,
)
from storecast.core.free_days import FreeDays
from storecast.errors import Code, ConfigurationError, InputError

date = dt.date
OWN_COLUMNS: Final = ("store_id", "date", "period", "step", "sales", "closed", "open", "segment")
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Known:
    """A known covariate: for how many periods past the cutoff; None is the whole horizon."""

    ahead: int | None = None


@dataclass(frozen=True)
class SeriesRules:
    """What the panel, the windows and the models need to know of the configuration.

    ``mask`` spans have both ends inclusive. ``closed_when`` maps a known covariate to the value
    that forces a forecast of zero. ``timeless``: attributes have no versions.

    Raises:
        ConfigurationError: COLUMN_NAMES_COLLIDE where a covariate has the name of a calendar
            feature or of a column of the panel.
    """

    frequency: Frequency
    season: int
    missing: Literal["zero", "unknown"]
    training_from: date
    mask: tuple[Span, ...] = ()
    closed_when: dict[str, float] = field(default_factory=dict)
    non_negative: bool = True
    known: dict[str, Known] = field(default_factory=dict)
    realised: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    timeless: bool = True
    calendar: CalendarRules = field(default_factory=CalendarRules)
    horizon: int = 1
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    point: Literal["median", "mean"] = "median"

    def __post_init__(self) -> None:
        taken = {*OWN_COLUMNS, *feature_names(self.calendar, self.frequency)}
        for name in (*self.known, *self.realised):
            if name in taken:
                raise ConfigurationError(
                    Code.COLUMN_NAMES_COLLIDE,
                    f"the covariate {name!r} has the name of a column of storecast's own",
                    where=f"source.covariates: {name}",
                    expected=f"a name other than {', '.join(sorted(taken))}",
                    found=name,
                    next_step="rename it in a view or in `query:`",
                )
            taken.add(name)

    @property
    def calendar_columns(self) -> tuple[str, ...]:
        """Names of the calendar features."""
        return feature_names(self.calendar, self.frequency)

    @property
    def first_period(self) -> int:
        """The first period that lies wholly in the training span."""
        return self.frequency.ordinal(self.training_from - dt.timedelta(days=1)) + 1

    def to_json(self) -> str:
        """Plain JSON; ``from_json`` gives an equal object back."""
        plain = {
            "frequency": self.frequency.code,
            "season": self.season,
            "missing": self.missing,
            "training_from": self.training_from.isoformat(),
            "mask": _spans_out(self.mask),
            "closed_when": self.closed_when,
            "non_negative": self.non_negative,
            "known": {name: known.ahead for name, known in self.known.items()},
            "realised": self.realised,
            "attributes": self.attributes,
            "segments": self.segments,
            "timeless": self.timeless,
            "calendar": {
                "country": self.calendar.country,
                "subdivision": self.calendar.subdivision,
                "subdivision_attribute": self.calendar.subdivision_attribute,
                "categories": self.calendar.categories,
                "events": [[e.name, _spans_out(e.spans)] for e in self.calendar.events],
            },
            "horizon": self.horizon,
            "quantiles": self.quantiles,
            "point": self.point,
        }
        return json.dumps(plain, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, kept: FreeDays | None = None) -> Self:
        """Rebuild from ``to_json``.

        Args:
            text: of ``to_json``.
            kept: the holidays of the training, where they were kept beside it.
        """
        plain: dict[str, Any] = json.loads(text)
        calendar = plain.pop("calendar")
        categories = calendar.pop("categories")
        events = tuple(Event(name, _spans_in(spans)) for name, spans in calendar.pop("events"))
        tuples: dict[str, Any] = {
            name: tuple(plain.pop(name))
            for name in ("realised", "attributes", "segments", "quantiles")
        }
        return cls(
            frequency=Frequency(plain.pop("frequency")),
            training_from=date.fromisoformat(plain.pop("training_from")),
            mask=_spans_in(plain.pop("mask")),
            known={name: Known(ahead) for name, ahead in plain.pop("known").items()},
            calendar=CalendarRules(
                **calendar,
                categories=None if categories is None else tuple(categories),
                events=events,
                kept=kept,
            ),
            **tuples,
            **plain,
        )


def _spans_out(spans: Iterable[Span]) -> list[list[str]]:
    return [[day.isoformat() for day in span] for span in spans]


def _spans_in(spans: list[list[str]]) -> tuple[Span, ...]:
    return tuple((date.fromisoformat(a), date.fromisoformat(b)) for a, b in spans)


@dataclass(frozen=True, kw_only=True)
class History:
    """What the tables say, uncut: canonical columns, dates are labels of periods.

    Attributes:
        sales: store_id, date, sales and the realised covariates; one row a store and period.
        stores: store_id, opened_on, closed_on and the attributes, latest version; None: no table.
        store_versions: the same and valid_from, where versions are kept.
        covariates: store_id, date and known covariates by store, latest version.
        covariates_by_date: date and known covariates for all stores, latest version.
        covariate_versions: store_id ('' for all stores), date, known_at and known covariates. A
            null says nothing of a covariate: its last value recorded by then holds.
        through: last day for which the source is complete.
        rules: how to read it.
    """

    sales: pl.DataFrame
    stores: pl.DataFrame | None = None
    store_versions: pl.DataFrame | None = None
    covariates: pl.DataFrame | None = None
    covariates_by_date: pl.DataFrame | None = None
    covariate_versions: pl.DataFrame | None = None
    through: date
    rules: SeriesRules

    def panel(self) -> pl.DataFrame:
        """What happened, store by period, to the last complete period.

        Returns:
            store_id, date, period, sales (null is unknown), open; sorted by store and period,
            without gap from a store's start to its closing or the last complete period. Not
            ``open``: a covariate of ``closed_when`` says so.
        """
        last = self.rules.frequency.complete(self.through)
        life = lives(self, last)
        grid = Grid.over(life, life["start"], life["end"])
        known = {c: grid.known(self, c, last, None) for c in self.rules.closed_when}
        return grid.frame(self.rules).with_columns(
            pl.Series("sales", grid.sales(self), nan_to_null=True),
            pl.Series("open", ~forced_closed(self.rules, known, grid.height)),
        )


def lives(history: History, last: int) -> pl.DataFrame:
    """The life of each store, as far as it was known at the end of the period ``last``.

    A store is there from the period that holds its opening, where the opening was known by
    then, else from its first sale, to the period that holds its closing. Nothing counts before
    ``training.from`` nor before the chain's first sale; an opening or closing later than the
    cutoff is not known; a closing before the opening is one of an earlier life.

    Returns:
        store_id, opened_on, closed_on (both null unless known), start, end (ordinals,
        inclusive), known_closed (bool), sorted by store_id: the stores with a life of at least
        one period.
    """
    rules, frequency = history.rules, history.rules.frequency
    cutoff = frequency.last_day(last)
    seen = (
        history.sales.lazy()
        .select("store_id", period=frequency.ordinals("date"))
        .filter(pl.col("period").is_between(rules.first_period, last))
        .group_by("store_id")
        .agg(first_sale=pl.col("period").min())
        .collect()
    )
    chain = seen["first_sale"].min()
    begin = max(rules.first_period, chain if isinstance(chain, int) else rules.first_period)

    def by_then(name: str) -> pl.Expr:
        return pl.when(pl.col(name) <= cutoff).then(pl.col(name)).alias(name)

    return (
        seen.join(lifetimes(history.stores), on="store_id", how="full", coalesce=True)
        .with_columns(by_then("opened_on"), by_then("closed_on"))
        .with_columns(
            closed_on=pl.when(
                pl.col("opened_on").is_null() | (pl.col("closed_on") >= pl.col("opened_on"))
            ).then(pl.col("closed_on"))
        )
        .with_columns(
            start=pl.coalesce(frequency.ordinals("opened_on"), "first_sale").clip(
                lower_bound=begin
            ),
            end=pl.coalesce(frequency.ordinals("closed_on"), pl.lit(last, dtype=PERIOD)),
            known_closed=pl.col("closed_on").is_not_null(),
        )
        .filter(pl.col("start") <= pl.col("end"))
        .select("store_id", "opened_on", "closed_on", "start", "end", "known_closed")
        .sort("store_id")
    )


def lifetimes(stores: pl.DataFrame | None) -> pl.DataFrame:
    """store_id, opened_on and closed_on of a table of stores; null where it does not say."""
    schema = {"store_id": pl.String, "opened_on": pl.Date, "closed_on": pl.Date}
    if stores is None:
        return pl.DataFrame(schema=schema)
    given = [pl.col(n) if n in stores.columns else pl.lit(None).alias(n) for n in schema]
    return stores.select(given).cast(schema)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Grid:
    """A regular set of store-periods; values are placed into it by position.

    Attributes:
        stores: store_id, subdivision and ``offset``, one row a store, in order.
        starts: ordinal of each store's first row, shape (S,).
        lengths: rows of each store, shape (S,).
        codes: number of the store of each row, shape (R,).
        periods: ordinal of each row, shape (R,).
    """

    stores: pl.Series
    starts: Integers
    lengths: Integers
    codes: Integers
    periods: Integers

    @classmethod
    def over(cls, stores: pl.DataFrame, start: pl.Series, end: pl.Series) -> Self:
        """Rows ``start`` to ``end``, both inclusive, for each row of ``stores``."""
        starts = start.to_numpy().astype(np.int64)
        lengths = np.maximum(end.to_numpy().astype(np.int64) - starts + 1, 0)
        codes = np.repeat(np.arange(len(starts)), lengths)
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return cls(stores["store_id"], starts, lengths, codes, starts[codes] + within)

    @property
    def height(self) -> int:
        """R, the number of rows."""
        return len(self.codes)

    def frame(self, rules: SeriesRules) -> pl.DataFrame:
        """store_id, date, period: one row a store-period."""
        period = pl.Series("period", self.periods, dtype=PERIOD)
        return pl.DataFrame(
            [
                self.stores.gather(self.codes),
                rules.frequency.labels(period).alias("date"),
                period,
            ]
        )

    def place(self, rows: pl.DataFrame, column: str, rules: SeriesRules, fill: float) -> Floats:
        """Values of ``column`` by store and period, shape (R,); NaN is unknown, ``fill`` absent.

        Raises:
            InputError: INPUT_INVALID where a store and period occur twice.
        """
        numbered = pl.DataFrame(
            {"store_id": self.stores, "_code": np.arange(len(self.stores), dtype=np.int64)}
        )
        found = rows.select(
            "store_id",
            _period=rules.frequency.ordinals("date").cast(pl.Int64),
            _value=pl.col(column).cast(pl.Float64).fill_null(float("nan")),
        ).join(numbered, on="store_id", how="inner")
        codes, values = found["_code"].to_numpy(), found["_value"].to_numpy()
        within = found["_period"].to_numpy() - self.starts[codes]
        inside = (within >= 0) & (within < self.lengths[codes])
        offsets = np.cumsum(self.lengths) - self.lengths
        positions = (offsets[codes] + within)[inside]
        times = np.bincount(positions, minlength=self.height)
        if times.size and times.max() > 1:
            twice = int(times.argmax())
            raise InputError(
                Code.INPUT_INVALID,
                f"a store and period occur {times[twice]} times",
                where=f"store {self.stores[int(self.codes[twice])]!r}, "
                f"{rules.frequency.label(int(self.periods[twice]))}",
                expected="one row a store and period",
            )
        placed = np.full(self.height, fill)
        placed[positions] = values[inside]
        return placed

    def sales(self, history: History) -> Floats:
        """Sales, shape (R,): absent periods by ``missing``, masked ones NaN."""
        rules = history.rules
        absent = 0.0 if rules.missing == "zero" else float("nan")
        sales = self.place(history.sales, "sales", rules, absent)
        sales[masked(rules, self.periods)] = float("nan")
        return sales

    def known(self, history: History, column: str, last: int, ahead: int | None) -> Floats:
        """A known covariate as recorded by the end of period ``last``, shape (R,).

        NaN where it is not given, and later than ``ahead`` periods past ``last``.
        """
        rules = history.rules
        versions = history.covariate_versions
        if versions is not None and column in versions.columns:
            values = self._versions(versions, column, rules, rules.frequency.last_day(last))
        elif history.covariates is not None and column in history.covariates.columns:
            values = self.place(history.covariates, column, rules, float("nan"))
        elif history.covariates_by_date is not None and column in (
            history.covariates_by_date.columns
        ):
            values = self._by_period(history.covariates_by_date, column, rules)
        else:
            values = np.full(self.height, float("nan"))
        if ahead is not None:
            values[self.periods > last + ahead] = float("nan")
        return values

    def _versions(
        self, versions: pl.DataFrame, column: str, rules: SeriesRules, cutoff: date
    ) -> Floats:
        newest = (
            versions.with_columns(pl.col(column).cast(pl.Float64).fill_nan(None))
            .filter((pl.col("known_at") <= cutoff) & pl.col(column).is_not_null())
            .sort("known_at")
            .group_by("store_id", "date")
            .agg(pl.col(column).last())
        )
        own = self.place(newest.filter(pl.col("store_id") != ""), column, rules, float("nan"))
        for_all = self._by_period(newest.filter(pl.col("store_id") == ""), column, rules)
        return np.where(np.isnan(own), for_all, own)

    def _by_period(self, rows: pl.DataFrame, column: str, rules: SeriesRules) -> Floats:
        """A column that is the same for all stores, by period."""
        if not self.height:
            return np.empty(0)
        first, last = int(self.periods.min()), int(self.periods.max())
        span = Grid.over(pl.DataFrame({"store_id": [""]}), pl.Series([first]), pl.Series([last]))
        once = span.place(
            rows.select(pl.lit("").alias("store_id"), "date", column), column, rules, float("nan")
        )
        spread: Floats = once[self.periods - first]
        return spread

    def calendar(self, rules: SeriesRules, subdivisions: pl.Series | None) -> dict[str, Floats]:
        """Calendar features, each of shape (R,); ``subdivisions`` has one value a store."""
        names = rules.calendar_columns
        result = {name: np.zeros(self.height) for name in names}
        if not names or not self.height:
            return result
        first, last = int(self.periods.min()), int(self.periods.max())
        given = [None] * len(self.stores) if subdivisions is None else subdivisions.to_list()
        # A store whose attribute is no subdivision has the country's own holidays, rather than
        # that one bad row stops the whole chain; `doctor` names it.
        known = {name: known_subdivision(rules.calendar, name) for name in dict.fromkeys(given)}
        own = [known[name] for name in given]
        numbers = {name: n for n, name in enumerate(dict.fromkeys(own))}
        of_row = np.array([numbers[name] for name in own], dtype=np.int64)[self.codes]
        for subdivision, number in numbers.items():
            features = calendar_features(rules.calendar, rules.frequency, first, last, subdivision)
            rows = of_row == number
            for name in names:
                result[name][rows] = features[name].to_numpy()[self.periods[rows] - first]
        return result


def masked(rules: SeriesRules, periods: Integers) -> npt.NDArray[np.bool_]:
    """Which periods overlap a span of the mask, shape of ``periods``."""
    result = np.zeros(len(periods), dtype=np.bool_)
    for first, last in rules.mask:
        result |= (periods >= rules.frequency.ordinal(first)) & (
            periods <= rules.frequency.ordinal(last)
        )
    return result


def forced_closed(
    rules: SeriesRules, known: dict[str, Floats], height: int
) -> npt.NDArray[np.bool_]:
    """Where a covariate of ``closed_when`` has the value that closes a store, shape (height,)."""
    result = np.zeros(height, dtype=np.bool_)
    for name, value in rules.closed_when.items():
        if name in known:
            result |= known[name] == value
    return result
