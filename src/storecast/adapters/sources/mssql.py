"""SQL Server and Azure SQL, by mssql-python: Arrow batches, encrypted, read and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import tenacity

from storecast.adapters.sources import mssql_faults as faults
from storecast.adapters.sources import mssql_statements as statements
from storecast.adapters.sources.mssql_query import NotOneSelectError, Origin, inner, origin_of
from storecast.adapters.sources.servers import Server, extra_missing
from storecast.adapters.sources.sql import (
    equality,
    first_equal,
    name_parts,
    resolved,
    table_not_found,
)
from storecast.errors import Code, SourceError
from storecast.ports import TALLY, WRITTEN_ISO, Relation, SourceColumn, Span, Tallied

_BATCH = 65_536
_AUTHENTICATION = {
    "entra_service_principal": "ActiveDirectoryServicePrincipal",
    "entra_managed_identity": "ActiveDirectoryMSI",
}
# A local time with its offset: no finer than a microsecond, and without the space between.
_FINER, _SPACE = r"(\.\d{6})\d+", r" ([+-]\d{2}:\d{2})$"
Result = TypeVar("Result")


_CHANCES = 3
"""Attempts that every transient failure has."""


class MssqlSource:
    """A database.

    Args:
        server: where it is, and who asks.
        pause: seconds before the first repetition; later ones wait twice as long each. In seconds
            too: what a second of patience is.
    """

    def __init__(self, server: Server, pause: float = 1.0) -> None:
        self._server = server
        self._pause = pause
        self._connection: Any = None
        self._stream: _Stream | None = None
        self._snapshots = True
        self._described: dict[Relation, tuple[Origin, dict[str, str], list[str]]] = {}

    def columns(self, relation: Relation) -> list[SourceColumn]:
        """The columns of a relation, in order."""
        _, types, names = self._describe(relation)
        return [
            SourceColumn(
                name,
                types[name],
                statements.KINDS.get(types[name], "unknown"),
                types[name] in statements.FIXED_WIDTH,
            )
            for name in names
        ]

    def read(
        self, relation: Relation, columns: Sequence[str], span: Span | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Stream the named columns in their own types; datetimeoffset as ISO 8601 text."""
        origin, types, _ = self._describe(relation)
        statement = statements.reading(origin, columns, types, span)
        stream, batch = self._patiently(lambda: self._begun(statement), str(relation))
        with contextlib.closing(stream):
            while batch is not None:
                if batch.num_rows:
                    yield _converted(batch, columns, types)
                batch = self._next(stream, str(relation))

    def tally(self, relation: Relation, wanted: Tallied) -> pa.Table | None:
        """Count and sum by store and month; None where days or amounts are text."""
        origin, types, _ = self._describe(relation)
        if (
            types.get(wanted.day) not in statements.DAYS
            or types.get(wanted.sales) not in statements.NUMBERS
        ):
            return None
        rows = self._rows(statements.tallying(origin, wanted, types), str(relation))
        arrays = [
            [str(row[0]) for row in rows],
            [date(int(row[1]), int(row[2]), 1) for row in rows],
            [int(row[3]) for row in rows],
            [row[4] for row in rows],
        ]
        columns = [pa.array(a, f.type) for a, f in zip(arrays, TALLY, strict=True)]
        return pa.Table.from_arrays(columns, schema=TALLY)

    def first_equal(
        self, relation: Relation, column: str, pairs: Sequence[tuple[str, str]]
    ) -> tuple[str, str] | None:
        """The first pair that the column's collation calls equal; spaces behind never count."""
        origin, types, _ = self._describe(relation)
        if types.get(column) not in statements.COMPARED:
            return None

        def ask(texts: Sequence[str]) -> int:
            marks = ["?"] * len(texts)
            statement = equality(origin.source, statements.bracketed(column), marks)
            return int(self._rows(origin.around(statement), str(relation), texts)[0][0])

        return first_equal(pairs, ask)

    def same_name(self, one: str, other: str) -> bool:
        """As written: what its collation calls one name twice the server refuses by itself."""
        return one == other

    def close(self) -> None:
        """Give back the connection; what a query might have changed is taken back."""
        self._finish()
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*_errors()):
                connection.rollback()
            _closed(connection)

    # ------------------------------------------------------------------ asking

    def _rows(
        self, statement: str, where: str, parameters: Sequence[str] = ()
    ) -> list[Sequence[Any]]:
        def ask() -> list[Sequence[Any]]:
            connection = self._opened()
            with contextlib.closing(connection.cursor()) as cursor:
                cursor.execute(statement, *parameters)
                rows = list(cursor.fetchall())
            _still_there(connection)
            return rows

        return self._patiently(ask, where)

    def _begun(self, statement: str) -> tuple[_Stream, pa.RecordBatch | None]:
        """A stream, and its first batch."""
        self._stream = stream = _Stream(self._opened(), statement)
        return stream, stream.next()

    def _next(self, stream: _Stream, where: str) -> pa.RecordBatch | None:
        try:
            return stream.next()
        except _errors() as fault:
            if stream.connection is self._connection:
                self._drop()
            raise faults.midway(self._server, str(fault), where) from fault

    def _patiently(self, ask: Callable[[], Result], where: str) -> Result:
        """Ask, and again where Azure SQL calls the failure transient; nothing else is repeated."""

        def once() -> Result:
            self._finish()
            try:
                return ask()
            except _errors() as fault:
                raise self._meant(str(fault), where) from fault

        repeated = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(faults.Transient),
            wait=tenacity.wait_exponential(self._pause, max=self._pause * 16)
            + tenacity.wait_random(0, self._pause),
            stop=self._out_of_patience,
            reraise=True,
        )
        try:
            return repeated(once)
        except faults.Transient as fault:
            raise fault.final from fault

    def _out_of_patience(self, state: tenacity.RetryCallState) -> bool:
        fault = state.outcome.exception() if state.outcome is not None else None
        # However slow the server or this machine is, each failure is given some chances.
        if isinstance(fault, faults.Transient) and state.attempt_number < _CHANCES:
            return False
        patience = fault.patience * self._pause if isinstance(fault, faults.Transient) else 0.0
        return (state.seconds_since_start or 0.0) + state.upcoming_sleep > patience

    def _meant(self, text: str, where: str) -> SourceError | faults.Transient:
        if faults.SNAPSHOT_REFUSED in text and self._snapshots:
            self._snapshots = False
            self._drop()
            return faults.Transient(self._server.query_failed(text, where), faults.BUSY_FOR)
        meant = faults.reading(self._server, text, where)
        if isinstance(meant, faults.Transient) or meant.code is Code.SOURCE_INTERRUPTED:
            self._drop()
        return meant

    def _finish(self) -> None:
        """Only one reading goes over a connection at a time: one that was left ends here."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _drop(self) -> None:
        """Forget a connection that is of no use any more."""
        self._stream = None
        connection, self._connection = self._connection, None
        _closed(connection)

    # ------------------------------------------------------------------ the connection

    def _opened(self) -> Any:
        if self._connection is None:
            driver = _driver()
            # A pool would hand out connections that the server has closed.
            driver.pooling(enabled=False)
            connection = None
            try:
                connection = driver.connect(
                    connection_string(self._server),
                    autocommit=True,
                    timeout=self._server.login_timeout,
                )
                self._begin(connection)
            except _errors() as fault:
                _closed(connection)
                raise faults.connecting(self._server, str(fault)) from fault
            self._connection = connection
        return self._connection

    def _begin(self, connection: Any) -> None:
        """One transaction over all readings; of one state where the database has snapshots."""
        has_snapshots = False
        with contextlib.closing(connection.cursor()) as cursor:
            if self._snapshots:
                with contextlib.suppress(*_errors()):
                    cursor.execute(statements.SNAPSHOTS)
                    row = cursor.fetchone()
                    has_snapshots = row is not None and row[0] == 1
            cursor.execute(statements.SNAPSHOT if has_snapshots else statements.COMMITTED)
        connection.setautocommit(False)

    # ------------------------------------------------------------------ relations

    def _describe(self, relation: Relation) -> tuple[Origin, dict[str, str], list[str]]:
        """What to read from, types by name, and the names in order."""
        if relation not in self._described:
            if relation.query is not None:
                origin = self._origin(relation.query)
                found = self._result_columns(origin, str(relation))
            else:
                origin, found = self._table(str(relation.table))
            types = {str(name): str(kind).partition("(")[0].lower() for name, kind in found}
            self._described[relation] = origin, types, [str(name) for name, _ in found]
        return self._described[relation]

    def _origin(self, query: str) -> Origin:
        try:
            return origin_of(query)
        except NotOneSelectError as fault:
            raise SourceError(
                Code.SOURCE_QUERY_FAILED,
                f"the query is not one SELECT: {fault}",
                where="query",
                expected="one SELECT, with or without WITH before it",
                found=query,
                next_step="correct the `query` in storecast.yaml, or make it a view",
            ) from fault

    def _table(self, name: str) -> tuple[Origin, list[tuple[str, str]]]:
        parts = name_parts(name, "[", "]") if "[" in name else name_parts(name)
        other = len(parts) == 3 and parts[0].lower() != self._server.database.lower()
        database = parts[0] if other else None
        try:
            rows = self._rows(statements.tables(database), name)
        except SourceError as fault:
            if database is None or fault.code is not Code.SOURCE_QUERY_FAILED:
                raise
            rows = []
        there = [(str(row[0]), str(row[1])) for row in rows]
        found = resolved(parts, there, database or self._server.database)
        if found is None:
            return self._unlisted(name, parts, there)
        columns = self._rows(statements.table_columns(database), name, found)
        prefix = (database,) if database is not None else ()
        return Origin(statements.bracketed(*prefix, *found)), [(r[0], r[1]) for r in columns]

    def _unlisted(
        self, name: str, parts: Sequence[str], there: Sequence[tuple[str, str]]
    ) -> tuple[Origin, list[tuple[str, str]]]:
        """A synonym, for one, is in no list of tables: it is there where it can be read."""
        origin = Origin(statements.bracketed(*parts))
        try:
            return origin, self._result_columns(origin, name)
        except SourceError as fault:
            if fault.code is not Code.SOURCE_QUERY_FAILED or "permission" in str(fault.found):
                raise
            names = [f"{s}.{t}" if len(parts) > 1 else t for s, t in there]
            shown = ".".join(parts[-2:])
            raise table_not_found(shown, names, self._server.database, str(self._server)) from fault

    def _result_columns(self, origin: Origin, where: str) -> list[tuple[str, str]]:
        """Names and types of what a SELECT gives; from the rows it would give if need be."""
        asked = inner(origin) if origin.source.startswith("(") else origin.select("*")
        with contextlib.suppress(SourceError):
            rows = self._rows(statements.DESCRIBED, where, (asked,))
            if rows and all(row[0] is not None and row[2] is None for row in rows):
                return [(str(row[0]), str(row[1])) for row in rows]

        def ask() -> list[tuple[str, str]]:
            with contextlib.closing(self._opened().cursor()) as cursor:
                cursor.execute(origin.select("*", " WHERE 1 = 0"))
                return [
                    (str(c[0]), _BY_PYTHON.get(getattr(c[1], "__name__", ""), "unknown"))
                    for c in cursor.description or ()
                ]

        return self._patiently(ask, where)


class _Stream:
    """The rows of a statement in batches, to the very last or to an error.

    The driver takes a connection that was closed for the end of the rows. So whether the server
    is still there is asked when they have ended.
    """

    def __init__(self, connection: Any, statement: str) -> None:
        self.connection = connection
        cursor = connection.cursor()
        cursor.execute(statement)
        # Held: a reader that is let go ends, and says nothing.
        self._reader = cursor.arrow_reader(_BATCH)

    def next(self) -> pa.RecordBatch | None:
        """The next batch; None where there is none."""
        batch: pa.RecordBatch | None = next(self._reader, None)
        if batch is None:
            _still_there(self.connection)
        return batch

    def close(self) -> None:
        """Let the server forget what is left."""
        with contextlib.suppress(*_errors()):
            self._reader.close()


def _still_there(connection: Any) -> None:
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(statements.STILL_THERE)
        cursor.fetchall()


_BY_PYTHON = {
    "str": "nvarchar", "int": "bigint", "float": "float", "Decimal": "decimal", "date": "date",
    "datetime": "datetime2", "bool": "bit", "bytes": "varbinary", "UUID": "uniqueidentifier",
}  # fmt: skip


def connection_string(server: Server) -> str:
    """The ODBC connection string; every value is in braces, so that none can say more."""
    host = server.host.removeprefix("tcp:")
    if server.port is not None:
        host += f",{server.port}"
    values = {
        "Server": f"tcp:{host}",
        "Database": server.database,
        "UID": server.user,
        "PWD": server.password,
        "Authentication": _AUTHENTICATION.get(server.auth),
        "Encrypt": "yes" if server.encrypt else "no",
        "TrustServerCertificate": "yes" if server.trust_certificate else "no",
        "ApplicationIntent": "ReadOnly",
        # The driver would connect again by itself, and go on in another state.
        "ConnectRetryCount": "0",
    }
    return "".join(
        f"{key}={{{value.replace('}', '}}')}}};" for key, value in values.items() if value
    )


def _driver() -> Any:
    try:
        import mssql_python
    except ImportError as fault:
        raise extra_missing("mssql", "mssql-python") from fault
    return mssql_python


def _errors() -> tuple[type[Exception], ...]:
    """What the driver raises: its own, and what its native part gives on."""
    try:
        from mssql_python import exceptions
    except ImportError:
        return ()
    return (
        exceptions.Exception,
        exceptions.ConnectionStringParseError,
        RuntimeError,
        OSError,
        pa.ArrowException,
    )


def _closed(connection: Any) -> None:
    if connection is not None:
        with contextlib.suppress(*_errors()):
            connection.close()


# ---------------------------------------------------------------------- what comes


def _converted(
    batch: pa.RecordBatch, columns: Sequence[str], types: dict[str, str]
) -> pa.RecordBatch:
    arrays = [_column(a, types.get(c, "")) for a, c in zip(batch.columns, columns, strict=True)]
    fields = [
        pa.field(
            c, a.type, metadata={WRITTEN_ISO: b"1"} if types.get(c) == "datetimeoffset" else None
        )
        for a, c in zip(arrays, columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _column(column: pa.Array, kind: str) -> pa.Array:
    """The driver's large types made small ones."""
    if pa.types.is_large_string(column.type):
        column = column.cast(pa.string())
        if kind == "datetimeoffset":
            column = pc.replace_substring_regex(column, _FINER, r"\1")
            column = pc.replace_substring_regex(column, _SPACE, r"\1")
    elif pa.types.is_large_binary(column.type):
        column = column.cast(pa.binary())
    return column
