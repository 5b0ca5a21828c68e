"""Whether bytes are one object of XGBoost's binary JSON (UBJSON), and nothing behind it."""

from __future__ import annotations

import struct
from typing import Final

_WIDTHS: Final = {
    b"Z": 0, b"N": 0, b"T": 0, b"F": 0, b"i": 1, b"U": 1, b"C": 1, b"I": 2, b"l": 4, b"L": 8,
    b"d": 4, b"D": 8,
}  # fmt: skip
_INTEGERS: Final = {b"i": ">b", b"U": ">B", b"I": ">h", b"l": ">i", b"L": ">q"}
_DEEPEST: Final = 32
"""XGBoost's own models are some seven levels deep."""


def is_object(content: bytes) -> bool:
    """Whether all of ``content`` is one object."""
    try:
        return content[:1] == b"{" and _Reader(content).end() == len(content)
    except (ValueError, struct.error):
        return False


class _Reader:
    """Goes through the values without keeping any."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def end(self) -> int:
        """Where the first value ends."""
        self._value(self._mark(), 0)
        return self.at

    def _mark(self) -> bytes:
        mark = self.content[self.at : self.at + 1]
        self.at += 1
        return mark

    def _skip(self, size: int) -> None:
        if size < 0 or self.at + size > len(self.content):
            raise ValueError(size)
        self.at += size

    def _length(self) -> int:
        form = _INTEGERS.get(self._mark())
        if form is None:
            raise ValueError(self.at)
        (length,) = struct.unpack_from(form, self.content, self.at)
        self.at += struct.calcsize(form)
        return int(length)

    def _value(self, mark: bytes, depth: int) -> None:
        if depth > _DEEPEST:
            raise ValueError(depth)
        if mark in _WIDTHS:
            self._skip(_WIDTHS[mark])
        elif mark in (b"S", b"H"):
            self._skip(self._length())
        elif mark in (b"[", b"{"):
            self._values(b"]" if mark == b"[" else b"}", depth)
        else:
            raise ValueError(mark)

    def _values(self, closing: bytes, depth: int) -> None:
        """The inside of an array or an object, of one type or of several."""
        kind = count = None
        if self._next(b"$"):
            kind = self._mark()
        if self._next(b"#"):
            count = self._length()
        if kind in _WIDTHS and count is not None and closing == b"]":
            self._skip(count * _WIDTHS[kind])
            return
        while count is None or count > 0:
            if count is None and self._next(closing):
                return
            if closing == b"}":
                self._skip(self._length())
            self._value(self._mark() if kind is None else kind, depth + 1)
            count = None if count is None else count - 1

    def _next(self, mark: bytes) -> bool:
        """Whether this is what comes; then it is passed."""
        found = self.content[self.at : self.at + 1] == mark
        self.at += found
        return found
