"""Ingestions in processes of their own, to be killed, held, or starved."""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

from storecast.adapters.local import upkeep
from storecast.adapters.local.tables import LocalTables
from storecast.errors import Code, StorecastError
from storecast.ingestion.step import ingest

from .chains import Chain

# One process that has imported everything and has no thread yet: its children start at once.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])

BUSY = 7
"""Exit code of a child that was told PROJECT_BUSY."""
CHANGING = ("merge", "replace", "restore", "compact")
"""Methods of a table store that may make a version."""


def with_stores(chain: Chain) -> Chain:
    """A chain that has a table of stores too."""
    chain.source["stores"] = {
        "from": "shops", "columns": {"store_id": "shop"}, "attributes": ["town"]
    }  # fmt: skip
    return chain


def child(target: Callable[..., None], *arguments: Any) -> Any:
    """Start a process; who asks joins it."""
    process = CONTEXT.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def exit_code(target: Callable[..., None], *arguments: Any) -> int:
    """How a process ends; the negative number of a signal that killed it."""
    process = child(target, *arguments)
    process.join(120)
    assert process.exitcode is not None
    return int(process.exitcode)


def killed_after(folder: Path, versions: int, full: bool) -> None:
    """Ingest, and die by SIGKILL after so many versions of tables; compaction at each commit."""
    upkeep.MANY = 0  # type: ignore[misc]
    left = versions

    def wrapped(method: Callable[..., int]) -> Callable[..., int]:
        def call(store: LocalTables, what: Any, *arguments: Any, **options: Any) -> int:
            nonlocal left
            name = what if isinstance(what, str) else what.name
            before = store.version(name)
            after = method(store, what, *arguments, **options)
            left -= before != after
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return after

        return call

    for name in CHANGING:
        setattr(LocalTables, name, wrapped(getattr(LocalTables, name)))
    ingest(with_stores(Chain(folder)).project(), full=full)


def killed_by_time(folder: Path, seconds: float) -> None:
    """Ingest, and die by SIGKILL so long after the beginning."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    project = with_stores(Chain(folder)).project()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    ingest(project)
    signal.setitimer(signal.ITIMER_REAL, 0)


def held(folder: Path, ready: Event, go: Event) -> None:
    """Ingest, and wait at the first commit."""
    merge = LocalTables.merge

    def call(*arguments: Any, **options: Any) -> int:
        ready.set()
        go.wait(60)
        return merge(*arguments, **options)

    LocalTables.merge = call  # type: ignore[method-assign]
    ingest(with_stores(Chain(folder)).project())


def attempted(folder: Path, barrier: Barrier | None = None) -> None:
    """Ingest; exit with BUSY where another one is at work."""
    project = with_stores(Chain(folder)).project()
    if barrier is not None:
        barrier.wait(60)
    try:
        ingest(project)
    except StorecastError as fault:
        os._exit(BUSY if fault.code is Code.PROJECT_BUSY else 1)


def starved(folder: Path, largest: int, told: Any) -> None:
    """Ingest with no file longer than ``largest`` bytes; tell the code, the message, the log."""
    heard: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    logging.getLogger("storecast").addHandler(Handler())
    project = with_stores(Chain(folder)).project()
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    try:
        ingest(project)
    except StorecastError as fault:
        told.put((fault.code.value, fault.message, heard))
    else:
        told.put(("", "", heard))
