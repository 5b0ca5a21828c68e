"""What a deployment writes down on the model version, beside what it was made from."""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING

from storecast import runs
from storecast.backtest.identity import code_digest

if TYPE_CHECKING:
    from storecast.project import Project
    from storecast.runs import Run

ROOMS = ("artifact", "backtest", "core", "inference", "models")
"""Rooms of the package whose code decides what a version forecasts."""
NO_REASON = "none given"
LONGEST = 250
"""Characters of a tag's value that every registry takes."""


def of_deployment(run: Run, project: Project) -> dict[str, str]:
    """Tags of the version that ``run`` makes; to be asked once the history was read.

    Returns:
        deployed_by, deployed_at; data_versions (JSON, table to Delta version) and ingest_run_id;
        config_hash, by which ``runs.configuration`` gives the whole; package_version, code_digest
        and, where the package was installed from a repository, code_commit.
    """
    ingestion = runs.newest(project, "ingest")
    learnt_from = {n: v for n, v in run.tables_read.items() if not n.startswith("backtest_")}
    told = {
        "deployed_by": operator(),
        "deployed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "data_versions": json.dumps(learnt_from, sort_keys=True),
        "ingest_run_id": str(ingestion["run_id"]) if ingestion is not None else "",
        "config_hash": project.config.hash(),
    }
    return told | code_version()


def forced_tags(run_id: str, reason: str | None, over: Sequence[str]) -> dict[str, str]:
    """Tags of a version that somebody forced: who, when, why, over what, and by which run."""
    return {
        "forced_by": operator(),
        "forced_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "forced_reason": cut(reason or NO_REASON),
        "forced_over": ", ".join(over),
        "forced_run_id": run_id,
    }


def cut(text: str) -> str:
    """The text as long as every registry takes it in a tag's value."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def operator() -> str:
    """Who is at work: user@host, as the machine has them."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that no user has
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


@cache
def code_version() -> dict[str, str]:
    """package_version, code_digest, and code_commit where pip installed from a repository."""
    told = {"package_version": runs.package_version(), "code_digest": code_digest(ROOMS)}
    commit = _commit()
    return told | ({"code_commit": commit} if commit else {})


def _commit() -> str | None:
    try:
        written = distribution("storecast").read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    told = json.loads(written) if written else {}
    commit = told.get("vcs_info", {}).get("commit_id")
    return str(commit) if commit else None
