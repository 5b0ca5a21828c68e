"""Store identifiers: to the character, and two that the source calls one are refused."""

from __future__ import annotations

import csv
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import storecast
from storecast.errors import Code, ContractError
from storecast.ingestion import collisions
from storecast.ingestion.contract import Feed, Field, Kind, check
from storecast.ingestion.step import ingest
from storecast.ports import Relation, Source
from tests.databases import Database, Mssql, Postgres, mssql, postgres

from .chains import LINES, Chain

DAY = "2020-01-06"


def _refused(chain: Chain) -> ContractError:
    with pytest.raises(ContractError) as caught:
        ingest(chain.project())
    assert caught.value.code is Code.IDENTIFIERS_COLLIDE
    assert chain.project().tables.names() == ["runs"]
    return caught.value


def _sold_by(chain: Chain, *stores: str, collation: str = "BINARY") -> None:
    columns = ["id", f"store TEXT COLLATE {collation}", *LINES[2:]]
    rows = [(f"x{i}", store, DAY, 1, None) for i, store in enumerate(stores)]
    chain.table("lines", columns, rows)


# ------------------------------------------------------------------ two that are one


@pytest.mark.parametrize("other", ["a ", " a", "\u00a0a", "a\u2003"])
def test_identifiers_that_differ_in_spaces_alone(chain: Chain, other: str) -> None:
    _sold_by(chain, "a", other, "b")
    fault = _refused(chain)
    assert repr("a") in fault.message
    assert repr(other) in fault.message
    assert "trim the column" in str(fault.next_step)
    assert fault.where == "lines.store"


def test_spaces_count_across_relations(chain: Chain) -> None:
    _sold_by(chain, "a")
    chain.table("shops", ("shop",), [("a ",)])
    chain.source["stores"] = {"from": "shops", "columns": {"store_id": "shop"}}
    fault = _refused(chain)
    assert "'a' and 'a '" in fault.message
    assert fault.where == "'a' in lines.store; 'a ' in shops.shop"


def test_the_collation_decides_whether_case_makes_two_stores(chain: Chain) -> None:
    _sold_by(chain, "Loja", "LOJA", "x")
    assert ingest(chain.project()).stores == 3
    other = Chain(chain.folder / "other")
    other.folder.mkdir()
    _sold_by(other, "Loja", "LOJA", "x", collation="NOCASE")
    fault = _refused(other)
    assert fault.message == (
        "the store identifiers 'LOJA' and 'Loja' are one to the source: the collation of "
        "lines.store takes no account of the difference"
    )
    assert fault.found == "'LOJA', 'Loja'"


def test_of_two_relations_one_that_ignores_case_is_enough(chain: Chain) -> None:
    """Whoever joins the two in the source finds the shop of 'loja' in 'LOJA'."""
    _sold_by(chain, "loja")
    chain.table("shops", ("shop TEXT COLLATE NOCASE",), [("LOJA",)])
    chain.source["stores"] = {"from": "shops", "columns": {"store_id": "shop"}}
    assert "collation of shops.shop" in _refused(chain).message
    chain.table("shops", ("shop TEXT",), [("LOJA",)])
    result = ingest(chain.project())
    assert result.stores_without_row_examples == ("loja",)


def test_what_the_tables_have_counts_where_only_new_rows_come(chain: Chain) -> None:
    new = "2020-03-01 00:00:00"
    del chain.sales["reconcile"]
    columns = ["id", "store TEXT COLLATE NOCASE", *LINES[2:]]
    rows = [("x1", "loja", DAY, 1, "2020-01-10 00:00:00"), ("x0", "y", DAY, 1, new)]
    chain.table("lines", columns, rows)
    ingest(chain.project())
    for other in ("LOJA", "loja "):
        chain.table("lines", columns, [*rows, ("x2", other, DAY, 1, new)])
        with pytest.raises(ContractError) as caught:
            ingest(chain.project())
        assert caught.value.code is Code.IDENTIFIERS_COLLIDE
        assert repr("loja") in caught.value.message
        assert repr(other) in caught.value.message
        assert "storecast ingest --full" in str(caught.value.next_step)
        assert "'loja' in the tables, from an earlier run" in str(caught.value.where)
    # The source writes it in one way by now: the old row has the new name, and its old watermark.
    mended = [("x1", "LOJA", *rows[0][2:]), ("x2", "LOJA", DAY, 1, new)]
    chain.table("lines", columns, mended)
    ingest(chain.project(), full=True)
    assert {r[0] for r in chain.read("sales", "store_id")} == {"LOJA"}


def test_what_holds_for_one_pair_need_not_hold_for_the_next(chain: Chain) -> None:
    """NOCASE folds the letters of ASCII alone."""
    towns = ["Belém", "Brasília", "Cuiabá", "Goiânia", "Jundiaí", "Maceió"]
    pairs = [t for town in towns for t in (town, town.upper())]
    _sold_by(chain, *pairs, "Natal", "NATAL", collation="NOCASE")
    assert "'NATAL' and 'Natal'" in _refused(chain).message
    _sold_by(chain, *pairs, "Natal", collation="NOCASE")
    assert ingest(chain.project()).stores == 13


def test_pairs_that_another_column_has_hide_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each column has its own share of questions, and those of case come first."""
    asked: dict[str, list[tuple[str, str]]] = {}

    class Strict:
        def first_equal(self, relation: Relation, _column: str, pairs: Sequence[Any]) -> None:
            asked[str(relation)] = list(pairs)

    def feed(name: str) -> Feed:
        fields = (Field("store_id", "store", Kind.IDENTIFIER),)
        return Feed(name, "sales", Relation(name), fields, ("store_id",))

    many = {f"{c}{n}" for n in range(5) for c in "aAáÁ"}
    found = {feed("many"): many, feed("few"): {"zé"}, feed("none"): {"q"}}
    source: Any = Strict()
    monkeypatch.setattr(collisions, "_MOST", 20)
    collisions._refuse_equal_to_the_source(source, found, sorted({*many, "zé", "Ze", "q"}))
    assert list(asked) == ["many", "few"]
    assert asked["few"] == [("Ze", "zé")]
    same = [one.casefold() == other.casefold() for one, other in asked["many"]]
    assert same == [True] * 10 + [False] * 10


# ------------------------------------------------------------------ on database servers


@pytest.fixture(params=["postgresql", "mssql"])
def served(request: pytest.FixtureRequest) -> Iterator[Database]:
    with mssql() if request.param == "mssql" else postgres() as database:
        yield database


def _on(database: Database, chain: Chain, store_type: str, *stores: str) -> None:
    """Sales of the stores, in a table whose column of stores has the type."""
    columns = {"id": "int", "store": store_type, "day": "date", "amount": "decimal(18, 2)"}
    rows = [(n, store, date(2020, 1, 6), 1) for n, store in enumerate(stores)]
    chain.sales |= {"from": database.table(columns, rows)}
    for key in ("watermark", "reconcile"):
        chain.sales.pop(key, None)
    server = database.server
    chain.source |= {
        "type": "mssql" if isinstance(database, Mssql) else "postgresql",
        "host": server.host, "port": server.port, "database": server.database,
        "user": server.user, "password": server.password, "encrypt": server.encrypt,
        "trust_server_certificate": server.trust_certificate, "path": None,
    }  # fmt: skip


def _shops(database: Database, chain: Chain, store_type: str, *stores: str) -> None:
    table = database.table({"shop": store_type}, [(store,) for store in stores])
    chain.source["stores"] = {"from": table, "columns": {"store_id": "shop"}}


def test_padding_of_a_fixed_width_is_trimmed_and_only_that(chain: Chain, served: Database) -> None:
    _on(served, chain, "char(6)", "a", " b", "123456")
    _shops(served, chain, "varchar(9)", "a", " b")
    result = ingest(chain.project())
    assert [r[0] for r in chain.read("sales", "store_id")] == [" b", "123456", "a"]
    assert result.stores_without_row_examples == ("123456",)
    _shops(served, chain, "varchar(9)", "a ")
    with pytest.raises(ContractError) as caught:
        ingest(chain.project())
    assert caught.value.code is Code.IDENTIFIERS_COLLIDE
    assert "'a' and 'a '" in caught.value.message


@pytest.mark.parametrize("pair", [("Loja", "LOJA"), ("São", "SÃO")])
def test_a_server_s_collation_is_asked(
    chain: Chain, served: Database, pair: tuple[str, str]
) -> None:
    if isinstance(served, Postgres):
        # The server from PyPI has no collation that ignores case: it is built without ICU.
        _on(served, chain, 'text COLLATE "C"', *pair, "x")
        assert ingest(chain.project()).stores == 3
        return
    _on(served, chain, "nvarchar(20) COLLATE Latin1_General_BIN2", *pair, "x")
    assert ingest(chain.project()).stores == 3
    _on(served, chain, "nvarchar(20) COLLATE Latin1_General_CI_AS", *pair, "x")
    with pytest.raises(ContractError) as caught:
        ingest(chain.project())
    assert caught.value.code is Code.IDENTIFIERS_COLLIDE
    assert all(repr(store) in caught.value.message for store in pair)


# ------------------------------------------------------------------ stores without a row


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # MLflow and SQLAlchemy warn about themselves
def test_stores_without_a_row_go_through_a_validation_with_attributes(chain: Chain) -> None:
    monday = date(2020, 1, 6)
    chain.lines(*(
        (f"{store}{week}", store, str(monday + timedelta(weeks=week)), 10 + week % 5, None)
        for store in ("a", "b", "stranger") for week in range(70)
    ))  # fmt: skip
    chain.table("shops", ("shop", "town"), [("a", "Olinda"), ("b", "Recife")])
    chain.source["stores"] = {
        "from": "shops", "columns": {"store_id": "shop"}, "attributes": ["town"],
        "segments": ["town"],
    }  # fmt: skip
    chain.changes |= {
        "validation": {"windows": 2, "warmup": 1, "step": 4},
        "models": ["seasonal_naive", {"name": "lightgbm", "lags": [1, 2], "n_estimators": 5}],
    }
    result = ingest(chain.project())
    assert (result.stores, result.stores_without_row) == (3, 1)
    assert "1 store with sales has no store row: stranger" in " ".join(result.sentences())
    assert sum(r[0] for r in chain.read("sales", "sales")) == sum(
        3 * (10 + week % 5) for week in range(70)
    )
    storecast.validate(chain.project())
    forecast = {r[0] for r in chain.read("backtest_forecasts", "store_id")}
    assert forecast == {"a", "b", "stranger"}


# ------------------------------------------------------------------ to the character

Rows = Sequence[tuple[str, str]]
IDS = st.text(
    st.one_of(
        st.characters(exclude_categories=("Cs", "Cc", "Cn")),
        st.sampled_from(list("0019 ,;\"'`|\\éÉe\u0301ß🏪𝟙٣%{}$#")),
    ),
    min_size=1,
    max_size=10,
).filter(lambda text: text.strip() != "")
HARD = [
    "001", "1", "01", "1.0", "1e5", "NULL", "nan", "a b", "a  b", 'say "hi"', "it's", "a,b;c",
    "é", "e\u0301", "🏪", "=1+1", "--", "ß", "ss", "İ", "\u200bx", "\ufeffy", "true",
]  # fmt: skip


def _sqlite(folder: Path, rows: Rows) -> dict[str, Any]:
    with closing(sqlite3.connect(folder / "in.db")) as connection, connection:
        connection.execute("CREATE TABLE lines (id, store)")
        connection.executemany("INSERT INTO lines VALUES (?, ?)", rows)
    return {"type": "sqlite", "path": "in.db", "table": "lines"}


def _csv(folder: Path, rows: Rows) -> dict[str, Any]:
    with (folder / "lines.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "store"))
        writer.writerows(rows)
    return {"type": "files", "path": ".", "table": "lines.csv"}


def _parquet(folder: Path, rows: Rows) -> dict[str, Any]:
    table = pa.table({"id": [r[0] for r in rows], "store": [r[1] for r in rows]})
    pq.write_table(table, folder / "lines.parquet", row_group_size=5)
    return {"type": "files", "path": ".", "table": "lines.parquet"}


@pytest.mark.parametrize("write", [_sqlite, _csv, _parquet])
def test_an_accepted_identifier_is_the_source_s_to_the_character(
    write: Callable[[Path, Rows], dict[str, Any]],
) -> None:
    """Read as the ingestion reads, checked as it checks."""

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(IDS, min_size=1, max_size=30))
    @example(HARD)
    def holds(ids: list[str]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            rows = [(str(i), store) for i, store in enumerate(ids)]
            made = write(Path(folder), rows)
            relation = Relation(made.pop("table"))
            chain = Chain(Path(folder))
            chain.source |= made
            source: Source = chain.project().open_source()
            fields = (Field("id", "id", Kind.KEY), Field("store_id", "store", Kind.IDENTIFIER))
            feed = Feed("sales", "sales", relation, fields, ("id",))
            kept: list[tuple[str, str]] = []
            with closing(source):
                for batch in source.read(relation, feed.sources):
                    checked = check(batch, feed)
                    assert checked.rejected.num_rows == 0
                    kept += zip(*(c.to_pylist() for c in checked.accepted.columns), strict=True)
        assert sorted(kept) == sorted(rows)

    holds()
