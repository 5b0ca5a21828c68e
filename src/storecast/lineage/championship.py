"""Who made which version the champion, by the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from storecast import runs

if TYPE_CHECKING:
    from storecast.project import Project

COMMANDS = ("deploy", "promote", "rollback")
"""Commands that may move Champion; each says in ``details`` which version ``champion`` is after."""


def recorded_champion(project: Project, model_name: str) -> str | None:
    """The champion when the newest of these commands had completed; None: none has."""
    champion = None
    for row in _rows(project, model_name):
        champion = row["details"]["champion"]
    return champion


def changes(project: Project, model_name: str) -> list[dict[str, Any]]:
    """Each change of the champion, oldest first: run_id, command, at, from, to, by, reason, forced.

    A deployment's ``by`` stands on the version that it made.
    """
    told, champion = [], None
    for row in _rows(project, model_name):
        details = row["details"]
        before = details.get("from", champion)
        champion = details["champion"]
        if champion == before:
            continue
        told.append(
            {
                "run_id": row["run_id"],
                "command": row["command"],
                "at": row["ended_at"].isoformat(timespec="seconds"),
                "from": before,
                "to": champion,
                "by": details.get("by"),
                "reason": details.get("reason"),
                "forced": bool(details.get("forced")),
            }
        )
    return told


def rolled_back(project: Project, model_name: str) -> dict[str, dict[str, Any]]:
    """Versions that were rolled back and have not been the champion since, each with its change."""
    told: dict[str, dict[str, Any]] = {}
    for change in changes(project, model_name):
        told.pop(change["to"], None)
        if change["command"] == "rollback":
            told[change["from"]] = change
    return told


def _rows(project: Project, model_name: str) -> Iterator[dict[str, Any]]:
    for row in runs.ledger(project):
        details = row["details"]
        mine = row["command"] in COMMANDS and details.get("model_name") == model_name
        if mine and row["status"] in runs.COMPLETED and details.get("champion"):
            yield row
