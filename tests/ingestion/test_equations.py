"""Every row and every cent accounted for, against an oracle that knows no SQL."""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storecast import runs
from storecast.errors import Code, ContractError
from storecast.ingestion import bench
from storecast.ingestion.step import IngestResult, ingest

from .chains import Chain

OLD, MIDDLE, NEW = "2020-01-10 00:00:00", "2020-01-20 00:00:00", "2020-02-01 00:00:00"
DAYS = {"2020-01-06": 0, "2020-01-12 23:59:59": 6, "2020-01-13": 7, "2020-02-29": 54}

line = st.tuples(
    st.sampled_from(["1", "2", "3", "4", 3, "01", None, ""]),
    st.sampled_from(["001", "1", "1e5", "NULL", "nan", "São", "a", "A", None, "b\nc"]),
    st.sampled_from([*DAYS, "06/01/2020", None, "1753-01-01"]),
    st.sampled_from([1, 2.5, "3", "-1e2", 0.00005, "0.00015", None, "x", math.inf, "1,5"]),
    st.sampled_from([None, OLD, MIDDLE, NEW, "then"]),
)
state = st.lists(line, min_size=1, max_size=25)
Accepted = tuple[str, str, date, Decimal, str | None]


def _amount(value: Any) -> Decimal | None:
    known = {1: "1", 2.5: "2.5", "3": "3", "-1e2": "-100", 0.00005: "0", "0.00015": "0.0002"}
    return Decimal(known[value]) if value in known else None


def _accepted(row: tuple[Any, ...]) -> Accepted | None:
    key, store, day, value, changed = row
    amount = _amount(value)
    if not key and key != 0:
        return None
    if store is None or "\n" in store or day not in DAYS or amount is None or changed == "then":
        return None
    return str(key), store, date(2020, 1, 6) + timedelta(days=DAYS[day]), amount, changed


def _load(
    rows: list[tuple[Any, ...]], before: dict[str, Accepted]
) -> tuple[dict[str, Accepted], dict[str, int]]:
    """The transactions after a load, and its counts."""
    by_key: dict[str, list[Accepted]] = defaultdict(list)
    rejected = 0
    for row in rows:
        accepted = _accepted(row)
        if accepted is None:
            rejected += 1
        else:
            by_key[accepted[0]].append(accepted)
    after: dict[str, Accepted] = {}
    deduplicated = 0
    for key, versions in by_key.items():
        newest = max(v[4] or "" for v in versions)
        latest = [v for v in versions if (v[4] or "") == newest]
        deduplicated += len(versions) - len(latest)
        if len(set(latest)) > 1:
            rejected += len(latest)
            continue
        deduplicated += len(latest) - 1
        there = before.get(key)
        held = there is not None and (there[4] or "") > (latest[0][4] or "")
        after[key] = there if held and there is not None else latest[0]
    counts = {
        "rows_read": len(rows),
        "rows_rejected": rejected,
        "rows_deduplicated": deduplicated,
        "rows_inserted": len(after.keys() - before.keys()),
        "rows_updated": sum(before[k] != after[k] for k in after.keys() & before.keys()),
        "rows_unchanged": sum(before[k] == after[k] for k in after.keys() & before.keys()),
        "rows_deleted": len(before.keys() - after.keys()),
    }
    return after, counts


def _check(chain: Chain, result: IngestResult, expected: dict[str, Accepted]) -> None:
    transactions = chain.read("transactions", "id", "store_id", "date", "sales")
    assert transactions == sorted((r[:4] for r in expected.values()), key=repr)
    weeks: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
    for _, store, day, amount, _ in expected.values():
        weeks[store, day + timedelta(days=6 - day.weekday())] += amount
    assert chain.read("sales") == sorted(((*k, v) for k, v in weeks.items()), key=repr)
    assert result.rows_read == (
        result.rows_inserted + result.rows_updated + result.rows_unchanged
        + result.rows_rejected + result.rows_deduplicated
    )  # fmt: skip
    quarantine = chain.read("rejected_rows", "table_name", "row_hash", "occurrence")
    assert len(quarantine) == len(set(quarantine)) == result.rows_rejected
    assert sum(result.rejected.values()) == result.rows_rejected


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(first=state, second=state)
def test_rows_and_amounts_balance_whatever_comes(first: list[Any], second: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        chain = Chain(Path(folder))
        # All rows at each reading, so that the oracle knows what was read.
        chain.sales |= {"through": "2020-03-31", "overlap": "99999d"}
        before: dict[str, Accepted] = {}
        for rows in (first, second):
            chain.lines(*rows)
            result = ingest(chain.project())
            before, counts = _load(rows, before)
            assert {name: getattr(result, name) for name in counts} == counts
            _check(chain, result, before)
        named = runs.named_versions(chain.project())
        again = ingest(chain.project())
        assert again.rows_inserted == again.rows_updated == again.rows_deleted == 0
        del named["rejected_rows"]
        assert named.items() <= runs.named_versions(chain.project()).items()


@pytest.mark.parametrize(
    ("statement", "spoil", "code"),
    [
        ("aggregated", lambda sql: sql + "HAVING p.label > DATE '2020-01-12'",
         Code.AMOUNTS_DO_NOT_BALANCE),
        ("unique_rows", lambda sql: sql.replace("= 'kept'", "= 'superseded'"),
         Code.ROWS_DO_NOT_BALANCE),
        ("unique_rows", lambda sql: sql.split("UNION ALL")[0], Code.ROWS_DO_NOT_BALANCE),
    ],
)  # fmt: skip
def test_a_fault_of_our_own_is_found_before_the_first_commit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    statement: str,
    spoil: Callable[[str], str],
    code: Code,
) -> None:
    true = bench._statement
    monkeypatch.setattr(
        bench, "_statement", lambda name: spoil(true(name)) if name == statement else true(name)
    )
    chain = Chain(tmp_path)
    chain.lines(
        ("1", "a", "2020-01-06", 1, OLD),
        ("2", "a", "2020-01-13", 2, NEW),
        *[("3", "a", "2020-01-13", 2, at) for at in (OLD, MIDDLE, NEW)],
    )
    with pytest.raises(ContractError) as caught:
        ingest(chain.project())
    assert caught.value.code is code
    assert chain.project().tables.names() == ["runs"]


def test_a_row_that_holds_its_place_keeps_its_day_and_amount(tmp_path: Path) -> None:
    """What came is older and of another day: the day of the row that holds came with nothing."""
    chain = Chain(tmp_path)
    chain.sales["through"] = "2020-03-31"
    chain.lines(("2", "001", "2020-01-06", 1, NEW))
    ingest(chain.project())
    chain.lines(("2", "001", "2020-02-12", 5, OLD))
    result = ingest(chain.project())
    assert (result.rows_unchanged, result.rows_updated, result.rows_deleted) == (1, 0, 0)
    table = chain.project().tables.scan("sales").read_all()
    assert [(str(r["date"]), r["sales"]) for r in table.to_pylist()] == [("2020-01-12", 1)]
