"""Files of a table that somebody removed: told as such, and the remedy makes the table anew."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from storecast import runs
from storecast.errors import Code, TableError
from storecast.ingestion.step import ingest

from . import children
from .chains import Chain

OLD, NEW = "2020-01-10 00:00:00", "2020-02-01 00:00:00"
TABLES = ("transactions", "sales", "stores", "rejected_rows")
ROWS = (
    ("x1", "a", "2020-01-06", 1, OLD), ("x2", "b", "2020-01-06", 2, OLD),
    ("x3", "b", "2020-01-06", "?", OLD),
)  # fmt: skip


@pytest.fixture
def ingested(tmp_path: Path) -> Chain:
    chain = Chain(tmp_path)
    chain.table("shops", ("shop", "town"), [("a", "Olinda"), ("b", "Recife")])
    children.with_stores(chain)
    chain.lines(*ROWS)
    ingest(chain.project())
    return chain


def _folder(chain: Chain, table: str) -> Path:
    (log,) = chain.folder.rglob(f"{table}/_delta_log")
    return log.parent


def _content(chain: Chain) -> dict[str, Any]:
    own = ("row_hash", "occurrence", "reason_code")
    return {t: chain.read(t, *(own if t == "rejected_rows" else ())) for t in TABLES}


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("table", TABLES)
def test_a_lost_file_and_its_remedy(ingested: Chain, table: str, full: bool) -> None:
    before, folder = _content(ingested), _folder(ingested, table)
    for file in folder.glob("*.parquet"):
        file.unlink()
    with pytest.raises(TableError) as caught:
        ingested.read(table)
    assert caught.value.code is Code.TABLE_DAMAGED
    assert f"table {table} is damaged: 1 of its 1 files is gone" in caught.value.message
    assert caught.value.where == str(folder)
    assert "storecast ingest --full" in str(caught.value.next_step)
    with pytest.raises(TableError) as caught:
        ingest(ingested.project(), full=True)
    assert caught.value.code is Code.TABLE_DAMAGED

    shutil.rmtree(folder)
    assert table not in {t["name"] for t in runs.tables(ingested.project())}
    ingested.lines(*ROWS, ("x4", "a", "2020-01-13", 4, NEW))
    result = ingest(ingested.project(), full=full)
    if not full and table != "stores":
        assert result.why_full == "a table that an earlier run wrote is gone"
    after = _content(ingested)
    assert len(after["transactions"]) == len(before["transactions"]) + 1
    assert after["stores"] == before["stores"]
    assert after["rejected_rows"] == before["rejected_rows"]
    again = ingest(ingested.project())
    assert (again.mode, again.rows_inserted, again.rows_deleted) == ("incremental", 0, 0)


def test_every_table_lost_but_the_ledger(ingested: Chain) -> None:
    before = _content(ingested)
    for table in TABLES:
        shutil.rmtree(_folder(ingested, table))
    ingest(ingested.project(), full=True)
    assert _content(ingested) == before


@pytest.mark.fault
def test_a_kill_while_a_lost_table_is_made_anew(ingested: Chain) -> None:
    ingested.lines(*ROWS, ("x4", "a", "2020-01-13", 4, NEW))
    ingest(ingested.project())
    expected = _content(ingested)
    assert runs.named_versions(ingested.project())["transactions"] > 1
    shutil.rmtree(_folder(ingested, "transactions"))
    for versions in (1, 2):
        code = children.exit_code(children.killed_after, ingested.folder, versions, True)
        assert code == -signal.SIGKILL
    ingest(ingested.project(), full=True)
    assert _content(ingested) == expected


def test_a_file_that_only_an_older_version_has(ingested: Chain) -> None:
    """So it is after the retention: the version is gone, the table is whole."""
    older = runs.named_versions(ingested.project())["transactions"]
    file = next(_folder(ingested, "transactions").glob("*.parquet"))
    ingested.lines(("x1", "a", "2020-01-06", 9, NEW))
    ingest(ingested.project())
    file.unlink()
    assert len(ingested.read("transactions")) == 1
    with pytest.raises(TableError) as caught:
        runs.read_table(ingested.project(), "transactions", version=older)
    assert caught.value.code is Code.TABLE_NOT_FOUND
    assert "older than the retention" in caught.value.message
