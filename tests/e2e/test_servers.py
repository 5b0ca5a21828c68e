"""From a database server into the tables by the command line, twice: all, then what is new.

On PostgreSQL, and on SQL Server where ``STORECAST_TEST_MSSQL_URL`` names one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

import storecast as package
from storecast import runs
from tests.databases import Database, Mssql, Postgres, mssql, postgres

from .conftest import Storecast

PASSWORD_OF_NOBODY = "Tr0ub4dor&3}{;"
STORES = ["001", "1", "São", "É 9"]
TYPES: dict[type[Database], dict[str, str]] = {
    Postgres: {"id": "bigint", "código loja": "char(6)", "dia": "date", "valor": "numeric(18, 2)",
               "alterado em": "timestamptz"},
    Mssql: {"id": "bigint", "código loja": "nchar(6)", "dia": "date", "valor": "decimal(18, 2)",
            "alterado em": "datetimeoffset(7)"},
}  # fmt: skip


@pytest.fixture(params=["postgresql", "mssql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(mssql() if request.param == "mssql" else postgres())


def sales(n: int = 60) -> list[tuple[Any, ...]]:
    """One a store and week, changed the evening after, west of Greenwich."""
    return [
        (
            10 * week + k,
            store,
            (day := date(2021, 1, 4) + timedelta(weeks=week)),
            Decimal(100 * k + week) + Decimal("0.10"),
            f"{day + timedelta(days=1)} 22:30:00.123456 -03:00",
        )
        for week in range(n)
        for k, store in enumerate(STORES)
    ]


def configure(root: Path, database: Database, table: str, **sales_keys: Any) -> None:
    server = database.server
    source: dict[str, Any] = {
        "type": "mssql" if isinstance(database, Mssql) else "postgresql",
        "host": server.host, "port": server.port, "database": server.database,
        "user": server.user, "password": server.password, "encrypt": server.encrypt,
        "trust_server_certificate": server.trust_certificate,
        "sales": {
            "from": table, "primary_key": ["id"], "watermark": "alterado em", "reconcile": "60d",
            "columns": {"store_id": "código loja", "date": "dia", "sales": "valor"}, **sales_keys,
        },
    }  # fmt: skip
    raw = {
        "project": "lojas",
        "source": {k: v for k, v in source.items() if v is not None},
        "series": {"frequency": "W-SUN"},
        "forecast": {"horizon": 4},
        "validation": {"windows": 4, "step": 4, "warmup": 2},
        "models": ["seasonal_naive"],
    }
    (root / "storecast.yaml").write_text(yaml.safe_dump(raw, allow_unicode=True), "utf-8")


def ingested(storecast: Storecast, root: Path, *arguments: str) -> dict[str, Any]:
    answer = storecast("ingest", "--project", root, "--json", *arguments)
    assert answer.exit_code == 0, answer.out
    return dict(answer.envelope["result"])


def held(root: Path) -> dict[tuple[str, date], Decimal]:
    """The sales of each store and week."""
    table = runs.read_table(package.load(root), "sales").to_pylist()
    return {(r["store_id"], r["date"]): r["sales"] for r in table}


def test_all_of_it_and_then_what_is_new(
    storecast: Storecast, tmp_path: Path, database: Database
) -> None:
    rows = sales()
    name = database.table(TYPES[type(database)], rows, "vendas")
    configure(tmp_path, database, name)
    result = ingested(storecast, tmp_path)
    assert (result["rows_read"], result["rows_inserted"], result["rows_rejected"]) == (240, 240, 0)
    wanted = {(s, d + timedelta(days=6)): v.quantize(Decimal("0.0001")) for _, s, d, v, _ in rows}
    assert held(tmp_path) == wanted

    # A new week, a corrected row, a cancelled one, and one without a moment of its change.
    new = sales(61)[240:]
    changed = (*rows[-1][:3], Decimal("999.99"), "2022-03-01 00:00:00.000000 +00:00")
    database.fill(name, [*new, changed, (9_999, "novo", date(2022, 2, 28), Decimal("5"), None)])
    gone = f"DELETE FROM {database.quoted(name)} WHERE {database.quoted('id')} ="
    database.execute(
        f"{gone} {rows[-1][0]} AND {database.quoted('valor')} <> 999.99", f"{gone} {rows[-2][0]}"
    )
    second = ingested(storecast, tmp_path)
    assert second["rows_deleted"] == 1
    assert second["rows_updated"] == 1
    assert second["rows_inserted"] == 5
    del wanted[rows[-2][1], rows[-2][2] + timedelta(days=6)]
    wanted |= {(s, d + timedelta(days=6)): v.quantize(Decimal("0.0001")) for _, s, d, v, _ in new}
    wanted[rows[-1][1], rows[-1][2] + timedelta(days=6)] = Decimal("999.9900")
    wanted["novo", date(2022, 3, 6)] = Decimal("5.0000")
    assert held(tmp_path) == wanted
    # and reading all of it anew finds nothing else
    assert ingested(storecast, tmp_path, "--full")["rows_updated"] == 0
    assert held(tmp_path) == wanted


def test_the_doctor_looks_at_it(storecast: Storecast, tmp_path: Path, database: Database) -> None:
    name = database.table(TYPES[type(database)], sales(), "vendas")
    configure(tmp_path, database, name)
    answer = storecast("doctor", "--project", tmp_path)
    assert answer.exit_code == 0, answer.out
    assert "can be opened" in answer.out
    configure(tmp_path, database, name.replace("vendas", "venda"))
    lost = storecast("doctor", "--project", tmp_path)
    assert lost.exit_code == 3
    assert f"did you mean '{name}'" in " ".join(lost.out.split())


def test_the_doctor_tells_once_that_nobody_comes_in(
    storecast: Storecast, tmp_path: Path, database: Database
) -> None:
    configure(tmp_path, database, "vendas")
    away = storecast(
        "doctor", "--project", tmp_path, "--set", "source.host=127.0.0.1",
        "--set", "source.port=1", "--set", f"source.password={PASSWORD_OF_NOBODY}",
    )  # fmt: skip
    assert away.exit_code == 3
    assert away.out.count("SOURCE_UNREACHABLE") == 1
    assert PASSWORD_OF_NOBODY not in away.out + away.err
