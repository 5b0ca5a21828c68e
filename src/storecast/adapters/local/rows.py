"""Rows on their way into and out of a Delta table: its types, its keys, its nulls."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from storecast.adapters.local import rewrite
from storecast.core.schema import TableSpec
from storecast.errors import Code, TableError

GONE: Final = "storecast_gone"
"""The column of a merge's source that marks a key to remove."""

_BATCH = 65_536

Rows: TypeAlias = pa.Table | pa.RecordBatchReader


def schema_of(table: DeltaTable) -> pa.Schema:
    """The Arrow schema of a table, in the types that its specification has."""
    schema = pa.schema(table.schema().to_arrow())
    return pa.schema([pa.field(f.name, _plain(f.type), f.nullable) for f in schema])


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    return kind


def cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with the columns and types of a schema."""
    columns = [batch.column(f.name) for f in schema]
    # A column that is in no file yet comes as nulls of some type.
    arrays = [
        pa.nulls(len(c), f.type) if c.null_count == len(c) else c.cast(f.type)
        for c, f in zip(columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _checked(spec: TableSpec, schema: pa.Schema, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch in the table's own column order and types, nulls allowed where they are."""
    if sorted(batch.schema.names) != sorted(schema.names):
        missing = sorted(set(schema.names) - set(batch.schema.names))
        strange = sorted(set(batch.schema.names) - set(schema.names))
        raise TableError(
            Code.TABLE_SCHEMA_MISMATCH,
            f"rows for {spec.name} do not have its columns",
            where=spec.name,
            expected=f"missing: {', '.join(missing) or 'none'}",
            found=f"unknown: {', '.join(strange) or 'none'}",
        )
    arrays = []
    for field in schema:
        column = batch.column(field.name)
        if column.null_count and not field.nullable:
            key = field.name in spec.primary_key
            raise TableError(
                Code.TABLE_KEY_VIOLATION if key else Code.TABLE_CONSTRAINT_VIOLATION,
                f"{column.null_count} rows for {spec.name} have no {field.name}",
                where=f"{spec.name}.{field.name}",
                expected="no null",
            )
        try:
            arrays.append(column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as fault:
            raise TableError(
                Code.TABLE_SCHEMA_MISMATCH,
                f"column {field.name} of the rows for {spec.name} does not fit: {fault}",
                where=f"{spec.name}.{field.name}",
                expected=str(field.type),
                found=str(column.type),
            ) from fault
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def divided(rows: Rows) -> tuple[list[pa.RecordBatch], Iterator[pa.RecordBatch] | None]:
    """As many batches as a merge may hold, and the rest; None where that is all."""
    batches = iter(rows.to_batches(_BATCH) if isinstance(rows, pa.Table) else rows)
    first, number = [], 0
    for batch in batches:
        first.append(batch)
        number += batch.num_rows
        if number > rewrite.MOST:
            return first, batches
    return first, None


def chained(
    schema: pa.Schema, first: list[pa.RecordBatch], rest: Iterator[pa.RecordBatch]
) -> pa.RecordBatchReader:
    """What ``divided`` took apart, whole again."""
    return pa.RecordBatchReader.from_batches(schema, itertools.chain(first, rest))


def checked_all(spec: TableSpec, table: DeltaTable, batches: Sequence[pa.RecordBatch]) -> pa.Table:
    """The rows in the table's own column order and types; raises as ``TableStore.merge``."""
    schema = schema_of(table)
    return pa.Table.from_batches([_checked(spec, schema, b) for b in batches], schema)


def marked(rows: pa.Table) -> pa.Table:
    """The rows as those of a merge's source that are to be there."""
    kept = pa.array([False] * rows.num_rows, pa.bool_())
    return pa.Table.from_arrays([*rows.columns, kept], schema=_with_mark(rows.schema))


def marked_gone(spec: TableSpec, schema: pa.Schema, delete: pa.Table | None) -> pa.Table:
    """The keys to remove as rows of a merge's source."""
    if delete is None or delete.num_rows == 0:
        return _with_mark(schema).empty_table()
    columns = [
        delete[f.name].cast(f.type)
        if f.name in spec.primary_key
        else pa.nulls(delete.num_rows, f.type)
        for f in schema
    ]
    gone = pa.array([True] * delete.num_rows, pa.bool_())
    return pa.Table.from_arrays([*columns, gone], schema=_with_mark(schema))


def _with_mark(schema: pa.Schema) -> pa.Schema:
    nullable = pa.schema([f.with_nullable(True) for f in schema])
    return nullable.append(pa.field(GONE, pa.bool_()))


def refuse_double(spec: TableSpec, rows: pa.Table) -> None:
    """Refuse rows two of which have one key: TABLE_KEY_VIOLATION."""
    keys: pl.DataFrame = pl.DataFrame(rows.select(list(spec.primary_key)))
    double = keys.filter(keys.is_duplicated())
    if double.height:
        raise _double_key(spec, f"{double.height} rows, for example {double.row(0, named=True)}")


def _double_key(spec: TableSpec, found: str) -> TableError:
    return TableError(
        Code.TABLE_KEY_VIOLATION,
        f"rows for {spec.name} have one key twice",
        where=spec.name,
        expected=f"one row for each ({', '.join(spec.primary_key)})",
        found=found,
    )


class Stream:
    """Rows on their way into a table, checked as they pass; a fault leaves it uncommitted.

    Keys are kept as 128-bit hashes: 16 bytes a row, and no equal pair by chance.
    """

    def __init__(self, spec: TableSpec, table: DeltaTable, rows: Rows) -> None:
        self._spec = spec
        self._schema = schema_of(table)
        batches = iter(rows.to_batches(_BATCH) if isinstance(rows, pa.Table) else rows)
        self._first = next((b for b in batches if b.num_rows), None)
        self._rest = batches
        self.empty = self._first is None
        self.fault: BaseException | None = None

    def reader(self) -> pa.RecordBatchReader:
        """The checked rows, once."""
        return pa.RecordBatchReader.from_batches(self._schema, self._guarded())

    def _guarded(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._passing()
        except BaseException as fault:
            # It crosses Arrow's C interface as text: kept here to be raised as it was.
            self.fault = fault
            raise

    def _passing(self) -> Iterator[pa.RecordBatch]:
        if self._first is None:
            return
        hashes = []
        for batch in _chain(self._first, self._rest):
            checked = _checked(self._spec, self._schema, batch)
            keys: pl.DataFrame = pl.DataFrame(checked.select(list(self._spec.primary_key)))
            hashes.append(pl.DataFrame({"a": keys.hash_rows(seed=1), "b": keys.hash_rows(seed=2)}))
            yield checked
        every = pl.concat(hashes)
        if every["a"].n_unique() < every.height and every.is_duplicated().any():
            count = int(every.is_duplicated().sum())
            raise _double_key(self._spec, f"{count} rows share a key with another")


def _chain(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest
