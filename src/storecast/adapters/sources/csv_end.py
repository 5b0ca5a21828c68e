"""The end of a CSV, and whether it lies inside a quoted field.

Arrow's reader takes the end of a file for the end of a quoted field, so that a file cut off in
one gives half a value, and an open quote swallows the lines behind it. A line of our own put
behind the last one comes back as the last row, unless a quoted field has swallowed it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import pyarrow as pa

_MARK = "\x04storecast: the end\x04"


class Marked(io.RawIOBase):
    """A file with the mark behind its last line; to be read once.

    Args:
        file: the file at its beginning; whoever opened it closes it.
        delimiter: what stands between its fields.
        width: fields in a line.
    """

    def __init__(self, file: BinaryIO, delimiter: str, width: int) -> None:
        super().__init__()
        line = delimiter.join([_MARK] * width)
        # An empty line before it is none to the reader.
        self._parts: list[BinaryIO] = [file, io.BytesIO(f"\n{line}\n".encode())]

    def readable(self) -> bool:
        """Yes."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """So many bytes, fewer at a part's end."""
        while self._parts:
            found = self._parts[0].read(size)
            if found:
                return found
            self._parts.pop(0)
        return b""


def unmarked(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches without the row of the mark.

    Raises:
        EOFError: the file ends inside a quoted field.
    """
    held: pa.RecordBatch | None = None
    for batch in batches:
        if batch.num_rows:
            if held is not None:
                yield held
            held = batch
    if held is None or any(column[-1].as_py() != _MARK for column in held.columns):
        raise EOFError("the last quoted field has no end: the file was cut off, or a quote is open")
    if held.num_rows > 1:
        yield held.slice(0, held.num_rows - 1)
