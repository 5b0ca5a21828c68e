"""What a validation found, and its sentences for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from storecast.core.alignment import SERIES_END
from storecast.validation.leaderboard import Line
from storecast.validation.leakage import Audit


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
        horizon: periods that each window forecasts.
        failures: model to what went wrong, where its share was filled.
        perfect_foresight: known covariates whose future may be better than was known.
        timeless: attributes without versions, shown to every cutoff as they are today.
        reused: whether all of it stood in the tables already.
        audit: what the leak audit says of the models.
        align: how cutoffs lie, ``calendar`` or ``series_end``.
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

    @property
    def leaking(self) -> tuple[str, ...]:
        """Models that the leak audit failed."""
        return tuple(line.model for line in self.leaderboard if self.audit.failed(line.model))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, dates as ISO texts."""
        return {
            **asdict(self),
            "audit": self.audit.as_dict(),
            "leaking": list(self.leaking),
            "windows": len(self.cutoffs) + len(self.warmup),
            "cutoffs": [day.isoformat() for day in self.cutoffs],
            "warmup": [day.isoformat() for day in self.warmup],
            "sentences": self.sentences(),
        }

    def sentences(self) -> list[str]:
        """For people."""
        first, last = self.cutoffs[0], self.cutoffs[-1]
        told = [
            f"{self._verdict()} ({len(self.cutoffs)} forecasts made in the past, from {first} to "
            f"{last}, {self.horizon} periods ahead)"
        ]
        if self.align == SERIES_END:
            told.append(
                "aligned by each store's own end (series_end): a benchmark alone, since a model "
                "may know of other stores what came later; deploy refuses it"
            )
        told += [self._told(line) for line in self.leaderboard]
        told += [
            f"{name} failed, its share was filled: {why}" for name, why in self.failures.items()
        ]
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
        if self.align != SERIES_END:
            told += self.audit.sentences()
        if self.reused:
            told.append("nothing has changed since this validation was made: taken from the tables")
        return told

    def _verdict(self) -> str:
        if self.audit.failed(self.best):
            return "no model passed the leak audit"
        if self.best == self.baseline:
            return f"nothing beats the baseline {self.baseline}"
        gain = self.leaderboard[0].gain
        return f"{self.best} is best" + (
            f", {gain:.0%} below {self.baseline} by {self.metric.upper()}"
            if gain is not None
            else ""
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
        return f"{line.model}: {', '.join(shown) or 'no score'}{filled}{mark}"
