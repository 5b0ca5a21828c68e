"""A full disk, told as such wherever it is met: in a table, in the scratch folder, in MLflow."""

from __future__ import annotations

import errno

from storecast.errors import Code, StorecastError

_NUMBERS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SIGNS = (
    "no space left on device",
    "os error 28",
    "disk quota exceeded",
    # A limit of the process (ulimit -f), which a full disk resembles.
    "file too large",
    "os error 27",
    "database or disk is full",
    # DuckDB takes nine tenths of what is free for itself, and says this when it is used up.
    "max_temp_directory_size",
)
"""What libraries that hide the error's number write."""


def full(fault: BaseException, where: str) -> StorecastError | None:
    """The error that a full disk is, None where the fault is another.

    Args:
        fault: what was raised; what caused it is looked at too.
        where: what was being written.
    """
    cause: BaseException | None = fault
    while cause is not None:
        if isinstance(cause, StorecastError):
            return None
        if _says_so(cause):
            return StorecastError(
                Code.DISK_FULL,
                "no room is left where storecast writes",
                where=where,
                expected="room for the tables and for what a run keeps while it runs",
                found=" ".join(str(cause).split()),
                next_step="make room, then run the same command again; the tables are whole",
            )
        cause = cause.__cause__ or cause.__context__
    return None


def _says_so(fault: BaseException) -> bool:
    if isinstance(fault, OSError) and fault.errno in _NUMBERS:
        return True
    text = str(fault).lower()
    return isinstance(fault, Exception) and any(sign in text for sign in _SIGNS)
