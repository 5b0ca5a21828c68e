"""What delta-rs prints past us: on a full disk its threads panic, beside the error it raises."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import BinaryIO

_STANDARD_ERROR = 2
_ALONE = threading.Lock()
_LATE = 0.2
"""Seconds in which threads that are still at work panic after the error has come."""

# Up to an empty line or the next one: a thread's name, the place, the reason, the backtrace.
_PANIC = re.compile(
    r"\n?^thread '[^'\n]*'[^\n]* panicked at .*?(?:\n(?=\n)|(?=^thread ')|\Z|"
    r"^note: [^\n]*(?:\n|\Z))",
    re.MULTILINE | re.DOTALL,
)


@contextlib.contextmanager
def kept_aside() -> Iterator[None]:
    """Keep standard error aside while the library writes, and print it afterwards.

    Panics are no news where the error itself is raised: they become its note, which a traceback
    shows. Whoever writes in another thread meanwhile is heard a little later; a process that
    dies in the block takes what was kept along.
    """
    aside = _aside() if _ALONE.acquire(blocking=False) else None
    if aside is None:
        yield
        return
    before, file = aside
    try:
        yield
    except BaseException as fault:
        time.sleep(_LATE)
        panics, rest = _divided(_back(before, file))
        if panics:
            fault.add_note(panics)
        _print(rest)
        raise
    else:
        _print(_back(before, file))


def _aside() -> tuple[int, BinaryIO] | None:
    """Descriptor 2 points to a file; None where there is no such descriptor."""
    try:
        # Not on the disk, which may be full.
        file: BinaryIO = (
            os.fdopen(os.memfd_create("stderr"), "w+b")
            if hasattr(os, "memfd_create")
            else tempfile.TemporaryFile()  # noqa: SIM115 - closed by _back
        )
        _flush()
        before = os.dup(_STANDARD_ERROR)
        os.dup2(file.fileno(), _STANDARD_ERROR)
    except OSError:
        _ALONE.release()
        return None
    return before, file


def _back(before: int, file: BinaryIO) -> bytes:
    _flush()
    os.dup2(before, _STANDARD_ERROR)
    os.close(before)
    with file:
        file.seek(0)
        kept = file.read()
    _ALONE.release()
    return kept


def _divided(kept: bytes) -> tuple[str, bytes]:
    """Panics, and what else was written."""
    text = kept.decode(errors="surrogateescape")
    panics = "".join(match[0] for match in _PANIC.finditer(text)).strip()
    return panics, _PANIC.sub("", text).encode(errors="surrogateescape")


def _print(kept: bytes) -> None:
    with contextlib.suppress(OSError):
        if kept:
            os.write(_STANDARD_ERROR, kept)


def _flush() -> None:
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr is not None:
            sys.stderr.flush()
