"""What the benchmarks share: commands as whole processes, start included."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

LINES = ("invoice_id", "store_number", "invoice_date", "amount", "updated_at")
"""Columns of the demo's invoice lines that an ingestion reads."""

FLOOR = """
import sys
import adbc_driver_sqlite.dbapi as sqlite
from deltalake import write_deltalake
database, table, query = sys.argv[1:4]
with sqlite.connect(database) as connection, connection.cursor() as cursor:
    cursor.execute(query)
    write_deltalake(table, cursor.fetch_record_batch(), mode="append")
"""
"""Cannot be avoided: the same driver reads, the same library writes, nothing lies between."""


class Measured(NamedTuple):
    """Of one process: wall seconds, seconds of processors, peak memory in MB."""

    seconds: float
    processors: float
    memory: float


def measured(command: Sequence[str]) -> Measured:
    """Run a process to its end."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command[:4])}")
    scale = 1024 if sys.platform != "darwin" else 1024**2
    return Measured(
        time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / scale
    )


def no_core_files() -> None:
    """A process that is killed leaves no file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def storecast(*arguments: str) -> list[str]:
    """A command of storecast, as a process of its own."""
    return [sys.executable, "-m", "storecast.cli", *arguments]


def floor(database: object, table: object, query: str) -> list[str]:
    """The floor of reading ``query`` and writing what it gives."""
    return [sys.executable, "-c", FLOOR, str(database), str(table), query]
