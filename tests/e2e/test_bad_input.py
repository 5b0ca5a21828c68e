"""Bad input through the command line, on a real source: a code each, never half a table."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

import storecast as package
from storecast import cli, runs

from .bad_sources import KEPT, ROWS, STOPS, Bad, Kept, Stop
from .conftest import INSERT, Shop, Storecast, good_rows


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of two stores and sixty weeks, ingested once."""
    made = Shop(tmp_path_factory.mktemp("ingested"))
    made.sql("CREATE TABLE vendas (id TEXT, loja TEXT, dia TEXT, valor)")
    made.sql(INSERT, good_rows())
    made.configure()
    with pytest.raises(SystemExit) as left:
        cli.main(["ingest", "--project", str(made.root)])
    assert not left.value.code
    return made.root


@pytest.fixture
def running(ingested: Path, tmp_path: Path) -> Shop:
    """That project, of this test alone."""
    shutil.copytree(ingested, tmp_path, dirs_exist_ok=True)
    return Shop(tmp_path)


def lakehouse(root: Path) -> list[tuple[str, int]]:
    """Every file of every table but the ledger's."""
    return sorted(
        (str(p.relative_to(root)), p.stat().st_mtime_ns)
        for p in (root / "lakehouse").rglob("*")
        if p.is_file() and "runs" not in p.parts
    )


def sales_of(root: Path) -> dict[str, str]:
    """The sales of each store, all periods together."""
    totals: dict[str, object] = {}
    for row in package.load(root).tables.scan("sales").read_all().to_pylist():
        totals[row["store_id"]] = totals.get(row["store_id"], 0) + row["sales"]
    return {store: f"{total.normalize():f}" for store, total in totals.items()}


@pytest.mark.parametrize("case", STOPS, ids=lambda case: case.name)
def test_it_stops_and_says_why(storecast: Storecast, running: Shop, case: Stop) -> None:
    case.spoil(running)
    before, source = lakehouse(running.root), files_of_the_source(running)
    answer = storecast(*case.arguments, "--project", running.root, "--json")
    assert (answer.code, answer.exit_code) == (case.code, case.exit_code), answer.out
    error = answer.envelope["error"]
    for words in case.says:
        assert words in f"{error['message']} {error['where']}"
    for words in case.found:
        assert words in f"{error['expected']} {error['found']}"
    assert case.next_step in (error["next_step"] or ""), error
    shown = storecast(*case.arguments, "--project", running.root)
    assert shown.exit_code == case.exit_code
    assert shown.out == ""
    assert case.code in shown.err
    assert "Traceback" not in shown.err + answer.err
    assert lakehouse(running.root) == before
    assert files_of_the_source(running) == source


def files_of_the_source(shop: Shop) -> list[tuple[str, bytes]]:
    places = [shop.database, *(shop.root / "in").glob("*")]
    return sorted((p.name, p.read_bytes()) for p in places if p.is_file())


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
def test_a_bad_row_is_quarantined_and_explained(
    storecast: Storecast, running: Shop, case: Bad
) -> None:
    before = sales_of(running.root)
    running.sql(INSERT, [case.row])
    answer = storecast("ingest", "--project", running.root, "--json")
    assert answer.exit_code == 0, answer.out
    result = answer.envelope["result"]
    assert (result["rows_read"], result["rows_unchanged"], result["rows_rejected"]) == (121, 120, 1)
    assert result["rejected"] == {case.code: 1}
    shown = storecast("tables", "show", "rejected_rows", "--project", running.root, "--json")
    (rejected,) = shown.envelope["result"]["rows"]
    assert rejected["reason_code"] == case.code
    for words in case.reason:
        assert words in rejected["reason"]
    assert case.raw in rejected["raw_row"]
    assert sales_of(running.root) == before


@pytest.mark.parametrize("case", KEPT, ids=lambda case: case.name)
def test_what_looks_wrong_and_is_not(storecast: Storecast, running: Shop, case: Kept) -> None:
    case.spoil(running)
    answer = storecast("ingest", "--project", running.root)
    assert answer.exit_code == 0, answer.err
    for words in case.says:
        assert words in answer.out
    assert case.sales.items() <= sales_of(running.root).items()
    ledger = runs.ledger(package.load(running.root))[-1]
    result = {**ledger, "through": str(ledger["through"]), **ledger["details"]}
    assert case.result.items() <= result.items()


def test_a_secret_shows_nowhere(
    running: Shop, monkeypatch: pytest.MonkeyPatch, storecast: Storecast
) -> None:
    """A server that is not there, asked with a password, by a process of its own."""
    monkeypatch.setenv("VENDAS_PASSWORD", "Tr0ub4dor&3")
    sales = {"from": "vendas", "primary_key": ["id"],
             "columns": {"store_id": "loja", "date": "dia", "sales": "valor"}}  # fmt: skip
    running.configure(source={
        "type": "postgresql", "host": "127.0.0.1", "port": 1, "database": "vendas",
        "user": "leitor", "password": "${VENDAS_PASSWORD}", "sales": sales,
    })  # fmt: skip
    before = lakehouse(running.root)
    done = shell("ingest", "--project", str(running.root), "--debug")
    assert done.returncode == 1
    assert "SOURCE_UNREACHABLE" in done.stderr
    assert "127.0.0.1" in done.stderr
    assert "next step: " in done.stderr
    answer = storecast("ingest", "--project", running.root, "--json")
    assert answer.code == "SOURCE_UNREACHABLE"
    assert lakehouse(running.root) == before
    ledger = runs.ledger(package.load(running.root))
    for told in (done.stdout, done.stderr, answer.out, answer.err, repr(ledger)):
        assert "Tr0ub4dor" not in told
    for file in running.root.rglob("*"):
        assert not file.is_file() or b"Tr0ub4dor" not in file.read_bytes()


def shell(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "storecast.cli", *arguments],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_in_a_shell_the_message_is_short_and_the_code_is_the_exit(running: Shop) -> None:
    running.sql("ALTER TABLE vendas RENAME TO vendas_2024")
    done = shell("ingest", "--project", str(running.root))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "failed: SOURCE_TABLE_NOT_FOUND: there is no table or view 'vendas' in vendas.db; "
        "did you mean 'vendas_2024'?",
        f"  where: {running.database}",
        "  expected: vendas_2024",
        "  found: vendas",
        "  next step: correct the name after `from:` in storecast.yaml",
    ]
    running.configure(forecast__horizont=8)
    done = shell("ingest", "--project", str(running.root), "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "CONFIG_INVALID"
    assert done.stderr == ""


def test_a_project_at_work_is_left_alone(storecast: Storecast, running: Shop) -> None:
    before = lakehouse(running.root)
    with FileLock(package.load(running.root).lock_file):
        answer = storecast("ingest", "--project", running.root, "--json")
    assert (answer.code, answer.exit_code) == ("PROJECT_BUSY", 1)
    assert "wait" in answer.envelope["error"]["next_step"]
    assert lakehouse(running.root) == before


def test_a_bad_row_is_quarantined_once_and_leaves_when_it_is_mended(
    storecast: Storecast, running: Shop
) -> None:
    running.sql(INSERT, [("x", "001", "04/01/2021", 1)])
    for _ in range(2):
        assert storecast("ingest", "--project", running.root).exit_code == 0
        shown = storecast("tables", "show", "rejected_rows", "--project", running.root, "--json")
        assert len(shown.envelope["result"]["rows"]) == 1
    running.sql("UPDATE vendas SET dia = '2021-01-04' WHERE id = 'x'")
    answer = storecast("ingest", "--project", running.root, "--json")
    assert answer.envelope["result"]["rows_inserted"] == 1
    shown = storecast("tables", "show", "rejected_rows", "--project", running.root, "--json")
    assert shown.envelope["result"]["rows"] == []


def test_duplicate_keys(storecast: Storecast, shop: Shop) -> None:
    rows = good_rows(n=150)
    shop.sql(INSERT, [*rows, rows[0], ("k", "001", "2021-01-04", 1), ("k", "001", "2021-01-04", 2)])
    result = storecast("ingest", "--project", shop.root, "--json").envelope["result"]
    assert result["rows_deduplicated"] == 1
    assert result["rows_rejected"] == 2
    assert result["rows_inserted"] == 300


def test_one_shop_with_one_row(storecast: Storecast, shop: Shop) -> None:
    shop.sql(INSERT, [("1", "001", "2021-01-04", 5)])
    assert storecast("ingest", "--project", shop.root).exit_code == 0
    answer = storecast("validate", "--project", shop.root, "--json")
    assert (answer.code, answer.exit_code) == ("HISTORY_TOO_SHORT", 1)


def test_all_zeros(storecast: Storecast, shop: Shop) -> None:
    shop.sql(INSERT, [(i, s, d, 0) for i, s, d, _ in good_rows()])
    assert storecast("ingest", "--project", shop.root).exit_code == 0
    answer = storecast("validate", "--project", shop.root, "--json")
    assert (answer.code, answer.exit_code) == ("NO_VARIATION", 1)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["validate"], "NOTHING_INGESTED"),
        (["deploy"], "NOT_VALIDATED"),
        (["forecast"], "NO_CHAMPION"),
        (["report"], "NOTHING_TO_REPORT"),
        (["tables", "show", "sales"], "TABLE_EMPTY"),
        (["tables", "show", "sale"], "TABLE_NOT_FOUND"),
    ],
)
def test_a_stage_before_its_time(
    storecast: Storecast, shop: Shop, command: list[str], code: str
) -> None:
    answer = storecast(*command, "--project", shop.root, "--json")
    assert (answer.code, answer.exit_code) == (code, 1), answer.out
    assert answer.envelope["error"]["next_step"]


def test_there_are_enough_cases() -> None:
    refused = [*STOPS, *ROWS]
    assert len({case.name for case in refused}) == len(refused) >= 40
    assert len({case.code for case in refused}) >= 15
