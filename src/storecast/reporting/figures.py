"""What the pictures are drawn from: one JSON value, safe inside a script element."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

from markupsafe import Markup

from storecast.reporting.content import Content, Line, Setting, Shop
from storecast.reporting.wording import Wording

_RECENT_DAYS = 120
_EPOCH = date(1970, 1, 1).toordinal()
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def embedded(value: Any) -> Markup:
    """JSON that no text in it can break out of, whatever a store is called."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign, escape in _UNSAFE.items():
        text = text.replace(sign, escape)
    return Markup(text)  # noqa: S704 - every sign that could end the element is escaped above


def pictures(content: Content) -> dict[str, Any]:
    """The value for the page's script.

    ``days`` are the labels of all periods from ordinal ``first`` on, in days since 1970. A line
    is ``[index of its first day, values]``. A shop is a mapping with one-letter keys: i
    identifier, n name, h history, p point, m mean, l low, u high, b test forecasts with their
    interval c to d, w WAPE, y sales of the same periods a year before, e expected total, o origin,
    r reason. ``cutoffs`` are the last periods that the test forecasts knew, counted as ``days``.
    """
    setting, say = content.setting, Wording(content.setting.locale)
    lines = [line for shop in content.shops for line in _lines_of(shop)]
    lines += [line for line in (content.total, content.outlook and content.outlook.mean) if line]
    first = min((line.start for line in lines), default=0)
    end = max((line.end for line in lines), default=0)
    return {
        "locale": setting.locale,
        "currency": setting.currency,
        "frequency": setting.frequency.code[0],
        "days": [setting.frequency.label(o).toordinal() - _EPOCH for o in range(first, end)],
        "recent": _RECENT_DAYS if setting.frequency.code == "D" else 2 * setting.year,
        "levels": [say.percent(q, 0 if _whole(q) else 1) for q in content.interval]
        if content.interval
        else None,
        "point": "median" if setting.point == "median" else "mean",
        "text": say.texts["page"],
        "origins": say.texts["origins"],
        "total": _total(content, first),
        "cutoffs": _cutoffs(content, first, end),
        "steps": _steps(content, say),
        "shops": [_shop(shop, setting, first) for shop in content.shops],
    }


def _cutoffs(content: Content, first: int, end: int) -> list[int]:
    """Where the test forecasts begin; none where each shop has its own."""
    if content.trust is None or content.setting.by_series_end:
        return []
    at = [content.setting.frequency.ordinal(day) - first for day in content.trust.cutoffs]
    return [ordinal for ordinal in at if 0 <= ordinal < end - first]


def _steps(content: Content, say: Wording) -> Mapping[str, Any] | None:
    """The error by step of each model, in the leaderboard's order; None for a single step."""
    trust = content.trust
    if trust is None or trust.steps < 2:
        return None
    models = [score.model for score in trust.leaderboard if score.model in trust.by_step]
    return {
        "metric": trust.metric.upper(),
        "share": say.is_share(trust.metric),
        "models": [
            {
                "name": model,
                "values": [None if v is None else round(v, 4) for v in trust.by_step[model]],
                "chosen": model == trust.model.model,
                "baseline": model == content.setting.baseline,
            }
            for model in models
        ],
    }


def _whole(level: float) -> bool:
    return abs(100 * level - round(100 * level)) < 1e-9


def _lines_of(shop: Shop) -> list[Line]:
    made, tested = shop.forecast, shop.tested
    shown = (shop.history, tested.point if tested else None, made.mean if made else None)
    return [line for line in shown if line]


def _packed(line: Line | None, first: int, digits: int | None) -> list[Any] | None:
    if line is None:
        return None
    return [
        line.start - first,
        [None if v is None else _rounded(v, digits) for v in line.values],
    ]


def _rounded(value: float, digits: int | None) -> float | int:
    """Rounded to a few signs, since a picture of thousands shows no cents."""
    rounded = round(value, digits)
    return int(rounded) if rounded == int(rounded) else rounded


def _digits(*lines: Line | None) -> int | None:
    largest = max(
        (abs(v) for line in lines if line for v in line.values if v is not None), default=0
    )
    return None if largest >= 1000 else 2


def _total(content: Content, first: int) -> Mapping[str, Any] | None:
    if content.total is None and content.outlook is None:
        return None
    mean = content.outlook.mean if content.outlook else None
    digits = _digits(content.total, mean)
    return {
        "h": _packed(content.total, first, digits),
        "m": _packed(mean, first, digits),
        "y": _packed(_year_before(content.total, mean, content.setting.year), first, digits),
    }


def _year_before(history: Line | None, mean: Line | None, year: int) -> Line | None:
    """What was sold a year before each forecast period, drawn under it."""
    if history is None or mean is None:
        return None
    return Line(mean.start, tuple(history.at(o - year) for o in range(mean.start, mean.end)))


def _shop(shop: Shop, setting: Setting, first: int) -> dict[str, Any]:
    made, tested = shop.forecast, shop.tested
    digits = _digits(shop.history, made.mean if made else None, tested.point if tested else None)
    packed: dict[str, Any] = {
        "i": shop.store_id,
        "n": shop.name,
        "h": _packed(shop.history, first, digits),
        "b": _packed(tested.point, first, digits) if tested else None,
        "c": _packed(tested.low, first, digits) if tested else None,
        "d": _packed(tested.high, first, digits) if tested else None,
        "w": None if shop.wape is None else round(shop.wape, 4),
        "r": shop.why_not,
    }
    if made is not None:
        before = _year_before(shop.history, made.mean, setting.year)
        known = before is not None and None not in before.values
        packed |= {
            "p": _packed(made.point, first, digits),
            "m": _packed(made.mean, first, digits),
            "l": _packed(made.low, first, digits),
            "u": _packed(made.high, first, digits),
            "e": round(made.expected, 2),
            "o": made.origin,
            "y": round(sum(v or 0.0 for v in before.values), 2) if before and known else None,
        }
    return {key: value for key, value in packed.items() if value is not None}
