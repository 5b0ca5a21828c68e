"""What a reading of some of the rows sees although no watermark says so."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storecast import runs
from storecast.ingestion.result import IngestResult
from storecast.ingestion.step import ingest

from .chains import Chain

Row = tuple[Any, ...]


def _at(day: int) -> str:
    return f"2020-03-{day:02d} 12:00:00"


def _state(chain: Chain) -> list[list[Row]]:
    rejected = chain.read("rejected_rows", "raw_row", "reason_code", "occurrence")
    return [chain.read("transactions"), chain.read("sales"), rejected]


def _as_full(chain: Chain) -> IngestResult:
    """What a run did, which ends where a full one does."""
    result = ingest(chain.project())
    assert result.mode == "incremental"
    assert result.rows_read == (
        result.rows_inserted + result.rows_updated + result.rows_unchanged
        + result.rows_rejected + result.rows_deduplicated
    )  # fmt: skip
    after = _state(chain)
    ingest(chain.project(), full=True)
    assert after == _state(chain)
    return result


# ---------------------------------------------------------------------- beyond the calendar


def _dated(chain: Chain, *days: date) -> None:
    rows = {
        "id": list(range(len(days))), "store": ["a"] * len(days), "day": list(days),
        "amount": [1] * len(days),
        "changed": [datetime(2020, 3, 20 if n == 0 else 1, tzinfo=UTC) for n in range(len(days))],
    }  # fmt: skip
    pq.write_table(pa.table(rows), chain.folder / "lines.parquet")
    chain.sales["from"] = "lines.parquet"
    chain.source |= {"type": "files", "path": "."}


@pytest.mark.slow
@pytest.mark.parametrize("beyond", [date(9999, 12, 31), date(1753, 1, 1), date(1, 1, 1)])
@pytest.mark.parametrize("typed", [True, False])
def test_a_day_beyond_the_calendar_breaks_no_later_run(
    chain: Chain, beyond: date, typed: bool
) -> None:
    days = [date(2020, 1, 6), beyond, date(2020, 2, 6)]

    def write(*days: date) -> None:
        if typed:
            _dated(chain, *days)
        else:
            chain.lines(*[(i, "a", str(d), 1, _at(1 if i else 20)) for i, d in enumerate(days)])

    write(*days)
    ingest(chain.project())
    assert ingest(chain.project()).rows_deleted == 0
    write(*days[:2])
    assert ingest(chain.project()).rows_deleted == 1
    assert chain.read("rejected_rows", "reason_code") == [("DATE_OUT_OF_RANGE",)]
    write(days[0])
    ingest(chain.project())
    assert chain.read("rejected_rows") == []


@pytest.mark.slow
@pytest.mark.parametrize("typed", [True, False])
def test_a_row_that_leaves_the_calendar_unseen_is_quarantined(chain: Chain, typed: bool) -> None:
    days = [date(2020, 1, 6), date(2020, 2, 6), date(2020, 2, 7)]
    for second in (days[1], date(1753, 1, 1), date(9999, 12, 31)):
        if typed:
            _dated(chain, days[0], second, days[2])
        else:
            _lines(chain, *[(i, "a", str(d), i, _at(1)) for i, d in enumerate(days[2:])],
                   ("s", "a", str(second), 5, _at(1)))  # fmt: skip
        ingest(chain.project())
        count = len(chain.read("rejected_rows"))
        assert count == (0 if second is days[1] else 1)
    _as_full(chain)


# ---------------------------------------------------------------------- without a watermark

NEWEST = ("new", "z", "2020-03-05", 1, _at(20))
"""A row that brings the watermark beyond the others."""


def _lines(chain: Chain, *rows: Row) -> None:
    chain.lines(*rows, NEWEST)


BASE = [
    ("x1", "a", "2020-01-06", 1, _at(1)), ("x2", "a", "2020-02-06", 2, _at(2)),
    ("x3", "b", "2020-02-07", 4, _at(3)), ("x4", "b", "2020-03-07", 8, _at(4)),
]  # fmt: skip


def test_a_place_that_nobody_has_read_is_not_taken_as_known(chain: Chain) -> None:
    """One row moves unseen, another of the same amount stands where it was."""
    _lines(chain, *BASE)
    ingest(chain.project())
    moved = ("x2", "c", "2020-03-06", 2, _at(2))
    _lines(chain, BASE[0], moved, *BASE[2:], ("x9", "a", "2020-02-08", 2, _at(2)))
    assert _as_full(chain).rows_inserted == 1


def test_only_what_was_read_and_differs_is_remembered(chain: Chain) -> None:
    """An older version that was passed over by the watermark is looked for once."""
    _lines(chain, *BASE, ("x1", "a", "2020-02-09", 3, _at(10)))
    ingest(chain.project())
    seen = [ingest(chain.project()).regions_read_again for _ in range(3)]
    assert seen == [1, 0, 0]


def test_a_copy_elsewhere_is_in_conflict_with_the_row_that_is_there(chain: Chain) -> None:
    _lines(chain, *BASE)
    ingest(chain.project())
    _lines(chain, *BASE, ("x2", "c", "2020-03-06", 2, _at(2)))
    result = _as_full(chain)
    assert (result.rows_rejected, result.rows_deleted) == (2, 1)
    assert result.rejected == {"CONFLICTING_DUPLICATE": 2}
    # the other one is well again once this one is gone
    _lines(chain, *BASE)
    assert _as_full(chain).rows_inserted == 1


@pytest.mark.slow
@pytest.mark.parametrize("day", ["31/02/2020", "1753-01-01", "", "2020-02-06x"])
@pytest.mark.parametrize("reconcile", [True, False])
def test_a_day_that_becomes_unreadable_is_quarantined(
    chain: Chain, day: str, reconcile: bool
) -> None:
    if not reconcile:
        del chain.sales["reconcile"]
    _lines(chain, *BASE)
    ingest(chain.project())
    _lines(chain, BASE[0], ("x2", "a", day, 2, _at(2)), *BASE[2:], ("x9", "a", day, 2, _at(2)))
    result = _as_full(chain)
    assert (result.rows_rejected, result.rows_deleted) == (2, 1)
    _lines(chain, *BASE[:1], *BASE[2:])
    assert _as_full(chain).rows_rejected == 0
    assert chain.read("rejected_rows") == []


@pytest.mark.slow
@pytest.mark.parametrize("store", ["a\t", "", None])
def test_a_store_that_becomes_unreadable_is_quarantined(chain: Chain, store: str | None) -> None:
    _lines(chain, *BASE)
    ingest(chain.project())
    _lines(chain, BASE[0], ("x2", store, "2020-02-06", 2, _at(2)), *BASE[2:])
    result = _as_full(chain)
    assert (result.rows_rejected, result.rows_deleted) == (1, 1)
    ingest(chain.project())
    _lines(chain, *BASE[:1], *BASE[2:])
    _as_full(chain)
    assert chain.read("rejected_rows") == []


# ---------------------------------------------------------------------- versions at the source


@pytest.mark.parametrize("reconcile", [True, False])
def test_a_newer_version_that_is_rejected_leaves_the_older_one(
    chain: Chain, reconcile: bool
) -> None:
    if not reconcile:
        del chain.sales["reconcile"]
    _lines(chain, *BASE)
    ingest(chain.project())
    spoilt = ("x2", "a", "2020-03-06", "oops", _at(21))
    _lines(chain, *BASE, spoilt)
    result = _as_full(chain)
    assert (result.rows_deleted, result.rows_rejected) == (0, 1)
    # without the older one in the source, none stays
    _lines(chain, BASE[0], *BASE[2:], spoilt)
    assert _as_full(chain).rows_deleted == 1


def test_a_place_read_for_one_key_deletes_no_other(chain: Chain) -> None:
    del chain.sales["reconcile"]
    _lines(chain, *BASE, ("x5", "a", "2020-02-20", 3, _at(1)))
    ingest(chain.project())
    _lines(chain, *BASE, ("x2", "a", "2020-02-06", "oops", _at(21)))
    result = ingest(chain.project())
    assert (result.rows_read, result.rows_deleted) == (3, 0)
    assert ("x5",) in chain.read("transactions", "id")


def test_an_older_version_elsewhere_is_found_once_the_newer_one_is_gone(chain: Chain) -> None:
    """It is held back, as any older one, and not passed over in silence."""
    older, newer = ("v", "c", "2020-01-20", 5, _at(1)), ("v", "d", "2020-02-20", 7, _at(5))
    _lines(chain, *BASE, older, newer)
    for _ in range(2):
        ingest(chain.project())
    _lines(chain, *BASE, older)
    result = ingest(chain.project())
    assert (result.rows_held, result.rows_deleted) == (1, 0)
    assert ("v", Decimal(7)) in chain.read("transactions", "id", "sales")
    assert ingest(chain.project(), full=True).rows_updated == 1


def test_versions_that_are_rejected_stay_each(chain: Chain) -> None:
    """A newer rejected version of a row does not take the older one out of the quarantine."""
    _lines(chain, *BASE, ("v", "c", "2020-01-20", "x", _at(1)))
    ingest(chain.project())
    _lines(chain, *BASE, ("v", "c", "2020-01-20", "x", _at(1)), ("v", "d", "?", "y", _at(21)))
    assert len(chain.read("rejected_rows")) == 1
    _as_full(chain)
    assert len(chain.read("rejected_rows")) == 2


# ---------------------------------------------------------------------- held back


@pytest.mark.parametrize("frequency", ["D", "W-SUN"])
def test_rows_held_back_are_told(chain: Chain, frequency: str) -> None:
    chain.changes["series"] = {"frequency": frequency}
    chain.lines(("x1", "a", "2020-01-06", 1, "2999-01-01 00:00:00"), NEWEST)
    first = ingest(chain.project())
    assert first.rows_held == 0
    assert first.as_dict()["watermark_ahead"] == "2999-01-01T00:00:00+00:00"
    chain.lines(("x1", "a", "2020-01-06", 7, _at(21)), NEWEST)
    result = ingest(chain.project())
    assert (result.rows_read, result.rows_unchanged, result.rows_held) == (2, 2, 1)
    assert result.sentences()[3:] == [
        "1 row was held back: the tables have a newer version of it "
        "(storecast ingest --full takes what the source has)",
        "a watermark lies in the future, 2999-01-01 00:00:00: until then no correction of its row "
        "is newer; correct it in the source, then storecast ingest --full",
    ]
    state = runs.ledger(chain.project())[-1]["details"]["sales"]
    assert (state["held"], state["watermark_ahead"]) == (1, "2999-01-01T00:00:00+00:00")
    full = ingest(chain.project(), full=True)
    assert (full.rows_updated, full.rows_held, full.watermark_ahead) == (1, 0, None)


def test_rows_held_back_are_told_as_long_as_they_are(chain: Chain) -> None:
    """Without being read again: what differs for good is told, and not once alone."""
    moved = ("x5", "b", "2020-03-02", 5, _at(9))
    _lines(chain, *BASE, moved)
    ingest(chain.project())
    older = ("x1", "a", "2020-01-06", 99, "2019-01-01 00:00:00")
    _lines(chain, *[r for r in BASE if r[0] != "x1"], older, ("x5", "c", *moved[2:4], _at(5)))
    first = ingest(chain.project())
    assert (first.rows_held, first.rows_held_before, first.regions_standing) == (2, 0, 0)
    for _ in range(2):
        again = ingest(chain.project())
        assert (again.rows_held, again.regions_read_again) == (0, 0)
        assert (again.rows_held_before, again.regions_standing) == (2, 3)
        assert (
            "3 stores and months differ from the source as when last read, and were not read "
            "again: 2 rows are still held back there (storecast ingest --full takes what the "
            "source has)"
        ) in again.sentences()
        state = runs.ledger(chain.project())[-1]["details"]["sales"]
        assert (state["held"], state["held_before"], state["regions_standing"]) == (0, 2, 3)
    # One of them is mended.
    _lines(chain, *BASE, ("x5", "c", *moved[2:4], _at(5)))
    mended = ingest(chain.project())
    assert (mended.rows_held, mended.rows_held_before, mended.regions_standing) == (0, 1, 2)
    assert ingest(chain.project(), full=True).rows_updated == 1
    last = ingest(chain.project())
    assert (last.rows_held_before, last.regions_standing) == (0, 0)


def test_a_row_held_back_within_the_overlap_is_told_once_a_run(chain: Chain) -> None:
    chain.lines(("x1", "a", "2020-01-06", 1, _at(21)), NEWEST)
    ingest(chain.project())
    chain.lines(("x1", "a", "2020-01-06", 7, _at(20)), NEWEST)
    for _ in range(3):
        result = ingest(chain.project())
        assert (result.rows_held, result.rows_held_before) == (1, 0)
