"""Periods and their numbers; holidays and events as numeric features of a period."""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, overload

import holidays
import polars as pl

from storecast.core.free_days import FreeDays
from storecast.core.schema import normalised
from storecast.errors import Code, ConfigurationError

date = dt.date

_EPOCH: Final = date(1970, 1, 1)
_WEEKDAYS: Final = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
CODES: Final = ("D", *(f"W-{day}" for day in ("SUN", *_WEEKDAYS[:6])), "MS", "ME")
PERIOD: Final = pl.Int32
"""Type of a period's number in every frame."""


@dataclass(frozen=True)
class Frequency:
    """How time is cut into periods: ``D``, ``W-SUN`` … ``W-SAT``, ``MS`` or ``ME``.

    A period has a number (its ordinal): consecutive integers, negative before 1970. It is
    labelled by its day (D), its last day (W, ME) or its first day (MS); it is complete, and
    compared, by its last day whatever its label.
    """

    code: str

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ConfigurationError(
                Code.CONFIG_INVALID,
                f"no frequency {self.code!r}",
                where="series.frequency",
                expected=", ".join(CODES),
                found=repr(self.code),
                next_step=_nearest(self.code, CODES),
            )

    @property
    def kind(self) -> str:
        """``D``, ``W`` or ``M``."""
        return self.code[0]

    @property
    def season(self) -> int:
        """Periods of the season that every chain has: a week of days, a year of the others."""
        return {"D": 7, "W": 52, "M": 12}[self.kind]

    @property
    def silence(self) -> int:
        """Periods without a sale after which a store is dormant: a quarter of a year."""
        return {"D": 91, "W": 13, "M": 3}[self.kind]

    @property
    def _anchor(self) -> int:
        """Days from 1970-01-01, a Thursday, to the last day of week 0."""
        return (_WEEKDAYS.index(self.code[2:]) - 3) % 7

    def ordinal(self, day: date) -> int:
        """Number of the period that holds the day."""
        if self.kind == "M":
            return (day.year - 1970) * 12 + day.month - 1
        days = (day - _EPOCH).days
        return days if self.kind == "D" else (days - self._anchor + 6) // 7

    def first_day(self, ordinal: int) -> date:
        """First day of the period, which belongs to it."""
        if self.kind == "M":
            return date(1970 + ordinal // 12, ordinal % 12 + 1, 1)
        if self.kind == "D":
            return _EPOCH + dt.timedelta(days=ordinal)
        return _EPOCH + dt.timedelta(days=self._anchor + 7 * ordinal - 6)

    def last_day(self, ordinal: int) -> date:
        """Last day of the period, which belongs to it."""
        return self.first_day(ordinal + 1) - dt.timedelta(days=1)

    def label(self, ordinal: int) -> date:
        """The date by which the period is known in tables."""
        return self.first_day(ordinal) if self.code == "MS" else self.last_day(ordinal)

    def complete(self, through: date) -> int:
        """Number of the newest period whose last day is at or before ``through``."""
        return self.ordinal(through + dt.timedelta(days=1)) - 1

    @overload
    def ordinals(self, days: pl.Series) -> pl.Series: ...
    @overload
    def ordinals(self, days: pl.Expr | str) -> pl.Expr: ...
    def ordinals(self, days: pl.Series | pl.Expr | str) -> pl.Series | pl.Expr:
        """``ordinal`` of each day, as Int32; a string is a column's name."""
        if isinstance(days, pl.Series):
            return pl.select(self.ordinals(pl.lit(days))).to_series().alias(days.name)
        days = pl.col(days) if isinstance(days, str) else days
        if self.kind == "M":
            months = days.dt.year().cast(PERIOD) - 1970
            return months * 12 + days.dt.month().cast(PERIOD) - 1
        number = days.cast(pl.Date).to_physical().cast(PERIOD)
        return number if self.kind == "D" else (number - self._anchor + 6) // 7

    @overload
    def labels(self, ordinals: pl.Series) -> pl.Series: ...
    @overload
    def labels(self, ordinals: pl.Expr | str) -> pl.Expr: ...
    def labels(self, ordinals: pl.Series | pl.Expr | str) -> pl.Series | pl.Expr:
        """``label`` of each ordinal, as Date; a string is a column's name."""
        if self.code == "MS":
            return self.first_days(ordinals)
        return self.last_days(ordinals)

    @overload
    def first_days(self, ordinals: pl.Series) -> pl.Series: ...
    @overload
    def first_days(self, ordinals: pl.Expr | str) -> pl.Expr: ...
    def first_days(self, ordinals: pl.Series | pl.Expr | str) -> pl.Series | pl.Expr:
        """``first_day`` of each ordinal, as Date."""
        if isinstance(ordinals, pl.Series):
            return pl.select(self.first_days(pl.lit(ordinals))).to_series().alias(ordinals.name)
        number = (pl.col(ordinals) if isinstance(ordinals, str) else ordinals).cast(PERIOD)
        if self.kind == "M":
            return pl.date(1970 + number // 12, number % 12 + 1, 1)
        if self.kind == "D":
            return number.cast(pl.Date)
        return (number * 7 + (self._anchor - 6)).cast(pl.Date)

    @overload
    def last_days(self, ordinals: pl.Series) -> pl.Series: ...
    @overload
    def last_days(self, ordinals: pl.Expr | str) -> pl.Expr: ...
    def last_days(self, ordinals: pl.Series | pl.Expr | str) -> pl.Series | pl.Expr:
        """``last_day`` of each ordinal, as Date."""
        if isinstance(ordinals, pl.Series):
            return pl.select(self.last_days(pl.lit(ordinals))).to_series().alias(ordinals.name)
        number = pl.col(ordinals) if isinstance(ordinals, str) else ordinals
        return (self.first_days(number + 1).to_physical().cast(PERIOD) - 1).cast(pl.Date)

    def __str__(self) -> str:
        return self.code


Span = tuple[date, date]
"""First and last day, both inclusive."""


@dataclass(frozen=True)
class Event:
    """A recurring event of the user's: its name and its spans, both ends inclusive."""

    name: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class CalendarRules:
    """Which holidays and events count.

    ``subdivision`` is a code for all stores, ``subdivision_attribute`` the attribute that holds
    each store's own. ``categories`` None: public and, where the country has it, optional.
    ``kept`` are the holidays that a model was trained with: they are used in place of those that
    the installed package has, for the years that they cover.

    Raises:
        ConfigurationError: CONFIG_INVALID where the country, subdivision or a category is unknown.
    """

    country: str | None = None
    subdivision: str | None = None
    subdivision_attribute: str | None = None
    categories: tuple[str, ...] | None = None
    events: tuple[Event, ...] = ()
    kept: FreeDays | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.country is not None and self.kept is None:
            _holidays(self.country, self.subdivision, self.categories, (2020,))


def known_subdivision(rules: CalendarRules, name: str | None) -> str | None:
    """The name where the country has such a subdivision, else None: its own holidays alone."""
    if rules.country is None or not name:
        return None
    if rules.kept is not None:
        return name if rules.kept.knows(name) else None
    try:
        _holidays(rules.country, name, rules.categories, (2020,))
    except ConfigurationError:
        return None
    return name


def feature_names(rules: CalendarRules, frequency: Frequency) -> tuple[str, ...]:
    """Columns of ``calendar_features`` after ``period``, in order."""
    names = [f"event_{normalised(event.name)}" for event in rules.events]
    if rules.country is not None:
        names = ["holiday_days", "holiday_eve_days", *names]
    return ("days", "weekend_days", *names) if frequency.kind == "M" else tuple(names)


def calendar_features(
    rules: CalendarRules,
    frequency: Frequency,
    first: int,
    last: int,
    subdivision: str | None = None,
) -> pl.DataFrame:
    """Numeric features of the periods ``first`` to ``last``, both inclusive.

    They follow from the calendar alone, so that they are the same at any cutoff. Each column
    is a count of days in the period: ``holiday_days``, ``holiday_eve_days`` (working days
    before a holiday; a country has to be set), ``event_<name>`` for each event; for months also
    ``days`` and ``weekend_days`` (Saturdays and Sundays).

    Args:
        rules: holidays and events.
        frequency: of the periods.
        first: ordinal of the first period.
        last: ordinal of the last period.
        subdivision: of one store; None takes that of the rules.

    Returns:
        ``period`` (Int32) and the columns of ``feature_names`` as Float64, one row a period.
    """
    names = feature_names(rules, frequency)
    periods = pl.DataFrame({"period": pl.int_range(first, last + 1, dtype=PERIOD, eager=True)})
    if not names or last < first:
        return periods.with_columns(pl.lit(0.0).alias(n) for n in names)
    start, end = frequency.first_day(first), frequency.last_day(last)
    days = pl.DataFrame({"day": pl.date_range(start, end, eager=True)})
    counted: dict[str, pl.Expr] = {
        "days": pl.lit(True),
        "weekend_days": pl.col("day").dt.weekday() > 5,
    }
    if rules.country is not None:
        free = _free(rules, start, end + dt.timedelta(days=1), subdivision)
        eves = [day - dt.timedelta(days=1) for day in free]
        is_free = pl.col("day").is_in(free or [date.max])
        counted["holiday_days"] = is_free
        counted["holiday_eve_days"] = pl.col("day").is_in(eves or [date.max]) & ~is_free
    for event in rules.events:
        spans = [pl.col("day").is_between(*span) for span in event.spans]
        counted[f"event_{normalised(event.name)}"] = pl.any_horizontal(pl.lit(False), *spans)
    return (
        days.with_columns(counted[name].alias(name) for name in names)
        .group_by(frequency.ordinals("day").alias("period"))
        .agg(pl.col(name).cast(pl.Float64).sum() for name in names)
        .sort("period")
    )


def free_days(rules: CalendarRules, first: int, last: int) -> FreeDays | None:
    """The holidays of the years ``first`` to ``last``, both inclusive, to be kept with a model.

    Of every subdivision where each store has its own: a store that opens later may be in any.
    None: the rules have no country. Those that the rules keep already are the answer.
    """
    if rules.country is None or rules.kept is not None:
        return rules.kept
    names: list[str] = [rules.subdivision or ""]
    aliases: dict[str, str] = {}
    if rules.subdivision_attribute is not None:
        kind = getattr(holidays, rules.country)
        names += ["", *kind.subdivisions]
        aliases = dict(getattr(kind, "subdivisions_aliases", {}))
    days = {
        name: {year: _of_year(rules, name or None, year) for year in range(first, last + 1)}
        for name in dict.fromkeys(names)
    }
    return FreeDays((first, last), days, aliases)


def _of_year(rules: CalendarRules, subdivision: str | None, year: int) -> tuple[date, ...]:
    """The holidays that the installed package has."""
    assert rules.country is not None  # noqa: S101 - whoever calls has looked
    told = _holidays(rules.country, subdivision, rules.categories, (year,))
    return tuple(day for day, _ in told)


def _free(rules: CalendarRules, first: date, last: date, subdivision: str | None) -> list[date]:
    """Holidays from ``first`` to ``last``, both inclusive: those kept, else the package's."""
    name = subdivision or rules.subdivision
    found: list[date] = []
    for year in range(first.year, last.year + 1):
        days = None if rules.kept is None else rules.kept.of(name, year)
        days = _of_year(rules, name, year) if days is None else days
        found += [day for day in days if first <= day <= last]
    return found


def holiday_names(
    rules: CalendarRules,
    first: date,
    last: date,
    subdivision: str | None = None,
    language: str | None = None,
) -> dict[date, str]:
    """Holidays from ``first`` to ``last``, both inclusive, in order, with their names.

    Args:
        rules: country, subdivision and categories.
        first: first day.
        last: last day.
        subdivision: of one store; None takes that of the rules.
        language: ``pt-BR``, ``en``; None, or one the country lacks, is the country's own.
    """
    if rules.country is None:
        return {}
    found: dict[date, str] = {}
    for year in range(first.year, last.year + 1):
        year_s = _holidays(
            rules.country, subdivision or rules.subdivision, rules.categories, (year,), language
        )
        found.update((day, name) for day, name in year_s if first <= day <= last)
    return found


@lru_cache(maxsize=8192)
def _holidays(
    country: str,
    subdivision: str | None,
    categories: tuple[str, ...] | None,
    years: tuple[int, ...],
    language: str | None = None,
) -> tuple[tuple[date, str], ...]:
    served = holidays.list_supported_countries(include_aliases=True)
    if country not in served:
        raise _unknown("country", country, served)
    kind = getattr(holidays, country)
    if subdivision is not None:
        subdivision = _subdivision(kind, country, subdivision)
    if categories is None:
        categories = tuple(c for c in ("public", "optional") if c in kind.supported_categories)
    for category in categories:
        if category not in kind.supported_categories:
            raise _unknown("categories", category, kind.supported_categories, f" in {country}")
    observed = kind(
        subdiv=subdivision,
        years=years,
        categories=categories or None,
        language=_language(kind, language),
        expand=False,
    )
    return tuple(sorted(observed.items()))


def _subdivision(kind: type[holidays.HolidayBase], country: str, name: str) -> str:
    aliases: dict[str, str] = getattr(kind, "subdivisions_aliases", {})
    if name in kind.subdivisions:
        return name
    if name in aliases:
        return aliases[name]
    raise _unknown("subdivision", name, (*kind.subdivisions, *aliases), f" in {country}")


def _language(kind: type[holidays.HolidayBase], wanted: str | None) -> str | None:
    """The wanted language by its code or its first letters; else the country's own."""
    served: Iterable[str] = getattr(kind, "supported_languages", ()) or ()
    if wanted is not None:
        wanted = wanted.replace("-", "_")
        for language in sorted(served, key=lambda s: (s != wanted, s)):
            if language == wanted or re.split("_", language)[0] == wanted.split("_")[0]:
                return language
    own: str | None = kind.default_language
    return own


def _unknown(key: str, name: str, served: Iterable[str], where: str = "") -> ConfigurationError:
    served = tuple(served)
    return ConfigurationError(
        Code.CONFIG_INVALID,
        f"no {key} {name!r}{where} in the calendar of holidays",
        where=f"calendar.{key}",
        expected=", ".join(sorted(served)[:60]) or f"no {key}: the country has none",
        found=repr(name),
        next_step=_nearest(name, served),
    )


def _nearest(name: str, served: Iterable[str]) -> str | None:
    by_folded = {right.casefold(): right for right in served}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.4)
    return f"did you mean {by_folded[near[0]]}?" if near else None
