"""Bad input from a real PostgreSQL server, through the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import storecast as package
from storecast import runs
from tests import databases

from .conftest import Shop, Storecast, good_rows

PASSWORD = "Tr0ub4dor&3"
COLUMNS = {"id": "text", "loja": "char(6)", "dia": "date", "valor": "numeric"}


@pytest.fixture(scope="module")
def server() -> Iterator[databases.Postgres]:
    with databases.postgres() as database:
        database.execute("DROP ROLE IF EXISTS leitor", "CREATE ROLE leitor LOGIN")
        yield database
        database.drop()
        database.execute("DROP ROLE leitor")


@pytest.fixture(scope="module")
def vendas(server: databases.Postgres) -> str:
    """A table of two stores and a hundred weeks."""
    return server.table(COLUMNS, good_rows(n=100), "vendas")


def configured(root: Path, server: databases.Postgres, relation: str, **source: Any) -> Path:
    sales: dict[str, Any] = {
        "primary_key": ["id"],
        "columns": {"store_id": "loja", "date": "dia", "sales": "valor"},
    }
    sales["query" if " " in relation else "from"] = relation
    shop = Shop(root)
    shop.configure(
        source={
            "type": "postgresql", "host": server.server.host, "database": "postgres",
            "user": "postgres", "password": PASSWORD, "sales": sales, **source,
        },
    )  # fmt: skip
    return root


STOPS: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("{}", {"user": "ninguem"}, "SOURCE_LOGIN_FAILED", "refused the login of ninguem",
     "check source.user and source.password"),
    ("{}", {"database": "nada"}, "SOURCE_UNREACHABLE", "the database nada",
     "check source.host, source.port and source.database"),
    ("{}", {"host": "127.0.0.1", "port": 1}, "SOURCE_UNREACHABLE", "127.0.0.1",
     "the server's firewall"),
    ("{}", {"user": "leitor"}, "SOURCE_QUERY_FAILED", "leitor may not read {}",
     "GRANT SELECT ON {} to leitor"),
    ("vendaz", {}, "SOURCE_TABLE_NOT_FOUND", "no table or view 'vendaz'",
     "correct the name after `from:`"),
    ("SELECT *, loja FROM {}", {}, "SOURCE_COLUMN_AMBIGUOUS", "query has two columns named 'loja'",
     "with AS in a view or `query:`"),
    ("SELECT id, loja, dia, valor / 0 AS valor FROM {}", {}, "SOURCE_QUERY_FAILED",
     "refused to read query", "correct the `from` or `query`"),
    ("DELETE FROM {} RETURNING *", {}, "SOURCE_QUERY_FAILED", "refused to read query",
     "correct the `from` or `query`"),
    ("SELECT id, CAST(1 AS float8) AS loja, dia, valor FROM {}", {}, "IDENTIFIER_IS_FLOAT",
     "query.loja identifies a store", "as text in the source"),
    ("SELECT id, loja, dia, valor > 0 AS valor FROM {}", {}, "COLUMN_TYPE_INVALID",
     "query.valor: its type is bool", "CAST it in a view or `query:`"),
    ("SELECT id, decode('00', 'hex') AS loja, dia, valor FROM {}", {}, "COLUMN_TYPE_INVALID",
     "query.loja", "CAST the column to text"),
]  # fmt: skip


@pytest.mark.parametrize(("relation", "source", "code", "says", "next_step"), STOPS)
def test_it_stops_and_says_why(
    storecast: Storecast, server: databases.Postgres, vendas: str, tmp_path: Path,
    relation: str, source: dict[str, Any], code: str, says: str, next_step: str,
) -> None:  # fmt: skip
    configured(tmp_path, server, relation.format(vendas), **source)
    answer = storecast("ingest", "--project", tmp_path, "--json")
    assert (answer.code, answer.exit_code) == (code, 1), answer.out
    error = answer.envelope["error"]
    assert says.format(vendas) in error["message"]
    assert error["where"]
    assert next_step.format(vendas) in error["next_step"]
    project = package.load(tmp_path)
    assert project.tables.names() == ["runs"]
    told = (answer.out, answer.err, repr(runs.ledger(project)))
    assert all(PASSWORD not in text and "Traceback" not in text for text in told)


BAD = {
    "('d', '001', 'infinity', 1)": ("DATE_OUT_OF_RANGE", "dia"),
    "('o', '001', '-infinity', 1)": ("DATE_OUT_OF_RANGE", "dia"),
    "('p', '001', '10000-01-02', 1)": ("DATE_OUT_OF_RANGE", "dia"),
    "('e', '001', '1753-01-01', 1)": ("DATE_OUT_OF_RANGE", "dia"),
    "('f', '001', '0044-03-15 BC', 1)": ("DATE_OUT_OF_RANGE", "dia"),
    "('g', '001', NULL, 1)": ("NULL_DATE", "dia"),
    "('h', NULL, '2021-01-04', 1)": ("NULL_KEY", "loja"),
    "('i', '', '2021-01-04', 1)": ("NULL_KEY", "loja"),
    "('j', '001', '2021-01-04', 'NaN')": ("SALES_NOT_FINITE", "valor"),
    "('k', '001', '2021-01-04', '-Infinity')": ("SALES_NOT_FINITE", "valor"),
    "('l', '001', '2021-01-04', 1e14)": ("SALES_TOO_LARGE", "valor"),
    "('m', '001', '2021-01-04', NULL)": ("NULL_SALES", "valor"),
    "('n', E'0\\t1', '2021-01-04', 1)": ("IDENTIFIER_INVALID", "loja"),
}


def test_bad_rows_are_quarantined_and_explained(
    storecast: Storecast, server: databases.Postgres, tmp_path: Path
) -> None:
    table = server.table(COLUMNS, good_rows(n=100), "vendas")
    server.execute(f"INSERT INTO {table} VALUES {', '.join(BAD)}")
    configured(tmp_path, server, table)
    answer = storecast("ingest", "--project", tmp_path, "--set", "max_rejected=0.1", "--json")
    result = answer.envelope["result"]
    assert (result["rows_read"], result["rows_inserted"]) == (200 + len(BAD), 200)
    # The padding of char(6) is no part of an identifier.
    sales = package.load(tmp_path).tables.scan("sales").read_all()
    assert set(sales["store_id"].to_pylist()) == {"001", "1"}
    shown = storecast("tables", "show", "rejected_rows", "--project", tmp_path, "--json",
                      "--limit", "50")  # fmt: skip
    rejected = shown.envelope["result"]["rows"]
    assert len(rejected) == len(BAD)
    for row, (code, column) in BAD.items():
        key = row[2]
        (found,) = [r for r in rejected if f'"id": "{key}"' in r["raw_row"]]
        assert found["reason_code"] == code
        if code == "DATE_OUT_OF_RANGE":
            written = row.split("'")[5]
            assert f'"dia": "{written}"' in found["raw_row"]
        assert f"{table}.{column}, row id = {key}: " in found["reason"]
