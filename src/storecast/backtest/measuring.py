"""How much memory a task takes."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def forget_peak() -> None:
    """Let the peak begin anew at what is held now, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        _RESET.write_text("5")


def peak_memory_mb() -> float | None:
    """The most memory that this process held, in 10^6 bytes, since ``forget_peak``.

    Where the system cannot forget (macOS), since the process began; None where it does not say.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in _STATUS.read_text("utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return getrusage(RUSAGE_SELF).ru_maxrss * unit / 1e6
