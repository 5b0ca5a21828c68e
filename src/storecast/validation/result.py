"""What a validation found, and its sentences for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from storecast.backtest.significance import LEVEL, MOST, fewest
from storecast.backtest.spans import SpanVerdict
from storecast.core.alignment import SERIES_END
from storecast.validation.leaderboard import Line
from storecast.validation.leakage import Audit

_REALLY = {
    "better": "really better than",
    "worse": "really worse than",
    "not_told_apart": "not told apart from",
}


@dataclass(frozen=True)
class ValidationResult:
    """What a validation found.

    Attributes:
        run_id: of the run.
        validation_id: follows from data, recipes, windows and code.
        leaderboard: one line a model, the best first.
        best: the best model's name, of those that the leak audit did not fail; the baseline's
            where nothing beats it.
        baseline: the baseline's name.
        metric: by which they are ordered.
        cutoffs: of the scored windows, ascending.
        warmup: cutoffs of the windows that only feed the calibration.
        kept: cutoffs, of the scored ones, that the gate of a deployment keeps: they take no part
            in its choice.
        horizon: periods that each window forecasts.
        failures: model to what went wrong, where its share was filled.
        perfect_foresight: known covariates whose future may be better than was known.
        timeless: attributes without versions, shown to every cutoff as they are today.
        reused: whether all of it stood in the tables already.
        audit: what the leak audit says of the models.
        align: how cutoffs lie, ``calendar`` or ``series_end``.
        tasks: of each model at each cutoff the seconds that it took, its process' peak memory in
            10^6 bytes, and whether an earlier validation had finished it (kept).
        spans: of each model compared how another first day of training did (``compare_from``).
    """

    run_id: str
    validation_id: str
    leaderboard: tuple[Line, ...]
    best: str
    baseline: str
    metric: str
    cutoffs: tuple[date, ...]
    warmup: tuple[date, ...]
    horizon: int
    failures: Mapping[str, str]
    perfect_foresight: tuple[str, ...]
    timeless: tuple[str, ...]
    reused: bool
    audit: Audit
    align: str
    tasks: tuple[Mapping[str, Any], ...] = ()
    spans: tuple[SpanVerdict, ...] = ()
    kept: tuple[date, ...] = ()

    @property
    def leaking(self) -> tuple[str, ...]:
        """Models that the leak audit failed."""
        return tuple(line.model for line in self.leaderboard if self.audit.failed(line.model))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, dates as ISO texts."""
        return {
            **asdict(self),
            "audit": self.audit.as_dict(),
            "spans": [span.as_dict() for span in self.spans],
            "leaking": list(self.leaking),
            "windows": len(self.cutoffs) + len(self.warmup),
            "level": LEVEL,
            "cutoffs": [day.isoformat() for day in self.cutoffs],
            "warmup": [day.isoformat() for day in self.warmup],
            "kept": [day.isoformat() for day in self.kept],
            "sentences": self.sentences(),
        }

    def sentences(self) -> list[str]:
        """For people: what came out, a sentence a model, and what to know about it."""
        return [self.headline(), *map(self._told, self.leaderboard), *self.remarks()]

    def headline(self) -> str:
        """What came out."""
        first, last = self.cutoffs[0], self.cutoffs[-1]
        return (
            f"{self._verdict()}; {len(self.cutoffs)} forecasts made in the past, from {first} to "
            f"{last}, {self.horizon} periods ahead"
        )

    def remarks(self) -> list[str]:
        """What to know of the leaderboard."""
        told = []
        if self.align == SERIES_END:
            told.append(
                "aligned by each store's own end (series_end): a benchmark alone, since a model "
                "may know of other stores what came later; deploy refuses it"
            )
        if not self.warmup:
            told.append(
                "no warm-up (validation.warmup: 0): intervals that are learnt from earlier windows "
                "have no width in the first one"
            )
        told += self._reality()
        told += self._held_back()
        told += [self._filled(name, why) for name, why in self.failures.items()]
        pretrained = [line.model for line in self.leaderboard if line.pretrained]
        if pretrained:
            told.append(
                f"pretrained: {', '.join(pretrained)} may have learnt elsewhere from the data of "
                "the test"
            )
        if self.perfect_foresight:
            told.append(
                f"perfect foresight: of {', '.join(self.perfect_foresight)} only the latest "
                "version is kept, so the past's forecasts may have known it better"
            )
        if self.timeless:
            told.append(
                f"timeless: of {', '.join(self.timeless)} no versions are kept (valid_from), so "
                "the past's forecasts know the stores as they are today"
            )
        told += self._on_spans()
        if self.align != SERIES_END:
            told += self.audit.sentences()
        kept = sum(bool(task["kept"]) for task in self.tasks)
        if kept and not self.reused:
            told.append(f"{kept} of {len(self.tasks)} tasks were finished before: not done again")
        if self.reused:
            told.append("nothing has changed since this validation was made: taken from the tables")
        return told

    def _on_spans(self) -> list[str]:
        """How the best model does from other first days of training; which others do better."""
        told = [span.sentence() for span in self.spans if span.model == self.best]
        others = {span.model for span in self.spans if span.model != self.best and span.warns}
        if others:
            told.append(
                f"better with another first day of training as well: {', '.join(sorted(others))}"
            )
        return told

    def _reality(self) -> list[str]:
        """Which differences from the baseline can be believed, and by which test."""
        compared = [line for line in self.leaderboard if line.p_value is not None]
        if not compared:
            return []
        cutoffs = min(len(self.cutoffs), MOST)
        needed = fewest(len(compared))
        if cutoffs < needed:
            return [
                f"{cutoffs} cutoff{'s' if cutoffs > 1 else ''} cannot tell a real difference from "
                f"noise: it takes {needed}, beside {len(self.warmup)} to warm up "
                "(validation.windows)"
            ]
        models = f", Holm over {len(compared)} models" if len(compared) > 1 else ""
        return [
            f"better, worse: a real difference from {self.baseline}; noise: it may be chance "
            f"(exact sign-flip test over {cutoffs} cutoffs{models}, at {LEVEL:.0%})"
        ]

    def _held_back(self) -> list[str]:
        """Which windows take no part in the choice of a model."""
        if self.align == SERIES_END:
            return []
        number, first = len(self.kept), len(self.cutoffs) - len(self.kept)
        if not number:
            return [
                "no window is left for the gate of `deploy`: it takes two scored ones at least "
                "(validation.windows)"
            ]
        last = f"last {number} cutoffs" if number > 1 else "last cutoff"
        others = f"the {first} before" if first > 1 else "the one before"
        return [
            f"deploy chooses by {others}: the {last}, from {self.kept[0]} on, "
            f"{'are' if number > 1 else 'is'} kept for its gate (gate.windows)"
        ]

    def _filled(self, model: str, why: str) -> str:
        line = next((line for line in self.leaderboard if line.model == model), None)
        if line is None or not line.n_filled:
            return f"{model} failed, though none of its scored forecasts had to be filled: {why}"
        return (
            f"{model} failed: {line.n_filled:,} of its {line.n_scored:,} scored forecasts are "
            f"those of {self.baseline}; {why}"
        )

    def _verdict(self) -> str:
        if self.audit.failed(self.best):
            return "no model passed the leak audit"
        if self.best == self.baseline:
            return f"nothing beats the baseline {self.baseline}"
        line = self.leaderboard[0]
        if line.gain is None:
            return f"{self.best} is best"
        chance = f" (p = {line.p_value:.3f})" if line.p_value is not None else ""
        real = "which may be chance" if line.verdict == "not_told_apart" else "a real difference"
        side = "below" if line.gain >= 0 else "above"
        return (
            f"{self.best} is best, {abs(line.gain):.0%} {side} {self.baseline} by "
            f"{self.metric.upper()}" + (f", {real}{chance}" if line.verdict else "")
        )

    def _told(self, line: Line) -> str:
        shown = [
            f"{name.upper()} {value:.3f}"
            for name in dict.fromkeys((self.metric, "wape", "mase", "rmsse", "bias"))
            if (value := getattr(line, name)) is not None
        ]
        spread = f" ({line.spread[0]:.3f} to {line.spread[1]:.3f})" if line.spread else ""
        if shown:
            shown[0] += spread
        filled = f", {line.n_filled} of {line.n_scored} filled" if line.n_filled else ""
        mark = ", LEAK AUDIT FAILED" if self.audit.failed(line.model) else ""
        real = f", {_REALLY[line.verdict]} {self.baseline}" if line.verdict else ""
        return f"{line.model}: {', '.join(shown) or 'no score'}{real}{filled}{mark}"
