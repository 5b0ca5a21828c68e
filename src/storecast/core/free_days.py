"""Holidays as they were when a model was trained, kept as plain data.

The holidays of the future are decided and corrected from one release of the package that knows
them to the next. A model that is asked later has to see those that it learnt from.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class FreeDays:
    """The holidays of a country, of the categories that were asked for, over some years.

    Attributes:
        years: the first and the last, both inclusive.
        days: by subdivision (``''`` for a country's own) and year, in order.
        aliases: further names of subdivisions.
    """

    years: tuple[int, int]
    days: Mapping[str, Mapping[int, tuple[dt.date, ...]]]
    aliases: Mapping[str, str]

    def knows(self, subdivision: str) -> bool:
        """Whether there is such a subdivision."""
        return self.aliases.get(subdivision, subdivision) in self.days

    def of(self, subdivision: str | None, year: int) -> tuple[dt.date, ...] | None:
        """The holidays of a year; None where they are not kept."""
        name = subdivision or ""
        return self.days.get(self.aliases.get(name, name), {}).get(year)

    def to_json(self) -> str:
        """Plain JSON; ``from_json`` gives an equal object back."""
        plain = {
            "years": self.years,
            "days": {
                name: {str(year): [day.isoformat() for day in days] for year, days in kept.items()}
                for name, kept in self.days.items()
            },
            "aliases": dict(self.aliases),
        }
        return json.dumps(plain, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Rebuild from ``to_json``."""
        plain: dict[str, Any] = json.loads(text)
        first, last = plain["years"]
        days = {
            name: {
                int(year): tuple(map(dt.date.fromisoformat, days)) for year, days in kept.items()
            }
            for name, kept in plain["days"].items()
        }
        return cls((first, last), days, plain["aliases"])
