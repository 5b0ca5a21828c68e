"""Sources that die while they are read: nothing is written, the next run takes everything."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from storecast import load, runs
from storecast.adapters.sources.postgresql import PostgresqlSource
from tests.databases import Postgres, postgres

from .conftest import Shop, Storecast

pytestmark = pytest.mark.fault

MANY = 150_000
"""More lines than the driver hands over at a time."""


def _sold(shop: Shop) -> int:
    return runs.read_table(load(shop.root), "transactions").num_rows


@pytest.fixture
def long(shop: Shop) -> Shop:
    """An ingested shop; a long table takes the place of the short one."""
    shop.sql(
        "INSERT INTO vendas VALUES ('a', '001', '2021-01-04', 1);"
        "CREATE TABLE muitas AS WITH RECURSIVE n(i) AS "
        f"(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY}) "
        "SELECT 'n' || i AS id, '001' AS loja, date('2021-01-04', '+' || (i % 600) || ' days') "
        "AS dia, i AS valor FROM n;"
    )
    return shop


@pytest.mark.parametrize("how", ["cut off", "overwritten"])
def test_a_database_that_breaks_in_the_middle(long: Shop, storecast: Storecast, how: str) -> None:
    assert storecast("ingest", "--project", long.root).exit_code == 0
    long.configure(source__sales__from="muitas")
    whole = long.database.read_bytes()
    middle = len(whole) * 3 // 4
    rest = b"" if how == "cut off" else b"\xaa" * (len(whole) - middle)
    long.database.write_bytes(whole[:middle] + rest)
    answer = storecast("ingest", "--project", long.root, "--json")
    assert answer.exit_code == 1
    assert answer.code in ("SOURCE_QUERY_FAILED", "SOURCE_INTERRUPTED")
    assert "Traceback" not in answer.err
    assert _sold(long) == 1
    assert list(load(long.root).scratch().iterdir()) == []
    long.database.write_bytes(whole)
    result = storecast("ingest", "--project", long.root, "--json").envelope["result"]
    assert (result["rows_read"], result["rows_inserted"]) == (MANY, MANY)


@pytest.mark.parametrize(
    "end",
    [
        '6,001,2021-01-11,"10',
        '6,001,"2021-01-11,10\n7,001,2021-01-12,11\n',
        '6,001,2021-01-11,"10""',
        "6,001,2021-0",
    ],
    ids=["in the last field", "in a field before", "after an escaped quote", "in a line"],
)
def test_a_csv_that_ends_too_early(shop: Shop, storecast: Storecast, end: str) -> None:
    days = "".join(f'{i},001,2021-01-0{i + 3},"{i}"\n' for i in range(1, 6))
    file = Path(shop.root, "vendas.csv")
    file.write_text(f"id,loja,dia,valor\n{days}", "utf-8")
    shop.configure(source__type="files", source__path=".", source__sales__from="vendas.csv")
    assert storecast("ingest", "--project", shop.root).exit_code == 0
    file.write_text(f"id,loja,dia,valor\n{days}{end}", "utf-8")
    answer = storecast("ingest", "--project", shop.root, "--json")
    assert answer.exit_code == 1
    assert answer.code == "SOURCE_QUERY_FAILED"
    assert _sold(shop) == 5
    file.write_text(f"id,loja,dia,valor\n{days}6,001,2021-01-11,10", "utf-8")
    result = storecast("ingest", "--project", shop.root, "--json").envelope["result"]
    assert (result["rows_inserted"], _sold(shop)) == (1, 6)


# ---------------------------------------------------------------------- a server's connection


@pytest.fixture
def server() -> Iterator[Postgres]:
    with postgres() as database:
        yield database


@pytest.fixture
def served(shop: Shop, server: Postgres) -> tuple[Shop, str]:
    """An ingested shop on a real server; many lines have come since."""
    kinds = {"id": "text", "loja": "text", "dia": "date", "valor": "numeric"}
    table = server.table(kinds, [["a", "001", "2021-01-04", 1]])
    shop.configure(
        source={
            "type": "postgresql",
            "host": str(server.server.host),
            "database": "postgres",
            "user": "postgres",
            "sales": {
                "from": table,
                "primary_key": ["id"],
                "columns": {"store_id": "loja", "date": "dia", "sales": "valor"},
            },
        }
    )
    return shop, table


@contextlib.contextmanager
def _cut_after(folder: Path, n_bytes: int) -> Iterator[str]:
    """Another way to the server's socket, on which the line breaks after so much of an answer."""
    with (
        tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as place,
        socket.socket(socket.AF_UNIX) as door,
    ):
        door.bind(f"{place}/.s.PGSQL.5432")
        door.listen()
        threading.Thread(target=_serve, args=(door, folder, n_bytes), daemon=True).start()
        yield place


def _serve(door: socket.socket, folder: Path, n_bytes: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = door.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(folder / ".s.PGSQL.5432"))
            for ends in ((client, server, None), (server, client, n_bytes)):
                threading.Thread(target=_pass_on, args=ends, daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket, left: int | None) -> None:
    with contextlib.suppress(OSError):
        while (data := one.recv(1 << 16)) and (left is None or left > 0):
            other.sendall(data)
            left = None if left is None else left - len(data)
    for end in (one, other):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


def _grow(server: Postgres, table: str) -> None:
    """So many lines, and so long ones, that no buffer on the way holds them all."""
    server.execute(
        f"INSERT INTO \"{table}\" SELECT repeat(md5(i::text), 4) || i, '001', "
        f"date '2021-01-04' + i % 600, i FROM generate_series(1, {MANY}) AS i"
    )


def test_a_server_that_ends_the_session(
    served: tuple[Shop, str],
    server: Postgres,
    storecast: Storecast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop, table = served
    assert storecast("ingest", "--project", shop.root).exit_code == 0
    _grow(server, table)
    read = PostgresqlSource.read

    def ended(self: PostgresqlSource, *arguments: Any) -> Iterator[pa.RecordBatch]:
        batches = read(self, *arguments)
        yield next(batches)
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE query LIKE '%{table}%' AND pid <> pg_backend_pid()"
        )
        yield from batches

    with monkeypatch.context() as broken:
        broken.setattr(PostgresqlSource, "read", ended)
        answer = storecast("ingest", "--project", shop.root, "--json")
    assert (answer.exit_code, answer.code) == (1, "SOURCE_INTERRUPTED")
    assert "Traceback" not in answer.err
    assert _sold(shop) == 1
    assert list(load(shop.root).scratch().iterdir()) == []
    result = storecast("ingest", "--project", shop.root, "--json").envelope["result"]
    assert (result["rows_inserted"], _sold(shop)) == (MANY, MANY + 1)


def test_a_connection_that_drops(
    served: tuple[Shop, str], server: Postgres, storecast: Storecast
) -> None:
    shop, table = served
    assert storecast("ingest", "--project", shop.root).exit_code == 0
    _grow(server, table)
    with _cut_after(Path(server.server.host), 6 << 20) as place:
        answer = storecast(
            "ingest", "--project", shop.root, "--json", "--set", f"source.host={place}"
        )
    assert (answer.exit_code, answer.code) == (1, "SOURCE_INTERRUPTED")
    assert "Traceback" not in answer.err
    assert _sold(shop) == 1
    result = storecast("ingest", "--project", shop.root, "--json").envelope["result"]
    assert (result["rows_inserted"], _sold(shop)) == (MANY, MANY + 1)
