"""Other first days of training beside the configured one: which span forecasts better.

Recipes are backtested again, all else equal, at the windows that choose: those that the gate keeps
are left alone, since whoever sets ``training.from`` by what is found here has chosen by it. What
is compared is what every span has been asked for, on the part of each window up to the next
cutoff; scaled errors have the scale of the configured span.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from storecast.backtest.comparison import HEADLINE
from storecast.backtest.road import walk_forward, with_filling
from storecast.backtest.significance import LEVEL, Verdict, sign_flip
from storecast.backtest.tasks import Outcome, backtest, cost_of
from storecast.core import metrics
from storecast.errors import Code, ContractError
from storecast.models.base import Recipe
from storecast.models.ensemble import KIND, computed, members_of, with_members

if TYPE_CHECKING:
    from storecast.core.panel import History, SeriesRules
    from storecast.ports import Compute

_KEY: Final = ["model", "cutoff", "store_id", "date"]
_SCALES: Final = ["scale", "scale_sq"]

Losses = Mapping[str, Mapping[str, Mapping[str, float | None]]]
"""By model, first day of training and cutoff, days as ISO texts."""


@dataclass(frozen=True)
class Spans:
    """What is to be compared.

    Attributes:
        days: first days of training beside the configured one.
        cutoffs: of the windows to walk, ascending; the first ones may only teach.
        counted: those of them that are compared.
        horizon: periods of each window.
        metric: lower is better.
    """

    days: tuple[date, ...]
    cutoffs: tuple[date, ...]
    counted: tuple[date, ...]
    horizon: int
    metric: str


def check_days(days: Iterable[date], first_cutoff: date, rules: SeriesRules) -> None:
    """Refuse a first day that leaves less than a horizon before the first cutoff.

    Raises:
        ContractError: HISTORY_TOO_SHORT.
    """
    last = rules.frequency.ordinal(first_cutoff)
    for day in days:
        room = last - replace(rules, training_from=day).first_period + 1
        if room < rules.horizon:
            raise ContractError(
                Code.HISTORY_TOO_SHORT,
                f"a training span from {day} on has {max(room, 0)} periods before the first cutoff",
                where="validation.compare_from",
                expected=f"at least {rules.horizon} periods (the horizon) before {first_cutoff}",
                found=str(day),
                next_step="name an earlier day, or fewer validation.windows",
            )


def worth_comparing(recipes: Sequence[Recipe], best: str) -> tuple[Recipe, ...]:
    """The fast ones, and the best whatever it costs; an ensemble is as slow as its members."""
    return tuple(
        recipe
        for recipe in recipes
        if recipe.name == best or all(cost_of(one) <= 1 for one in computed([recipe]))
    )


def losses_by_span(
    history: History,
    own: pl.DataFrame,
    recipes: Sequence[Recipe],
    baseline: Recipe,
    spans: Spans,
    compute: Compute,
    *,
    scratch: Path | None = None,
    keep: Path | None = None,
    heard: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Backtest the recipes from other first days; as ``Losses``, the configured day first.

    Args:
        history: what the tables say; its rules have the configured first day.
        own: the configured span's rows, as ``walk_forward`` gives them, with ``compared``.
        recipes: the models to compare.
        baseline: fills for a model that fails.
        spans: what to compare.
        compute: where tasks run.
        scratch: as of ``backtest``.
        keep: as of ``backtest``.
        heard: told how many tasks are done, and of how many.
    """
    total, done = len(spans.days) * len(computed(recipes)) * len(spans.cutoffs), 0
    names = [recipe.name for recipe in recipes]
    counts = pl.col("compared") & pl.col("segment").is_in(HEADLINE)
    inside = pl.col("cutoff").is_in(list(spans.counted)) & pl.col("model").is_in(names)
    frames = {history.rules.training_from: own.filter(counts & inside)}
    for day in spans.days:
        rules = replace(history.rules, training_from=day)
        moved = [_from(recipe, day) for recipe in recipes]
        outcomes: dict[tuple[str, date], Outcome] = {}
        earlier, filler = replace(history, rules=rules), _from(baseline, day)
        for outcome in backtest(
            earlier,
            computed(moved),
            spans.cutoffs,
            spans.horizon,
            compute,
            baseline=filler,
            scratch=scratch,
            keep=keep,
        ):
            outcomes[outcome.recipe.name, outcome.cutoff] = outcome
            done += 1
            if heard is not None:
                heard(done, total)
        whole, filling = with_filling(
            earlier, outcomes, moved, filler, spans.cutoffs, compute, scratch=scratch, keep=keep
        )
        frames[day] = pl.concat(walk_forward(whole, moved, spans.cutoffs, rules, filling))
    return same_rows_losses(frames, history.rules, spans.metric, names)


def _from(recipe: Recipe, day: date) -> Recipe:
    moved = replace(recipe, training_from=day)
    if recipe.kind != KIND:
        return moved
    return with_members(moved, [_from(member, day) for member in members_of(recipe)])


def same_rows_losses(
    frames: Mapping[date, pl.DataFrame], rules: SeriesRules, metric: str, names: Sequence[str]
) -> dict[str, dict[str, dict[str, float | None]]]:
    """The losses of spans on what all of them were asked for; as ``Losses``.

    Args:
        frames: by first day, the configured one first, which has the rows that count.
        rules: for the quantiles.
        metric: of ``schema.METRICS``.
        names: of the models.
    """
    own, *others = frames.values()
    rows = own.select(*_KEY, *_SCALES)
    for other in others:
        asked = other.filter(pl.col("segment").is_in(HEADLINE)).select(_KEY)
        rows = rows.join(asked, on=_KEY, how="semi", maintain_order="left")
    found: dict[str, dict[str, dict[str, float | None]]] = {name: {} for name in names}
    for day, frame in frames.items():
        same = rows.join(frame.drop(_SCALES), on=_KEY, how="inner", maintain_order="left")
        scores = metrics.score(same, rules, by=["model", "cutoff"])
        for name, cutoff, loss in scores.select("model", "cutoff", metric).iter_rows():
            found[name].setdefault(day.isoformat(), {})[cutoff.isoformat()] = loss
    return found


# ------------------------------------------------------------------------- what follows


@dataclass(frozen=True)
class SpanVerdict:
    """How the configured first day of training stands to another one, for a model.

    Attributes:
        model: its name.
        configured: the first day that is configured.
        other: the other one.
        metric: of the losses; lower is better.
        loss, other_loss: means over the cutoffs at which both are defined.
        p_value: exact, two-sided, of their difference by cutoff.
        verdict: of the configured day; ``not_told_apart`` above the level.
        cutoffs: how many were compared.
    """

    model: str
    configured: date
    other: date
    metric: str
    loss: float
    other_loss: float
    p_value: float
    verdict: Verdict
    cutoffs: int

    @property
    def shorter(self) -> bool:
        """Whether the configured span is the shorter one."""
        return self.configured > self.other

    @property
    def warns(self) -> bool:
        """Whether the other span was better, though it may be by chance."""
        return self.loss > self.other_loss

    def sentence(self) -> str:
        """For people."""
        one, other = (
            f"{self.metric.upper()} {loss:.3f} from {day}"
            for loss, day in (
                (self.loss, self.configured),
                (self.other_loss, self.other),
            )
        )
        told = f"{one} (training.from), {other}"
        chance = "which may be chance" if self.verdict == "not_told_apart" else "a real difference"
        over = f"p = {self.p_value:.3f} over {self.cutoffs} cutoffs"
        if self.loss == self.other_loss:
            return f"{self.model} is as good with either first day of training: {told}"
        better = "shorter" if self.shorter != self.warns else "longer"
        start = "warning: " if self.warns else ""
        return f"{start}{self.model} is better on the {better} span: {told}; {chance} ({over})"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, days as ISO texts."""
        days = {"configured": self.configured.isoformat(), "other": self.other.isoformat()}
        return asdict(self) | days | {"warns": self.warns, "sentence": self.sentence()}


def verdicts(details: Mapping[str, Any], model: str | None = None) -> tuple[SpanVerdict, ...]:
    """What a validation's details say of other first days, of all models or of one.

    Args:
        details: of a run of ``validate``; empty is given back where it compared none.
        model: the one to tell of; None: each.
    """
    told = details.get("spans")
    if not told:
        return ()
    losses: Losses = told["losses"]
    found = []
    for name, by_day in sorted(losses.items()):
        own = by_day.get(told["configured"], {})
        for day, other in sorted(by_day.items()):
            if day == told["configured"] or model not in (None, name):
                continue
            verdict = _verdict(name, told, day, own, other)
            if verdict is not None:
                found.append(verdict)
    return tuple(found)


def _verdict(
    model: str,
    told: Mapping[str, Any],
    day: str,
    own: Mapping[str, float | None],
    other: Mapping[str, float | None],
) -> SpanVerdict | None:
    pairs = [
        (mine, its)
        for cutoff in sorted(own)
        if (mine := own[cutoff]) is not None and (its := other.get(cutoff)) is not None
    ]
    p_value = sign_flip([mine - its for mine, its in pairs])
    if p_value is None:
        return None
    loss, other_loss = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
    better: Verdict = "better" if loss < other_loss else "worse"
    return SpanVerdict(
        model=model,
        configured=date.fromisoformat(told["configured"]),
        other=date.fromisoformat(day),
        metric=told["metric"],
        loss=loss,
        other_loss=other_loss,
        p_value=p_value,
        verdict="not_told_apart" if p_value > LEVEL else better,
        cutoffs=len(pairs),
    )


def verdict(details: Mapping[str, Any], model: str) -> list[str]:
    """The sentences on a model: whether the shorter span is better; empty where none says."""
    return [found.sentence() for found in verdicts(details, model)]
