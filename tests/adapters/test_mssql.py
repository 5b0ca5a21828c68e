"""SQL Server's own: its types as the driver brings them, what fails, and what is tried again.

The real driver against a server of our own (tests/tds.py), which shows what it does with what a
server may answer. That real servers understand our statements, tests/contracts/test_sources.py
sees where one is named.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from storecast.adapters.sources.mssql import MssqlSource
from storecast.adapters.sources.servers import Server
from storecast.errors import Code, SourceError
from storecast.ingestion.contract import Checked, Feed, Field, Kind, check
from storecast.ports import TALLY, Relation, Span, Tallied
from tests import tds
from tests.tds import Fault, Hangup, Rows

mssql_python = pytest.importorskip("mssql_python")

PASSWORD = "s;e{c}r'e\"t=%"
NAME, TEXT = "nvarchar(128)", "nvarchar(200)"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tds.certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def server(pem: Path) -> Iterator[tds.Server]:
    running = tds.Server(pem)
    running.answers.append(("still_there", Rows([("still_there", "int")], [(1,)])))
    yield running
    running.close()


Opened = Callable[..., MssqlSource]


@pytest.fixture
def opened(server: tds.Server) -> Iterator[Opened]:
    sources: list[MssqlSource] = []

    def make(**changes: Any) -> MssqlSource:
        asked = Server("127.0.0.1", "vendas", server.port, "leitor", PASSWORD,
                       trust_certificate=True)  # fmt: skip
        sources.append(MssqlSource(replace(asked, **changes), pause=0.02))
        return sources[-1]

    yield make
    for source in sources:
        source.close()
        source.close()


@pytest.fixture(autouse=True)
def loaded() -> None:
    """The driver needs a library of the system, which CI installs."""
    source = MssqlSource(Server("127.0.0.1", "x", 1, login_timeout=1), pause=0.01)
    if not _loads:
        with pytest.raises(SourceError) as caught:
            source.columns(Relation("t"))
        _loads.append(caught.value.code is not Code.EXTRA_MISSING)
    if not _loads[0]:
        if os.environ.get("CI") == "true":
            pytest.fail("the driver of SQL Server does not load")
        pytest.skip("the driver of SQL Server does not load: libltdl7 is missing")


_loads: list[bool] = []


_AS_TEXT = ("sql_variant", "datetimeoffset(7)", "datetimeoffset(3)", "datetimeoffset(0)")


def has_table(server: tds.Server, columns: list[tuple[str, str]], rows: list[Any],
              then: Fault | Hangup | None = None) -> None:  # fmt: skip
    """The server has dbo.VENDAS; what is read of it comes with the columns given, in order."""
    server.answers += [
        ("snapshot_isolation_state", Rows([("s", "int")], [(1,)])),
        ("INFORMATION_SCHEMA.TABLES", Rows([("TABLE_SCHEMA", NAME), ("TABLE_NAME", NAME)],
                                           [("dbo", "VENDAS"), ("dbo", "LOJAS")])),
        ("INFORMATION_SCHEMA.COLUMNS", Rows([("COLUMN_NAME", NAME), ("DATA_TYPE", NAME)],
                                            [(n, k.partition("(")[0]) for n, k in columns])),
        (r"FROM \[dbo\]\.\[VENDAS\]", Rows([(n, "nvarchar(40)" if k in _AS_TEXT else k)
                                            for n, k in columns], rows, then)),
    ]  # fmt: skip


def failed(ask: Callable[[], Any]) -> SourceError:
    with pytest.raises(SourceError) as caught:
        ask()
    told = " ".join(str(v) for v in caught.value.as_dict().values())
    assert PASSWORD not in told
    assert "s;e{c}}r" not in told
    return caught.value


def reading(source: MssqlSource, *columns: str) -> list[dict[str, Any]]:
    return [row for b in source.read(Relation("VENDAS"), list(columns)) for row in b.to_pylist()]


# ---------------------------------------------------------------------- types

WEST = timezone(timedelta(hours=-3))


@pytest.mark.parametrize(
    ("kind", "sent", "arrow", "value"),
    [
        ("char(6)", "001", pa.string(), "001   "),
        ("nchar(3)", "é", pa.string(), "é  "),
        ("varchar(10)", "São João", pa.string(), "São João"),
        ("nvarchar(20)", "日本 😀", pa.string(), "日本 😀"),
        ("nvarchar(20)", "", pa.string(), ""),
        ("tinyint", 255, pa.uint8(), 255),
        ("smallint", -32768, pa.int16(), -32768),
        ("int", 7, pa.int32(), 7),
        ("bigint", 2**62, pa.int64(), 2**62),
        ("bit", True, pa.bool_(), True),
        ("decimal(18,2)", "-9999999999999999.99", pa.decimal128(18, 2),
         Decimal("-9999999999999999.99")),
        ("decimal(10,0)", "42", pa.decimal128(10, 0), Decimal(42)),
        ("money", "-922337203685477.5808", pa.decimal128(19, 4), Decimal("-922337203685477.5808")),
        ("float", 0.1, pa.float64(), 0.1),
        ("date", date(1753, 1, 1), pa.date32(), date(1753, 1, 1)),
        ("datetime", datetime(2021, 1, 31, 1, 2, 3), pa.timestamp("us"),
         datetime(2021, 1, 31, 1, 2, 3)),
        ("datetime2(7)", (datetime(2021, 1, 31, 23, 59, 59, 999999), 9), pa.timestamp("us"),
         datetime(2021, 1, 31, 23, 59, 59, 999999)),
        ("uniqueidentifier", "550e8400-e29b-41d4-a716-446655440000", pa.string(),
         "550E8400-E29B-41D4-A716-446655440000"),
        ("binary(8)", b"\0\0\0\0\0\0\x07\xd1", pa.binary(), b"\0\0\0\0\0\0\x07\xd1"),
    ],
)  # fmt: skip
def test_types(server: tds.Server, opened: Opened, kind: str, sent: Any, arrow: pa.DataType,
               value: Any) -> None:  # fmt: skip
    has_table(server, [("c", kind)], [(sent,), (None,)])
    (batch,) = opened().read(Relation("dbo.vendas"), ["c"])
    assert batch.schema.field("c").type == arrow
    assert batch["c"].to_pylist() == [value, None]
    (column,) = opened().columns(Relation("VENDAS"))
    assert column.fixed_width == (kind in ("char(6)", "nchar(3)"))


def checked(source: MssqlSource, kind: Kind, *, fixed_width: bool = False) -> Checked:
    (batch,) = source.read(Relation("VENDAS"), ["c"])
    field = Field("c", "c", kind, fixed_width=fixed_width)
    return check(batch, Feed("sales", "sales", Relation("VENDAS"), (field,), ("c",)))


@pytest.mark.parametrize(
    ("kind", "sent", "meant", "value"),
    [
        ("char(6)", "001", Kind.IDENTIFIER, "001"),
        ("tinyint", 7, Kind.IDENTIFIER, "7"),
        ("decimal(10,0)", "42", Kind.IDENTIFIER, "42"),
        ("uniqueidentifier", "550e8400-e29b-41d4-a716-446655440000", Kind.IDENTIFIER,
         "550E8400-E29B-41D4-A716-446655440000"),
        ("money", "12.3456", Kind.AMOUNT, Decimal("12.3456")),
        ("float", 0.1, Kind.AMOUNT, Decimal("0.1000")),
        ("bit", True, Kind.NUMBER, 1.0),
        ("datetime2(7)", (datetime(2021, 1, 31, 23, 59, 59, 999999), 9), Kind.DATE,
         date(2021, 1, 31)),
        # what the server writes of a datetimeoffset: the local day counts, and the instant
        ("datetimeoffset(7)", "2021-01-31 23:30:00.1234567 -03:00", Kind.DATE, date(2021, 1, 31)),
        ("datetimeoffset(0)", "2021-01-31 23:30:00 +05:30", Kind.DATE, date(2021, 1, 31)),
        ("datetimeoffset(7)", "2021-01-31 23:30:00.1234567 -03:00", Kind.TIMESTAMP,
         datetime(2021, 2, 1, 2, 30, 0, 123456, UTC)),
        ("datetimeoffset(0)", "2021-01-31 23:30:00 +05:30", Kind.TIMESTAMP,
         datetime(2021, 1, 31, 18, 0, 0, 0, UTC)),
        ("datetimeoffset(3)", "2021-01-31 23:30:00.250 +00:00", Kind.TIMESTAMP,
         datetime(2021, 1, 31, 23, 30, 0, 250000, UTC)),
    ],
)  # fmt: skip
def test_what_the_contract_makes_of_them(server: tds.Server, opened: Opened, kind: str,
                                         sent: Any, meant: Kind, value: Any) -> None:  # fmt: skip
    has_table(server, [("c", kind)], [(sent,)])
    result = checked(opened(), meant, fixed_width=kind == "char(6)")
    assert result.accepted["c"].to_pylist() == [value], result.rejected


def asked_for(server: tds.Server, part: str) -> str:
    """The last statement that has the part."""
    return [h for h in server.heard if part in h][-1]


def test_what_arrow_would_not_keep_is_converted(server: tds.Server, opened: Opened) -> None:
    has_table(server, [("m", "money"), ("o", "datetimeoffset(7)"), ("v", "sql_variant")], [])
    list(opened().read(Relation("VENDAS"), ["m", "o", "v"]))
    asked = asked_for(server, "FROM [dbo]")
    assert "CAST(r.[m] AS decimal(19, 4)) AS [m]" in asked
    assert "CONVERT(varchar(40), r.[o], 121) AS [o]" in asked
    assert "CAST(r.[v] AS nvarchar(4000)) AS [v]" in asked


def test_a_store_of_the_type_float_is_told(server: tds.Server, opened: Opened) -> None:
    has_table(server, [("c", "float")], [])
    assert [c.kind for c in opened().columns(Relation("VENDAS"))] == ["float"]


def test_many_batches(server: tds.Server, opened: Opened) -> None:
    has_table(server, [("n", "int")], [(n,) for n in range(70_000)])
    batches = list(opened().read(Relation("VENDAS"), ["n"]))
    assert len(batches) == 2
    assert [n for b in batches for n in b["n"].to_pylist()] == list(range(70_000))


# ---------------------------------------------------------------------- names and statements


@pytest.mark.parametrize(
    "name",
    ["VENDAS", "vendas", "dbo.VENDAS", "[dbo].[VENDAS]", "dbo.[Vendas]", "VENDAS.DBO.vendas"],
)
def test_a_table_by_any_of_its_names(server: tds.Server, opened: Opened, name: str) -> None:
    has_table(server, [("a]b", "int")], [(5,)])
    (batch,) = opened().read(Relation(name), ["a]b"])
    assert batch["a]b"].to_pylist() == [5]
    assert "SELECT r.[a]]b] FROM [dbo].[VENDAS] AS r" in asked_for(server, "FROM [dbo]")
    assert "vendas].INFORMATION_SCHEMA" not in "".join(server.heard).lower()


def test_a_table_of_another_database(server: tds.Server, opened: Opened) -> None:
    server.answers.append((r"\[outro\].\[dbo\].\[VENDAS\]", Rows([("n", "int")], [(5,)])))
    has_table(server, [("n", "int")], [])
    (batch,) = opened().read(Relation("outro.dbo.VENDAS"), ["n"])
    assert batch["n"].to_pylist() == [5]
    assert any("[outro].INFORMATION_SCHEMA.TABLES" in h for h in server.heard)


def test_a_table_that_is_not_there(server: tds.Server, opened: Opened) -> None:
    server.answers.append((r"\[VENDA\]", Fault(208, "Invalid object name 'VENDA'.")))
    has_table(server, [("n", "int")], [])
    source = opened()
    fault = failed(lambda: source.columns(Relation("VENDA")))
    assert fault.code is Code.SOURCE_TABLE_NOT_FOUND
    assert "did you mean 'VENDAS'" in fault.message
    assert [c.name for c in source.columns(Relation("VENDAS"))] == ["n"]


def test_a_synonym_is_in_no_list(server: tds.Server, opened: Opened) -> None:
    has_table(server, [("n", "int")], [])
    server.answers.append((r"FROM \[sinonimo\]", Rows([("n", "int")], [(5,)])))
    source = opened()
    assert [(c.name, c.kind) for c in source.columns(Relation("sinonimo"))] == [("n", "integer")]
    (batch,) = source.read(Relation("sinonimo"), ["n"])
    assert batch["n"].to_pylist() == [5]


def test_the_columns_of_a_query(server: tds.Server, opened: Opened) -> None:
    described = Rows([("name", NAME), ("system_type_name", NAME), ("error_message", TEXT)],
                     [("a", "char(6)", None), ("b", "decimal(18,2)", None)])  # fmt: skip
    server.answers.append(("dm_exec_describe_first_result_set", described))
    query = Relation(query="WITH x AS (SELECT 1 AS a) SELECT a, b FROM x ORDER BY a;")
    columns = opened().columns(query)
    assert [(c.name, c.type_name, c.kind, c.fixed_width) for c in columns] == [
        ("a", "char", "text", True), ("b", "decimal", "decimal", False),
    ]  # fmt: skip
    # the query is bound, not written into the statement
    asked = asked_for(server, "dm_exec")
    assert "sys.dm_exec_describe_first_result_set(@P1, NULL, 0)" in asked


def test_a_span_and_a_tally(server: tds.Server, opened: Opened) -> None:
    tally = Rows([("store_id", TEXT), ("y", "int"), ("m", "int"), ("n", "bigint"),
                  ("a", "decimal(38,4)")], [("001   ", 2021, 2, 3, "12.5000")])  # fmt: skip
    server.answers.append(("COUNT_BIG", tally))
    has_table(server, [("loja", "char(6)"), ("dia", "datetime"), ("valor", "money")], [])
    source = opened()
    found = source.tally(Relation("VENDAS"), Tallied("loja", "dia", "valor", date(2021, 1, 5)))
    assert found is not None
    assert found.schema == TALLY
    assert found.to_pylist() == [
        {"store_id": "001   ", "month": date(2021, 2, 1), "n_rows": 3, "amount": Decimal("12.5")}
    ]
    assert source.tally(Relation("VENDAS"), Tallied("loja", "loja", "valor")) is None
    assert source.tally(Relation("VENDAS"), Tallied("loja", "dia", "loja")) is None
    list(source.read(Relation("VENDAS"), ["loja"], Span("dia", date(2021, 1, 5), None, ("valor",))))
    assert (
        "WHERE (r.[dia] >= CAST('2021-01-05' AS datetime2)) OR r.[dia] IS NULL "
        "OR r.[valor] IS NULL" in asked_for(server, "SELECT r.[loja] FROM")
    )


def test_equality_binds_its_values(server: tds.Server, opened: Opened) -> None:
    evil = "a'; DROP TABLE x; --"
    server.answers.append(("COUNT", Rows([("n", "int")], [(1,)])))
    has_table(server, [("id", "varchar(10)"), ("n", "int")], [])
    source = opened()
    assert source.first_equal(Relation("VENDAS"), "id", [(evil, "A")]) == (evil, "A")
    asked = asked_for(server, "COUNT")
    assert "r.[id] = @P1 AND r.[id] = @P2" in asked
    assert f"'{evil}" not in asked
    assert source.first_equal(Relation("VENDAS"), "n", [("1", "2")]) is None


# ---------------------------------------------------------------------- to read and nothing else


@pytest.mark.parametrize(
    "query",
    ["WITH a AS (SELECT 1 b) DELETE FROM dbo.VENDAS COMMIT SELECT 1 AS n FROM dbo.VENDAS",
     "SELECT n FROM dbo.VENDAS OPTION (RECOMPILE) DELETE FROM dbo.VENDAS COMMIT"],
)  # fmt: skip
def test_a_query_that_writes_is_not_sent(server: tds.Server, opened: Opened, query: str) -> None:
    has_table(server, [("n", "int")], [(1,)])
    fault = failed(lambda: list(opened().read(Relation(query=query), ["n"])))
    assert fault.code is Code.SOURCE_QUERY_FAILED
    assert "DELETE" in fault.message
    assert server.heard == []


def test_one_transaction_that_is_taken_back(server: tds.Server, opened: Opened) -> None:
    has_table(server, [("n", "int")], [(1,)])
    source = opened()
    assert reading(source, "n") == [{"n": 1}]
    source.close()
    words = [h for h in server.heard if "SELECT" not in h and "still_there" not in h]
    assert [h for h in words if "ISOLATION LEVEL SNAPSHOT" in h]
    assert not [h for h in words if "ISOLATION" not in h]


@pytest.mark.parametrize("state", [0, None])
def test_a_database_without_snapshots(
    server: tds.Server, opened: Opened, state: int | None
) -> None:
    rows = Rows([("s", "int")], [] if state is None else [(state,)])
    server.answers.append(("snapshot_isolation_state", rows))
    has_table(server, [("n", "int")], [(1,)])
    assert reading(opened(), "n") == [{"n": 1}]
    assert any("ISOLATION LEVEL READ COMMITTED" in h for h in server.heard)


def test_another_database_without_snapshots(server: tds.Server, opened: Opened) -> None:
    refused: list[Any] = [Fault(3952, "Snapshot isolation transaction failed accessing database "
                                "'outro' because snapshot isolation is not allowed")]  # fmt: skip
    answer = Rows([("n", "int")], [(1,)])
    server.answers.append((r"SELECT r.\[n\]", lambda: refused.pop() if refused else answer))
    has_table(server, [("n", "int")], [])
    assert reading(opened(), "n") == [{"n": 1}]
    assert server.connections == 2
    assert any("ISOLATION LEVEL READ COMMITTED" in h for h in server.heard)


# ---------------------------------------------------------------------- what fails


def test_a_certificate_that_nobody_vouches_for(server: tds.Server, opened: Opened) -> None:
    fault = failed(lambda: opened(trust_certificate=False).columns(Relation("VENDAS")))
    assert fault.code is Code.SOURCE_CERTIFICATE_INVALID
    assert "trust_server_certificate" in str(fault.next_step)
    assert server.connections == 1
    assert not server.heard


def test_a_wrong_password_is_told_at_once(server: tds.Server, opened: Opened) -> None:
    server.logins += [Fault(18456, "Login failed for user 'leitor'.", 14)] * 9
    fault = failed(lambda: opened().columns(Relation("VENDAS")))
    assert fault.code is Code.SOURCE_LOGIN_FAILED
    assert "leitor" in fault.message
    assert server.connections == 1


def test_a_firewall(server: tds.Server, opened: Opened) -> None:
    said = ("Cannot open server 'x' requested by the login. Client with IP address '10.0.0.1' is "
            "not allowed to access the server.")  # fmt: skip
    server.logins += [Fault(40615, said, 14)] * 9
    fault = failed(lambda: opened().columns(Relation("VENDAS")))
    assert fault.code is Code.SOURCE_UNREACHABLE
    assert "firewall" in str(fault.next_step)
    assert server.connections == 1


BUSY = [
    (40613, "Database 'x' on server 'y' is not currently available.  Please retry later."),
    (40501, "The service is currently busy. Retry the request after 10 seconds."),
    (40197, "The service has encountered an error processing your request. Please try again."),
    (49918, "Cannot process request. Not enough resources to process request."),
    (49919, "Cannot process create or update request. Too many create or update operations in "
            "progress for subscription"),
    (49920, "Cannot process request. Too many operations in progress for subscription"),
    (10928, "Resource ID: 1. The request limit for the database is 200 and has been reached."),
    (10929, "Resource ID: 1. However, the server is currently too busy to support requests"),
    (4060, 'Cannot open database "vendas" requested by the login. The login failed.'),
    (4221, "Login to read-secondary failed due to long wait on 'HADR_DATABASE_WAIT'."),
    (615, "Could not find database ID 7, name 'x'."),
    (926, "Database 'replicatedmaster' cannot be opened. It has been marked SUSPECT by recovery."),
    (42108, "Can not connect to the SQL pool since it is paused. Please resume the SQL pool."),
    (42109, "The SQL pool is warming up. Please try again."),
]  # fmt: skip


@pytest.mark.parametrize(("number", "message"), BUSY)
def test_what_azure_calls_transient_is_tried_again(
    server: tds.Server, opened: Opened, number: int, message: str
) -> None:
    server.logins += [Fault(number, message, 17)] * 2
    has_table(server, [("n", "int")], [(1,)])
    assert reading(opened(), "n") == [{"n": 1}]
    assert server.connections == 3


@pytest.mark.parametrize(("number", "message"), [BUSY[0], BUSY[8]])
def test_not_for_ever(server: tds.Server, opened: Opened, number: int, message: str) -> None:
    server.logins += [Fault(number, message, 17)] * 99
    fault = failed(lambda: opened().columns(Relation("VENDAS")))
    assert fault.code is Code.SOURCE_UNREACHABLE
    assert 2 < server.connections < 20


def test_a_connection_that_drops_before_the_first_rows(server: tds.Server, opened: Opened) -> None:
    bad: list[Any] = [Hangup(), Fault(40197, BUSY[2][1])]
    answer = Rows([("n", "int")], [(1,)])
    server.answers.append((r"SELECT r.\[n\]", lambda: bad.pop() if bad else answer))
    has_table(server, [("n", "int")], [])
    assert reading(opened(), "n") == [{"n": 1}]
    assert server.connections == 3


KILLED = "Cannot continue the execution because the session is in the kill state."


def test_a_session_that_somebody_ended_is_not_tried_again(
    server: tds.Server, opened: Opened
) -> None:
    """Microsoft has 596 in no list of transient errors."""
    server.answers.append((r"SELECT r.\[n\]", Fault(596, KILLED, 21)))
    has_table(server, [("n", "int")], [])
    source = opened()
    fault = failed(lambda: reading(source, "n"))
    assert fault.code is Code.SOURCE_INTERRUPTED
    assert server.connections == 1
    assert len([h for h in server.heard if "SELECT r.[n]" in h]) == 1
    # what is read after it goes over a new connection
    server.answers.insert(0, (r"SELECT r.\[n\]", Rows([("n", "int")], [(1,)])))
    assert reading(source, "n") == [{"n": 1}]
    assert server.connections == 2


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (1205, "Transaction (Process ID 52) was deadlocked on lock resources with another process "
               "and has been chosen as the deadlock victim. Rerun the transaction."),
        (1222, "Lock request time out period exceeded."),
        (3960, "Snapshot isolation transaction aborted due to update conflict. You cannot use "
               "snapshot isolation to access table 'dbo.VENDAS'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("rows", [None, 3], ids=["at once", "among the rows"])
def test_what_gave_way_can_simply_be_repeated(
    server: tds.Server, opened: Opened, number: int, message: str, rows: int | None
) -> None:
    fault = Fault(number, message, 13)
    if rows is None:
        server.answers.append((r"SELECT r.\[n\]", fault))
    has_table(server, [("n", "int")], [(1,)] * (rows or 0), fault)
    told = failed(lambda: reading(opened(), "n"))
    assert told.code is Code.SOURCE_INTERRUPTED
    assert "run the command again" in str(told.next_step)
    assert "another transaction" in told.message
    assert server.connections == 1


@pytest.mark.parametrize(
    "then",
    [Hangup(), Fault(596, KILLED, 21), Fault(40197, BUSY[2][1])],
    ids=["reset", "killed", "moved"],
)
def test_a_stream_that_breaks_off_is_not_begun_again(
    server: tds.Server, opened: Opened, then: Fault | Hangup
) -> None:
    has_table(server, [("n", "int")], [(n,) for n in range(150_000)], then)
    came: list[int] = []

    def read() -> None:
        for batch in source.read(Relation("VENDAS"), ["n"]):
            came.append(batch.num_rows)

    source = opened()
    fault = failed(read)
    assert fault.code is Code.SOURCE_INTERRUPTED
    assert sum(came) >= 65_536
    assert server.connections == 1
    # and what is read after it goes over a new connection
    server.answers.insert(0, (r"SELECT r.\[n\]", Rows([("n", "int")], [(1,)])))
    assert reading(source, "n") == [{"n": 1}]
    assert server.connections == 2


def test_a_closed_connection_is_no_end_of_rows(server: tds.Server, opened: Opened) -> None:
    """The driver says nothing of it: seen with mssql-python 1.16."""
    names = [("COLUMN_NAME", NAME), ("DATA_TYPE", NAME)]
    cut: list[Any] = [Rows(names, [("a", "int")], Hangup())]
    whole = Rows(names, [("a", "int"), ("n", "int")])
    server.answers.append(("INFORMATION_SCHEMA.COLUMNS", lambda: cut.pop() if cut else whole))
    has_table(server, [("n", "int")], [(1,)], Hangup())
    source = opened()
    assert [c.name for c in source.columns(Relation("VENDAS"))] == ["a", "n"]
    assert failed(lambda: reading(source, "n")).code is Code.SOURCE_INTERRUPTED


@pytest.mark.parametrize(
    ("fault", "code", "step"),
    [
        (Fault(229, "The SELECT permission was denied on the object 'VENDAS'.", 14),
         Code.SOURCE_QUERY_FAILED, "GRANT SELECT"),
        (Fault(8156, "The column 'id' was specified multiple times for 'r'."),
         Code.SOURCE_COLUMN_AMBIGUOUS, "AS"),
        (Fault(209, "Ambiguous column name 'id'."), Code.SOURCE_COLUMN_AMBIGUOUS, "AS"),
        (Fault(207, "Invalid column name 'x'."), Code.SOURCE_QUERY_FAILED, "query"),
    ],
)  # fmt: skip
def test_what_the_server_refuses(server: tds.Server, opened: Opened, fault: Fault, code: Code,
                                 step: str) -> None:  # fmt: skip
    server.answers.append((r"SELECT r.\[n\]", fault))
    has_table(server, [("n", "int")], [])
    told = failed(lambda: reading(opened(), "n"))
    assert told.code is code
    assert step in str(told.next_step)
    assert fault.message in str(told.found)
    assert server.connections == 1


def test_a_reading_that_is_left_makes_room(server: tds.Server, opened: Opened) -> None:
    has_table(server, [("n", "int")], [(n,) for n in range(100_000)])
    source = opened()
    first = source.read(Relation("VENDAS"), ["n"])
    assert next(first).num_rows == 65_536
    assert len(reading(source, "n")) == 100_000


def _listening(serve: Callable[[socket.socket], Any]) -> int:
    listening = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            serve(listening.accept()[0])

    threading.Thread(target=accept, daemon=True).start()
    return int(listening.getsockname()[1])


def test_nobody_answers() -> None:
    held: list[socket.socket] = []
    for host, port in (
        ("127.0.0.1", 1),
        ("no-such-host.invalid", 1433),
        ("127.0.0.1", _listening(held.append)),
        ("127.0.0.1", _listening(lambda c: c.close())),
        (
            "127.0.0.1",
            _listening(lambda c: (c.recv(99), c.sendall(b"HTTP/1.1 400\r\n"), c.close())),
        ),
    ):
        server = Server(host, "vendas", port, "leitor", PASSWORD, login_timeout=1)
        began = time.monotonic()
        fault = failed(lambda s=server: MssqlSource(s, pause=0.1).columns(Relation("t")))  # type: ignore[misc]
        assert fault.code is Code.SOURCE_UNREACHABLE, (host, port, fault.found)
        assert host in fault.message
        assert time.monotonic() - began < 10


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, opened: Opened) -> None:
    monkeypatch.setitem(sys.modules, "mssql_python", None)
    fault = failed(lambda: opened().columns(Relation("VENDAS")))
    assert fault.code is Code.EXTRA_MISSING
    assert fault.next_step == 'pip install "storecast[mssql]"'
