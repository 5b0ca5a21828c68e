"""Upkeep of a Delta table: few files, and none that time travel no longer needs.

Files of the size that is written are left alone. Small ones, such as each run leaves, are put
together when there are many, so that over the runs a row is rewritten a few times, not each time.
Runs come in the order of their dates, and so do the files that are made of them: a condition on
the date rules out most files without a sort.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from deltalake import DeltaTable, WriterProperties

from storecast.adapters.local import rewrite, scan

FILE_BYTES: Final = 32 << 20
"""Size of the files that are written: a change rewrites a file whole."""

CHECKPOINT_EVERY: Final = 10
"""Commits that a reader of the log must read one by one, at most."""

SMALL: Final = FILE_BYTES // 4
MANY: Final = 16
"""So many files smaller than ``SMALL`` may lie there."""

_WHOLE = FILE_BYTES * 3 // 4
_DAY = 86_400.0


def writer() -> WriterProperties:
    """How files are written: row groups small enough to be skipped and to fit in memory."""
    return WriterProperties(compression="SNAPPY", max_row_group_size=1 << 18)


def compact(table: DeltaTable) -> None:
    """Put small files together where there are many: one commit, or none."""
    small = [size for size in scan.live(table)["size_bytes"].to_pylist() if size < SMALL]
    if len(small) > MANY:
        table.optimize.compact(
            target_size=_WHOLE, max_concurrent_tasks=1, writer_properties=writer()
        )


def clean(table: DeltaTable, folder: Path, retention_days: int) -> None:
    """Delete files that no version within the retention has, those of killed writes included.

    The library says which; deleting them here makes no commits, which no run would name. Commits
    of the log go when a checkpoint is written, once they are older than the retention.
    """
    gone = table.vacuum(
        retention_hours=24 * retention_days,
        dry_run=True,
        enforce_retention_duration=False,
        full=True,
    )
    for path in gone:
        (folder / unquote(path)).unlink(missing_ok=True)
    rewrite.clean(folder)
    yesterday = time.time() - _DAY
    for begun in (*folder.glob("*#*"), *folder.glob("_delta_log/*#*")):
        # What a killed write had begun: the library does not list it, so nothing else finds it.
        if begun.stat().st_mtime < yesterday:
            begun.unlink(missing_ok=True)
