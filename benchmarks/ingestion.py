"""Ingestion of the demo's invoice lines against its floor, both as whole processes.

The floor cannot be avoided: the same driver reads every line of the same columns, the same
library writes them to a Delta table, and nothing lies between. Run in turn, so that a change of
the machine's speed meets both: `python benchmarks/ingestion.py [RUNS]`.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FLOOR = """
import sys
import adbc_driver_sqlite.dbapi as sqlite
from deltalake import write_deltalake
columns = "invoice_id, store_number, invoice_date, amount, updated_at"
with sqlite.connect(sys.argv[1]) as connection, connection.cursor() as cursor:
    cursor.execute(f"SELECT {columns} FROM invoice_lines")
    write_deltalake(sys.argv[2], cursor.fetch_record_batch())
"""


def measured(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak memory in MB of one process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command[:4])}")
    scale = 1024 if sys.platform != "darwin" else 1024**2
    return time.perf_counter() - started, usage.ru_maxrss / scale


def main(runs: int) -> None:
    """Print each ratio, their median, and the memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as folder:
        root, floor_table = Path(folder, "demo"), Path(folder, "floor")
        # In a process of its own: a child's peak begins at its parent's.
        init = [sys.executable, "-m", "storecast.cli", "init", str(root), "--demo", "iowa"]
        subprocess.run(init, check=True)
        floor = [sys.executable, "-c", FLOOR, str(root / "iowa.db"), str(floor_table)]
        ours = [sys.executable, "-m", "storecast.cli", "ingest", "--project", str(root), "--json"]
        ratios, memory = [], []
        for number in range(runs + 1):
            for written in (floor_table, root / "lakehouse"):
                shutil.rmtree(written, ignore_errors=True)
            bare, bare_memory = measured(floor)
            whole, whole_memory = measured(ours)
            if number:  # the first warms the file cache for both
                ratios.append(whole / bare)
                memory.append((whole_memory, bare_memory))
        print("ratio to the floor:", " ".join(f"{r:.2f}" for r in ratios))
        print(f"median {statistics.median(ratios):.2f} (asked: at most 2.00)")
        most, least = (max(column) for column in zip(*memory, strict=True))
        print(f"peak memory: {most:.0f} MB; floor {least:.0f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
