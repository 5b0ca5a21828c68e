"""An ingestion with few new rows against a full one, all as whole processes.

A generated chain of a thousand shops: ten million lines in SQLite over 2,000 days, then 0.1% more
of the days after. Measured: the first ingestion, a second full one (`--full`) that finds nothing
new, an incremental one that finds nothing, and one with the new lines. The floor of a full one is
the driver's reading of every line and the library's writing of it; that of an incremental one the
driver's reading of the new lines by their watermark and the library's appending of them.

`python benchmarks/incremental.py [--rows N] [--no-index]`: without an index on the watermark the
database itself must look at every line to find the new ones.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from _processes import Measured, floor, measured, no_core_files, storecast

DAYS, STORES = 2_000, 1_000

GENERATE = """
import sqlite3, sys
path, first, last, days, stores, n = sys.argv[1], *map(int, sys.argv[2:7])
connection = sqlite3.connect(path)
connection.executescript(f'''
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS lines (
  id TEXT NOT NULL PRIMARY KEY, store TEXT NOT NULL, day TEXT NOT NULL, amount REAL NOT NULL,
  changed TEXT NOT NULL
) WITHOUT ROWID;
WITH RECURSIVE line(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM line WHERE i + 1 < {last})
INSERT INTO lines SELECT
  'L' || printf('%010d', i), 'S' || printf('%04d', i * 7919 % {stores}),
  date('2018-01-01', '+' || (i * {days} / {n}) || ' days'),
  (i * 31 % 100000) / 100.0,
  datetime('2018-01-01', '+' || (i * {days} / {n}) || ' days', '+' || (i % 86400) || ' seconds')
FROM line;
''')
if len(sys.argv) > 7:
    connection.execute("CREATE INDEX by_change ON lines (changed)")
    connection.commit()
newest = connection.execute("SELECT max(changed) FROM lines").fetchone()[0]
connection.close()
print(newest)
"""

CONFIG = """
project: bench
source:
  type: sqlite
  path: chain.db
  sales:
    from: lines
    primary_key: [id]
    columns: {store_id: store, date: day, sales: amount}
    watermark: changed
    reconcile: 45d
series: {frequency: D}
training: {from: 2018-01-01}
forecast: {horizon: 28}
models: [seasonal_naive]
"""


def _generated(database: Path, first: int, last: int, rows: int, *index: str) -> str:
    """Write lines ``first`` to ``last``; the newest watermark. In a process of its own."""
    numbers = [str(n) for n in (first, last, DAYS, STORES, rows)]
    command = [sys.executable, "-c", GENERATE, str(database), *numbers, *index]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def main(rows: int, index: bool) -> None:
    """Print seconds and peak memory of each, and the ratios."""
    no_core_files()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        database = root / "chain.db"
        Path(root, "storecast.yaml").write_text(CONFIG, "utf-8")
        newest = _generated(database, 0, rows, rows, *(["index"] if index else []))
        print(f"{rows:,} lines, {'an' if index else 'no'} index on the watermark")
        ingest = storecast("ingest", "--project", str(root), "--json")
        every = "SELECT id, store, day, amount, changed FROM lines"
        new = f"{every} WHERE changed > '{newest}'"
        said: dict[str, Measured] = {}

        def take(name: str, command: list[str]) -> None:
            said[name] = one = measured(command)
            print(
                f"{name:<18} {one.seconds:7.1f} s, of processors {one.processors:7.1f} s, "
                f"{one.memory:6.0f} MB",
                flush=True,
            )

        take("first floor", floor(database, root / "floor", every))
        take("first", ingest)
        take("second, full", [*ingest, "--full"])
        take("nothing new", ingest)
        _generated(database, rows, rows + max(1, rows // 1000), rows)
        take("incremental floor", floor(database, root / "floor", new))
        take("incremental", ingest)
        for figure, asked in (("seconds", " (asked: at most 0.25)"), ("processors", "")):
            of = {name: getattr(one, figure) for name, one in said.items()}
            part = of["incremental"]
            print(f"by {figure}:")
            print(
                f"  incremental to full: {part / min(of['first'], of['second, full']):.2f}{asked}"
            )
            print(f"  full to its floor: {of['first'] / of['first floor']:.2f}")
            print(f"  incremental to its floor: {part / of['incremental floor']:.2f}")
        most = max(one.memory for name, one in said.items() if "floor" not in name)
        print(f"peak memory: {most:.0f} MB (asked: less than 1,500)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--no-index", action="store_true")
    arguments = parser.parse_args()
    main(arguments.rows, not arguments.no_index)
