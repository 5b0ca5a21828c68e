"""The report's sentences, in the reader's language and with the reader's commas."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from importlib import resources
from typing import Any

from storecast.backtest.significance import LEVEL, MOST, fewest
from storecast.reporting.content import Comparison, Content, Outlook, Score, Segment, Trust


@lru_cache
def _texts(locale: str) -> Mapping[str, Any]:
    file = resources.files("storecast.reporting") / "locales" / f"{locale}.json"
    texts: Mapping[str, Any] = json.loads(file.read_text("utf-8"))
    return texts


@dataclass(frozen=True)
class Wording:
    """Texts, numbers, amounts and dates of one locale."""

    locale: str
    currency: str | None = None

    @property
    def texts(self) -> Mapping[str, Any]:
        """The locale's texts by key."""
        return _texts(self.locale)

    def say(self, key: str, **values: Any) -> str:
        """The text of a key with its values; ``n`` chooses between ``_one`` and ``_other``."""
        n = values.get("n")
        if isinstance(n, int):
            key = f"{key}_one" if n == 1 else f"{key}_other"
            values["n"] = self.number(n)
        text: str = self.texts[key]
        return text.format(**values)

    def number(self, value: float | None, digits: int = 0) -> str:
        """With the locale's marks; a dash where undefined."""
        if value is None:
            return "–"
        shown = f"{value:,.{digits}f}"
        thousands, point = self.texts["thousands"], self.texts["decimal"]
        return shown.translate(str.maketrans({",": thousands, ".": point, "-": "−"}))

    def percent(self, share: float | None, digits: int = 1) -> str:
        """0.123 is 12.3%."""
        return "–" if share is None else f"{self.number(100 * share, digits)}%"

    def is_share(self, metric: str) -> bool:
        """Whether a metric is a share of the sales."""
        return metric in ("wape", "wql")

    def loss(self, metric: str, value: float | None) -> str:
        """A metric's value: a share of the sales as a percentage, else a number."""
        return self.percent(value) if self.is_share(metric) else self.number(value, 3)

    def signed(self, share: float | None) -> str:
        """A percentage with its sign, of zero too."""
        shown = self.percent(share)
        return f"+{shown}" if share is not None and share >= 0 else shown

    def filled(self, share: float) -> str:
        """The share of forecasts that are the baseline's: never 0 where there is one."""
        return f"<{self.percent(0.001)}" if 0 < share < 0.001 else self.percent(share)

    def money(self, amount: float) -> str:
        """An amount in the configured currency, without cents from a thousand on."""
        shown = self.number(abs(amount), 0 if abs(amount) >= 1000 else 2)
        sign = "−" if amount < 0 else ""
        if self.currency is None:
            return sign + shown
        mark = self.texts["currencies"].get(self.currency, f"{self.currency}\N{NO-BREAK SPACE}")
        return f"{sign}{mark}{shown}"

    def day(self, day: date) -> str:
        """A date in words: 3 Jul 2022."""
        month = self.texts["months"][day.month - 1]
        text: str = self.texts["day"]
        return text.format(day=day.day, month=month, year=day.year)

    def listed(self, parts: list[str]) -> str:
        """``a, b and c``."""
        if len(parts) < 2:
            return "".join(parts)
        return f"{', '.join(parts[:-1])} {self.texts['and']} {parts[-1]}"


@dataclass(frozen=True)
class Figure:
    """A number to see first: what it is, its value, what to make of it."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Words:
    """The report's prose. ``notices`` come before everything else."""

    title: str
    subject: str
    notices: tuple[str, ...]
    figures: tuple[Figure, ...]
    outlook: tuple[str, ...]
    trust: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """The same for a terminal."""
        return (self.subject, *self.notices, *self.outlook, *self.trust)


def words(content: Content) -> Words:
    """Write the prose of a report."""
    say = Wording(content.setting.locale, content.setting.currency)
    return Words(
        title=say.say("title", project=content.setting.project),
        subject=_subject(say, content),
        notices=tuple(_notices(say, content)),
        figures=tuple(_figures(say, content)),
        outlook=tuple(_outlook(say, content)),
        trust=tuple(_trust(say, content)),
    )


def _unit(content: Content) -> str:
    return {"D": "days", "W": "weeks", "M": "months"}[content.setting.frequency.code[0]]


def grain(say: Wording, content: Content) -> str:
    """``week by week (each ends on a Sunday)``."""
    text: str = say.texts["grain"][content.setting.frequency.code]
    return text


def _money_named(say: Wording) -> str:
    return say.say("in_currency", code=say.currency) if say.currency else say.say("in_source")


def _subject(say: Wording, content: Content) -> str:
    found = content.outlook
    if found is None:
        return say.say(
            "subject_none", n=len(content.shops), grain=grain(say, content), money=_money_named(say)
        )
    return say.say(
        "subject",
        n=found.shops,
        horizon=say.say(_unit(content), n=found.horizon),
        first=say.day(found.first_day),
        last=say.day(found.last_day),
        grain=grain(say, content),
        money=_money_named(say),
    )


def _notices(say: Wording, content: Content) -> Iterator[str]:
    found, trust, setting = content.outlook, content.trust, content.setting
    if found is None:
        yield say.say("notice_no_forecast")
    else:
        yield from _forecast_notices(say, content, found)
    if trust is None:
        yield say.say("notice_no_validation")
        return
    if trust.is_baseline and setting.model in (None, trust.model.model):
        yield say.say("notice_baseline", model=trust.model.model)
    if setting.model is not None and setting.model != trust.model.model:
        yield say.say("notice_not_validated", model=setting.model, other=trust.model.model)
    if setting.perfect_foresight:
        yield say.say("notice_foresight", columns=say.listed(list(setting.perfect_foresight)))
    if setting.timeless:
        yield say.say("notice_timeless", columns=say.listed(list(setting.timeless)))
    if setting.leaking:
        yield say.say("notice_leak", models=say.listed(list(setting.leaking)))
    if setting.by_series_end:
        yield say.say("notice_series_end")


def _forecast_notices(say: Wording, content: Content, found: Outlook) -> Iterator[str]:
    setting = content.setting
    if setting.failure is not None and setting.forecast_id != found.forecast_id:
        yield say.say("notice_nothing_new", failure=setting.failure, cutoff=say.day(found.cutoff))
    fallen = {o: n for o, n in found.origins.items() if o != "champion"}
    if fallen:
        origins = [f"{say.texts['origins'].get(o, o)}: {say.number(n)}" for o, n in fallen.items()]
        yield say.say(
            "notice_fallback",
            n=sum(fallen.values()),
            of=say.number(found.shops),
            origins=", ".join(sorted(origins)),
            why=f" {setting.failure}" if setting.failure else "",
        )
    if setting.through is not None:
        newest = setting.frequency.complete(setting.through)
        if newest > setting.frequency.ordinal(found.cutoff):
            yield say.say(
                "notice_stale", through=say.day(setting.through), cutoff=say.day(found.cutoff)
            )


def _outlook(say: Wording, content: Content) -> Iterator[str]:
    found = content.outlook
    if found is None:
        return
    yield say.say(
        "expected",
        amount=say.money(found.expected),
        n=found.shops,
        first=say.day(found.first_day),
        last=say.day(found.last_day),
    )
    year = found.year_before
    if year is None:
        yield say.say("no_comparison")
    else:
        yield say.say("year_before", change=_change(say, year), then=say.money(year.then))
        same = found.same_shops
        if same is not None and found.n_same_shops != found.shops:
            yield say.say("same_shops", n=found.n_same_shops, change=_change(say, same))
    missing = len(content.shops) - found.shops
    if missing > 0:
        yield say.say("not_forecast", n=missing)
    model = content.setting.model
    yield say.say(
        "made_by",
        model=f"{model} ({found.model_name})" if model else found.model_name,
        version=found.model_version,
        cutoff=say.day(found.cutoff),
    )


def _change(say: Wording, comparison: Comparison) -> str:
    change = comparison.change
    if change is None:
        return say.say("change_undefined")
    if abs(change) < 0.0005:
        return say.say("change_same")
    return say.say("change_more" if change > 0 else "change_less", share=say.percent(abs(change)))


def _trust(say: Wording, content: Content) -> Iterator[str]:
    trust = content.trust
    if trust is None:
        return
    unit = say.texts["unit"][content.setting.frequency.code[0]]
    yield say.say(
        "tested",
        n=max(len(trust.cutoffs), trust.total_windows, 1),
        model=trust.model.model,
        wape=say.percent(trust.model.wape),
        unit=unit,
    )
    yield from _against_baseline(say, trust)
    yield from _marks(say, content, trust.model)
    yield from _spans(say, content, trust.model)
    if trust.total_error is not None and trust.total_worst is not None:
        yield say.say(
            "total_error",
            error=say.percent(trust.total_error),
            worst=say.percent(trust.total_worst),
        )
    if trust.model.bias is not None:
        high = trust.model.bias > 0
        yield say.say("bias_high" if high else "bias_low", bias=say.percent(abs(trust.model.bias)))
    if trust.model.coverage is not None and content.interval is not None:
        low, high_level = content.interval
        yield say.say(
            "coverage",
            level=say.percent(high_level - low, 0),
            low=say.percent(low, _digits(low)),
            high=say.percent(high_level, _digits(high_level)),
            measured=say.percent(trust.model.coverage),
        )


def _digits(level: float) -> int:
    return 0 if abs(level * 100 - round(level * 100)) < 1e-9 else 1


def _against_baseline(say: Wording, trust: Trust) -> Iterator[str]:
    base = trust.baseline
    if base is None or trust.is_baseline or base.wape is None or trust.model.wape is None:
        return
    gain = 1 - trust.model.wape / base.wape if base.wape > 0 else 0.0
    yield say.say(
        "better" if gain > 0 else "not_better",
        baseline=base.model,
        wape=say.percent(base.wape),
        gain=say.percent(abs(gain), 0),
    )
    if trust.model.p_value is not None and trust.model.verdict is not None:
        yield say.say(
            "real" if trust.model.verdict != "not_told_apart" else "may_be_chance",
            metric=trust.metric.upper(),
            p=say.number(trust.model.p_value, 3),
        )


def _marks(say: Wording, content: Content, model: Score) -> Iterator[str]:
    """What to know of the chosen model's own figures."""
    setting = content.setting
    if model.n_filled:
        yield say.say(
            "partly_filled",
            share=say.filled(model.filled),
            model=model.model,
            baseline=setting.baseline,
        )
    if model.model in setting.pretrained:
        yield say.say("may_know", model=model.model)
    if setting.by_series_end or model.model in setting.leaking:
        return
    yield say.say("audit_passed" if model.model in setting.proven else "audit_missing")


def _spans(say: Wording, content: Content, model: Score) -> Iterator[str]:
    """How the chosen model did from other first days of training."""
    for span in content.setting.spans:
        if span.model == model.model:
            yield say.say(
                "span_chance" if span.verdict == "not_told_apart" else "span_real",
                model=span.model,
                metric=span.metric.upper(),
                day=say.day(span.configured),
                other_day=say.day(span.other),
                loss=say.loss(span.metric, span.loss),
                other_loss=say.loss(span.metric, span.other_loss),
                p=say.number(span.p_value, 3),
            )


def reality(say: Wording, trust: Trust) -> str | None:
    """Which test says what is real, or that the cutoffs are too few; None without a comparison."""
    compared = sum(score.p_value is not None for score in trust.leaderboard)
    if not compared:
        return None
    cutoffs, needed = min(len(trust.cutoffs), MOST), fewest(compared)
    if cutoffs < needed:
        return say.say("too_few", n=cutoffs, needed=say.number(needed))
    return say.say("reality", n=cutoffs, models=say.number(compared), level=say.percent(LEVEL, 0))


def segment_name(say: Wording, segment: Segment) -> str:
    """``region: north``; those that every chain has in words."""
    if segment.attribute is None:
        text: str = say.texts["segments"][segment.member]
        return text
    return f"{segment.attribute}: {segment.member}"


def _figures(say: Wording, content: Content) -> Iterator[Figure]:
    found, trust = content.outlook, content.trust
    if found is not None:
        yield Figure(
            say.say("figure_total"),
            say.money(found.expected),
            say.say(_unit(content), n=found.horizon),
        )
        change = found.year_before.change if found.year_before else None
        if change is not None and found.year_before is not None:
            sign = "+" if change > 0 else ""
            yield Figure(
                say.say("figure_year"),
                sign + say.percent(change),
                say.say("figure_year_note", then=say.money(found.year_before.then)),
            )
    if trust is None:
        return
    if trust.model.wape is not None:
        base = trust.baseline
        note = (
            say.say("figure_wape_note", model=base.model, wape=say.percent(base.wape))
            if base is not None and not trust.is_baseline
            else say.say("figure_wape_alone", model=trust.model.model)
        )
        yield Figure(say.say("figure_wape"), say.percent(trust.model.wape), note)
    if trust.total_error is not None:
        yield Figure(
            say.say("figure_total_error"),
            say.percent(trust.total_error),
            say.say("figure_total_error_note", worst=say.percent(trust.total_worst)),
        )
    if trust.model.coverage is not None and content.interval is not None:
        level = say.percent(content.interval[1] - content.interval[0], 0)
        yield Figure(
            say.say("figure_coverage"),
            say.percent(trust.model.coverage),
            say.say("figure_coverage_note", level=level),
        )
