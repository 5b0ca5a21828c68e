"""What a source row must be: one vectorised function over Arrow batches.

The laptop runs it directly, Spark by ``mapInArrow``. A row is accepted in canonical names and
types, or rejected with the first rule that it breaks. A column whose type cannot hold what it is
configured to be stops the run instead: its rows are not at fault.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storecast.core.schema import AMOUNT, DAY, INSTANT, NUMBER, TEXT
from storecast.core.written import DateFormat, short
from storecast.errors import Code, ContractError
from storecast.ingestion import rules
from storecast.ports import HOLDS_FLOATS, LAST_YEARS, WITHOUT_END, WRITTEN_ISO, Relation


class Kind(Enum):
    """What a column is configured to be; each has one canonical Arrow type."""

    IDENTIFIER = auto()
    KEY = auto()
    DATE = auto()
    AMOUNT = auto()
    TIMESTAMP = auto()
    VERSION = auto()
    OPTIONAL_DATE = auto()
    NUMBER = auto()
    TEXT = auto()


TYPES: Final = {
    Kind.IDENTIFIER: TEXT,
    Kind.KEY: TEXT,
    Kind.DATE: DAY,
    Kind.AMOUNT: AMOUNT,
    Kind.TIMESTAMP: INSTANT,
    Kind.VERSION: DAY,
    Kind.OPTIONAL_DATE: DAY,
    Kind.NUMBER: NUMBER,
    Kind.TEXT: TEXT,
}


_RULES: Final[dict[Kind, Callable[[pa.Array, rules.Written], rules.Conversion]]] = {
    Kind.IDENTIFIER: rules.identifiers,
    Kind.KEY: rules.keys,
    Kind.DATE: rules.dates,
    Kind.AMOUNT: rules.amounts,
    Kind.TIMESTAMP: rules.timestamps,
    Kind.VERSION: rules.versions,
    Kind.OPTIONAL_DATE: rules.optional_dates,
    Kind.NUMBER: rules.numbers,
    Kind.TEXT: rules.texts,
}


@dataclass(frozen=True)
class Field:
    """One column of a feed: canonical name, source column, what it is.

    ``fixed_width`` marks a char(n), whose padding is trimmed; ``date_format`` says how text dates
    or instants are written, None for ISO 8601; ``type_there`` is what the source calls its type.
    """

    name: str
    source: str
    kind: Kind
    fixed_width: bool = False
    date_format: str | None = None
    type_there: str = ""

    @property
    def written(self) -> rules.Written:
        """How its values are written in the source."""
        form = None if self.date_format is None else DateFormat.of(self.date_format)
        return rules.Written(self.fixed_width, form)

    @property
    def known_to_the_source(self) -> bool:
        """Whether the source can compare the values with a day: where ours alone is the format, no.

        ``2003-24-11`` would be of a 24th month to it, or of none.
        """
        return self.date_format is None


@dataclass(frozen=True)
class Feed:
    """Rows of one relation on their way to one table.

    Attributes:
        name: the key of the configuration that says so, for messages.
        table: the table that its rows are meant for.
        relation: where they come from.
        fields: canonical columns, the key's first.
        key: canonical names; one row a key remains.
    """

    name: str
    table: str
    relation: Relation
    fields: tuple[Field, ...]
    key: tuple[str, ...]

    @property
    def sources(self) -> list[str]:
        """Source columns to read, each once."""
        return list(dict.fromkeys(f.source for f in self.fields))

    @property
    def schema(self) -> pa.Schema:
        """Canonical columns of accepted rows."""
        return pa.schema([pa.field(f.name, TYPES[f.kind]) for f in self.fields])

    @property
    def watermark(self) -> bool:
        """Whether rows say how new they are."""
        return any(f.name == "watermark" for f in self.fields)


REJECTED: Final = pa.schema(
    [
        pa.field("table_name", TEXT),
        pa.field("row_hash", TEXT),
        pa.field("reason_code", TEXT),
        pa.field("reason", TEXT),
        pa.field("raw_row", TEXT),
    ]
)


@dataclass(frozen=True)
class Checked:
    """A batch after the contract: together the two have every row once.

    ``raw`` has the accepted rows as they came.
    """

    accepted: pa.RecordBatch
    rejected: pa.RecordBatch
    raw: pa.RecordBatch


def check(batch: pa.RecordBatch, feed: Feed) -> Checked:
    """Accept or reject each row.

    Args:
        batch: N rows, with the columns ``feed.sources``.
        feed: what they are meant to be.

    Returns:
        accepted rows in ``feed.schema``, rejected rows in ``REJECTED``.

    Raises:
        ContractError: IDENTIFIER_IS_FLOAT, COLUMN_TYPE_INVALID.
    """
    n = batch.num_rows
    columns: list[pa.Array] = []
    reason = np.zeros(n, np.int32)
    reasons: list[tuple[Code, Field]] = []
    for field in feed.fields:
        values, codes = converted(batch, field, feed)
        columns.append(values)
        for code in _present(codes):
            reasons.append((Code[code], field))
            fails = pc.fill_null(pc.equal(codes, code), False).to_numpy(zero_copy_only=False)
            reason[fails & (reason == 0)] = len(reasons)
    whole = pa.RecordBatch.from_arrays(columns, schema=feed.schema)
    if not reasons:
        return Checked(whole, no_rejected(), batch)
    good = reason == 0
    return Checked(
        whole.filter(pa.array(good)),
        rejected(batch.filter(pa.array(~good)), feed, [reasons[i - 1] for i in reason[~good]]),
        batch.filter(pa.array(good)),
    )


def rejected(
    batch: pa.RecordBatch, feed: Feed, reasons: Sequence[tuple[Code, Field | None]]
) -> pa.RecordBatch:
    """Rows of the source, as they came, with the reason of each."""
    sources = feed.sources
    columns = {name: _plain(batch.column(name), batch.field(name)) for name in sources}
    rows = [
        json.dumps(dict(zip(sources, row, strict=True)), ensure_ascii=False)
        for row in zip(*columns.values(), strict=True)
    ]
    parts = {reason: _sentence(*reason, feed) for reason in dict.fromkeys(reasons)}
    told = [
        f"{parts[reason][0]}, row {name}: {parts[reason][1]}"
        for reason, name in zip(reasons, _named(feed, columns), strict=True)
    ]
    return pa.RecordBatch.from_arrays(
        [
            pa.array([feed.table] * len(rows), TEXT),
            pa.array([hashlib.sha256(row.encode()).hexdigest() for row in rows], TEXT),
            pa.array([code.value for code, _ in reasons], TEXT),
            pa.array(told, TEXT),
            pa.array(rows, TEXT),
        ],
        schema=REJECTED,
    )


def no_rejected() -> pa.RecordBatch:
    """No row of ``REJECTED``."""
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in REJECTED], schema=REJECTED)


def _plain(column: pa.Array, field: pa.Field) -> list[int | str | None]:
    """As JSON has it; a day that Python has none of, such as infinity, as PostgreSQL writes it."""
    if pa.types.is_floating(column.type):
        # As the same number is written where it came as text, so that it is one row.
        column = column.cast(pa.string())
    try:
        values = column.to_pylist()
    except (OverflowError, ValueError):
        without_end = WITHOUT_END in (field.metadata or {})
        values = [_one(value, without_end) for value in column]
    return [v if v is None or isinstance(v, int | str) else str(v) for v in values]


def _one(value: pa.Scalar, without_end: bool) -> Any:
    try:
        return value.as_py()
    except (OverflowError, ValueError):
        text = str(value.cast(pa.string()))
    written = _DAY.fullmatch(text)
    if written is None:
        return text
    year = int(written[1])
    if without_end and year in LAST_YEARS:
        return LAST_YEARS[year]
    return text if year > 0 else f"{1 - year:04}{written[2]} BC"


_DAY: Final = re.compile(r"(-?\d+)(-.*)")


_REMEDIES: Final = {
    Code.NULL_KEY: "give the row its key in the source",
    Code.NULL_DATE: "give the row its date in the source",
    Code.DATE_NOT_ISO: "write it YYYY-MM-DD, in the source or in a `query:`; or name the way in "
    "which all dates are written there by `date_format:`",
    Code.DATE_NOT_IN_FORMAT: "write it so in the source; a column has one format",
    Code.DATE_OUT_OF_RANGE: "correct the date in the source",
    Code.NULL_SALES: "give the row its amount, or leave it out by a `query:`",
    Code.SALES_NOT_NUMBER: "write it with a decimal point and without thousands separators",
    Code.SALES_NOT_FINITE: "correct the amount in the source",
    Code.SALES_TOO_LARGE: "correct the amount in the source",
    Code.NUMBER_INVALID: "write a finite number with a decimal point, or leave it empty",
    Code.TIMESTAMP_INVALID: "write it YYYY-MM-DD hh:mm:ss",
    Code.IDENTIFIER_INVALID: "remove line ends, tabs and the like from the identifier",
    Code.CONFLICTING_DUPLICATE: "name a watermark column, or remove the wrong rows",
}
_REMEDY_OF_CONFLICT: Final = {
    (True, True): "give the row that holds a later watermark, or remove the wrong ones",
    (False, False): "remove the wrong rows, in the source or by a `query:`",
}
"""By whether the rows are sales, and whether they have a watermark."""


def _sentence(code: Code, field: Field | None, feed: Feed) -> tuple[str, str]:
    """Where, and what rule and what remedy; between them stands which row."""
    where = f"{feed.relation}.{field.source}" if field is not None else str(feed.relation)
    rule, remedy = code.description, _REMEDIES[code]
    if code is Code.CONFLICTING_DUPLICATE:
        remedy = _REMEDY_OF_CONFLICT.get((feed.name == "sales", feed.watermark), remedy)
    if field is not None and field.date_format is not None:
        form = f"{field.date_format}, such as {DateFormat.of(field.date_format).example}"
        if code is Code.DATE_NOT_IN_FORMAT:
            rule = f"The date is not written {form}."
        elif code is Code.TIMESTAMP_INVALID:
            remedy = f"write it {form}"
    return where, f"{rule} {remedy[0].upper()}{remedy[1:]}."


def _named(feed: Feed, columns: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """Each row by its key: ``id = 17``."""
    sources = {f.name: f.source for f in feed.fields}
    key = [sources[name] for name in feed.key]
    for values in zip(*(columns[source] for source in key), strict=True):
        yield ", ".join(f"{s} = {short(v)}" for s, v in zip(key, values, strict=True))


def _present(codes: pa.Array) -> list[str]:
    if codes.null_count == len(codes):
        return []
    return [str(c) for c in pc.unique(codes).to_pylist() if c is not None]


def converted(batch: pa.RecordBatch, field: Field, feed: Feed) -> rules.Conversion:
    """One column of a batch in canonical values, and the code of each that breaks its rule.

    Raises:
        ContractError: IDENTIFIER_IS_FLOAT, COLUMN_TYPE_INVALID.
    """
    column = batch.column(field.source)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_null(column.type):
        column = column.cast(pa.string())
    marks = batch.schema.field(field.source).metadata or {}
    try:
        if field.kind is Kind.IDENTIFIER and HOLDS_FLOATS in marks:
            column = pa.nulls(len(column), pa.float64())
        written = field.written
        if WRITTEN_ISO in marks:
            written = written._replace(dates=None)
        values, codes = _RULES[field.kind](column, written)
    except ContractError as fault:
        raise ContractError(
            fault.code,
            f"{feed.relation}.{field.source}: {fault.message}",
            where=f"source.{feed.name}: {field.source}",
            expected=fault.expected,
            found=fault.found,
            next_step=fault.next_step,
        ) from fault
    return values, codes
