"""How long a backtest still takes, by what its models' tasks have cost so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Remaining:
    """The seconds left, estimated model by model: one takes milliseconds, another minutes.

    Attributes:
        open: tasks that are not finished, by model.
        costs: what a task of each model may take, in any unit, before one has been seen.
        workers: tasks that run at once.
    """

    open: dict[str, int]
    costs: Mapping[str, float]
    workers: int
    _seen: dict[str, list[float]] = field(default_factory=dict)

    def finished(self, model: str, seconds: float) -> None:
        """Take note of a task; ``seconds`` that it took, now or when it was computed."""
        self.open[model] -= 1
        self._seen.setdefault(model, []).append(seconds)

    def seconds(self) -> float | None:
        """What is left; None before anything was seen.

        The cost of a model not yet seen is scaled by those that were.
        """
        if not self._seen:
            return None
        taken = sum(sum(told) for told in self._seen.values())
        rough = sum(self.costs[model] * len(told) for model, told in self._seen.items())
        scale = taken / rough if rough else 0.0
        usual = {
            model: sum(told) / len(told) if (told := self._seen.get(model)) else scale * cost
            for model, cost in self.costs.items()
        }
        longest = max((usual[m] for m, n in self.open.items() if n), default=0.0)
        return max(longest, sum(usual[m] * n for m, n in self.open.items()) / self.workers)
