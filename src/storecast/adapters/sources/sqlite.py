"""SQLite databases, by ADBC, opened for reading only.

SQLite has no column types worth trusting, and the driver types a column from its first rows: so
each value comes as text with one letter for its storage class in front, and is taken apart in
Arrow. Columns of TEXT affinity hold text alone, by SQLite's own rule: theirs can be shorter. Where
a column is declared to hold fractions, they come as they are, in a column of their own: SQLite
writes them slowly.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storecast.adapters.sources import sqlite_statements as statements
from storecast.adapters.sources.sql import (
    derived,
    equality,
    first_equal,
    quoted,
    table_not_found,
    text_literal,
)
from storecast.adapters.sources.sqlite_statements import Shape
from storecast.errors import Code, SourceError
from storecast.ports import HOLDS_FLOATS, TALLY, Relation, SourceColumn, Span, Tallied

_BATCH = 65_536
_MILLION, _UNIT = Decimal(100), Decimal("0.0001")
_KINDS = (
    ("INT", "integer"),
    ("BOOL", "boolean"),
    ("TIMESTAMP", "timestamp"),
    ("DATETIME", "timestamp"),
    ("DATE", "date"),
    ("CHAR", "text"),
    ("CLOB", "text"),
    ("TEXT", "text"),
    ("REAL", "float"),
    ("FLOA", "float"),
    ("DOUB", "float"),
    ("NUM", "decimal"),
    ("DEC", "decimal"),
)
_ACT = (
    "delete", "insert", "update", "replace", "create", "drop", "alter", "attach", "detach",
    "vacuum", "pragma", "begin", "commit", "end", "rollback",
)  # fmt: skip
"""Words by which statements begin that do something."""
_READS_ALONE = "write a query that only reads: SELECT …"
_NEXT_STEPS = {
    "malformed": "restore the database from a backup, or mend it by sqlite3's .recover",
    "readonly": _READS_ALONE,
    'near ";"': "end the query without a semicolon: it is read as a table, within a statement",
    "locked": "ingest again when whoever writes to the database is done",
    **{f'near "{word}"': _READS_ALONE for word in _ACT},
}


class SqliteSource:
    """A database file.

    Args:
        path: the file; it is never created.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._uri = f"{path.absolute().as_uri()}?mode=ro"
        self._connection: Any = None

    def columns(self, relation: Relation) -> list[SourceColumn]:
        """The columns of a relation, in order, with their declared types."""
        if relation.query is not None:
            self._refuse_what_acts(relation, relation.query)
            with self._asked(relation.query, first_rows=1, relation=relation) as cursor:
                return [SourceColumn(d[0], "", "unknown") for d in cursor.description or ()]
        name = self._table(str(relation.table))
        return [SourceColumn(n, kind, _kind(kind)) for n, kind, _ in self._declared(name)]

    def read(
        self, relation: Relation, columns: Sequence[str], span: Span | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Stream the named columns as text, or as fractions where a batch has no other value.

        A field that ``HOLDS_FLOATS`` says so.
        """
        shapes = self._shapes(relation)
        statement = statements.reading(self._origin(relation), columns, shapes, span)
        with self._asked(statement, first_rows=_BATCH, relation=relation) as cursor:
            for batch in cursor.fetch_record_batch():
                if batch.num_rows:
                    yield _decoded(batch, columns, relation, shapes)

    def tally(self, relation: Relation, wanted: Tallied) -> pa.Table | None:
        """Count and sum by store and month; None where no day is ISO 8601 text."""
        origin = self._origin(relation)
        ((written, some),) = self._rows(statements.has_written_days(origin, wanted.day))
        if some and not written:
            return None
        statement = statements.tallying(origin, wanted)
        with self._asked(statement, first_rows=_BATCH, relation=relation) as cursor:
            found: pa.Table = cursor.fetch_arrow_table()
        return _tally(found) if found.num_rows else TALLY.empty_table()

    def first_equal(
        self, relation: Relation, column: str, pairs: Sequence[tuple[str, str]]
    ) -> tuple[str, str] | None:
        """The first pair that the column's collation calls equal."""
        origin = self._origin(relation)

        def ask(texts: Sequence[str]) -> int:
            statement = equality(origin, quoted(column), ["?"] * len(texts))
            return int(self._rows(statement, texts)[0][0])

        return first_equal(pairs, ask)

    def same_name(self, one: str, other: str) -> bool:
        """Names are compared without the case of ASCII letters, quotes or not."""
        return one.encode().lower() == other.encode().lower()

    def close(self) -> None:
        """Give back the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # ------------------------------------------------------------------ inside

    def _refuse_what_acts(self, relation: Relation, query: str) -> None:
        """Ask for the query as a table: ATTACH or COMMIT would act, though only reading is open."""
        statement = statements.as_table(self._origin(relation))
        try:
            with self._asked(statement, first_rows=1, relation=relation):
                return
        except SourceError:
            first = re.match(r"\s*([A-Za-z]+)", query)
            if first is not None and first[1].lower() not in _ACT:
                # By itself a query with a slip is told where it slips.
                with self._asked(f"EXPLAIN {query}", first_rows=1, relation=relation):
                    pass
            raise

    def _opened(self) -> Any:
        from adbc_driver_sqlite import dbapi

        if self._connection is None:
            self._reachable()
            try:
                self._connection = dbapi.connect(self._uri)
            except dbapi.Error as fault:
                raise self._unreachable(_said(fault)) from fault
        return self._connection

    @contextlib.contextmanager
    def _asked(
        self,
        statement: str,
        parameters: Sequence[str] | None = None,
        *,
        first_rows: int,
        relation: Relation | None = None,
    ) -> Iterator[Any]:
        """A cursor after the statement; all of them see the database at one moment."""
        errors = (OSError, pa.ArrowException, _driver_error())
        connection = self._opened()
        try:
            with connection.cursor() as cursor:
                cursor.adbc_statement.set_options(
                    **{"adbc.sqlite.query.batch_rows": str(first_rows)}
                )
                cursor.execute(statement, parameters)
                yield cursor
        except errors as fault:
            if any(sign in str(fault) for sign in ("not a database", "unable to open")):
                raise self._unreachable(_said(fault)) from fault
            raise self._broken(relation, fault) from fault

    def _rows(
        self, statement: str, parameters: Sequence[str] | None = None
    ) -> list[tuple[Any, ...]]:
        with self._asked(statement, parameters, first_rows=1024) as cursor:
            return list(cursor.fetchall())

    def _declared(self, table: str) -> list[tuple[str, str, bool]]:
        """Name, declared type and whether it is NOT NULL, of each column."""
        found = self._rows(
            "SELECT name, coalesce(type, ''), \"notnull\" "  # noqa: S608 - quoted
            f"FROM pragma_table_xinfo({text_literal(table)}) WHERE hidden <> 1"
        )
        return [(str(name), str(kind), bool(required)) for name, kind, required in found]

    def _reachable(self) -> None:
        if not self._path.is_file():
            raise self._unreachable("a folder" if self._path.is_dir() else "no such file")

    def _unreachable(self, found: str) -> SourceError:
        return SourceError(
            Code.SOURCE_UNREACHABLE,
            f"the database {self._path.name} cannot be opened",
            where=str(self._path),
            expected="an SQLite database",
            found=found,
            next_step="correct source.path; a relative one starts at the project folder",
        )

    def _broken(self, relation: Relation | None, fault: Exception) -> SourceError:
        return SourceError(
            Code.SOURCE_QUERY_FAILED,
            f"the database {self._path.name} refused or broke off the reading",
            where=str(relation) if relation is not None else str(self._path),
            expected="a database that is whole, and a view or query that reads it",
            found=_said(fault),
            next_step=next(
                (step for sign, step in _NEXT_STEPS.items() if sign in str(fault).lower()),
                "correct the view or query: try it in the database first",
            ),
        )

    def _table(self, name: str) -> str:
        found = [name for name, _ in self._tables()]
        bare = name.removeprefix("main.")
        for candidate in found:
            if candidate.lower() in (name.lower(), bare.lower()):
                return str(candidate)
        raise table_not_found(bare, found, self._path.name, str(self._path))

    def _tables(self) -> list[tuple[str, bool]]:
        """Name of each table and view, and whether it is a table."""
        found = self._rows(
            "SELECT name, type = 'table' FROM sqlite_master WHERE type IN ('table', 'view') "
            "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
        )
        return [(str(name), bool(is_table)) for name, is_table in found]

    def _shapes(self, relation: Relation) -> dict[str, Shape]:
        """How the values of each column come, where another shape than the general one fits."""
        if relation.query is not None:
            return {}
        name = self._table(str(relation.table))
        is_table = dict(self._tables())[name]
        shapes = {}
        for column, kind, required in self._declared(name):
            # Text alone, not even null: a view's word is not enough for that.
            if is_table and required and _has_text_affinity(kind):
                shapes[column] = Shape.PLAIN
            elif _kind(kind) in ("float", "decimal"):
                shapes[column] = Shape.FRACTIONS
        return shapes

    def _origin(self, relation: Relation) -> str:
        if relation.query is not None:
            return derived(relation.query)
        return quoted(self._table(str(relation.table)))


def _said(fault: Exception) -> str:
    """What SQLite says, without what the driver puts around it."""
    text = " ".join(str(fault).split()).split(" query: ")
    return text[1] if len(text) > 1 else text[0]


def _has_text_affinity(declared: str) -> bool:
    upper = declared.upper()
    return "INT" not in upper and any(sign in upper for sign in ("CHAR", "CLOB", "TEXT"))


def _kind(declared: str) -> str:
    upper = declared.upper()
    return next((kind for sign, kind in _KINDS if sign in upper), "unknown")


def _driver_error() -> type[Exception]:
    from adbc_driver_sqlite import dbapi

    error: type[Exception] = dbapi.Error
    return error


def _tally(found: pa.Table) -> pa.Table:
    """The millions and the rest of 1/10000 put together, in the columns of ``TALLY``."""
    store, month, rows, millions, rest = found.columns
    amount = pc.add(
        pc.multiply(millions.cast(pa.decimal128(19, 0)), pa.scalar(_MILLION, pa.decimal128(7, 4))),
        pc.multiply(rest.cast(pa.decimal128(19, 0)), pa.scalar(_UNIT, pa.decimal128(7, 4))),
    )
    return pa.Table.from_arrays(
        [store, month.cast(pa.date32()), rows, amount.cast(pa.decimal128(38, 4))], schema=TALLY
    )


def _decoded(
    batch: pa.RecordBatch,
    columns: Sequence[str],
    relation: Relation,
    shapes: Mapping[str, Shape],
) -> pa.RecordBatch:
    arrays, fields, coming = [], [], iter(batch.columns)
    for name in columns:
        shape = shapes.get(name)
        try:
            if shape is Shape.PLAIN:
                values, floats = next(coming).cast(pa.binary()).cast(pa.string()), False
            elif shape is Shape.FRACTIONS:
                values, floats = _with_fractions(next(coming), next(coming))
            else:
                values, floats = _taken_apart(next(coming))
        except pa.ArrowInvalid as fault:
            raise SourceError(
                Code.SOURCE_QUERY_FAILED,
                f"column {name!r} of {relation} has text that is not UTF-8",
                where=f"{relation}.{name}",
                expected="UTF-8",
                next_step="mend the rows, or CAST the column in a view or `query:`",
            ) from fault
        arrays.append(values)
        fields.append(
            pa.field(name, values.type, metadata={HOLDS_FLOATS: b"1"} if floats else None)
        )
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _taken_apart(column: pa.Array) -> tuple[pa.StringArray, bool]:
    letters, values = _split(column.cast(pa.string()))
    return _text(values, letters == ord("n")), bool((letters == ord("r")).any())


def _with_fractions(column: pa.Array, fractions: pa.Array) -> tuple[pa.Array, bool]:
    """The fractions where nothing else is among them; else text."""
    letters, values = _split(column.cast(pa.string()))
    real, nothing = letters == ord("r"), letters == ord("n")
    if not real.any():
        return _text(values, nothing), False
    if (real | nothing).all():
        return pc.if_else(pa.array(real), fractions, None) if nothing.any() else fractions, True
    # By the shortest text that is this very number, as the rules and SQLite itself have it.
    written = fractions.cast(pa.string())
    return pc.if_else(pa.array(real), written, _text(values, nothing)), True


def _split(column: pa.StringArray) -> tuple[Any, tuple[Any, Any]]:
    """The first byte of each value, and the rest as (offsets, bytes)."""
    n = len(column)
    _, offsets_buffer, data_buffer = column.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[column.offset : column.offset + n + 1]
    data = np.frombuffer(data_buffer, np.uint8)[offsets[0] : offsets[-1]]
    starts = offsets[:-1] - offsets[0]
    keep = np.ones(len(data), bool)
    keep[starts] = False
    rest = offsets - offsets[0] - np.arange(n + 1, dtype=np.int32)
    return data[starts], (rest, data[keep])


def _text(values: tuple[Any, Any], nulls: Any) -> pa.StringArray:
    offsets, data = values
    validity = None
    if nulls.any():
        validity = pa.py_buffer(np.packbits(~nulls, bitorder="little").tobytes())
    binary = pa.Array.from_buffers(
        pa.binary(), len(nulls), [validity, pa.py_buffer(offsets), pa.py_buffer(data)]
    )
    return binary.cast(pa.string())
