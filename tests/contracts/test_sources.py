"""What every source keeps to, whatever lies behind it.

On SQL Server where ``STORECAST_TEST_MSSQL_URL`` names one.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from storecast.adapters.sources.files import FilesSource
from storecast.adapters.sources.sqlite import SqliteSource
from storecast.adapters.sources.table import TableSource
from storecast.core.schema import AMOUNT, DAY
from storecast.errors import Code, SourceError
from storecast.ingestion.contract import Feed, Field, Kind, check
from storecast.ports import TALLY, Relation, Source, Span, Tallied
from tests.databases import Database, mssql, postgres

IDS = ["001", "1", "1e5", "NULL", "nan", "12345678901234567890", "São João", "a", "A", "x'y\"z",
       "'; DROP TABLE rows; --", "日本", "😀", "[x]", "%_"]  # fmt: skip
Columns = dict[str, pa.Array]


class Place:
    """Makes relations of one kind of source, and opens it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, columns: Columns) -> Relation:
        raise NotImplementedError

    def open(self) -> Source:
        raise NotImplementedError


class Sqlite(Place):
    def make(self, columns: Columns) -> Relation:
        with closing(sqlite3.connect(self.folder / "chain.db")) as connection, connection:
            names = ", ".join(f'"{name}"' for name in columns)
            connection.execute(f"CREATE TABLE rows ({names})")
            marks = ", ".join("?" * len(columns))
            values = [[_for_sqlite(v) for v in c.to_pylist()] for c in columns.values()]
            connection.executemany(f"INSERT INTO rows VALUES ({marks})", zip(*values, strict=True))
        return Relation("rows")

    def open(self) -> Source:
        return SqliteSource(self.folder / "chain.db")


def _for_sqlite(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return value.isoformat() if isinstance(value, date) else (
        str(value) if isinstance(value, Decimal) else value
    )  # fmt: skip


class Csv(Place):
    def make(self, columns: Columns) -> Relation:
        pyarrow.csv.write_csv(pa.table(columns), self.folder / "rows.csv")
        return Relation("rows.csv")

    def open(self) -> Source:
        return FilesSource(self.folder)


class Parquet(Place):
    def make(self, columns: Columns) -> Relation:
        table = pa.table(columns)
        pyarrow.parquet.write_table(
            table, self.folder / "rows.parquet", row_group_size=max(3, table.num_rows // 20)
        )
        return Relation("rows.parquet")

    def open(self) -> Source:
        return FilesSource(self.folder)


class Delta(Place):
    def make(self, columns: Columns) -> Relation:
        table = pa.table({n: c.cast(pa.string()) if pa.types.is_null(c.type) else c
                          for n, c in columns.items()})  # fmt: skip
        path = self.folder / "lakehouse" / "main" / "bronze" / "rows"
        path.parent.mkdir(parents=True, exist_ok=True)
        deltalake.write_deltalake(str(path), table)
        return Relation("bronze.rows")

    def open(self) -> Source:
        return TableSource(self.folder, "main", "storecast")


class Served(Place):
    """On a server."""

    def __init__(self, folder: Path, database: Database) -> None:
        super().__init__(folder)
        self.database = database

    def make(self, columns: Columns) -> Relation:
        return Relation(self.database.arrow_table(columns))

    def open(self) -> Source:
        source: Source = self.database.source()
        return source


SQL = ["sqlite", "postgresql", "mssql"]


@pytest.fixture(params=["sqlite", "csv", "parquet", "delta", "postgresql", "mssql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with contextlib.ExitStack() as stack:
        if request.param in ("postgresql", "mssql"):
            database = stack.enter_context(mssql() if request.param == "mssql" else postgres())
            yield Served(tmp_path, database)
            return
        kinds = {"sqlite": Sqlite, "csv": Csv, "parquet": Parquet, "delta": Delta}
        yield kinds[request.param](tmp_path)


Given = Callable[[Columns], tuple[Source, Relation]]


@pytest.fixture
def given(place: Place) -> Iterator[Given]:
    opened: list[Source] = []

    def make(columns: Columns) -> tuple[Source, Relation]:
        relation = place.make(columns)
        opened.append(place.open())
        return opened[-1], relation

    yield make
    for source in opened:
        source.close()
        source.close()


only_sql = pytest.mark.parametrize("place", SQL, indirect=True)


def _rows(
    source: Source, relation: Relation, columns: list[str], span: Span | None = None
) -> dict[str, list[Any]]:
    read: dict[str, list[Any]] = {name: [] for name in columns}
    for batch in source.read(relation, columns, span):
        assert batch.schema.names == columns
        assert batch.num_rows > 0
        for name in columns:
            read[name] += batch[name].to_pylist()
    return read


def test_identifiers_come_as_they_are(given: Given) -> None:
    source, relation = given({"id": pa.array(IDS)})
    assert sorted(_rows(source, relation, ["id"])["id"]) == sorted(IDS)


def _drawn(n: int) -> list[str]:
    """Identifiers of whatever a text column holds but control characters, never spaces alone."""
    draw = random.Random(5)
    letters = [chr(c) for c in range(0x20, 0x1F700)]
    letters = [c for c in letters if unicodedata.category(c) not in ("Cc", "Cs", "Cn", "Co")]
    hard = "0019 ,;\"'`|\\/éÉe\u0301ß🏪𝟙٣%{}$#_[]\u200b\ufeff\u00a0"
    ids = ["".join(draw.choices(letters if i % 2 else hard, k=1 + i % 9)) for i in range(n)]
    return [i for i in ids if i.strip(" ")]


def test_an_accepted_identifier_is_the_source_s_to_the_character(given: Given) -> None:
    ids = [*IDS, " lead", "trail ", "a  b", *_drawn(600)]
    source, relation = given({"n": pa.array(range(len(ids))), "id": pa.array(ids)})
    fields = (Field("n", "n", Kind.KEY), Field("store_id", "id", Kind.IDENTIFIER))
    feed = Feed("sales", "sales", relation, fields, ("n",))
    kept: dict[str, str] = {}
    for batch in source.read(relation, feed.sources):
        checked = check(batch, feed)
        assert checked.rejected.num_rows == 0
        kept.update(zip(*(c.to_pylist() for c in checked.accepted.columns), strict=True))
    assert kept == {str(n): i for n, i in enumerate(ids)}


def test_a_null_is_not_an_empty_text(given: Given) -> None:
    source, relation = given({"n": pa.array([1, 2, 3]), "id": pa.array([None, "", "x"])})
    read = _rows(source, relation, ["n", "id"])
    assert dict(zip(map(int, read["n"]), read["id"], strict=True)) == {1: None, 2: "", 3: "x"}


def test_a_text_may_come_after_thousands_of_nulls(given: Given) -> None:
    column = pa.array([None] * 70_000 + ["late"])
    source, relation = given({"n": pa.array(range(70_001)), "id": column})
    read = _rows(source, relation, ["n", "id"])["id"]
    assert len(read) == 70_001
    assert [v for v in read if v is not None] == ["late"]


def test_an_empty_relation_has_columns_and_no_rows(given: Given) -> None:
    source, relation = given({"id": pa.array([], pa.string()), "n": pa.array([], pa.int64())})
    assert [c.name for c in source.columns(relation)] == ["id", "n"]
    assert list(source.read(relation, ["id"])) == []


def test_columns_are_read_in_the_order_asked(given: Given) -> None:
    names = ["a b", "ç", "from", "x.y", "SELECT"]
    source, relation = given({name: pa.array([str(n)]) for n, name in enumerate(names)})
    assert [c.name for c in source.columns(relation)] == names
    assert _rows(source, relation, ["from", "a b"]) == {"from": ["2"], "a b": ["0"]}
    assert _rows(source, relation, ["SELECT", "x.y", "ç"]) == {
        "SELECT": ["4"], "x.y": ["3"], "ç": ["1"],
    }  # fmt: skip


def test_a_relation_that_is_not_there_names_the_nearest(given: Given) -> None:
    source, relation = given({"id": pa.array(["1"])})
    with pytest.raises(SourceError) as caught:
        source.columns(Relation(str(relation.table).replace("rows", "rowz")))
    assert caught.value.code is Code.SOURCE_TABLE_NOT_FOUND
    assert f"did you mean {relation.table!r}" in caught.value.message
    # and the source is as good as before
    assert _rows(source, relation, ["id"]) == {"id": ["1"]}


def test_a_reading_that_is_left_does_not_hinder_the_next(given: Given) -> None:
    source, relation = given({"id": pa.array(["é" * 300] * 30_000)})
    for _ in range(3):
        assert next(source.read(relation, ["id"])).num_rows > 0
    assert len(_rows(source, relation, ["id"])["id"]) == 30_000


def test_a_place_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for source in (SqliteSource(tmp_path / "none.db"), FilesSource(tmp_path / "none")):
        with pytest.raises(SourceError) as caught:
            source.columns(Relation("rows"))
        assert caught.value.code is Code.SOURCE_UNREACHABLE
        assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- values


def test_values_are_what_the_rules_make_of_them(given: Given) -> None:
    days = [date(2021, 1, 1), date(1900, 1, 1), date(2200, 12, 31), None]
    moments = [datetime(2021, 1, 1, 23, 59, 59, 123456), datetime(1900, 1, 1), None,
               datetime(2021, 6, 1, 12)]  # fmt: skip
    amounts = [Decimal("0.1000"), Decimal("-99999999999999.9999"), None, Decimal("1234.5600")]
    source, relation = given(
        {
            "n": pa.array(range(4)),
            "d": pa.array(days, DAY),
            "t": pa.array(moments, pa.timestamp("us")),
            "a": pa.array(amounts, AMOUNT),
        }
    )
    fields = (Field("n", "n", Kind.KEY), Field("d", "d", Kind.OPTIONAL_DATE),
              Field("t", "t", Kind.TIMESTAMP), Field("a", "a", Kind.AMOUNT))  # fmt: skip
    feed = Feed("sales", "sales", relation, fields, ("n",))
    read = []
    for batch in source.read(relation, ["n", "d", "t", "a"]):
        checked = check(batch, feed)
        assert checked.rejected["reason_code"].to_pylist() == [Code.NULL_SALES]
        read += [(int(r["n"]), r["d"], r["t"], r["a"]) for r in checked.accepted.to_pylist()]
    read.sort(key=lambda row: row[0])
    utc = [t.replace(tzinfo=UTC) if t is not None else None for t in moments]
    wanted = list(zip(range(4), days, utc, amounts, strict=True))
    assert read == [row for row in wanted if row[3] is not None]


# ---------------------------------------------------------------------- to be asked for less

SPAN = Span("d", date(2021, 1, 10), date(2021, 1, 20), ("w",))
DAYS = [date(2021, 1, 9), date(2021, 1, 10), date(2021, 1, 19), date(2021, 1, 20), None]


@pytest.mark.parametrize("kind", ["date", "timestamp", "text"])
def test_a_span_gives_its_days_and_what_is_null(place: Place, given: Given, kind: str) -> None:
    type_ = {"date": DAY, "timestamp": pa.timestamp("us"), "text": pa.string()}[kind]
    days = pa.array(DAYS, DAY).cast(type_)
    more = pa.array([DAYS[0]] * 3, DAY).cast(type_)
    source, relation = given(
        {
            "n": pa.array(range(8)),
            "d": pa.concat_arrays([days, more]),
            "w": pa.array(["x"] * 5 + [None, "x", ""]),
        }
    )
    read = sorted(int(n) for n in _rows(source, relation, ["n"], SPAN)["n"])
    assert {1, 2, 4, 5} <= set(read)
    if not (isinstance(place, Served) and kind == "text"):
        assert {0, 3, 6}.isdisjoint(read)
    since = _rows(source, relation, ["n"], Span("d", date(2021, 1, 10)))["n"]
    assert {1, 2, 3, 4} <= {int(n) for n in since}
    assert len(_rows(source, relation, ["n"], Span("d"))["n"]) == 8
    # what has no days is read whole
    assert len(_rows(source, relation, ["d"], Span("n", date(2021, 1, 10)))["d"]) == 8


@pytest.mark.parametrize("kind", ["date", "text"])
def test_a_span_gives_what_no_day_is_elsewhere(given: Given, kind: str) -> None:
    text = ["2020-01-01", "2020-12-31", "1753-01-01", "9999-12-31"]
    type_ = pa.string() if kind == "text" else DAY
    more = ["31/02/2020", "2020-02-30", "2020-01-01x", ""] if kind == "text" else []
    days = pa.concat_arrays([pa.array(text).cast(type_), pa.array(more, type_)])
    old = pa.array([date(2020, 1, 1)] * len(days), DAY)
    source, relation = given({"n": pa.array(range(len(days))), "d": days, "w": old})

    def rows(span: Span) -> set[int]:
        return {int(n) for n in _rows(source, relation, ["n"], span)["n"]}

    elsewhere = rows(Span("w", date(2021, 1, 10), None, (), "d"))
    assert elsewhere >= (set(range(2, 8)) if kind == "text" else set())
    assert {0, 1}.isdisjoint(elsewhere)
    itself = rows(Span("d", date(2021, 1, 10), date(2021, 2, 1), (), "d"))
    assert itself >= set(range(2, len(days)))


def test_a_tally_says_what_adding_up_says_or_nothing(given: Given) -> None:
    rows = [
        ("001", date(2021, 1, 1), "1.5000"), ("001", date(2021, 1, 31), "-0.1000"),
        ("001", date(2021, 2, 1), "7.0000"), ("1", date(2021, 1, 1), "0.0001"),
        ("a", date(2021, 1, 9), "1.0000"), ("A", date(2021, 1, 9), "2.0000"),
        (None, date(2021, 1, 9), "3.0000"), ("é'x", None, "4.0000"),
        ("é'x", date(2021, 3, 31), None), ("é'x", date(2021, 3, 1), "99999999999999.9999"),
    ]  # fmt: skip
    columns = list(zip(*rows, strict=True))
    source, relation = given(
        {
            "loja": pa.array(columns[0]),
            "dia": pa.array(columns[1], DAY),
            "valor": pa.array([None if v is None else Decimal(v) for v in columns[2]], AMOUNT),
        }
    )
    for since in (None, date(2021, 1, 9)):
        tally = source.tally(relation, Tallied("loja", "dia", "valor", since))
        if tally is None:
            continue
        assert tally.schema == TALLY
        wanted: dict[tuple[str, date], tuple[int, Decimal]] = {}
        for store, day, amount in rows:
            if store is not None and day is not None and (since is None or day >= since):
                n, total = wanted.get((store, day.replace(day=1)), (0, Decimal("0.0000")))
                wanted[store, day.replace(day=1)] = n + 1, total + Decimal(amount or 0)
        found = {(r["store_id"], r["month"]): (r["n_rows"], r["amount"]) for r in tally.to_pylist()}
        assert found == wanted
        assert tally.num_rows == len(wanted)


@only_sql
def test_a_database_counts(given: Given) -> None:
    source, relation = given({"loja": pa.array(["1"]), "dia": pa.array([date(2021, 1, 1)]),
                              "valor": pa.array([Decimal("1.5")], AMOUNT)})  # fmt: skip
    assert source.tally(relation, Tallied("loja", "dia", "valor")) is not None
    query = Relation(query=f"SELECT loja, dia, valor FROM {_from(source, relation)}")
    assert source.tally(query, Tallied("loja", "dia", "valor")) is not None
    empty = Relation(query=f"SELECT loja, dia, valor FROM {_from(source, relation)} WHERE 1 = 0")
    tally = source.tally(empty, Tallied("loja", "dia", "valor"))
    assert tally is not None
    assert tally.num_rows == 0


def test_different_texts_are_not_equal(given: Given) -> None:
    source, relation = given({"id": pa.array(["x1", "x2", "é", "'; --"])})
    pairs = [("x1", "x2"), ("é", "'; --"), ("x1", "not there")]
    assert source.first_equal(relation, "id", pairs) is None
    assert source.first_equal(relation, "id", []) is None
    many = [("x1", f"{n}'é") for n in range(3000)]
    assert source.first_equal(relation, "id", many) is None


def test_a_column_without_a_row_calls_nothing_equal(given: Given) -> None:
    source, relation = given({"id": pa.array([], pa.string())})
    assert source.first_equal(relation, "id", [("a", "A")]) is None


def test_all_readings_see_one_state(place: Place, given: Given) -> None:
    if isinstance(place, Csv | Parquet):
        pytest.skip("files have no state")
    source, relation = given({"n": pa.array([1])})
    assert _rows(source, relation, ["n"])["n"] in ([1], ["1"])
    if isinstance(place, Served):
        place.database.fill(str(relation.table), [(2,)])
        if type(place.database).__name__ == "Mssql" and not _has_snapshots(source):
            pytest.skip("this database has no snapshots")
    elif isinstance(place, Delta):
        more = pa.table({"n": pa.array([2])})
        deltalake.write_deltalake(
            str(place.folder / "lakehouse" / "main" / "bronze" / "rows"), more, mode="append"
        )
    else:
        pytest.skip("SQLite's own: tests/adapters/test_sqlite_asked.py")
    assert len(_rows(source, relation, ["n"])["n"]) == 1
    with closing(place.open()) as later:
        assert len(_rows(later, relation, ["n"])["n"]) == 2


def _has_snapshots(source: Any) -> bool:
    from storecast.adapters.sources import mssql_statements

    return bool(source._rows(mssql_statements.SNAPSHOTS, "snapshots")[0][0] == 1)


# ---------------------------------------------------------------------- queries


def _from(source: Source, relation: Relation) -> str:
    """The table as a query names it."""
    return f'"{relation.table}"' if not isinstance(source, SqliteSource) else str(relation.table)


@only_sql
def test_queries_are_tables(given: Given) -> None:
    source, relation = given({"id": pa.array(["1", "2", "3"]), "n": pa.array([1, 2, 3])})
    name = _from(source, relation)
    for text in (
        f'SELECT id AS "A b", n FROM {name} WHERE n > 1; ',
        f'SELECT id AS "A b", n FROM {name} WHERE n > 1 -- the end',
        f'WITH big AS (SELECT * FROM {name} WHERE n > 1) SELECT id AS "A b", n FROM big',
        f'SELECT id AS "A b", n FROM {name} WHERE n > 1 ORDER BY n',
        f'SELECT id AS "A b", n FROM {name} WHERE n = 2 UNION ALL '
        f"SELECT id, n FROM {name} WHERE n = 3 ORDER BY n",
    ):
        query = Relation(query=text)
        assert [c.name for c in source.columns(query)] == ["A b", "n"]
        assert sorted(_rows(source, query, ["A b"])["A b"]) == ["2", "3"]
        assert source.first_equal(query, "A b", [("2", "3")]) is None


@only_sql
def test_a_query_with_two_columns_of_one_name(given: Given) -> None:
    source, relation = given({"id": pa.array(["1"])})
    query = Relation(query=f"SELECT id, id FROM {_from(source, relation)}")
    assert [c.name for c in source.columns(query)] == ["id", "id"]
    if isinstance(source, SqliteSource):
        return  # it takes the first: whoever asks has seen that there are two
    with pytest.raises(SourceError) as caught:
        list(source.read(query, ["id"]))
    assert caught.value.code is Code.SOURCE_COLUMN_AMBIGUOUS


@only_sql
@pytest.mark.parametrize(
    "query",
    [
        "selec 1",
        "DELETE FROM {}",
        "SELECT nothing FROM {}",
        "SELECT 1) AS x; DROP TABLE {}; --",
        "SELECT id FROM {}; DELETE FROM {}",
    ],
)
def test_a_query_that_fails_or_writes(given: Given, query: str) -> None:
    source, relation = given({"id": pa.array(["1"])})
    asked = Relation(query=query.replace("{}", _from(source, relation)))
    with pytest.raises(SourceError) as caught:
        list(source.read(asked, ["id"]))
    assert caught.value.code is Code.SOURCE_QUERY_FAILED
    if not isinstance(source, SqliteSource):
        with pytest.raises(SourceError) as caught:
            source.columns(asked)
        assert caught.value.code is Code.SOURCE_QUERY_FAILED
    assert _rows(source, relation, ["id"]) == {"id": ["1"]}
