"""Promotions and rollbacks in processes of their own, to be killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

from mlflow import MlflowClient

from storecast.adapters.local.tables import LocalTables
from storecast.configfile import parse_config
from storecast.platforms import assemble
from storecast.project import Project
from storecast.promotion.step import promote, rollback
from tests.fills import settings

# One process that has imported everything and has no thread yet: its children start at once.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])

WRITES = (
    (MlflowClient, "set_registered_model_alias"),
    (MlflowClient, "delete_registered_model_alias"),
    (LocalTables, "merge"),
)
"""What changes anything: the aliases, and the ledger at the end."""


def project_in(folder: Path) -> Project:
    return assemble(parse_config(settings()), folder)


def moved(folder: Path, command: str) -> None:
    """``promote`` version 2, or ``rollback``."""
    project = project_in(folder)
    if command == "promote":
        promote(project, "2", reason="tried")
    else:
        rollback(project, reason="tried")


def killed_at(folder: Path, command: str, write: int, after: bool) -> None:
    """Die by SIGKILL right before or right after one of the writes, counted from 1."""
    done = 0

    def wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            nonlocal done
            done += 1
            if done == write and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = method(*arguments, **more)
            if done == write:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return call

    for owner, name in WRITES:
        setattr(owner, name, wrapped(getattr(owner, name)))
    moved(folder, command)


def killed_in_time(folder: Path, command: str, seconds: float) -> None:
    """Die by SIGKILL so long after the beginning, in the middle of whatever there is."""

    def end() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    Thread(target=end, daemon=True).start()
    moved(folder, command)


def exit_code(target: Callable[..., None], *arguments: Any) -> int:
    """How a process ends; the negative number of a signal that killed it."""
    process = CONTEXT.Process(target=target, args=arguments, daemon=True)
    process.start()
    process.join(120)
    assert process.exitcode is not None
    return int(process.exitcode)
