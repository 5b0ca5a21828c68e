"""PostgreSQL, by ADBC: Arrow batches of one read-only transaction from opening to closing."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pyarrow as pa
import pyarrow.compute as pc

from storecast.adapters.sources import postgresql_statements as statements
from storecast.adapters.sources.servers import Server, ambiguous, extra_missing
from storecast.adapters.sources.sql import (
    derived,
    equality,
    first_equal,
    name_parts,
    quoted,
    resolved,
    table_not_found,
)
from storecast.errors import SourceError
from storecast.ports import TALLY, WITHOUT_END, WRITTEN_ISO, Relation, SourceColumn, Span, Tallied

_BATCH_BYTES = 4 << 20
_TYPE, _MODIFIER = b"POSTGRESQL:type", b"POSTGRESQL:typmod"


class PostgresqlSource:
    """A database.

    Args:
        server: where it is; a host that is a path is the folder of a socket.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection: Any = None
        self._zone: str | None = None
        self._schemas: dict[Relation, pa.Schema] = {}
        self._there: list[tuple[str, str]] | None = None

    def columns(self, relation: Relation) -> list[SourceColumn]:
        """The columns of a relation, in order."""
        return [
            SourceColumn(f.name, name, statements.KINDS.get(name, "unknown"), name == "bpchar")
            for f in self._schema(relation)
            for name in [_type_name(f)]
        ]

    def read(
        self, relation: Relation, columns: Sequence[str], span: Span | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Stream the named columns; what Arrow has no type for comes as text.

        timestamptz comes in the time zone of the server's setting, so that its day is there what
        PostgreSQL calls its day; as ISO 8601 text where Arrow does not know the zone.
        """
        fields = {f.name: f for f in self._schema(relation)}
        types = {name: _type_name(f) for name, f in fields.items()}
        origin, written = self._origin(relation), self._zone is None
        statement = statements.reading(origin, columns, types, span, written=written)
        with self._asked(statement, relation) as cursor:
            for batch in cursor.fetch_record_batch():
                if batch.num_rows:
                    yield _converted(batch, columns, fields, self._zone)

    def tally(self, relation: Relation, wanted: Tallied) -> pa.Table | None:
        """Count and sum by store and month; None where days or amounts are text."""
        types = {f.name: _type_name(f) for f in self._schema(relation)}
        if (
            types.get(wanted.day) not in statements.DAYS
            or types.get(wanted.sales) not in statements.NUMBERS
        ):
            return None
        statement = statements.tallying(self._origin(relation), wanted, types)
        with self._asked(statement, relation) as cursor:
            found: pa.Table = cursor.fetch_arrow_table()
        arrays = [found[0], found[1], found[2], _plain(found[3].combine_chunks())]
        return pa.Table.from_arrays(
            [a.cast(f.type) for a, f in zip(arrays, TALLY, strict=True)], schema=TALLY
        )

    def first_equal(
        self, relation: Relation, column: str, pairs: Sequence[tuple[str, str]]
    ) -> tuple[str, str] | None:
        """The first pair that the column's type and collation call equal: citext, for one."""
        origin = self._origin(relation)
        with self._asked(statements.type_of(origin, column), relation) as cursor:
            found = cursor.fetchall()
        if not found or found[0][1] != "S":
            return None

        def ask(texts: Sequence[str]) -> int:
            marks = [f"CAST(${n + 1} AS {found[0][0]})" for n in range(len(texts))]
            with self._asked(equality(origin, quoted(column), marks), relation, texts) as c:
                return int(c.fetchone()[0])

        return first_equal(pairs, ask)

    def same_name(self, one: str, other: str) -> bool:
        """Names in quotes are compared to the character."""
        return one == other

    def close(self) -> None:
        """Give back the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # ------------------------------------------------------------------ inside

    def _opened(self) -> Any:
        if self._connection is None:
            dbapi = _driver()
            try:
                connection = dbapi.connect(uri_of(self._server), autocommit=True)
            except dbapi.Error as fault:
                raise _refused(self._server, str(fault)) from fault
            self._connection = connection
            with connection.cursor() as cursor:
                for statement in statements.BEGINNING:
                    cursor.execute(statement)
                cursor.execute(statements.ZONE)
                self._zone = _known(str(cursor.fetchall()[0][0]))
        return self._connection

    @contextlib.contextmanager
    def _asked(
        self, statement: str, relation: Relation, parameters: Sequence[str] | None = None
    ) -> Iterator[Any]:
        """A cursor after the statement."""
        errors = (OSError, pa.ArrowException, _driver().Error)
        connection = self._opened()
        try:
            with connection.cursor() as cursor:
                cursor.adbc_statement.set_options(
                    **{"adbc.postgresql.batch_size_hint_bytes": str(_BATCH_BYTES)}
                )
                cursor.execute(statement, parameters)
                yield cursor
        except errors as fault:
            raise self._failed(relation, fault) from fault

    def _failed(self, relation: Relation, fault: Exception) -> SourceError:
        state = str(getattr(fault, "sqlstate", None) or "")
        text = str(fault)
        if state[:2] in ("08", "57") or any(sign in text for sign in _BROKEN):
            return self._server.interrupted(text, str(relation))
        self._go_on()
        if any(sign in text for sign in _GAVE_WAY):
            return self._server.gave_way(text, str(relation))
        if state == "42702":
            return ambiguous(str(relation), self._server.scrubbed(text))
        if state == "42501":
            return self._server.forbidden(text, str(relation))
        return self._server.query_failed(text, str(relation))

    def _go_on(self) -> None:
        """A statement that failed ends the transaction for those after it, unless taken back."""
        with (
            contextlib.suppress(OSError, _driver().Error),
            self._connection.cursor() as cursor,
        ):
            cursor.execute(statements.TAKING_BACK)

    def _schema(self, relation: Relation) -> pa.Schema:
        if relation not in self._schemas:
            statement = f"SELECT * FROM {self._origin(relation)} AS r LIMIT 0"  # noqa: S608 - quoted
            with self._asked(statement, relation) as cursor:
                self._schemas[relation] = cursor.fetch_record_batch().schema
        return self._schemas[relation]

    def _origin(self, relation: Relation) -> str:
        if relation.query is not None:
            return derived(relation.query)
        name = str(relation.table)
        if self._there is None:
            with self._asked(statements.TABLES, relation) as cursor:
                self._there = [(str(s), str(t)) for s, t in cursor.fetchall()]
        found = resolved(name_parts(name), self._there, self._server.database)
        if found is None:
            there = [f"{s}.{t}" if "." in name else t for s, t in self._there]
            raise table_not_found(name, there, self._server.database, str(self._server))
        return f"{quoted(found[0])}.{quoted(found[1])}"


def _driver() -> Any:
    try:
        from adbc_driver_postgresql import dbapi
    except ImportError as fault:
        raise extra_missing("postgresql", "adbc-driver-postgresql") from fault
    return dbapi


# ---------------------------------------------------------------------- the connection


def uri_of(server: Server) -> str:
    """The connection URI of a server; every part of it is escaped."""
    parameters: dict[str, str | int] = {
        "connect_timeout": server.login_timeout,
        "application_name": "storecast",
        "client_encoding": "UTF8",
        "keepalives_idle": 60,
        "keepalives_interval": 15,
        "keepalives_count": 4,
    }
    host = f"[{server.host}]" if ":" in server.host else quote(server.host, safe="")
    if server.host.startswith("/"):
        parameters["host"], host = server.host, ""
        if server.port is not None:
            parameters["port"] = server.port
    elif server.port is not None:
        host += f":{server.port}"
    parameters |= _security(server)
    who = quote(server.user, safe="") if server.user is not None else ""
    if server.password is not None:
        who += f":{quote(server.password, safe='')}"
    database = quote(server.database, safe="")
    return f"postgresql://{who}{'@' if who else ''}{host}/{database}?{urlencode(parameters)}"


def _security(server: Server) -> dict[str, str]:
    if server.host.startswith("/"):
        return {}
    if not server.encrypt:
        return {"sslmode": "disable"}
    if server.trust_certificate:
        return {"sslmode": "require"}
    own = Path("~/.postgresql/root.crt").expanduser()
    if own.is_file():
        return {"sslmode": "verify-full"}
    # The driver brings its own TLS library, which may look for authorities where none are.
    return {
        "sslmode": "verify-full",
        "sslrootcert": ssl.get_default_verify_paths().cafile or "system",
    }


_BROKEN = (
    "server closed the connection", "no connection to the server", "terminating connection",
    "could not receive data", "could not send data", "SSL connection has been closed",
    "SSL SYSCALL error", "Connection reset", "Broken pipe",
)  # fmt: skip
# 40001, 40P01 and 55P03: among the rows the driver has the words alone.
_GAVE_WAY = (
    "due to conflict with recovery", "could not serialize access", "deadlock detected",
    "due to lock timeout", "could not obtain lock",
)  # fmt: skip
_NO_TLS = ("does not support SSL", "server refused SSL")
_CERTIFICATE = (
    "certificate verify failed", "root certificate file", "does not match host name",
    "server certificate for",
)  # fmt: skip
_AWAY = (
    "does not exist", "too many", "starting up", "shutting down", "remaining connection slots",
    "not currently accepting", "recovery",
)  # fmt: skip
_IDENTITY = ("role", "password", "authentication", "pg_hba", "senha", "autentica", "fe_sendauth")


def _refused(server: Server, text: str) -> SourceError:
    """What a failed connection means, from the words of libpq and of the server."""
    if any(sign in text for sign in _CERTIFICATE):
        return server.certificate_invalid(text)
    if any(sign in text for sign in _NO_TLS):
        return server.unreachable(
            text, "turn TLS on at the server; in a network that you trust, encrypt: false"
        )
    said = text.partition("FATAL:")[2]
    if any(sign in said or sign in text.partition("failed: ")[2] for sign in _IDENTITY):
        return server.login_failed(text)
    if said and not any(sign in said for sign in _AWAY):
        return server.login_failed(text)
    return server.unreachable(text)


# ---------------------------------------------------------------------- what comes


def _type_name(field: pa.Field) -> str:
    return str((field.metadata or {}).get(_TYPE, b""), "ascii", "replace")


def _known(zone: str) -> str | None:
    """The zone where Arrow and Python know it by its name; ``localtime`` is another one here."""
    try:
        pc.local_timestamp(pa.scalar(0, pa.timestamp("us", zone)))
        ZoneInfo(zone)
    except (pa.ArrowInvalid, ValueError, OSError, ZoneInfoNotFoundError):
        return None
    return zone if zone != "localtime" else None


def _converted(
    batch: pa.RecordBatch, columns: Sequence[str], fields: dict[str, pa.Field], zone: str | None
) -> pa.RecordBatch:
    arrays, made = [], []
    for array, name in zip(batch.columns, columns, strict=True):
        exact = _exact(_plain(array), fields[name])
        zoned = _type_name(fields[name]) == "timestamptz"
        if zoned and zone is not None:
            exact = exact.cast(pa.timestamp("us", zone))
        marks = {WRITTEN_ISO: b"1"} if zoned and zone is None else None
        if marks is None and _type_name(fields[name]) in statements.DAYS:
            marks = {WITHOUT_END: b"1"}
        arrays.append(exact)
        made.append(pa.field(name, exact.type, metadata=marks))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(made))


def _plain(column: pa.Array) -> pa.Array:
    """Without the driver's extension type: ``numeric`` is its own exact text."""
    return column.storage if isinstance(column.type, pa.BaseExtensionType) else column


def _exact(column: pa.Array, field: pa.Field) -> pa.Array:
    """A numeric of declared places as decimal, where each value is one; else as its text."""
    scale = statements.places(_type_name(field), (field.metadata or {}).get(_MODIFIER, b"-1"))
    if scale is None or not pa.types.is_string(column.type):
        return column
    if pc.any(pc.match_substring_regex(column, r"[^0-9.\-]")).as_py():
        return column
    return column.cast(pa.decimal128(38, scale))
