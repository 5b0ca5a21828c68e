"""What a deployment did, and its sentences for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from storecast.backtest.judgement import Check, Judgement
from storecast.errors import Code, Refusal

_SAID: dict[str | None, str] = {
    "refused": "refused it",
    "not_enough_evidence": "had not enough evidence for it",
    "not_asked": "could not judge what was not validated",
}


@dataclass(frozen=True)
class DeployResult:
    """What a deployment did.

    Attributes:
        run_id: of the run.
        validation_id: the validation that it rests on.
        model: the name in the configuration of what was put to the gate; where a first one was
            refused, of the baseline that is the champion instead.
        kind: its kind.
        model_name, version: the registered model.
        unchanged: whether this champion was serving already, so that nothing was registered.
        reason: why this model, in words.
        cutoff: last day that the final fit knew.
        stores: stores of the final fit.
        metric: by which it was chosen.
        score, baseline_score: overall, lower is better; None where undefined.
        wape, baseline_wape: the same by WAPE.
        baseline: the baseline's name.
        audit: what the leak audit says of the recipe; None: nothing.
        champion: the version that serves now; None: none does.
        gate: what the gate said of the version: passed, refused, not_enough_evidence, or
            not_asked where it was forced without a validation; None: it is of an older storecast.
        instead_of: the version of a first candidate that did not beat the baseline, which is
            deployed instead.
        judgement: its checks, of the candidate in that case; None where it was not asked.
        against: what the gate held it against, in words.
        remarks: what else is to be known.
        forced_by, forced_reason: who forced it, and why; None where it was not forced.
    """

    run_id: str
    validation_id: str
    model: str
    kind: str
    model_name: str
    version: str
    unchanged: bool
    reason: str
    cutoff: date
    stores: int
    metric: str
    score: float | None
    baseline_score: float | None
    wape: float | None
    baseline_wape: float | None
    baseline: str
    audit: str | None = None
    champion: str | None = None
    gate: str | None = None
    instead_of: str | None = None
    judgement: Judgement | None = None
    against: str | None = None
    remarks: tuple[str, ...] = ()
    forced_by: str | None = None
    forced_reason: str | None = None

    @property
    def checks(self) -> tuple[Check, ...]:
        """What the gate looked at, in the order of its table."""
        return self.judgement.checks if self.judgement else ()

    @property
    def promoted(self) -> bool:
        """Whether the version is the champion."""
        return self.champion == self.version

    def as_dict(self) -> dict[str, Any]:
        """Plain values, dates as ISO texts."""
        return asdict(self) | {
            "cutoff": self.cutoff.isoformat(),
            "judgement": self.judgement.as_dict() if self.judgement else None,
            "checks": [check.as_dict() for check in self.checks],
            "sentences": self.sentences(),
        }

    def sentences(self) -> list[str]:
        """For people; without the table of the checks."""
        return [self.accuracy(), self.reason, self.outcome(), *self.remarks, *self._forced()]

    def outcome(self) -> str:
        """What became of the version."""
        what = f"version {self.version} of {self.model_name}"
        fitted = f"({self.model}, fitted on {self.stores:,} stores up to {self.cutoff})"
        if self.unchanged:
            return f"unchanged: {what} stays the champion {fitted}"
        if self.promoted:
            return f"{what} is the champion {fitted}"
        kept = f"{what} {fitted} is kept as Challenger"
        if self.champion is None:
            return f"{kept}, and there is no champion"
        return f"{kept}; version {self.champion} stays the champion"

    def gate_says(self) -> str:
        """What the gate was asked and said, in one sentence."""
        if self.judgement is None:
            return "the gate was not asked"
        outcome = {
            "passed": "passed",
            "refused": "refused",
            "not_enough_evidence": "not enough evidence",
        }[self.judgement.outcome]
        windows = (
            f" over the last {self.judgement.cutoffs} windows" if self.judgement.cutoffs else ""
        )
        whom = f"version {self.instead_of or self.version}"
        against = f"against {self.against}{windows}"
        return f"gate ({self.judgement.road}) of {whom}, {against}: {outcome}"

    def _forced(self) -> list[str]:
        told = []
        if self.audit != "passed":
            said = self.audit or "not audited"
            told.append(f"forced: the leak audit has not passed {self.model} ({said})")
        if self.forced_by is not None and self.gate in _SAID:
            told.append(
                f"forced by {self.forced_by}, although the gate {_SAID[self.gate]}: "
                f"{self.forced_reason}"
            )
        return told

    def accuracy(self) -> str:
        """How accurate the model is, in one sentence."""
        who = f"the champion {self.model}" if self.promoted else self.model
        if self.wape is None:
            return f"how accurate {self.model} is, the validation does not say"
        told = f"{who} missed by {self.wape:.1%} of sales on average in the validation (WAPE)"
        if self.model == self.baseline or not self.baseline_wape:
            return told
        gain = 1 - self.wape / self.baseline_wape
        side = "less" if gain >= 0 else "more"
        return f"{told}, {abs(gain):.0%} {side} than {self.baseline} ({self.baseline_wape:.1%})"


class GateRefusal(Refusal):
    """The gate said no: a refusal that has the whole result, in the process that deployed."""

    def __init__(
        self, code: Code, message: str, *, result: DeployResult | None = None, **fields: Any
    ) -> None:
        super().__init__(code, message, **fields)
        self.result = result
