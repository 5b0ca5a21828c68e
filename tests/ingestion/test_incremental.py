"""Reading only what is new or differs ends where reading everything does."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storecast import runs
from storecast.errors import Code, StorecastError
from storecast.ingestion.step import IngestResult, ingest

from .chains import LINES, Chain

OLD, NEW = "2020-01-10 00:00:00", "2020-02-01 00:00:00"
Row = tuple[Any, ...]

# ---------------------------------------------------------------------- any history

stores = st.sampled_from(["001", "1", "São"])
days = st.sampled_from(["2020-01-06", "2020-01-12 23:59:59", "2020-01-31", "2020-02-29"])
amounts = st.sampled_from(["1", "2.5", "-3"])
bad = st.sampled_from(
    [
        (0, None),
        (0, ""),
        (1, None),
        (1, "b\nc"),
        (2, "06/01/2020"),
        (2, None),
        (3, "x"),
        (4, "then"),
    ]
)
change = st.one_of(
    st.tuples(st.just("insert"), stores, days, amounts, st.booleans()),
    st.tuples(st.just("move"), st.integers(0, 9), stores, days, amounts),
    st.tuples(st.just("spoil"), st.integers(0, 9), bad),
    st.tuples(st.just("mend"), st.integers(0, 9), stores, days, amounts),
    st.tuples(st.just("delete"), st.integers(0, 9)),
    st.tuples(st.just("copy"), st.integers(0, 9), st.sampled_from([None, "4"])),
)
history = st.lists(st.lists(change, min_size=1, max_size=5), min_size=1, max_size=3)


class Lines:
    """Rows of a source that has a clock: what it writes has the day's watermark."""

    def __init__(self, first: Sequence[tuple[str, str, str]]) -> None:
        self.rows: list[Row] = []
        self.keys = self.day = 0
        for store, day, amount in first:
            self.apply("insert", store, day, amount, True)

    def apply(self, kind: str, *how: Any) -> None:
        now = f"2020-03-{1 + self.day:02d} 12:00:00"
        if kind == "insert":
            self.keys += 1
            self.rows.append((f"k{self.keys}", *how[:3], now if how[3] else None))
            return
        if not self.rows:
            return
        place = how[0] % len(self.rows)
        row = self.rows[place]
        # A row without a watermark stays so: the source has no clock for it.
        clock = None if row[4] is None else now
        if kind == "delete":
            del self.rows[place]
        elif kind == "copy":
            self.rows[place] = (*row[:4], clock)
            self.rows.append((*row[:3], how[1] or row[3], clock))
        elif kind == "spoil":
            where, value = how[1]
            spoilt = [*row[:4], clock]
            spoilt[where] = value
            self.rows[place] = tuple(spoilt)
        else:
            self.rows[place] = (row[0] or f"m{place}{self.day}", *how[1:4], clock)


def _write(chain: Chain, rows: Sequence[Row], kind: str) -> None:
    if kind == "sqlite":
        chain.lines(*rows)
        return
    with (chain.folder / "lines.csv").open("w", newline="") as file:
        csv.writer(file).writerows([LINES, *rows])
    chain.sales["from"] = "lines.csv"
    chain.source |= {"type": "files", "path": "."}


def _content(chain: Chain) -> dict[str, list[Row]]:
    rejected = chain.read("rejected_rows", "table_name", "row_hash", "occurrence", "reason_code")
    return {
        "sales": chain.read("sales"),
        "rejected": rejected,
        "transactions": chain.read("transactions"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "files"])
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(first=st.lists(st.tuples(stores, days, amounts), min_size=1, max_size=5), then=history)
def test_any_history_ends_as_one_reading_of_everything(
    kind: str, first: list[Any], then: list[list[Any]]
) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        chain, fresh = Chain(Path(one)), Chain(Path(other))
        for each in (chain, fresh):
            each.sales |= {"through": "2020-03-31", "overlap": "0d"}
        lines = Lines(first)
        # A row that stays, so that the source is never empty.
        lines.rows.append(("stays", "1", "2020-01-06", "1", "2020-03-01 12:00:00"))
        _write(chain, lines.rows, kind)
        ingest(chain.project())
        for changes in then:
            lines.day += 1
            for how in changes:
                lines.apply(*how)
            lines.rows = lines.rows or [("stays", "1", "2020-01-06", "1", "2020-03-01 12:00:00")]
            _write(chain, lines.rows, kind)
            result = ingest(chain.project())
            assert result.mode == "incremental"
            assert result.rows_read == (
                result.rows_inserted + result.rows_updated + result.rows_unchanged
                + result.rows_rejected + result.rows_deduplicated
            )  # fmt: skip
        _write(fresh, lines.rows, kind)
        ingest(fresh.project())
        assert _content(chain) == _content(fresh)
        _nothing_changes(chain)


def _nothing_changes(chain: Chain) -> None:
    """What was read again changes nothing; the quarantine knows who rejected its rows last."""
    named, content = runs.named_versions(chain.project()), _content(chain)
    again = ingest(chain.project())
    assert (again.rows_inserted, again.rows_updated, again.rows_deleted) == (0, 0, 0)
    assert _content(chain) == content
    del named["rejected_rows"]
    assert named.items() <= runs.named_versions(chain.project()).items()
