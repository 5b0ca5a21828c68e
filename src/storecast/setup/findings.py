"""What a check of ``storecast doctor`` says, and how a check that breaks says it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from storecast.errors import StorecastError

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what was looked at.
        status: ``ok``, ``warning`` (works, but look at it) or ``failed`` (will not work).
        sentence: what was found.
        next_step: how to mend it; None where nothing has to be done.
    """

    name: str
    status: Status
    sentence: str
    next_step: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """All findings, in the order in which a user would mend them."""

    findings: list[Finding]
    healthy: bool


def ok(name: str, sentence: str, next_step: str | None = None) -> Finding:
    """What is as it should be."""
    return Finding(name, "ok", sentence, next_step)


def warning(name: str, sentence: str, next_step: str) -> Finding:
    """What works and still wants a look."""
    return Finding(name, "warning", sentence, next_step)


def failed(name: str, sentence: str, next_step: str) -> Finding:
    """What will not work."""
    return Finding(name, "failed", sentence, next_step)


def from_error(name: str, fault: StorecastError) -> Finding:
    """An error of storecast's own, as a finding."""
    parts = [f"{fault.code.value}: {fault.message}"]
    parts += [f"{word} {text}" for word, text in (("at", fault.where), ("expected", fault.expected),
                                                  ("found", fault.found)) if text]  # fmt: skip
    return failed(name, "; ".join(parts), fault.next_step or "docs/errors.md says more of the code")


def guarded(name: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """The findings of a check; one that raises is itself a failed finding."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except StorecastError as fault:
        found.append(from_error(name, fault))
    except Exception as fault:  # noqa: BLE001 - a doctor that falls ill helps nobody
        reason = f"{type(fault).__name__}: {str(fault)[:300]}"
        step = "the command that needs it, run with --debug, shows more"
        found.append(failed(name, f"the check could not be made: {reason}", step))
    return found
