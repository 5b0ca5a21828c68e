"""Reading only what is new or differs ends where reading everything does."""

from __future__ import annotations

import csv
import hashlib
import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storecast import runs
from storecast.adapters.sources.files import FilesSource
from storecast.adapters.sources.steady import Steady
from storecast.errors import Code, ContractError, StorecastError
from storecast.ingestion import bench, extent, reconcile
from storecast.ingestion.result import IngestResult
from storecast.ingestion.step import ingest

from .chains import LINES, Chain

OLD, NEW = "2020-01-10 00:00:00", "2020-02-01 00:00:00"
Row = tuple[Any, ...]
EXAMPLES = int(os.environ.get("STORECAST_TEST_EXAMPLES", "10"))
"""Histories of the suite; more are for whoever has the time."""

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
# Changes that no watermark tells: amounts of their own, so that count and sum cannot stay.
silent = st.one_of(
    st.tuples(st.just("edit"), st.integers(0, 9)),
    st.tuples(st.just("slip"), st.integers(0, 9), stores, days),
    st.tuples(st.just("blur"), st.integers(0, 9), st.sampled_from([(1, "b\tc"), (2, "31/02/2020"),
                                                                    (2, "1753-01-01"), (3, "x")])),
    st.tuples(st.just("late"), stores, st.one_of(days, st.sampled_from(["?", "9999-12-31"]))),
    st.tuples(st.just("version"), st.integers(0, 9), stores, days, st.sampled_from(["oops", "n"])),
)  # fmt: skip
change = st.one_of(
    silent,
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
        self.keys = self.day = self.amounts = 0
        for store, day, amount in first:
            self.apply("insert", store, day, amount, True)

    def apply(self, kind: str, *how: Any) -> None:
        now = f"2020-03-{1 + self.day:02d} 12:00:00"
        if kind == "insert":
            self.keys += 1
            self.rows.append((f"k{self.keys}", *how[:3], now if how[3] else None))
            return
        if kind == "late":
            self.keys += 1
            self.rows.append((f"k{self.keys}", *how, self.own(), "2020-02-01 12:00:00"))
            return
        if not self.rows:
            return
        place = how[0] % len(self.rows)
        row = self.rows[place]
        versions = [r for r in self.rows if r[0] == row[0] and row[0]]
        if len({r[4] for r in versions}) > 1 and kind != "version":
            # Where versions are kept, what is there stays as it is, or goes with all of them.
            if kind == "delete":
                self.rows = [r for r in self.rows if r[0] != row[0]]
            return
        # A row without a watermark stays so: the source has no clock for it.
        clock = None if row[4] is None else now
        if kind == "delete":
            del self.rows[place]
        elif kind == "version":
            if clock is not None and row[0] and max(str(r[4]) for r in versions) < now:
                amount = self.own() if how[3] == "n" else how[3]
                self.rows.append((row[0], *how[1:3], amount, now))
        elif kind in ("edit", "slip", "blur"):
            self.rows[place] = self.changed(row, kind, *how[1:])
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

    def own(self) -> str:
        """An amount that no other row has, nor any sum of some."""
        self.amounts += 1
        return str(int(hashlib.sha256(str(self.amounts).encode()).hexdigest(), 16) % 10**9)

    def changed(self, row: Row, kind: str, *how: Any) -> Row:
        """A row whose clock does not tell that it has changed."""
        if kind == "edit":
            return (*row[:3], self.own(), row[4])
        if kind == "slip":
            return (row[0], *how, self.own(), row[4])
        where, value = how[0]
        return (*row[:where], value, *row[where + 1 :])


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
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
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
            if not lines.rows:
                lines.apply("insert", "1", "2020-01-06", "1", True)
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


# ---------------------------------------------------------------------- what is read


def _counts(result: IngestResult) -> tuple[int, ...]:
    """Read, inserted, updated, unchanged, rejected, deleted."""
    names = ("read", "inserted", "updated", "unchanged", "rejected", "deleted")
    return tuple(getattr(result, f"rows_{name}") for name in names)


def _at(day: int) -> str:
    return f"2020-03-{day:02d} 12:00:00"


@pytest.mark.parametrize("kind", ["sqlite", "files"])
def test_only_what_is_new_is_read(chain: Chain, kind: str) -> None:
    """Whatever more the source gives is not counted."""
    rows = [("x1", "a", "2020-01-06", "1", _at(1)), ("x2", "a", "2020-01-06", "2", _at(9))]
    bad = ("x3", "a", "2020-01-06", "?", _at(1))
    _write(chain, [*rows, bad], kind)
    first = ingest(chain.project())
    assert (first.mode, first.why_full) == ("full", "the first ingestion")
    assert "everything was read: the first ingestion" in first.sentences()
    _write(chain, [*rows, bad, ("x4", "a", "2020-01-06", "4", _at(10))], kind)
    result = ingest(chain.project())
    assert (result.mode, result.since) == ("incremental", date(2020, 3, 8))
    assert _counts(result) == (2, 1, 0, 1, 0, 0)
    assert (result.regions_compared, result.regions_read_again) == (1, 0)
    assert chain.read("sales", "sales") == [(Decimal(7),)]
    state = runs.ledger(chain.project())[-1]["details"]["sales"]
    assert (state["mode"], state["watermark"]) == ("incremental", "2020-03-10")
    assert result.sentences()[2] == (
        "read were the rows with a watermark from 2020-03-08 on, or without one; "
        "1 stores and months compared with the source, 0 of them read again"
    )
    assert result.as_dict()["since"] == "2020-03-08"
    assert chain.read("rejected_rows", "last_run_id") == [(first.run_id,)]


def test_a_watermark_in_the_future_keeps_nothing_out(chain: Chain) -> None:
    chain.lines(("x1", "a", "2020-01-06", 1, _at(1)), ("x2", "a", "2020-01-06", 2, "2999-01-01"))
    ingest(chain.project())
    chain.lines(
        ("x1", "a", "2020-01-06", 1, _at(1)), ("x2", "a", "2020-01-06", 2, "2999-01-01"),
        ("x3", "a", "2020-01-06", 4, _at(1)),
    )  # fmt: skip
    assert _counts(ingest(chain.project())) == (3, 1, 0, 2, 0, 0)


def test_the_mark_goes_on_and_never_into_the_future() -> None:
    start = datetime(2020, 3, 5, 1, tzinfo=UTC)
    behind = extent.Extent("", since=date(2020, 2, 1), mark=date(2020, 2, 2))
    assert extent.new_mark(extent.Extent("", "first"), None, True, start) == "2020-03-05"
    assert extent.new_mark(extent.Extent("", "first"), None, False, start) is None
    assert extent.new_mark(behind, None, True, start) == "2020-02-02"
    assert extent.new_mark(behind, datetime(2020, 3, 6, tzinfo=UTC), False, start) == "2020-03-05"
    assert extent.new_mark(behind, datetime(2019, 3, 6, tzinfo=UTC), False, start) == "2020-02-02"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"from": "main.lines"}, "the configuration of the sales"),
        ({"overlap": "9d", "reconcile": "1d", "through": "2020-03-01"}, ""),
    ],
)
def test_another_configuration_reads_everything(
    chain: Chain, change: dict[str, Any], why: str
) -> None:
    chain.lines(("x1", "a", "2020-01-06", 1, _at(1)))
    ingest(chain.project())
    chain.sales |= change
    result = ingest(chain.project())
    assert result.why_full.startswith(why)
    assert (result.mode == "full") == bool(why)
    full = ingest(chain.project(), full=True)
    assert (full.mode, full.why_full) == ("full", "--full")


def test_without_any_watermark_everything_is_read(chain: Chain) -> None:
    chain.lines(("x1", "a", "2020-01-06", 1, None))
    ingest(chain.project())
    assert ingest(chain.project()).why_full == "no row has had a watermark so far"
    del chain.sales["watermark"], chain.sales["reconcile"]
    chain.folder = chain.folder / "other"
    chain.folder.mkdir()
    chain.database = chain.folder / "chain.db"
    chain.lines(("x1", "a", "2020-01-06", 1, None))
    ingest(chain.project())
    assert ingest(chain.project()).why_full == "no watermark is configured"


# ---------------------------------------------------------------------- rows that change


def test_a_row_that_moves_changes_both_places(chain: Chain) -> None:
    """Also where neither is within reach of the reconciliation."""
    del chain.sales["reconcile"]
    stays = [(f"s{i}", s, d, 1, _at(1)) for i, (s, d) in enumerate(
        [("a", "2019-01-07"), ("b", "2018-01-01")])]  # fmt: skip
    stays.append(("s2", "b", "2020-02-28", 1, _at(3)))
    chain.lines(*stays, ("x", "a", "2019-01-08", 5, _at(1)))
    ingest(chain.project())
    chain.lines(*stays, ("x", "b", "2018-01-07", 7, _at(5)))
    assert _counts(ingest(chain.project())) == (2, 0, 1, 1, 0, 0)
    assert chain.read("sales") == [
        ("a", date(2019, 1, 13), Decimal(1)), ("b", date(2018, 1, 7), Decimal(8)),
        ("b", date(2020, 3, 1), Decimal(1)),
    ]  # fmt: skip
    chain.lines(*stays, ("x", "c", "2021-01-01", 7, _at(9)))
    result = ingest(chain.project())
    assert (result.stores, result.periods) == (3, 4)
    assert (result.last_date, result.through) == (date(2021, 1, 3), date(2021, 1, 1))


def test_an_older_version_that_comes_late_changes_nothing(chain: Chain) -> None:
    chain.sales |= {"overlap": "30d"}
    chain.lines(("x1", "a", "2020-01-06", 9, _at(20)))
    ingest(chain.project())
    chain.lines(("x1", "b", "2020-01-06", 5, _at(10)))
    result = ingest(chain.project())
    assert _counts(result) == (1, 0, 0, 1, 0, 0)
    assert chain.read("sales", "store_id", "sales") == [("a", Decimal(9))]
    assert ingest(chain.project(), full=True).rows_updated == 1


def test_deleted_rows_are_found_within_reach(chain: Chain) -> None:
    chain.sales["reconcile"] = "20d"
    rows = [(f"x{i}", "a", day, 1, _at(1)) for i, day in enumerate(
        ["2020-01-06", "2020-02-01", "2020-02-20", "2020-03-10"])]  # fmt: skip
    chain.lines(*rows)
    ingest(chain.project())
    chain.lines(rows[1], rows[3])
    result = ingest(chain.project())
    assert (result.rows_deleted, result.regions_compared, result.regions_read_again) == (1, 2, 1)
    assert chain.read("transactions", "id") == [("x0",), ("x1",), ("x3",)]
    assert runs.ledger(chain.project())[-1]["rows_deleted"] == 1
    assert ingest(chain.project(), full=True).rows_deleted == 1
    assert chain.read("transactions", "id") == [("x1",), ("x3",)]


def test_a_source_without_a_row_deletes_nothing(chain: Chain) -> None:
    chain.lines(("x1", "a", "2020-01-06", 1, _at(1)))
    ingest(chain.project())
    chain.lines()
    with pytest.raises(StorecastError) as caught:
        ingest(chain.project())
    assert caught.value.code is Code.SOURCE_EMPTY
    assert len(chain.read("transactions")) == 1


def test_what_differs_for_ever_is_read_once(chain: Chain) -> None:
    """Copies count for the source alone."""
    rows = [("x1", "a", "2020-01-06", 1, _at(1))] * 2 + [("x2", "b", "2020-01-06", 1, _at(9))]
    chain.lines(*rows)
    ingest(chain.project())
    second, third = ingest(chain.project()), ingest(chain.project())
    assert (second.regions_read_again, third.regions_read_again) == (1, 0)
    assert (second.regions_standing, third.regions_standing) == (0, 1)
    assert any("such as copies or older versions" in line for line in third.sentences())
    chain.lines(*rows[1:])
    assert ingest(chain.project()).regions_read_again == 0
    chain.lines(rows[2])
    result = ingest(chain.project())
    assert (result.regions_read_again, result.rows_deleted) == (1, 1)


def test_store_days_are_read_by_their_watermark_too(chain: Chain) -> None:
    chain.sales["primary_key"] = ["day", "store"]
    chain.changes["series"] = {"frequency": "D"}
    chain.table("visits", ("store", "day", "n"), [("a", "2020-01-06", 5)])
    chain.lines(("", "a", "2020-01-06", 1, _at(9)), ("", "a", "2020-01-07", 3, _at(1)))
    ingest(chain.project())
    chain.lines(
        ("", "a", "2020-01-06", 8, _at(8)), ("", "a", "2020-01-08", 4, _at(10)),
    )  # fmt: skip
    result = ingest(chain.project())
    assert _counts(result) == (2, 1, 0, 1, 0, 1)
    assert chain.read("sales", "date", "sales") == [
        (date(2020, 1, 6), Decimal(1)), (date(2020, 1, 8), Decimal(4)),
    ]  # fmt: skip
    chain.source["covariates"] = [
        {"from": "visits", "columns": {"store_id": "store", "date": "day"}, "realised": ["n"]}
    ]
    assert _counts(ingest(chain.project())) == (1, 0, 0, 1, 0, 0)
    assert chain.read("sales", "sales", "n") == [(Decimal(1), 5.0), (Decimal(4), None)]


def test_what_was_realised_changes_without_a_sale(chain: Chain) -> None:
    chain.source["covariates"] = [
        {"from": "visits", "columns": {"store_id": "store", "date": "day"}, "realised": ["n"]}
    ]
    rows = [("x1", "a", "2019-01-07", 1, _at(1)), ("x2", "a", "2020-01-06", 1, _at(9))]
    for number, more in ((5, []), (6, [("x3", "a", "2020-01-13", 2, _at(10))])):
        chain.table("visits", ("store", "day", "n"), [("a", "2019-01-07", number)])
        chain.lines(*rows, *more)
        result = ingest(chain.project())
    assert _counts(result) == (2, 1, 0, 1, 0, 0)
    assert chain.read("sales", "sales", "n") == [
        (Decimal(1), 6.0), (Decimal(1), None), (Decimal(2), None),
    ]  # fmt: skip


def test_a_row_that_comes_between_two_readings_is_taken_once(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every source has a state: the row was not there when the watermark was asked for."""
    rows = [("x1", "a", "2020-01-06", "1", _at(1)), ("x2", "b", "2020-01-06", "2", _at(9))]
    _write(chain, rows, "files")
    ingest(chain.project())
    _write(chain, rows[1:], "files")

    def comes(source: FilesSource, *_: Any) -> None:
        _write(chain, [rows[1], ("x3", "a", "2020-01-06", "5", _at(10))], "files")
        # A folder notices that; one of the other sources may not.
        source._steady = Steady()

    monkeypatch.setattr(FilesSource, "tally", comes)
    result = ingest(chain.project())
    assert _counts(result) == (2, 1, 0, 1, 0, 1)
    assert chain.read("transactions", "id") == [("x2",), ("x3",)]


# ---------------------------------------------------------------------- the quarantine


def test_the_quarantine_after_a_partial_reading(chain: Chain) -> None:
    good = ("x0", "a", "2020-01-06", 1, _at(9))
    bad = [("x1", "a", "2020-01-06", "?", _at(1)), ("x2", "a", "?", 1, _at(1)),
           (None, "a", "2020-01-06", 1, _at(1)), ("x3", "a", "2020-01-06", "?", _at(1)),
           ("x4", None, "?", 1, _at(1))]  # fmt: skip
    chain.lines(good, *bad)
    first = ingest(chain.project())
    mended = ("x1", "a", "2020-01-06", 2, _at(10))
    chain.lines(good, mended, bad[1], bad[2])
    second = ingest(chain.project())
    assert second.rejected == {"NULL_KEY": 1, "DATE_NOT_ISO": 1}
    assert chain.read("rejected_rows", "reason_code", "first_run_id", "last_run_id") == [
        (code, first.run_id, second.run_id) for code in ("DATE_NOT_ISO", "NULL_KEY")
    ]
    chain.lines(good, mended)
    ingest(chain.project())
    assert chain.read("rejected_rows") == []


def test_a_mended_row_leaves_the_quarantine_by_its_key_alone(chain: Chain) -> None:
    del chain.sales["reconcile"]
    good, bad = ("x0", "a", "2020-01-06", 1, _at(9)), ("x1", "a", "2020-01-06", "?", _at(1))
    chain.lines(good, bad, ("x2", "a", "2020-01-06", "?", _at(1)))
    ingest(chain.project())
    chain.lines(good, ("x1", "a", "2020-01-06", 2, _at(10)))
    assert _counts(ingest(chain.project())) == (2, 1, 0, 1, 0, 0)
    rows = [r[0] for r in chain.read("rejected_rows", "raw_row")]
    assert len(rows) == 1
    assert '"x2"' in rows[0]


def test_few_new_rows_are_measured_against_all(chain: Chain) -> None:
    chain.changes["max_rejected"] = 0.02
    rows: list[Row] = [(f"x{i}", "a", "2020-01-06", 1, _at(1)) for i in range(97)]
    rows.append(("x97", "a", "2020-01-06", 1, _at(7)))
    chain.lines(*rows)
    ingest(chain.project())
    rows += [("y1", "a", "2020-01-06", "?", _at(9)), ("y2", "a", "2020-01-06", "?", _at(9))]
    chain.lines(*rows)
    result = ingest(chain.project())
    assert (result.rows_read, result.rows_rejected) == (3, 2)
    before = runs.named_versions(chain.project())
    chain.lines(*rows, ("y3", "a", "2020-01-06", "?", _at(20)))
    with pytest.raises(ContractError) as caught:
        ingest(chain.project())
    assert caught.value.code is Code.TOO_MANY_REJECTED
    assert "3 of 101 rows of lines" in caught.value.message
    assert runs.named_versions(chain.project()) == before
    chain.lines(*rows)
    chain.changes["max_rejected"] = 0.01
    with pytest.raises(ContractError) as caught:
        ingest(chain.project())
    assert "2 of 100 rows of lines" in caught.value.message


# ---------------------------------------------------------------------- faults of our own


@pytest.mark.parametrize(
    ("statement", "was", "would_be", "code"),
    [
        ("aggregated_anew", "c.row__change IS NULL", "TRUE", Code.AMOUNTS_DO_NOT_BALANCE),
        ("aggregated_anew", "'inserted', 'updated'", "'inserted'", Code.AMOUNTS_DO_NOT_BALANCE),
        ("compared", "<> 'unchanged'", "= 'inserted'", Code.ROWS_DO_NOT_BALANCE),
    ],
)
def test_a_fault_of_our_own_is_found_before_the_first_commit(
    chain: Chain,
    monkeypatch: pytest.MonkeyPatch,
    statement: str,
    was: str,
    would_be: str,
    code: Code,
) -> None:
    rows = [("x1", "a", "2020-01-06", 1, _at(9)), ("x2", "a", "2020-01-06", 2, _at(1))]
    chain.lines(*rows)
    ingest(chain.project())
    before = runs.named_versions(chain.project())
    chain.lines(("x1", "a", "2020-01-06", 5, _at(10)), *[("x3", "b", "2020-01-06", i, _at(10 + i))
                                                         for i in (1, 2)])  # fmt: skip
    true = bench._statement
    monkeypatch.setattr(
        bench,
        "_statement",
        lambda name: true(name).replace(was, would_be) if name == statement else true(name),
    )
    with pytest.raises(ContractError) as caught:
        ingest(chain.project())
    assert caught.value.code is code
    assert runs.named_versions(chain.project()) == before


def test_whole_months_are_compared() -> None:
    assert reconcile.first_day(date(2020, 3, 31), 30) == date(2020, 3, 1)
    assert reconcile.first_day(date(2020, 3, 31), 31) == date(2020, 2, 1)
    assert reconcile.first_day(date(2020, 3, 31), 10**9) == date(1900, 1, 1)
