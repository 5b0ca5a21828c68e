"""Finished tasks, kept in files: a backtest that was killed goes on where it stood.

A file is named by its task's key and by the SHA-256 of its own content, so that a damaged one is
known. It is written under a temporary name and renamed. Those that were used longest ago go
first, once all together are larger than ``MOST_BYTES``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa

MOST_BYTES: Final = 1 << 30
"""What a folder of finished tasks may take on the disk."""
_ABOUT, _SUFFIX, _UNFINISHED = b"storecast.task", ".arrow", ".unfinished"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done:
    """What came of a task.

    Attributes:
        frame: as ``Outcome`` has it.
        failure: why a share was filled.
        seconds: that it took, when it was computed.
        peak_memory_mb: the most that its process held in memory meanwhile, in 10^6 bytes; None
            where the system does not say.
        kept: whether it was taken from a file.
    """

    frame: pl.DataFrame
    failure: str | None
    seconds: float
    peak_memory_mb: float | None
    kept: bool = False


def taken(folder: Path, key: str) -> Done | None:
    """What was kept under a key; None where nothing was, or it is damaged."""
    for file in sorted(folder.glob(f"{key}-*{_SUFFIX}")):
        try:
            content = file.read_bytes()
            if file.name != _name(key, content):
                raise ValueError("its content is not what its name says")  # noqa: TRY301
            with pa.ipc.open_file(pa.BufferReader(content)) as reader:
                table = reader.read_all()
            about = json.loads(table.schema.metadata[_ABOUT])
            os.utime(file)
        except (OSError, ValueError, KeyError, pa.ArrowException) as fault:
            _log.warning("a finished task is computed anew, %s is damaged: %s", file, fault)
            continue
        frame = pl.DataFrame(table.replace_schema_metadata(None))
        return Done(frame, None, about["seconds"], about["peak_memory_mb"], kept=True)
    return None


def keep(folder: Path, key: str, done: Done) -> None:
    """Keep what came of a task; that it could not be written does no harm but to time.

    What was filled for a failure is not kept: the model is asked again.
    """
    if done.failure is not None:
        return
    about = {"seconds": done.seconds, "peak_memory_mb": done.peak_memory_mb}
    table = done.frame.to_arrow().replace_schema_metadata({_ABOUT: json.dumps(about)})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    content = sink.getvalue().to_pybytes()
    temporary = folder / f"{key}.{os.getpid()}{_UNFINISHED}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(folder / _name(key, content))
    except OSError as fault:
        _log.warning("a finished task could not be kept in %s: %s", folder, fault)
        with contextlib.suppress(OSError):
            temporary.unlink()


def clean(folder: Path, most: int = MOST_BYTES) -> None:
    """Remove unfinished files, and those used longest ago once all are larger than ``most`` bytes.

    Nobody else may be at work in the folder.
    """
    if not folder.is_dir():
        return
    for left in folder.glob(f"*{_UNFINISHED}"):
        left.unlink(missing_ok=True)
    told = [(file.stat(), file) for file in folder.glob(f"*{_SUFFIX}")]
    size = 0
    for stat, file in sorted(told, key=lambda pair: pair[0].st_mtime_ns, reverse=True):
        size += stat.st_size
        if size > most:
            file.unlink(missing_ok=True)


def _name(key: str, content: bytes) -> str:
    return f"{key}-{hashlib.sha256(content).hexdigest()[:32]}{_SUFFIX}"
