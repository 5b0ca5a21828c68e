"""What a store id may be, and its one safe passage to and from integer codes.

An id is text: what the source has, to the character. ``001`` and ``1``, ``é`` in one code point
and in two, ``a`` and ``A`` are different stores.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from storecast.errors import Code, ContractError

if TYPE_CHECKING:
    from sklearn.preprocessing import OrdinalEncoder

UNKNOWN: Final = 0
"""The code of every value that was not there when the codes were learnt, and of null."""


def accept(
    array: pa.Array | pa.ChunkedArray, fixed_width: bool = False
) -> tuple[pa.StringArray, pa.StringArray]:
    """Identifiers as text, and the reason why one is rejected.

    Integers, and decimals without decimal places, become their decimal digits; text is kept to
    the character, save trailing spaces (U+0020) where ``fixed_width`` says that the source pads.

    Args:
        array: N identifiers, as the source has them.
        fixed_width: the source's column is CHAR(n).

    Returns:
        values, shape (N,), null where the source has null; and reasons, shape (N,): null where
        the identifier is accepted, else ``NULL_KEY`` (null, empty or only spaces) or
        ``IDENTIFIER_INVALID`` (a control character).

    Raises:
        ContractError: IDENTIFIER_IS_FLOAT, or COLUMN_TYPE_INVALID for a type that is no
            identifier, booleans and binary among them.
    """
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    values = _text(array)
    if fixed_width:
        values = pc.utf8_rtrim(values, " ")
    empty = pc.fill_null(pc.equal(pc.utf8_length(pc.utf8_trim(values, " ")), 0), True)
    invalid = pc.fill_null(pc.match_substring_regex(values, r"\p{Cc}"), False)
    nothing = pa.scalar(None, pa.string())
    reasons = pc.if_else(
        empty,
        Code.NULL_KEY.value,
        pc.if_else(invalid, Code.IDENTIFIER_INVALID.value, nothing),
    )
    return values, reasons


def _text(array: pa.Array) -> pa.StringArray:
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _text(array.dictionary_decode())
    if (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_null(kind)
        or pa.types.is_integer(kind)
    ):
        return array.cast(pa.string())
    if pa.types.is_decimal(kind) and kind.scale == 0:
        return array.cast(pa.string())
    if pa.types.is_floating(kind):
        raise ContractError(
            Code.IDENTIFIER_IS_FLOAT,
            "a store identifier is a floating-point number, which cannot hold 001 or 20 digits",
            expected="text, an integer, or a decimal without decimal places",
            found=str(kind),
            next_step="keep the column as text in the source, or CAST it in a view or `query:`",
        )
    raise ContractError(
        Code.COLUMN_TYPE_INVALID,
        f"a column of type {kind} cannot identify a store",
        expected="text, an integer, or a decimal without decimal places",
        found=str(kind),
        next_step="CAST the column to text in a view or `query:`",
    )


@dataclass(frozen=True)
class StoreCodes:
    """Codes 1 … K for K known values, in the order of their code points; 0 for all others.

    For store ids, and for attributes alike. The mapping is scikit-learn's OrdinalEncoder with
    its -1 for the unknown shifted by one, so that an embedding can take the codes; the values
    pass through it as Python strings, never as numbers. The state is plain JSON.
    """

    values: tuple[str, ...]
    _encoder: OrdinalEncoder | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        encoder = None
        if self.values:
            # Where it is used: an ingestion needs no codes and shall not wait for the library.
            from sklearn.preprocessing import OrdinalEncoder

            column = _column(self.values)
            encoder = OrdinalEncoder(
                categories=[column[:, 0]],
                handle_unknown="use_encoded_value",
                unknown_value=-1,
                dtype=np.int64,
            ).fit(column)
        object.__setattr__(self, "_encoder", encoder)

    @classmethod
    def learn(cls, values: pl.Series | Iterable[str | None]) -> Self:
        """Codes for the values that occur; null has none of its own."""
        return cls(tuple(sorted({v for v in _strings(values) if v is not None})))

    def __len__(self) -> int:
        """How many codes there are, the reserved one included: K + 1."""
        return len(self.values) + 1

    def encode(self, values: pl.Series | Iterable[str | None]) -> npt.NDArray[np.int64]:
        """Codes, shape (N,); unknown values and null are 0."""
        series = values if isinstance(values, pl.Series) else pl.Series(_strings(values))
        series = series.cast(pl.String)
        once = series.drop_nulls().unique()
        if self._encoder is None or once.is_empty():
            return np.zeros(len(series), dtype=np.int64)
        codes = self._encoder.transform(_column(once.to_list()))[:, 0] + 1
        coded = series.replace_strict(
            once, pl.Series(codes, dtype=pl.Int64), default=UNKNOWN, return_dtype=pl.Int64
        )
        result: npt.NDArray[np.int64] = coded.fill_null(UNKNOWN).to_numpy()
        return result

    def decode(self, codes: npt.ArrayLike) -> pl.Series:
        """Values, shape (N,), as strings; 0 is null.

        Raises:
            IndexError: a code is negative or above K.
        """
        numbers = np.asarray(codes, dtype=np.int64)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= len(self)):
            raise IndexError(f"codes are 0 to {len(self.values)}")
        by_code = np.array([None, *self.values], dtype=object)
        return pl.Series("value", by_code[numbers].tolist(), dtype=pl.String)

    def to_json(self) -> str:
        """Plain JSON; ``from_json`` gives an equal object back."""
        return json.dumps({"values": self.values}, ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Rebuild from ``to_json``."""
        return cls(tuple(json.loads(text)["values"]))


def _strings(values: pl.Series | Iterable[str | None]) -> list[str | None]:
    """As Python strings.

    Raises:
        ContractError: COLUMN_TYPE_INVALID where a value is anything else.
    """
    listed: list[Any] = values.to_list() if isinstance(values, pl.Series) else list(values)
    for value in listed:
        if value is not None and not isinstance(value, str):
            raise ContractError(
                Code.COLUMN_TYPE_INVALID,
                f"an identifier is of type {type(value).__name__}, not text",
                expected="text",
                found=repr(value),
            )
    return listed


def _column(values: Iterable[str]) -> npt.NDArray[np.object_]:
    """Shape (K, 1), of Python strings: NumPy's own text would cut trailing NULs."""
    listed = list(values)
    column = np.empty((len(listed), 1), dtype=object)
    column[:, 0] = listed
    return column
