"""Ingestion of the demo's invoice lines against its floor, both as whole processes.

The floor cannot be avoided: the same driver reads every line of the same columns, the same
library writes them to a Delta table, and nothing lies between. Both run in turn, so that a change
of the machine's speed meets both.

`python benchmarks/ingestion.py [--runs N] [--lines FILE]`: FILE is a parquet file of invoice
lines (`invoice_id`, `date`, `store_id`, `item_id`, `bottles`, `sales`) that takes the place of the
demo's.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from _processes import LINES, floor, measured, no_core_files, storecast

REPLACE = """
import sqlite3, sys
import pyarrow.parquet as pq
names = ["invoice_id", "date", "store_id", "item_id", "bottles", "sales"]
lines = pq.read_table(sys.argv[2], columns=names)
connection = sqlite3.connect(sys.argv[1])
with connection:
    connection.execute("DELETE FROM invoice_lines")
    connection.executemany(
        "INSERT INTO invoice_lines (invoice_id, invoice_date, store_number, item_id, bottles, "
        "amount, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?2 || ' 23:00:00')",
        (
            (line, day.isoformat(), *rest)
            for batch in lines.to_batches(65_536)
            for line, day, *rest in zip(*(c.to_pylist() for c in batch.columns))
        ),
    )
    newest = connection.execute("SELECT max(invoice_date) FROM invoice_lines").fetchone()
    connection.execute("UPDATE load_log SET complete_through = ?", newest)
connection.execute("VACUUM")
print(f"{lines.num_rows:,} lines")
"""


def main(runs: int, lines: Path | None) -> None:
    """Print each ratio, their median, and the memory."""
    no_core_files()
    with tempfile.TemporaryDirectory() as folder:
        root, floor_table = Path(folder, "demo"), Path(folder, "floor")
        database = root / "iowa.db"
        # In processes of their own: a child's peak begins at its parent's.
        subprocess.run(storecast("init", str(root), "--demo", "iowa"), check=True)
        if lines is not None:
            subprocess.run([sys.executable, "-c", REPLACE, str(database), str(lines)], check=True)
        bare_command = floor(database, floor_table, f"SELECT {', '.join(LINES)} FROM invoice_lines")
        ours = storecast("ingest", "--project", str(root), "--json")
        ratios, memory = [], []
        for number in range(runs + 1):
            for written in (floor_table, root / "lakehouse"):
                shutil.rmtree(written, ignore_errors=True)
            bare, whole = measured(bare_command), measured(ours)
            if number:  # the first warms the file cache for both
                ratios.append(whole.seconds / bare.seconds)
                memory.append((whole.memory, bare.memory))
                print(
                    f"ingestion {whole.seconds:.2f} s, floor {bare.seconds:.2f} s, "
                    f"ratio {ratios[-1]:.2f} (of processor time "
                    f"{whole.processors / bare.processors:.2f})",
                    flush=True,
                )
        print(f"median ratio {statistics.median(ratios):.2f} (asked: at most 2.00)")
        most, least = (max(column) for column in zip(*memory, strict=True))
        print(f"peak memory: {most:.0f} MB; floor {least:.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--lines", type=Path)
    arguments = parser.parse_args()
    main(arguments.runs, arguments.lines)
