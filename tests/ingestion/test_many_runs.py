"""Sixty small ingestions: no more files to read at the end, and no more time to take."""

from __future__ import annotations

import statistics
import time
from datetime import date, timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from storecast import runs
from storecast.ingestion.step import ingest

from .chains import Chain

RUNS = 60
TABLES = ("transactions", "sales", "rejected_rows", "runs")


def _lines(number: int) -> list[tuple[object, ...]]:
    """Three lines a day for so many days, the last of each day rejected."""
    days = [date(2020, 1, 6) + timedelta(days=i) for i in range(number)]
    return [
        (f"{day}{store}", store, f"{day}", amount, f"{day} 12:00:00")
        for day in days
        for store, amount in (("a", 1), ("b", 2), ("c", "?"))
    ]


@pytest.mark.slow
def test_sixty_small_ingestions(chain: Chain) -> None:
    chain.changes["series"] = {"frequency": "D"}
    chain.sales["reconcile"] = "3d"
    seconds, live, commits = [], [], []
    for number in range(1, RUNS + 1):
        chain.lines(*_lines(number))
        begun = time.process_time()
        ingest(chain.project())
        seconds.append(time.process_time() - begun)
        live.append(max(len(_table(chain, n).file_uris()) for n in TABLES))
        commits.append(max(_commits_to_read(chain, n) for n in TABLES))
    assert max(live) <= 17
    assert max(commits) <= 10
    # Of processors, so that a busy machine does not count; the first runs make the tables.
    early, late = statistics.median(seconds[5:20]), statistics.median(seconds[-15:])
    assert late < 1.5 * early
    assert len(chain.read("transactions")) == 2 * RUNS
    assert len(chain.read("rejected_rows")) == RUNS
    # Every run's version is there to travel to.
    for number in (1, 20, 40):
        version = runs.ledger(chain.project())[number - 1]["tables_written"]["transactions"]
        assert runs.read_table(chain.project(), "transactions", version).num_rows == 2 * number


def _folder(chain: Chain, name: str) -> Path:
    config = chain.project().config
    return chain.folder / "lakehouse" / config.catalog / config.schema_ / name


def _table(chain: Chain, name: str) -> DeltaTable:
    return DeltaTable(str(_folder(chain, name)))


def _commits_to_read(chain: Chain, name: str) -> int:
    log = _folder(chain, name) / "_delta_log"
    last = max((int(p.name[:20]) for p in log.glob("*.checkpoint.parquet")), default=0)
    return sum(int(p.stem) > last for p in log.glob("*.json"))
