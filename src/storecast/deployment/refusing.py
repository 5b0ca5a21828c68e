"""The gate's no, in words: what spoke against the version, and what can be done now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from storecast.deployment.result import DeployResult, GateRefusal
from storecast.errors import Code, Refusal

if TYPE_CHECKING:
    from storecast.backtest.judgement import Check
    from storecast.registry import ModelVersion


def refusal(result: DeployResult, champion: ModelVersion) -> GateRefusal:
    """GATE_REFUSED or GATE_NOT_ENOUGH_EVIDENCE, with the whole result."""
    judgement = result.judgement
    assert judgement is not None  # noqa: S101 - nothing is refused without it
    refused = judgement.outcome == "refused"
    names = ", ".join(dict.fromkeys(c.name.replace("_", " ") for c in _open(result)))
    what = "refused" if refused else "has not enough evidence for"
    return GateRefusal(
        Code.GATE_REFUSED if refused else Code.GATE_NOT_ENOUGH_EVIDENCE,
        f"the gate {what} {result.model}, version {result.version} ({names}); version "
        f"{champion.number} of {result.model_name} stays the champion",
        where=f"{result.model} against {result.against}",
        expected="every check of the gate passed",
        found="; ".join(judgement.reasons),
        next_step=_next(result, champion),
        result=result,
    )


def was_rolled_back(version: ModelVersion, change: Mapping[str, Any]) -> Refusal:
    """ROLLED_BACK, with who did it, when and why."""
    by = f" by {change['by']}" if change["by"] else ""
    why = f": {change['reason']}" if change["reason"] else ""
    return Refusal(
        Code.ROLLED_BACK,
        f"this is version {version.number}, which was rolled back on {change['at']}{by}{why}",
        where=f"{version.name} version {version.number}",
        expected="another recipe, newer data or another validation",
        found="the same recipe, data and validation",
        next_step=f"storecast models promote {version.number} brings it back; --force deploys it",
    )


def _open(result: DeployResult) -> list[Check]:
    """The checks that did not pass: where one failed, the failed ones."""
    failed = [check for check in result.checks if check.passed is False]
    return failed or [check for check in result.checks if check.passed is None]


def _next(result: DeployResult, champion: ModelVersion) -> str:
    forced = f"overrule the gate: storecast deploy --model {result.model} --force --reason TEXT"
    serving = champion.tags.get("model")
    if result.judgement is not None and result.judgement.road == "challenge" and serving:
        return (
            f"keep the champion (storecast deploy --model {serving} fits its recipe on the newest "
            f"data), or {forced}"
        )
    return f"see docs/operations.md (the gate said no), or {forced}"
