"""Incremental runs that SIGKILL ends at random moments: all comes out as where none was killed."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from storecast import runs
from storecast.ingestion.step import ingest

from . import children
from .chains import Chain

pytestmark = [pytest.mark.fault, pytest.mark.slow]

KILLS, A_DELIVERY = 20, 3
ROWS = 400
TABLES = ("transactions", "sales", "stores", "rejected_rows")
Lines = dict[str, tuple[Any, ...]]


def _deliveries(chance: random.Random) -> Iterator[Lines]:
    """The source after each delivery: new, corrected, moved, deleted, spoilt and mended lines."""
    lines: Lines = {}
    first, bad = date(2020, 1, 6), ("?", "", "1,5,0")

    def line(key: int, delivery: int) -> tuple[Any, ...]:
        changed = first + timedelta(days=90 + delivery)
        day = first + timedelta(days=chance.randrange(90))
        amount = chance.choice(bad) if chance.random() < 0.05 else str(chance.randrange(1, 99))
        return f"x{key}", chance.choice("abcdef"), str(day), amount, f"{changed} 08:00:00"

    for delivery in range(1_000):
        new = range(delivery * ROWS, delivery * ROWS + (ROWS if delivery == 0 else ROWS // 10))
        spoilt = [key for key, row in lines.items() if row[3] in bad]
        changed = chance.sample(sorted(lines), 20) + chance.sample(spoilt, 3) if lines else []
        lines |= {f"x{k}": line(k, delivery) for k in new}
        lines |= {k: line(int(k[1:]), delivery) for k in changed}
        for gone in chance.sample(sorted(lines), 10):
            del lines[gone]
        yield dict(lines)


def _project(folder: Path) -> Chain:
    folder.mkdir()
    chain = Chain(folder)
    chain.table("shops", ("shop", "town"), [("a", "Olinda"), ("b", "Recife")])
    return children.with_stores(chain)


def _delivered(chain: Chain, lines: Lines, number: int) -> None:
    chain.lines(*lines.values())
    shops = [("a", "Olinda"), ("b", f"town {number}"), *([("c", "Natal")] if number % 2 else [])]
    chain.table("shops", ("shop", "town"), shops)


def _content(chain: Chain) -> dict[str, Any]:
    own = ("row_hash", "occurrence", "reason_code", "raw_row")
    return {t: chain.read(t, *(own if t == "rejected_rows" else ())) for t in TABLES}


def _ended(chain: Chain) -> list[dict[str, Any]]:
    """How each completed run counted, and what it read."""
    rows = [row for row in runs.ledger(chain.project()) if row["status"] == "done"]
    return [
        {name: row[name] for name in runs.COUNTS} | {"mode": row["details"]["sales"]["mode"]}
        for row in rows
    ]


def _killed(chain: Chain, seconds: float) -> bool:
    """Whether an ingestion was at work so long after its beginning, and has been killed."""
    process = children.child(children.attempted, chain.folder)
    time.sleep(seconds)
    process.kill()
    process.join(60)
    assert process.exitcode in (-signal.SIGKILL, 0)
    return bool(process.exitcode)


@pytest.mark.parametrize("seed", [1, 2])
def test_incremental_runs_killed_at_random_moments(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    disturbed, undisturbed = _project(tmp_path / "disturbed"), _project(tmp_path / "undisturbed")
    kills, longest = 0, 1.0
    for number, lines in enumerate(_deliveries(random.Random(seed))):
        for chain in (disturbed, undisturbed):
            _delivered(chain, lines, number)
        before = len(_ended(disturbed))
        for _ in range(A_DELIVERY if number else 0):
            if len(_ended(disturbed)) == before:
                kills += _killed(disturbed, chance.uniform(0, longest))
        # A kill may come after the last commit.
        unfinished = len(_ended(disturbed)) == before
        if unfinished and number and kills < KILLS and chance.random() < 0.5:
            # The next delivery overtakes this one, whose rows no run has completed.
            continue
        if unfinished:
            ingest(disturbed.project())
        began = time.perf_counter()
        ingest(undisturbed.project())
        longest = time.perf_counter() - began + 0.2
        assert _content(disturbed) == _content(undisturbed)
        if kills >= KILLS:
            break
    assert _ended(disturbed) == _ended(undisturbed)
    modes = [row["mode"] for row in _ended(disturbed)]
    assert modes == ["full"] + ["incremental"] * (len(modes) - 1)
    for name in ("rows_deleted", "rows_updated", "rows_rejected"):
        assert sum(row[name] for row in _ended(disturbed)[1:]) > 0, name
    assert list(disturbed.project().scratch().iterdir()) == []
    full = ingest(disturbed.project(), full=True)
    assert (full.rows_inserted, full.rows_updated, full.rows_deleted) == (0, 0, 0)
    assert _content(disturbed) == _content(undisturbed)
