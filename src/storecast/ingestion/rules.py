"""What a value must be: one vectorised rule for each kind of column.

A rule takes a column as the source has it, and how it is written there. It gives canonical values,
and where one breaks it, the code. A column whose type cannot hold what is asked of it raises
ContractError, COLUMN_TYPE_INVALID or IDENTIFIER_IS_FLOAT.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storecast.core.identifiers import accept
from storecast.core.schema import AMOUNT, DAY, INSTANT, NUMBER
from storecast.core.written import DateFormat
from storecast.errors import Code, ContractError

Conversion = tuple[pa.Array, pa.Array]
"""Canonical values, and for each a code or null; both of the input's length."""


class Written(NamedTuple):
    """How a column's values are written in the source.

    ``padded`` is a char(n), whose padding is trimmed; ``dates`` the format of its text dates,
    None for ISO 8601.
    """

    padded: bool = False
    dates: DateFormat | None = None


def _once_each(convert: Callable[[pa.Array], Conversion], column: pa.Array) -> Conversion:
    """Convert each different value once, where there are few."""
    encoded = pc.dictionary_encode(column, null_encoding="encode")
    if 2 * len(encoded.dictionary) > len(column):
        return convert(column)
    values, codes = convert(encoded.dictionary)
    if codes.null_count == len(codes):
        return values.take(encoded.indices), _no_codes(len(column))
    return values.take(encoded.indices), codes.take(encoded.indices)


def _no_codes(n: int) -> pa.Array:
    return pa.nulls(n, pa.string())


def _codes(n: int, *rules: tuple[pa.Array, Code]) -> pa.Array:
    """The first rule whose mask is true names the code; a null mask is false."""
    codes = _no_codes(n)
    for mask, code in reversed(rules):
        known = pc.fill_null(mask, False)
        if pc.any(known).as_py():
            codes = pc.if_else(known, code.value, codes)
    return codes


def identifiers(column: pa.Array, written: Written) -> Conversion:
    """Store identifiers, as text."""
    # A type that is none is refused first: lists and the like have no values to look for twice.
    accept(column.slice(0, 0), written.padded)
    return _once_each(lambda values: accept(values, written.padded), column)


def keys(column: pa.Array, written: Written) -> Conversion:
    """Columns of a primary key, as text that is not empty."""
    text = _text_of(column)
    if written.padded:
        text = pc.utf8_rtrim(text, " ")
    empty = pc.fill_null(pc.equal(pc.binary_length(text), 0), True)
    return text, _codes(len(text), (empty, Code.NULL_KEY))


def texts(column: pa.Array, written: Written) -> Conversion:
    """Attributes, as text; nothing is refused."""
    text = _text_of(column)
    return pc.utf8_rtrim(text, " ") if written.padded else text, _no_codes(len(column))


def _text_of(column: pa.Array) -> pa.StringArray:
    kind = column.type
    if _is_text(kind):
        return column.cast(pa.string())
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.array([None if v is None else v.hex() for v in column.to_pylist()], pa.string())
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as fault:
        raise _wrong_type(kind, "text, a number or a date") from fault


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _wrong_type(kind: pa.DataType, expected: str) -> ContractError:
    return ContractError(
        Code.COLUMN_TYPE_INVALID,
        f"its type is {kind}, where {expected} is asked for",
        expected=expected,
        found=str(kind),
        next_step="name another column, or CAST it in a view or `query:`, or write the file anew",
    )


# ---------------------------------------------------------------------- dates

_FIRST, _LAST = date(1900, 1, 1), date(2200, 12, 31)
_CLOCK: Final = (
    r"[T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d([.,]\d+)?)? ?(Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?"
)
"""What may stand behind a day: hh:mm, hh:mm:ss or finer, and an offset."""


def dates(column: pa.Array, written: Written) -> Conversion:
    """Days that every row must have."""
    return _days(column, written, Code.NULL_DATE)


def optional_dates(column: pa.Array, written: Written) -> Conversion:
    """Days that may be missing."""
    return _days(column, written, None)


def versions(column: pa.Array, written: Written) -> Conversion:
    """Days from which, or on which, a version of a row counts; part of a key."""
    return _days(column, written, Code.NULL_KEY, Code.TIMESTAMP_INVALID)


def _days(
    column: pa.Array,
    written: Written,
    if_null: Code | None,
    if_not_iso: Code = Code.DATE_NOT_ISO,
) -> Conversion:
    kind, if_wrong = column.type, if_not_iso
    if written.dates is not None and (_is_text(kind) or pa.types.is_integer(kind)):
        # 20031124 as a whole number is a date too, once it is said to be one.
        days, nothing, wrong = _days_in_format(column.cast(pa.string()), written.dates)
        if_wrong = Code.DATE_NOT_IN_FORMAT
    elif _is_text(kind):
        days, nothing, wrong = _written_days(column.cast(pa.string()))
    elif pa.types.is_date(kind):
        days = column.cast(DAY)
        nothing, wrong = column.is_null(), pa.array(np.zeros(len(column), bool))
    elif pa.types.is_timestamp(kind):
        local = pc.local_timestamp(column) if kind.tz is not None else column
        days = pc.floor_temporal(local, unit="day").cast(DAY)
        nothing, wrong = column.is_null(), pa.array(np.zeros(len(column), bool))
    else:
        raise _wrong_type(kind, "a date, a timestamp, or text YYYY-MM-DD")
    beyond = pc.or_(pc.less(days, _FIRST), pc.greater(days, _LAST))
    rules = [(wrong, if_wrong), (beyond, Code.DATE_OUT_OF_RANGE)]
    if if_null is not None:
        rules.insert(0, (nothing, if_null))
    return days, _codes(len(column), *rules)


def _days_in_format(
    text: pa.StringArray, written: DateFormat
) -> tuple[pa.Array, pa.Array, pa.Array]:
    """As ``_written_days``, of days written in the format and in no other way."""
    nothing = pc.fill_null(pc.equal(pc.binary_length(text), 0), True)
    encoded = pc.dictionary_encode(text, null_encoding="encode")
    read = [None if t is None else written.read(t) for t in encoded.dictionary.to_pylist()]
    # The day on the wall of its offset, not of Greenwich.
    once = pa.array([None if r is None else r.date() for r in read], DAY)
    days = once.take(encoded.indices)
    return days, nothing, pc.and_(days.is_null(), pc.invert(nothing))


def _written_days(text: pa.StringArray) -> tuple[pa.Array, pa.Array, pa.Array]:
    """ISO 8601 dates, or date-times whose date counts: days, which are empty, which wrong."""
    lengths = pc.binary_length(text)
    nothing = pc.fill_null(pc.equal(lengths, 0), True)
    clock_wrong = None
    if (pc.max(lengths).as_py() or 0) > 10:
        clock = pc.utf8_slice_codeunits(text, 10)
        clock_wrong = pc.invert(
            pc.or_(
                pc.equal(pc.binary_length(clock), 0),
                pc.match_substring_regex(clock, f"^{_CLOCK}$"),
            )
        )
        text = pc.utf8_slice_codeunits(text, 0, 10)
    encoded = pc.dictionary_encode(text, null_encoding="encode")
    once = pa.array([_day(t) for t in encoded.dictionary.to_pylist()], DAY)
    days = once.take(encoded.indices)
    wrong = pc.and_(days.is_null(), pc.invert(nothing))
    if clock_wrong is not None:
        wrong = pc.or_(wrong, pc.fill_null(clock_wrong, False))
    return days, nothing, wrong


@lru_cache(maxsize=65_536)
def _day(text: str | None) -> date | None:
    # fromisoformat alone would take 20200105 and 2020-W01-1 as well.
    if text is None or len(text) != 10 or text[4] != "-" or text[7] != "-":
        return None
    if not (text.isascii() and (text[:4] + text[5:7] + text[8:]).isdigit()):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


_BEHIND: Final = re.compile(_CLOCK, re.ASCII)
_PLAIN_INSTANT = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?)?$"


def timestamps(column: pa.Array, written: Written) -> Conversion:
    """Instants in UTC, which may be missing; one without a zone is taken as UTC."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        # datetime2(7) is finer than a microsecond: the rest is cut.
        instants = column.cast(pa.timestamp("us", tz=kind.tz), safe=False)
        instants = instants if kind.tz is not None else pc.assume_timezone(instants, "UTC")
        return _within_the_calendar(instants.cast(INSTANT))
    if pa.types.is_date(kind):
        return _within_the_calendar(column.cast(pa.timestamp("us"), safe=False).cast(INSTANT))
    form = written.dates
    if not (_is_text(kind) or (form is not None and pa.types.is_integer(kind))):
        raise _wrong_type(kind, "a timestamp, a date, or text YYYY-MM-DD hh:mm:ss")
    return _once_each(
        _written_instants if form is None else lambda values: _instants_in_format(values, form),
        column.cast(pa.string()),
    )


_EARLIEST, _LATEST = (
    pa.scalar(instant.replace(tzinfo=UTC), INSTANT) for instant in (datetime.min, datetime.max)
)


def _within_the_calendar(instants: pa.Array) -> Conversion:
    """Instants of the years 1 to 9999: PostgreSQL's infinity, for one, is none of them."""
    beyond = pc.or_(pc.less(instants, _EARLIEST), pc.greater(instants, _LATEST))
    return instants, _codes(len(instants), (beyond, Code.TIMESTAMP_INVALID))


def _instants_in_format(text: pa.StringArray, written: DateFormat) -> Conversion:
    empty = pc.fill_null(pc.equal(pc.binary_length(text), 0), True)
    read = [None if t is None else _in_utc(written.read(t)) for t in text.to_pylist()]
    instants = pa.array(read, INSTANT)
    wrong = pc.and_(instants.is_null(), pc.invert(empty))
    return instants, _codes(len(text), (wrong, Code.TIMESTAMP_INVALID))


def _in_utc(instant: datetime | None) -> datetime | None:
    if instant is None or instant.tzinfo is None:
        return None if instant is None else instant.replace(tzinfo=UTC)
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        return None


def _written_instants(text: pa.StringArray) -> Conversion:
    empty = pc.fill_null(pc.equal(pc.binary_length(text), 0), True)
    plain = pc.fill_null(pc.match_substring_regex(text, _PLAIN_INSTANT), False)
    try:
        fast = pc.if_else(plain, text, pa.scalar(None, pa.string())).cast(pa.timestamp("us"))
        fast = pc.assume_timezone(fast, "UTC")
    except pa.ArrowInvalid:
        # A thirtieth of February somewhere: one by one.
        plain, fast = pa.array(np.zeros(len(text), bool)), pa.nulls(len(text), INSTANT)
    slow = pc.and_(pc.invert(plain), pc.invert(empty))
    if pc.any(slow).as_py():
        places = np.flatnonzero(slow.to_numpy(zero_copy_only=False))
        read = [_instant(t) for t in text.take(pa.array(places)).to_pylist()]
        fast = pc.replace_with_mask(fast, slow, pa.array(read, INSTANT))
    wrong = pc.and_(fast.is_null(), pc.invert(empty))
    return fast, _codes(len(text), (wrong, Code.TIMESTAMP_INVALID))


def _instant(text: str) -> datetime | None:
    if _day(text[:10]) is None or (len(text) > 10 and _BEHIND.fullmatch(text, 10) is None):
        return None
    try:
        instant = datetime.fromisoformat(re.sub(r" (?=[Z+-])", "", text))
    except ValueError:
        return None
    return _in_utc(instant)


# ---------------------------------------------------------------------- numbers

_EASY_AMOUNT = r"^-?\d{1,14}(\.\d{1,4})?$"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?$"
_NOT_FINITE = r"(?i)^[+-]?(inf|infinity|nan)$"
_WHOLE_DIGITS = 14
_PLACES = Decimal("0.0001")
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_FIFTEEN_DIGITS = 1e11
_LARGEST = 1e27
"""Above it the mean over a period would not fit DECIMAL(38,9)."""


def amounts(column: pa.Array, _written: Written) -> Conversion:
    """DECIMAL(18,4), exactly; what has more places is rounded half to even.

    A floating-point number is what its shortest text says, so that 0.1 is 0.1.
    """
    kind = column.type
    if pa.types.is_boolean(kind) or not (
        _is_text(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_floating(kind)
    ):
        raise _wrong_type(kind, "a number, or text that is one")
    if pa.types.is_floating(kind) and (found := _short_fractions(column)) is not None:
        return found
    return _once_each(lambda values: _written_amounts(values.cast(pa.string())), column)


def _short_fractions(column: pa.Array) -> Conversion | None:
    """Numbers whose shortest texts have four places at most; None where any has more.

    Below 10¹¹ such a text has 15 digits at most, and no other one of 15 is the same number.
    """
    numbers = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    missing = column.is_null()
    known = ~missing.to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore", over="ignore"):
        units = np.rint(numbers * 1e4)
        short = (np.abs(numbers) < _FIFTEEN_DIGITS) & (units / 1e4 == numbers)
    if column.type != pa.float64() or not short[known].all():
        return None
    words = np.empty((len(column), 2), "<i8")
    words[:, 0] = np.where(known, units, 0.0).astype("<i8")
    words[:, 1] = words[:, 0] >> 63
    validity = pa.py_buffer(np.packbits(known, bitorder="little").tobytes())
    values = pa.Array.from_buffers(AMOUNT, len(column), [validity, pa.py_buffer(words)])
    return values, _codes(len(column), (missing, Code.NULL_SALES))


def _written_amounts(text: pa.StringArray) -> Conversion:
    n = len(text)
    nothing = pc.fill_null(pc.equal(pc.binary_length(text), 0), True)
    easy = pc.fill_null(pc.match_substring_regex(text, _EASY_AMOUNT), False)
    values = pc.if_else(easy, text, pa.scalar(None, pa.string())).cast(AMOUNT)
    rest = pc.and_(pc.invert(easy), pc.invert(nothing))
    if not pc.any(rest).as_py():
        return values, _codes(n, (nothing, Code.NULL_SALES))
    number = pc.and_(rest, pc.fill_null(pc.match_substring_regex(text, _NUMBER), False))
    places = np.flatnonzero(number.to_numpy(zero_copy_only=False))
    read = [_amount(t) for t in text.take(pa.array(places)).to_pylist()]
    values = pc.replace_with_mask(values, number, pa.array(read, AMOUNT))
    endless = pc.match_substring_regex(text, _NOT_FINITE)
    return values, _codes(
        n,
        (nothing, Code.NULL_SALES),
        (pc.and_(number, values.is_null()), Code.SALES_TOO_LARGE),
        (pc.and_(rest, endless), Code.SALES_NOT_FINITE),
        (pc.and_(rest, pc.invert(number)), Code.SALES_NOT_NUMBER),
    )


def _amount(text: str) -> Decimal | None:
    value = Decimal(text)
    if value and value.adjusted() >= _WHOLE_DIGITS:
        return None
    rounded = value.quantize(_PLACES, context=_EXACT)
    return rounded if rounded.adjusted() < _WHOLE_DIGITS else None


def numbers(column: pa.Array, _written: Written) -> Conversion:
    """Finite numbers, which may be missing."""
    kind = column.type
    if _is_text(kind):
        return _once_each(_written_numbers, column.cast(pa.string()))
    if not (
        pa.types.is_integer(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
    ):
        raise _wrong_type(kind, "a number, or text that is one")
    numbers = (column.cast(pa.int8()) if pa.types.is_boolean(kind) else column).cast(
        NUMBER, safe=False
    )
    return numbers, _codes(len(column), (pc.invert(_usable(numbers)), Code.NUMBER_INVALID))


def _written_numbers(text: pa.StringArray) -> Conversion:
    nothing = pc.fill_null(pc.equal(pc.binary_length(text), 0), True)
    written = pc.fill_null(pc.match_substring_regex(text, _NUMBER), False)
    unsigned = pc.utf8_ltrim(text, "+")
    numbers = pc.if_else(written, unsigned, pa.scalar(None, pa.string())).cast(NUMBER)
    wrong = pc.or_(
        pc.and_(pc.invert(written), pc.invert(nothing)),
        pc.invert(pc.fill_null(_usable(numbers), True)),
    )
    return numbers, _codes(len(text), (wrong, Code.NUMBER_INVALID))


def _usable(numbers: pa.Array) -> pa.Array:
    return pc.and_(pc.is_finite(numbers), pc.less(pc.abs(numbers), _LARGEST))
