"""What SQLite is asked to do itself: to leave rows out, to count, to compare by its collation."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from storecast.adapters.sources.sqlite import SqliteSource
from storecast.ingestion.rules import amounts
from storecast.ports import TALLY, Relation, Span, Tallied

WANTED = Tallied("loja", "dia", "valor")
JANUARY = date(2021, 1, 1)


def _database(folder: Path, rows: Sequence[tuple[Any, ...]], declared: str = "loja, dia, valor, w",
              name: str = "a.db") -> SqliteSource:  # fmt: skip
    with closing(sqlite3.connect(folder / name)) as connection, connection:
        connection.execute("DROP TABLE IF EXISTS t")
        connection.execute(f"CREATE TABLE t ({declared})")
        marks = ", ".join("?" * (declared.count(",") + 1))
        connection.executemany(f"INSERT INTO t VALUES ({marks})", rows)
    return SqliteSource(folder / name)


def _tally(source: SqliteSource, wanted: Tallied = WANTED) -> dict[tuple[str, str], Any]:
    with closing(source):
        found = source.tally(Relation("t"), wanted)
    assert found is not None
    assert found.schema == TALLY
    rows = found.to_pylist()
    by_key = {(r["store_id"], str(r["month"])): (r["n_rows"], r["amount"]) for r in rows}
    assert len(by_key) == len(rows)
    return by_key


@pytest.mark.parametrize(
    ("value", "comes"),
    [
        ("2021-01-09", False), ("2021-01-10", True), ("2021-01-19 23:59:59.9", True),
        ("2021-01-20", False), ("2021-01-20T00:00", False), ("2021-01-09 23:59:59", False),
        ("2021-01-09T23:00:00-03:00", True), ("2021-01-20 01:00+02", True),
        ("2021-01-08T23:00-03:00", False), ("2021-01-21T01:00+02:00", False),
        (None, True), ("", True), ("09/01/2021", True), (20210109, True), (2459223.5, True),
        (b"2021-01-09", True),
    ],
)  # fmt: skip
def test_a_span_gives_its_days_and_what_is_no_day(tmp_path: Path, value: Any, comes: bool) -> None:
    source = _database(tmp_path, [("1", value, 1, "x")])
    with closing(source):
        span = Span("dia", date(2021, 1, 10), date(2021, 1, 20))
        assert bool(list(source.read(Relation("t"), ["loja"], span))) == comes
        assert list(source.read(Relation("t"), ["loja"], Span("dia")))


@pytest.mark.parametrize(("w", "comes"), [(None, True), ("", False), ("x", False), (0, False)])
def test_a_span_gives_what_is_null_elsewhere(tmp_path: Path, w: Any, comes: bool) -> None:
    source = _database(tmp_path, [("1", "2020-01-01", 1, w)])
    with closing(source):
        span = Span("dia", JANUARY, None, ("w",))
        assert bool(list(source.read(Relation("t"), ["loja"], span))) == comes


@pytest.mark.parametrize(
    ("value", "comes"),
    [
        ("2020-01-01", False), ("1900-01-01", False), ("2200-12-31", False), ("2020-02-29", False),
        ("2020-01-01 10:00:00", False), ("2020-01-01T23:59:59", False),
        ("2020-01-01 10:00:00.123456", False),
        ("1899-12-31", True), ("2201-01-01", True), ("9999-12-31", True), ("2021-02-29", True),
        ("31/02/2020", True), ("2020-13-01", True), ("2020-1-1", True), ("", True), (None, True),
        ("2020-01-01 24:00:00", True), ("2020-01-01 10:00:00.x", True), ("2020-01-01x", True),
        ("2020-01-01 10:00:00.1+", True), (20200101, True), (2459000.5, True),
        (b"2020-01-01", True), ("now", True), ("2020-02-31 10:00:00", True),
    ],
)  # fmt: skip
def test_a_span_gives_what_is_undated_elsewhere(tmp_path: Path, value: Any, comes: bool) -> None:
    source = _database(tmp_path, [("1", value, 1, "2020-01-01")])
    with closing(source):
        span = Span("w", JANUARY, None, ("dia",), "dia")
        assert bool(list(source.read(Relation("t"), ["loja"], span))) == comes


def test_a_tally_counts_rows_and_sums_amounts(tmp_path: Path) -> None:
    rows = [
        ("1", "2021-01-01", "0.1"), ("1", "2021-01-31 10:00", 0.2), ("1", "2021-02-01", 7),
        ("01", "2021-01-05", "-3.50"), ("a", "2021-01-05", 1), ("A", "2021-01-05", 2),
        (1, "2021-01-05", "1e2"),
        # amounts that nobody can read are nothing
        ("x", "2021-01-01", "1,5"), ("x", "2021-01-01", "abc"), ("x", "2021-01-01", None),
        ("x", "2021-01-01", ""), ("x", "2021-01-01", float("inf")), ("x", "2021-01-01", "1 2"),
        ("x", "2021-01-01", " 5"),
        ("x", "2021-01-01", "1.2.3"), ("x", "2021-01-01", "1-2"), ("x", "2021-01-01", "."),
        ("x", "2021-01-01", "100000000000000.5"), ("y", "2021-01-01", "00099999999999999.9999"),
        ("y", "2021-01-01", "-.5"), ("y", "2021-01-01", "5."), ("y", "2021-01-01", "-0.0001"),
        ("x", "2021-01-01", 10**14), ("x", "2021-01-01", b"5"), ("x", "2021-01-01", "0x10"),
        # rows without store or day are in no month
        (None, "2021-01-01", 5), ("1", None, 5), ("1", "2021-02-30", 5), ("1", "2021-1-1", 5),
        ("1", 20210101, 5), ("1", "01/01/2021", 5), ("1", "1753-01-01", 5), ("1", "2021-13-01", 5),
    ]  # fmt: skip
    source = _database(tmp_path, rows, "loja COLLATE NOCASE, dia, valor")
    assert _tally(source) == {
        ("1", "2021-01-01"): (3, Decimal("100.3000")),
        ("1", "2021-02-01"): (1, Decimal("7.0000")),
        ("01", "2021-01-01"): (1, Decimal("-3.5000")),
        ("a", "2021-01-01"): (1, Decimal("1.0000")),
        ("A", "2021-01-01"): (1, Decimal("2.0000")),
        ("x", "2021-01-01"): (14, Decimal("0.0000")),
        ("y", "2021-01-01"): (4, Decimal("100000000000004.4998")),
    }


def test_a_tally_begins_on_a_day(tmp_path: Path) -> None:
    source = _database(
        tmp_path, [("1", "2021-01-09", 1), ("1", "2021-01-10T00:00", 2)], "loja, dia, valor"
    )
    since = Tallied("loja", "dia", "valor", date(2021, 1, 10))
    assert _tally(source, since) == {("1", "2021-01-01"): (1, Decimal("2.0000"))}


@pytest.mark.parametrize("declared", ["loja, dia, valor", "loja TEXT, dia TEXT, valor TEXT",
                                      "loja TEXT, dia DATE, valor DECIMAL"])  # fmt: skip
def test_a_tally_of_other_dates_is_none(tmp_path: Path, declared: str) -> None:
    source = _database(tmp_path, [("1", "31/01/2021", 1), ("1", 7, 1)], declared)
    with closing(source):
        assert source.tally(Relation("t"), WANTED) is None
    assert _tally(_database(tmp_path, [], declared)) == {}


def test_a_sum_beyond_64_bits(tmp_path: Path) -> None:
    source = _database(tmp_path, [("1", "2021-01-01", 99_999_999_999_999)] * 30,
                       "loja, dia, valor")  # fmt: skip
    assert _tally(source) == {("1", "2021-01-01"): (30, Decimal("2999999999999970.0000"))}


ORDINARY = (
    st.integers(-(10**9), 10**9)
    | st.floats(-(10**7), 10**7).map(lambda x: round(x, 4))
    | st.decimals(-(10**8), 10**8, places=5).map(str)
    | st.decimals(-(10**8), 10**8, places=2).map(str)
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example((["1.5", "102594300.58525"], "valor NUMERIC"))
@example((["3266953338.14225"], "valor REAL"))
@example(([81871911319.6262], "valor"))
@given(
    st.tuples(
        st.lists(ORDINARY | st.decimals(-(10**11), 10**11, places=5).map(str), min_size=1),
        st.sampled_from(["valor", "valor TEXT", "valor NUMERIC", "valor REAL", "valor INTEGER"]),
    )
    | st.tuples(
        st.lists(ORDINARY | st.decimals(-(10**14) + 1, 10**14 - 1, places=4).map(str), min_size=1),
        st.sampled_from(["valor", "valor TEXT"]),
    )
)
def test_a_tally_sums_what_the_rules_make_of_the_rows(
    tmp_path: Path, case: tuple[list[Any], str]
) -> None:
    values, declared = case
    source = _database(tmp_path, [("1", "2021-01-01", v) for v in values], f"loja, dia, {declared}")
    with closing(source):
        (batch,) = source.read(Relation("t"), ["valor"])
        found = source.tally(Relation("t"), WANTED)
    assert found is not None
    accepted, _ = amounts(batch["valor"], False)
    assert found["amount"].to_pylist() == [sum(accepted.to_pylist(), Decimal(0))]


@pytest.mark.parametrize(
    ("declared", "equal"),
    [("id", False), ("id TEXT", False), ("id TEXT COLLATE NOCASE", True),
     ("id INTEGER", False)],
)  # fmt: skip
@pytest.mark.parametrize("relation", [Relation("t"), Relation(query="SELECT id FROM t -- all")])
def test_equal_is_what_the_collation_says(
    tmp_path: Path, declared: str, equal: bool, relation: Relation
) -> None:
    source = _database(tmp_path, [("aB'c",), ("ab'C",), ("x",)], declared)
    with closing(source):
        pair = ("aB'c", "ab'C")
        assert source.first_equal(relation, "id", [pair]) == (pair if equal else None)
        assert source.first_equal(relation, "id", [("aB'c", "x"), ("aB'c", "not there")]) is None
        # among thousands of others, and the first of several
        many = [("x", f"y{n}") for n in range(1500)]
        among = [*many[:700], pair, *many[700:], ("ab'C", "aB'c")]
        assert source.first_equal(relation, "id", among) == (pair if equal else None)


def test_all_readings_see_one_state(tmp_path: Path) -> None:
    source = _database(tmp_path, [("1", "2021-01-01", 1)], "loja, dia, valor")
    with closing(sqlite3.connect(tmp_path / "a.db")) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        with closing(source):
            first = [b.num_rows for b in source.read(Relation("t"), ["loja"])]
            with writer:
                writer.execute("INSERT INTO t VALUES ('1', '2021-01-02', 2)")
            assert [b.num_rows for b in source.read(Relation("t"), ["loja"])] == first == [1]
            tally = source.tally(Relation("t"), WANTED)
    assert isinstance(tally, pa.Table)
    assert tally["n_rows"].to_pylist() == [1]
