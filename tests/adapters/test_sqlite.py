"""What is SQLite's own: storage classes that differ from row to row."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from storecast.adapters.sources.sqlite import SqliteSource
from storecast.errors import Code, SourceError
from storecast.ingestion.contract import Feed, Field, Kind, rejected
from storecast.ingestion.rules import Written, amounts
from storecast.ports import HOLDS_FLOATS, Relation

PLACES = Decimal("0.0001")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "a b?#%.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            'CREATE TABLE "x "" y" (id, n REAL, t TEXT, i INTEGER NOT NULL, w TEXT NOT NULL)'
        )
        connection.executemany(
            'INSERT INTO "x "" y" VALUES (?, ?, ?, ?, ?)',
            [
                ("001", 1.5, None, 1, "w"),
                (1, float("inf"), "", 2, "é"),
                (1.0, "text", "NULL", 3, ""),
                (b"\x01\xff", None, "é", 4, "a"),
                (None, 0.1, "x", 5, "b"),
            ],
        )
        connection.execute('CREATE VIEW shown AS SELECT id, t FROM "x "" y"')
    return path


def test_each_value_keeps_its_own_class(database: Path) -> None:
    source = SqliteSource(database)
    with closing(source):
        (batch,) = source.read(Relation('x " y'), ["id", "n", "t", "i", "w"])
    assert batch.to_pydict() == {
        "id": ["001", "1", "1.0", "\x0101FF", None],
        "n": ["1.5", "inf", "text", None, "0.1"],
        "t": [None, "", "NULL", "é", "x"],
        "i": ["1", "2", "3", "4", "5"],
        "w": ["w", "é", "", "a", "b"],
    }
    marked = [f.name for f in batch.schema if HOLDS_FLOATS in (f.metadata or {})]
    assert marked == ["id", "n"]


def test_fractions_are_the_numbers_that_sqlite_writes(tmp_path: Path) -> None:
    path, random = tmp_path / "f.db", Random(5)
    amounts_in_use = [round(random.uniform(-1e9, 1e9), random.randrange(5)) for _ in range(2000)]
    values = [*amounts_in_use, 0.1 + 0.2, 0.00015, 2.675, -0.0, 1e15, 1e11 / 3, 1e300, 5e-324]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (n REAL, d DECIMAL(18, 4))")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(v, v) for v in values])
    with closing(SqliteSource(path)) as source:
        as_text = Relation(query="SELECT CAST(n AS TEXT) AS n, CAST(d AS TEXT) AS d FROM t")
        (written,) = source.read(as_text, ["n", "d"])
        (read,) = source.read(Relation("t"), ["n", "d"])
    for name in ("n", "d"):
        assert list(map(float, read[name].to_pylist())) == values
        n = len(amounts_in_use)
        ours, theirs = (amounts(b[name].slice(0, n), Written()) for b in (read, written))
        assert ours[0].to_pylist() == theirs[0].to_pylist()
        assert ours[0].to_pylist() == [Decimal(str(v)).quantize(PLACES) for v in values[:n]]


def test_a_fraction_is_one_row_whatever_it_came_with(tmp_path: Path) -> None:
    path = tmp_path / "f.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (n REAL)")
        connection.executemany("INSERT INTO t VALUES (?)", [(100,), (75.12,), (None,)])
    with closing(SqliteSource(path)) as source:
        (alone,) = source.read(Relation("t"), ["n"])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO t VALUES ('x')")
    with closing(SqliteSource(path)) as source:
        (mixed,) = source.read(Relation("t"), ["n"])
    assert alone["n"].to_pylist() == [100.0, 75.12, None]
    assert mixed["n"].to_pylist() == ["100", "75.12", None, "x"]
    feed = Feed("sales", "sales", Relation("t"), (Field("n", "n", Kind.AMOUNT),), ("n",))
    rows = [rejected(b.slice(0, 3), feed, [(Code.NULL_SALES, None)] * 3) for b in (alone, mixed)]
    assert rows[0]["raw_row"].to_pylist() == rows[1]["raw_row"].to_pylist()


def test_views_and_queries(database: Path) -> None:
    source = SqliteSource(database)
    query = Relation(query='SELECT id AS "A b", 1 AS one FROM shown; ')
    with closing(source):
        assert [c.name for c in source.columns(Relation("SHOWN"))] == ["id", "t"]
        assert [c.name for c in source.columns(query)] == ["A b", "one"]
        (batch,) = source.read(query, ["A b"])
        twice = Relation(query="SELECT id, id FROM shown")
        assert [c.name for c in source.columns(twice)] == ["id", "id"]
    assert batch["A b"].to_pylist() == ["001", "1", "1.0", "\x0101FF", None]


def test_no_query_acts_on_another_database(database: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("CREATE TABLE t (c)")
        connection.execute("INSERT INTO t VALUES (1)")
    with closing(SqliteSource(database)) as source:
        for query in (
            f"ATTACH '{other}' AS o", "DELETE FROM o.t", "commit", "PRAGMA journal_mode = DELETE",
            f"VACUUM INTO '{tmp_path / 'copy.db'}'", "SELECT 1 AS c) AS r; DELETE FROM o.t --",
        ):  # fmt: skip
            with pytest.raises(SourceError) as caught:
                source.columns(Relation(query=query))
            assert caught.value.code is Code.SOURCE_QUERY_FAILED
    with closing(sqlite3.connect(other)) as connection:
        assert connection.execute("SELECT c FROM t").fetchall() == [(1,)]
    assert not (tmp_path / "copy.db").exists()


@pytest.mark.parametrize("query", ["selec 1", 'DELETE FROM "x "" y"', "SELECT nothing FROM shown"])
def test_a_query_that_fails_or_writes(database: Path, query: str) -> None:
    before = database.read_bytes()
    source = SqliteSource(database)
    with closing(source):
        for ask in (lambda r: source.columns(r), lambda r: list(source.read(r, ["id"]))):
            with pytest.raises(SourceError) as caught:
                ask(Relation(query=query))
            assert caught.value.code is Code.SOURCE_QUERY_FAILED
    assert database.read_bytes() == before


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "no.db").write_text("store,date\n" * 200)
    source = SqliteSource(tmp_path / "no.db")
    with closing(source), pytest.raises(SourceError) as caught:
        source.columns(Relation("sales"))
    assert caught.value.code is Code.SOURCE_UNREACHABLE


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "latin.db")) as connection, connection:
        connection.execute("CREATE TABLE t (a TEXT, b TEXT NOT NULL)")
        connection.execute("INSERT INTO t VALUES (CAST(x'e9' AS TEXT), CAST(x'e9' AS TEXT))")
    source = SqliteSource(tmp_path / "latin.db")
    with closing(source):
        for name in ("a", "b"):
            with pytest.raises(SourceError) as caught:
                list(source.read(Relation("t"), [name]))
            assert caught.value.code is Code.SOURCE_QUERY_FAILED
            assert caught.value.expected == "UTF-8"


def test_a_semicolon_within_a_query_is_told_as_one(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("CREATE TABLE t (c)")
    with closing(SqliteSource(tmp_path / "a.db")) as source, pytest.raises(SourceError) as caught:
        source.columns(Relation(query="SELECT * FROM t ;  -- end"))
    assert "without a semicolon" in str(caught.value.next_step)
