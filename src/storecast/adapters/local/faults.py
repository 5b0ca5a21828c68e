"""What delta-rs raises, told as storecast tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from storecast import disk
from storecast.errors import Code, StorecastError, TableError

if TYPE_CHECKING:
    from storecast.adapters.local.rows import Stream


class translated:  # noqa: N801 - reads as the verb that it is
    """Turn what delta-rs raises into our own error, or give back what a stream raised."""

    def __init__(self, name: str, stream: Stream | None = None) -> None:
        self._name = name
        self._stream = stream

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: Any, fault: BaseException | None, _trace: Any) -> None:
        if fault is None or isinstance(fault, StorecastError):
            return
        if self._stream is not None and self._stream.fault is not None:
            raise self._stream.fault
        if isinstance(fault, Exception):
            raise _as_table_error(self._name, fault) from fault


_SIGNS: tuple[tuple[str, Code, str], ...] = (
    ("validation check", Code.TABLE_CONSTRAINT_VIOLATION, "rows break a constraint of"),
    ("violate", Code.TABLE_CONSTRAINT_VIOLATION, "rows break a constraint of"),
    ("schema", Code.TABLE_SCHEMA_MISMATCH, "rows do not have the schema of"),
    ("cast error", Code.TABLE_SCHEMA_MISMATCH, "rows do not have the types of"),
)


def _as_table_error(name: str, fault: Exception) -> StorecastError:
    full = disk.full(fault, f"table {name}")
    if full is not None:
        return full
    text = " ".join(str(fault).split())
    for sign, code, sentence in _SIGNS:
        if sign in text.lower():
            return TableError(code, f"{sentence} table {name}", where=name, found=text)
    return TableError(
        Code.TABLE_WRITE_FAILED,
        f"table {name} could not be read or written",
        where=name,
        found=text,
        next_step="check free space and permissions of the lakehouse folder",
    )
