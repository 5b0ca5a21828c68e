"""``storecast run``: the stages in their order; tables carry what passes between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from storecast.errors import Code, Refusal, StorecastError

if TYPE_CHECKING:
    from storecast.project import Project

STAGES = ("ingest", "validate", "deploy", "forecast", "monitor", "report")
NOT_SERVED = frozenset({"monitor"})


@dataclass(frozen=True)
class RunResult:
    """What each stage gave, by its name; the stages passed over, each with the reason.

    ``refused`` has, of a stage that ran well and said no, its error and, where there is one, its
    result: of a deployment, what the gate said and which champion serves on.
    """

    stages: dict[str, Any] = field(default_factory=dict)
    passed_over: dict[str, str] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For the JSON envelope."""
        return {
            "stages": {name: result.as_dict() for name, result in self.stages.items()},
            "passed_over": self.passed_over,
            "refused": {name: _told(refusal) for name, refusal in self.refused.items()},
        }


def run(
    project: Project, *, listen: Callable[[str, Any], None] = lambda _name, _result: None
) -> RunResult:
    """Ingest, validate, deploy, forecast, monitor and report, in order.

    A refused gate leaves the old champion in place and the run goes on; every other failure
    ends it.

    Args:
        project: what ``storecast.load`` gave.
        listen: called with a stage's name and None before it, and with its result after it,
            or with the reason (a text) why it is passed over.

    Raises:
        StorecastError: of the stage that failed.
    """
    done = RunResult()
    for name in STAGES:
        if name in NOT_SERVED:
            done.passed_over[name] = f"{name} is not served by this version of storecast"
            listen(name, done.passed_over[name])
            continue
        listen(name, None)
        try:
            result = _stage(name)(project)
        except Refusal as refusal:
            if name != "deploy":
                raise
            done.refused[name] = refusal
            done.passed_over[name] = f"{refusal.code.value}: {refusal.message}"
            result = getattr(refusal, "result", None)
            if result is not None:
                listen(name, result)
            listen(name, done.passed_over[name])
            continue
        done.stages[name] = result
        listen(name, result)
    if not done.stages:
        raise StorecastError(Code.INTERNAL, "no stage ran")
    return done


def _told(refusal: Refusal) -> dict[str, Any]:
    result = getattr(refusal, "result", None)
    return {"error": refusal.as_dict(), "result": None if result is None else result.as_dict()}


def _stage(name: str) -> Callable[[Project], Any]:
    import storecast

    stage: Callable[[Project], Any] = getattr(storecast, name)
    return stage
