"""What SQL Server is sent, to the letter, and how a server is named."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storecast.adapters.sources import mssql_statements as statements
from storecast.adapters.sources.mssql import connection_string
from storecast.adapters.sources.mssql_query import NotOneSelectError, Origin, inner, origin_of
from storecast.adapters.sources.servers import Server
from storecast.adapters.sources.sql import derived, name_parts, resolved
from storecast.ports import Span, Tallied
from tests.databases import server_of


@pytest.mark.parametrize(
    ("query", "statement"),
    [
        ("SELECT a FROM t", "SELECT * FROM (SELECT a FROM t\n) AS r"),
        (" select a from t ; ", "SELECT * FROM ( select a from t\n) AS r"),
        ("SELECT a FROM t -- all;", "SELECT * FROM (SELECT a FROM t -- all;\n) AS r"),
        ("/* ; */ SELECT ';' AS [;] FROM t",
         "SELECT * FROM (/* ; */ SELECT ';' AS [;] FROM t\n) AS r"),
        ("SELECT a FROM t ORDER BY a", "SELECT * FROM (SELECT a FROM t\n) AS r"),
        ("SELECT TOP 5 a FROM t ORDER BY a",
         "SELECT * FROM (SELECT TOP 5 a FROM t ORDER BY a\n) AS r"),
        ("SELECT a FROM t ORDER BY a OFFSET 5 ROWS",
         "SELECT * FROM (SELECT a FROM t ORDER BY a OFFSET 5 ROWS\n) AS r"),
        ("SELECT TOP 5 a FROM t UNION SELECT a FROM u ORDER BY a",
         "SELECT * FROM (SELECT TOP 5 a FROM t UNION SELECT a FROM u\n) AS r"),
        ("SELECT SUM(a) OVER (ORDER BY b) AS s FROM t",
         "SELECT * FROM (SELECT SUM(a) OVER (ORDER BY b) AS s FROM t\n) AS r"),
        ("SELECT a AS [ORDER BY] FROM t", "SELECT * FROM (SELECT a AS [ORDER BY] FROM t\n) AS r"),
        ("WITH x AS (SELECT 1 AS a) SELECT a FROM x",
         "WITH x AS (SELECT 1 AS a)\nSELECT * FROM (SELECT a FROM x\n) AS r"),
        ("WITH x AS (SELECT 1 AS a), y AS (SELECT a FROM x) "
         "SELECT a FROM y ORDER BY a OPTION (MAXDOP 1)",
         "WITH x AS (SELECT 1 AS a), y AS (SELECT a FROM x)\nSELECT * FROM (SELECT a FROM y\n) AS r"
         "\nOPTION (MAXDOP 1)"),
        ("WITH x (a) AS (SELECT 1) (SELECT a FROM x) UNION SELECT a FROM u",
         "WITH x (a) AS (SELECT 1)\n"
         "SELECT * FROM ((SELECT a FROM x) UNION SELECT a FROM u\n) AS r"),
        ("SELECT a, offset FROM t ORDER BY a", "SELECT * FROM (SELECT a, offset FROM t\n) AS r"),
        ("SELECT a, offset AS rows FROM t ORDER BY offset",
         "SELECT * FROM (SELECT a, offset AS rows FROM t\n) AS r"),
        ("SELECT a FROM t ORDER BY offset OFFSET (2 * @n) ROW FETCH NEXT 5 ROWS ONLY",
         "SELECT * FROM (SELECT a FROM t ORDER BY offset OFFSET (2 * @n) ROW "
         "FETCH NEXT 5 ROWS ONLY\n) AS r"),
        ("SELECT a /* 1 /* 2 */ ' */ FROM t",
         "SELECT * FROM (SELECT a /* 1 /* 2 */ ' */ FROM t\n) AS r"),
        ("SELECT [DELETE], \"DROP\", 'EXEC', updated, into_, #set.x, @use FROM t -- COMMIT",
         "SELECT * FROM (SELECT [DELETE], \"DROP\", 'EXEC', updated, into_, #set.x, @use FROM t "
         "-- COMMIT\n) AS r"),
        ("SELECT CASE a WHEN 1 THEN 2 END FROM t INNER MERGE JOIN u ON 1 = 1 "
         "OPTION (USE HINT ('FORCE_LEGACY_CARDINALITY_ESTIMATION'), MERGE JOIN);",
         "SELECT * FROM (SELECT CASE a WHEN 1 THEN 2 END FROM t INNER MERGE JOIN u ON 1 = 1\n) AS r"
         "\nOPTION (USE HINT ('FORCE_LEGACY_CARDINALITY_ESTIMATION'), MERGE JOIN)"),
        ("(SELECT a FROM t) UNION (SELECT a FROM u)",
         "SELECT * FROM ((SELECT a FROM t) UNION (SELECT a FROM u)\n) AS r"),
    ],
)  # fmt: skip
def test_a_query_in_the_place_of_a_table(query: str, statement: str) -> None:
    assert origin_of(query).select("*") == statement


@pytest.mark.parametrize(
    "query",
    [
        "", "selec 1", "DELETE FROM t", "EXEC sp_who", "WITH x AS (SELECT 1 AS a) DELETE FROM x",
        "SELECT 1; DROP TABLE t", "SELECT 1) AS r; DROP TABLE t; --", "SELECT (1", "SELECT 'a",
        "SELECT [a", "DECLARE @a int", "SELECT 1 /* ", "-- SELECT 1",
    ],
)  # fmt: skip
def test_what_is_not_one_select(query: str) -> None:
    with pytest.raises(NotOneSelectError):
        origin_of(query)


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("WITH a AS (SELECT 1 b) DELETE FROM dbo.VENDAS COMMIT SELECT id FROM dbo.VENDAS",
         "DELETE"),
        ("SELECT a FROM t OPTION (RECOMPILE) DELETE FROM t COMMIT", "DELETE"),
        ("SELECT a FROM t OPTION (RECOMPILE) SELECT 2", "OPTION"),
        ("WITH a AS (SELECT 1 b) sp_who SELECT b FROM a", "WITH"),
        ("WITH a AS (SELECT 1 b) , SELECT b FROM a", "WITH"),
        ("SELECT a INTO x FROM t", "INTO"),
        ("SELECT a FROM t OPTION (MAXDOP 1) EXEC sp_who", "EXEC"),
        ("SELECT 1eINTO x FROM t", "INTO"),
        ("SELECT 1.DELETE FROM t", "DELETE"),
        ("SELECT 0xAINTO x FROM t", "INTO"),
        ("SELECT $INTO x FROM t", "INTO"),
        ("SELECT a FROM OPENQUERY(s, 'DELETE t')", "OPENQUERY"),
        ("SELECT a FROM t -- \r COMMIT", "line end"),
        ("SELECT a FROM (SELECT 1; DROP TABLE t) AS x", ";"),
        ("SELECT a FROM t;;", ";"),
        ("SELECT a FROM t END CONVERSATION 'x'", "END"),
        ("SELECT a FROM t USE master", "USE"),
        ("SELECT a FROM t MERGE u USING t ON 1 = 1 WHEN MATCHED THEN DELETE", "MERGE"),
        ("SELECT /* /* */ 1 FROM t", "/*"),
        ("SELECT /* /* */ ' */ a DELETE FROM t --'", "DELETE"),
        *((f"SELECT a FROM t {word} x", word) for word in (
            "insert", "UPDATE", "Truncate", "ALTER", "CREATE", "GRANT", "REVOKE", "DENY", "COMMIT",
            "ROLLBACK", "SAVE", "BEGIN", "TRAN", "DECLARE", "SET", "BACKUP", "RESTORE", "KILL",
            "SHUTDOWN", "WAITFOR", "OPENROWSET", "EXECUTE", "DBCC")),
    ],
)  # fmt: skip
def test_a_query_that_would_act_is_told_by_its_word(query: str, word: str) -> None:
    with pytest.raises(NotOneSelectError) as caught:
        origin_of(query)
    assert word.upper() in str(caught.value).upper()


def test_the_query_alone() -> None:
    query = "WITH x AS (SELECT 1 AS a) SELECT a FROM x ORDER BY a;"
    assert inner(origin_of(query)) == "WITH x AS (SELECT 1 AS a)\nSELECT a FROM x"


TYPES = {"d": "date", "t": "datetime", "o": "datetimeoffset", "x": "varchar", "n": "decimal",
         "m": "money", "f": "float"}  # fmt: skip
TABLE = Origin("[dbo].[T]")
X = "CAST(r.[x] AS nvarchar(4000)) COLLATE Latin1_General_BIN2"
DAY = "[12][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]"
CLOCK = "[01][0-9]:[0-5][0-9]:[0-5][0-9]"


@pytest.mark.parametrize(
    ("span", "where"),
    [
        (None, ""),
        (Span("d"), ""),
        (Span("x", date(2021, 1, 5)), ""),
        (Span("d", date(2021, 1, 5), date(2021, 2, 1)),
         " WHERE (r.[d] >= CAST('2021-01-05' AS date) AND r.[d] < CAST('2021-02-01' AS date)) "
         "OR r.[d] IS NULL"),
        (Span("t", None, date(2021, 2, 1), ("a]b",)),
         " WHERE (r.[t] < CAST('2021-02-01' AS datetime2)) OR r.[t] IS NULL OR r.[a]]b] IS NULL"),
        (Span("o", date(2021, 1, 5), date(2021, 2, 1)),
         " WHERE (r.[o] >= CAST('2021-01-04' AS datetimeoffset) AND "
         "r.[o] < CAST('2021-02-02' AS datetimeoffset)) OR r.[o] IS NULL"),
        (Span("d", date(2021, 1, 5), None, (), "t"),
         " WHERE (r.[d] >= CAST('2021-01-05' AS date)) OR r.[d] IS NULL"),
        (Span("d", date(2021, 1, 5), None, (), "d"),
         " WHERE (r.[d] >= CAST('2021-01-05' AS date)) OR r.[d] IS NULL "
         "OR r.[d] < CAST('1900-01-02' AS date) OR r.[d] >= CAST('2200-12-31' AS date)"),
        (Span("d", date(2021, 1, 5), None, (), "x"),
         " WHERE (r.[d] >= CAST('2021-01-05' AS date)) OR r.[d] IS NULL "
         f"OR ({X} NOT LIKE N'{DAY}' AND {X} NOT LIKE N'{DAY}[T ]{CLOCK}') "
         f"OR TRY_CONVERT(date, LEFT({X}, 10), 23) IS NULL "
         f"OR {X} < N'1900-01-01' OR {X} >= N'2201-01-01'"),
    ],
)  # fmt: skip
def test_a_span(span: Span | None, where: str) -> None:
    assert statements.reading(TABLE, ["a", "b c"], TYPES, span) == (
        f"SELECT r.[a], r.[b c] FROM [dbo].[T] AS r{where}"
    )


def test_a_tally() -> None:
    asked = statements.tallying(origin_of("WITH x AS (SELECT 1 AS a) SELECT * FROM x"),
                                Tallied("s", "d", "m", date(2021, 1, 5)), TYPES)  # fmt: skip
    assert asked == (
        "WITH x AS (SELECT 1 AS a)\nSELECT MIN(t.store_id) AS store_id, t.y AS y, t.m AS m, "
        "COUNT_BIG(*) AS n, SUM(t.a) AS a FROM (SELECT CAST(r.[s] AS nvarchar(4000)) AS store_id, "
        "YEAR(CAST(r.[d] AS date)) AS y, MONTH(CAST(r.[d] AS date)) AS m, "
        "CASE WHEN r.[m] > -100000000000000 AND r.[m] < 100000000000000 "
        "THEN CAST(r.[m] AS decimal(38, 4)) ELSE 0 END AS a "
        "FROM (SELECT * FROM x\n) AS r WHERE r.[s] IS NOT NULL "
        "AND CAST(r.[d] AS date) >= CAST('2021-01-05' AS date) "
        "AND CAST(r.[d] AS date) < CAST('2201-01-01' AS date)) AS t "
        "GROUP BY CAST(t.store_id AS varbinary(8000)), t.y, t.m"
    )
    assert "= 0.00005" in statements.tallying(TABLE, Tallied("s", "d", "n"), TYPES)


def test_the_lists_of_another_database() -> None:
    assert "FROM [a]]b].INFORMATION_SCHEMA.TABLES" in statements.tables("a]b")
    assert "FROM INFORMATION_SCHEMA.COLUMNS" in statements.table_columns(None)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("VENDAS", ["VENDAS"]), ("dbo.VENDAS", ["dbo", "VENDAS"]), ("[a.b].[c]]d]", ["a.b", "c]d"]),
        ("db..[T 1]", ["db", "T 1"]), ("dbo.Minha tabela", ["dbo", "Minha tabela"]),
    ],
)  # fmt: skip
def test_the_parts_of_a_name(name: str, parts: list[str]) -> None:
    assert name_parts(name, "[", "]") == parts


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3))
def test_what_is_in_brackets_is_read_back(parts: list[str]) -> None:
    assert name_parts(statements.bracketed(*parts), "[", "]") == parts


def test_which_table_a_name_means() -> None:
    there = [("dbo", "Vendas"), ("dbo", "vendas"), ("x", "a.b"), ("x", "Lojas")]
    assert resolved(["vendas"], there, "db") == ("dbo", "vendas")
    assert resolved(["VENDAS"], there, "db") == ("dbo", "Vendas")
    assert resolved(["X", "A", "B"], there, "db") == ("x", "a.b")
    assert resolved(["db", "x", "Lojas"], there, "db") == ("x", "Lojas")
    assert resolved(["y", "Lojas"], there, "db") is None


def test_a_derived_table_ends_what_a_comment_began() -> None:
    assert derived(" SELECT 1 -- one ; ") == "(SELECT 1 -- one\n)"


# ---------------------------------------------------------------------- the connection


def test_the_connection_string() -> None:
    assert connection_string(
        Server("h.database.windows.net", "vendas", user="u", password="p")
    ) == (
        "Server={tcp:h.database.windows.net};Database={vendas};UID={u};PWD={p};Encrypt={yes};"
        "TrustServerCertificate={no};ApplicationIntent={ReadOnly};ConnectRetryCount={0};"
    )
    assert "Server={tcp:h,1444};" in connection_string(Server("tcp:h", "x", 1444))
    assert "Encrypt={no};" in connection_string(Server("h", "x", encrypt=False))
    trusting = connection_string(Server("h", "x", trust_certificate=True))
    assert "TrustServerCertificate={yes};" in trusting


@pytest.mark.parametrize(
    ("auth", "word"),
    [("entra_service_principal", "ActiveDirectoryServicePrincipal"),
     ("entra_managed_identity", "ActiveDirectoryMSI")],
)  # fmt: skip
def test_who_asks(auth: str, word: str) -> None:
    assert f"Authentication={{{word}}};" in connection_string(Server("h", "x", auth=auth, user="i"))
    # the driver knows the word
    constants = pytest.importorskip("mssql_python.constants")
    assert word.lower() in {a.value for a in constants.AuthType}


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1))
def test_no_value_says_more_than_itself(value: str) -> None:
    parser = pytest.importorskip("mssql_python.connection_string_parser")
    server = Server("h", value, user=value, password=value)
    read = parser._ConnectionStringParser(validate_keywords=True)._parse(connection_string(server))
    assert (read["database"], read["uid"], read["pwd"]) == (value, value, value)
    assert set(read) == {"server", "database", "uid", "pwd", "encrypt", "trustservercertificate",
                         "applicationintent", "connectretrycount"}  # fmt: skip


def test_a_password_of_a_letter_does_not_black_out_the_message() -> None:
    server = Server("h", "d", user="u", password="a")
    assert server.scrubbed("Login failed for a user") == "Login failed for a user"


def test_a_password_is_in_no_message() -> None:
    server = Server("h", "d", user="u", password="p}w é")
    assert "p}w" not in repr(server)
    for text in ("PWD={p}}w é};", "password=p}w é", "u:p%7Dw%20%C3%A9@h"):
        assert "***" in server.scrubbed(text)
        assert "w é" not in server.scrubbed(text)
        assert "p%7Dw" not in server.scrubbed(text)


def test_the_server_of_the_tests() -> None:
    plain = server_of("mssql://u%40x:p%2Fw@h:1444/a%20b?trust_server_certificate=true")
    assert (plain.host, plain.port, plain.database) == ("h", 1444, "a b")
    assert (plain.user, plain.password) == ("u@x", "p/w")
    assert plain.encrypt
    assert plain.trust_certificate
    for url in (
        "sqlserver://u:p@h/d?TrustServerCertificate=yes&encrypt=no",
        "mssql+pyodbc://u:p@h/d?driver=x&trustServerCertificate=True&Encrypt=false",
    ):
        server = server_of(url)
        assert server.trust_certificate
        assert not server.encrypt
        assert server.port == 1433
    strict = server_of("mssql://u:p@h")
    assert not strict.trust_certificate
    assert strict.database == "master"
    with pytest.raises(ValueError, match="mssql://"):
        server_of("postgresql://u:p@h/d")
