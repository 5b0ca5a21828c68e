"""Files that must stay as they are while one run reads them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from storecast.errors import Code, SourceError

_Stamp = tuple[int, int, int, int]
"""Device, inode, bytes, and the instant of the last change in nanoseconds."""


class Steady:
    """Opens files, and refuses one that changes from its first opening on.

    A file is opened once for a reading, so that all of it comes from one file even where another
    takes its name. What is remembered holds for all readings of a run.
    """

    def __init__(self) -> None:
        self._stamps: dict[Path, _Stamp] = {}

    @contextlib.contextmanager
    def opened(self, file: Path) -> Iterator[BinaryIO]:
        """The file at its beginning, closed at the end of the block.

        Raises:
            SourceError: SOURCE_INTERRUPTED where the file is not as it was; it comes before what
                a half-written file makes of the reading.
        """
        with self._open(file) as handle:
            self._compare(file, os.fstat(handle.fileno()))
            try:
                yield handle
            except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError, SourceError):
                self._still(file, handle)
                raise
            self._still(file, handle)

    def _open(self, file: Path) -> BinaryIO:
        try:
            return file.open("rb")
        except FileNotFoundError as fault:
            if file not in self._stamps:
                raise
            raise _changed(file, "it is no longer there") from fault

    def _still(self, file: Path, handle: BinaryIO) -> None:
        if not handle.closed:
            self._compare(file, os.fstat(handle.fileno()))
        try:
            now = file.stat()
        except OSError as fault:
            raise _changed(file, "it is no longer there") from fault
        self._compare(file, now)

    def _compare(self, file: Path, now: os.stat_result) -> None:
        stamp = (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns)
        before = self._stamps.setdefault(file, stamp)
        if stamp == before:
            return
        if stamp[2] != before[2]:
            raise _changed(file, f"{before[2]:,} bytes became {stamp[2]:,}")
        another = stamp[:2] != before[:2]
        raise _changed(file, "another file took its name" if another else "it was written to")


def _changed(file: Path, found: str) -> SourceError:
    return SourceError(
        Code.SOURCE_INTERRUPTED,
        f"the file {file.name} changed while it was read; nothing was written",
        where=str(file),
        expected="a file that stays as it is until the run has read it",
        found=found,
        next_step="run again once the file is complete; write an export under another name and "
        "rename it when it is done",
    )
