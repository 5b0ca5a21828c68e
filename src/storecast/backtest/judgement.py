"""What the promotion gate says: its checks, one by one, and what follows from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Outcome = Literal["passed", "refused", "not_enough_evidence"]
Road = Literal["challenge", "refresh", "first"]
Bound = tuple[float | None, float | None]
"""The lowest and the highest value that passes (a gain must be above); None: no such bound."""


@dataclass(frozen=True)
class Limits:
    """What the gate asks for: the ``gate`` section of the configuration.

    Attributes:
        min_gain: the share of the champion's loss by which a challenger must be lower.
        alpha: the chance, at most, that one that is not gets through.
        max_bias: the mean of Σ(f−y) / Σ|y| over the windows may be this far from zero: far, since
            a median, the usual point, lies below the mean of skewed sales (15% on real stores).
        coverage: lowest and highest share of open periods within the central interval; None:
            those of ``coverage_bounds``.
        max_segment_loss: the share by which a segment's loss may be higher than the champion's.
        max_shift: Σ|new − serving| / Σ|serving| of a refreshed model's forecasts, at most.
        max_level: how far beyond the recent levels of sales the forecasts may lie, as a share.
    """

    min_gain: float = 0.0
    alpha: float = 0.1
    max_bias: float = 0.25
    coverage: tuple[float, float] | None = None
    max_segment_loss: float = 0.05
    max_shift: float = 0.25
    max_level: float = 0.5


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: gain, segment, bias, coverage, filled, baseline, shift, shifted_stores, level.
        scope: overall or segment.
        member: ``all``, or the segment as ``attribute=value``.
        value: what was found; None where it is undefined.
        low, high: the interval of the value, where there is one.
        bound: the values that pass.
        passed: None: the evidence is not enough to say.
        sentence: for people.
    """

    name: str
    scope: str
    member: str
    value: float | None
    low: float | None
    high: float | None
    bound: Bound
    passed: bool | None
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"bound": list(self.bound)}


@dataclass(frozen=True)
class Judgement:
    """What the gate says of a model.

    Attributes:
        road: challenge, refresh or first.
        outcome: refused where a check failed; not_enough_evidence where none failed and one
            cannot be told; passed otherwise.
        checks: in the order of the table that people are shown.
        loss: of the model, mean over the cutoffs, and its metric; ``other_loss`` of the
            champion, or of the baseline.
        gain: 1 − loss / other_loss; None where it is undefined.
        interval: of a challenge's gain, by the two-way bootstrap, at 1 − 2 · alpha.
        p_value: of the exact one-sided sign-flip test; None where it was not asked.
        cutoffs: how many windows counted.
        stores: how many stores counted.
    """

    road: Road
    outcome: Outcome
    checks: tuple[Check, ...]
    metric: str
    loss: float | None = None
    other_loss: float | None = None
    gain: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    cutoffs: int = 0
    stores: int = 0

    @property
    def passed(self) -> bool:
        """Whether the model gets through."""
        return self.outcome == "passed"

    @property
    def reasons(self) -> tuple[str, ...]:
        """The sentences of the checks that it did not pass; empty where it passed."""
        return tuple(check.sentence for check in self.checks if not check.passed)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {
            "checks": [check.as_dict() for check in self.checks],
            "interval": None if self.interval is None else list(self.interval),
            "reasons": list(self.reasons),
        }


def outcome_of(checks: tuple[Check, ...]) -> Outcome:
    """What follows from the checks."""
    if any(check.passed is False for check in checks):
        return "refused"
    if any(check.passed is None for check in checks):
        return "not_enough_evidence"
    return "passed"
