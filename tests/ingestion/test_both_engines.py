"""Written once, for both engines: the row rules and every statement of ``sql/`` give on Spark
what they give on the laptop, to the last digit and type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from storecast import platforms
from storecast.adapters.local.engine import DuckDbEngine
from storecast.adapters.spark.dialect import spelt
from storecast.adapters.spark.engine import SparkEngine
from storecast.core.schema import AMOUNT, DAY, INSTANT, NUMBER, TEXT, Column, TableSpec
from storecast.ingestion.bench import Workbench
from storecast.ingestion.contract import REJECTED, Feed, Field, Kind, check
from storecast.ingestion.merge import averaged, combined, difference, settled, unique
from storecast.ingestion.step import ingest
from storecast.ports import Engine, Relation

from .chains import Chain

OLD, MIDDLE, NEW = "2020-01-10 00:00:00", "2020-01-20 00:00:00", "2020-02-01 00:00:00"
RUNS = ("run_id", "ingested_at", "first_run_id", "last_run_id")
"""Columns that differ between any two runs."""


def _sorted(rows: pa.Table) -> pa.Table:
    """Rows in one order, in plain types, without what differs between any two runs."""
    kept = rows.select([c for c in rows.schema.names if c.removeprefix("before__") not in RUNS])
    plain = kept.cast(pa.schema([pa.field(f.name, f.type) for f in kept.schema]))
    return plain.sort_by([(name, "ascending") for name in plain.schema.names]).combine_chunks()


def _equal(one: pa.Table, other: pa.Table, what: str) -> None:
    one, other = _sorted(one), _sorted(other)
    assert one.schema == other.schema, what
    assert one.to_pylist() == other.to_pylist(), what


class Noting:
    """An engine whose tables are noted as they are made, with the file of ``sql/`` behind each."""

    def __init__(self, engine: Engine, made: list[tuple[str, str, pa.Table]]) -> None:
        self._engine = engine
        self.made = made

    def create(self, name: str, select: str) -> None:
        self._engine.create(name, select)
        statement = _STATEMENTS.get(select.splitlines()[0])
        if statement is not None:
            self.made.append(
                (statement, name, self._engine.stream(f"SELECT * FROM {name}").read_all())
            )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def _first_lines() -> dict[str, str]:
    files = (resources.files("storecast.ingestion") / "sql").iterdir()
    return {f.read_text("utf-8").splitlines()[0]: f.name for f in files if f.name.endswith(".sql")}


_STATEMENTS = _first_lines()


def test_each_statement_begins_with_a_line_of_its_own() -> None:
    files = list((resources.files("storecast.ingestion") / "sql").iterdir())
    assert len(_STATEMENTS) == len(files) > 12
    assert all(line.startswith("-- ") for line in _STATEMENTS)


def test_spark_spells_names_and_types_and_nothing_else() -> None:
    statement = """-- the user's "own"
SELECT 'it''s "x"' AS "order", CAST(NULL AS TIMESTAMPTZ) AS "a""b`c" FROM t"""
    assert (
        spelt(statement)
        == """-- the user's "own"
SELECT 'it''s "x"' AS `order`, CAST(NULL AS TIMESTAMP) AS `a"b``c` FROM t"""
    )


# ---------------------------------------------------------------------- the row rules

TEXTS = [
    "001", "1", " x", "x  ", "", " ", None, "a\nb", "São João", "x'y\"z", "NULL", "nan", "1e5",
    "12,50", "1 000", "-0.00005", "0.00015", "99999999999999.9999", "100000000000000", "inf",
    "1e400", "2020-02-29", "2021-02-29", "29/02/2020", "1753-01-01", "9999-12-31",
    "2020-02-29T23:59:59-03:00", "2020-02-29 12:00:00.1234567", "yesterday", "1577966400",
]  # fmt: skip
TYPED = {
    "text": pa.array(TEXTS, TEXT),
    "float": pa.array([0.1, 2.00005, -1e13, math.nan, math.inf, 1e14, None] * 5)[: len(TEXTS)],
    "decimal": pa.array([Decimal("1.23455"), Decimal("-1e20"), None] * 10, pa.decimal128(38, 5)),
    "date": pa.array([date(2020, 2, 29), date(1753, 1, 1), None] * 10, DAY),
    "instant": pa.array([datetime(2020, 2, 29, 23, 30, tzinfo=UTC), None] * 15, INSTANT),
    "integer": pa.array([7, 2**63 - 1, None] * 10, pa.int64()),
}
KINDS = [
    *((kind, "text", False) for kind in Kind),
    (Kind.IDENTIFIER, "text", True), (Kind.KEY, "text", True), (Kind.IDENTIFIER, "integer", False),
    (Kind.KEY, "date", False), (Kind.TEXT, "decimal", False), (Kind.DATE, "instant", False),
    (Kind.DATE, "date", False), (Kind.OPTIONAL_DATE, "date", False), (Kind.AMOUNT, "float", False),
    (Kind.AMOUNT, "decimal", False), (Kind.TIMESTAMP, "instant", False),
    (Kind.NUMBER, "float", False), (Kind.NUMBER, "decimal", False),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.spark
def test_row_rules(spark: Any) -> None:
    """By ``mapInArrow``, in batches cut small: each kind of column, on each type it may have."""
    from pyspark.sql.pandas.types import from_arrow_schema

    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "7")
    n = len(TEXTS)
    rows = pa.table({"n": pa.array(map(str, range(n))), **TYPED})
    feeds = [
        Feed(
            "sales", "sales", Relation("lines"),
            (Field("n", "n", Kind.KEY), Field("value", source, kind, padded)), ("n",),
        )
        for kind, source, padded in KINDS
    ]  # fmt: skip
    marked = pa.schema([pa.field("feed", pa.int32()), pa.field("n_rows", pa.int32())])
    accepted_schema = pa.schema([*marked, pa.field("n", TEXT), pa.field("value", TEXT)])
    rejected_schema = pa.schema([*marked, *REJECTED])

    def judged(batches: Iterator[pa.RecordBatch], part: str) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number, feed in enumerate(feeds):
                found = getattr(check(batch, feed), part)
                if part == "accepted":
                    # One schema for all kinds: the value in the words of its own type.
                    values = [None if v is None else repr(v) for v in found["value"].to_pylist()]
                    found = pa.record_batch({"n": found["n"], "value": pa.array(values, TEXT)})
                constants = [
                    pa.array([v] * found.num_rows, pa.int32()) for v in (number, batch.num_rows)
                ]
                yield pa.RecordBatch.from_arrays(
                    [*constants, *found.columns], names=[*marked.names, *found.schema.names]
                )

    frame = spark.createDataFrame(rows)
    for part, schema in (("accepted", accepted_schema), ("rejected", rejected_schema)):
        there = frame.mapInArrow(
            lambda batches, part=part: judged(batches, part), from_arrow_schema(schema)
        ).toArrow()
        assert max(there["n_rows"].to_pylist()) <= 7
        here = pa.Table.from_batches(judged(iter(rows.combine_chunks().to_batches()), part))
        assert here.num_rows > 100
        _equal(here.drop(["n_rows"]), there.drop(["n_rows"]), part)


# ---------------------------------------------------------------------- the statements

Scenario = Callable[[Workbench], None]


def _on_both(spark: Any, tmp_path: Path, scenario: Scenario) -> list[str]:
    """Run a scenario on both engines, compare each table that it makes; the files behind them."""
    noted: list[list[tuple[str, str, pa.Table]]] = []
    for engine in (DuckDbEngine(tmp_path / "duckdb"), SparkEngine(spark, tmp_path / "spark")):
        noted.append([])
        bench = Workbench(Noting(engine, noted[-1]))
        scenario(bench)
        bench.close()
    here, there = noted
    assert [m[:2] for m in here] == [m[:2] for m in there]
    for (statement, name, one), (_, _, other) in zip(here, there, strict=True):
        _equal(one, other, f"{statement}: {name}")
    return [statement for statement, _, _ in here]


WORDS = ("order", "from", "group")
"""Columns that a statement must quote."""

FEED = Feed(
    "sales", "t", Relation("lines"),
    (
        Field("order", "order", Kind.KEY), Field("store_id", "store", Kind.IDENTIFIER),
        Field("date", "day", Kind.DATE), Field("sales", "amount", Kind.AMOUNT),
        Field("from", "from", Kind.TEXT), Field("group", "group", Kind.NUMBER),
        Field("watermark", "changed", Kind.TIMESTAMP),
    ),
    ("order", "store_id"),
)  # fmt: skip
SPEC = TableSpec(
    "t", tuple(Column(f.name, f.type) for f in FEED.schema), ("order", "store_id"),
)  # fmt: skip
STORES = ("001", "1", "São João", "x'y\"z", "a", "A", "`b`", "c\\d")


def _lines(*rows: tuple[Any, ...]) -> list[pa.RecordBatch]:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, FEED.schema, strict=True)]
    return [pa.RecordBatch.from_arrays(arrays, schema=FEED.schema)]


def _instant(day: int) -> datetime:
    return datetime(2020, 2, day, 3, 4, 5, 678901, tzinfo=UTC)


def _line(order: str, store: str, amount: str, *rest: Any) -> tuple[Any, ...]:
    words = (*rest, None, None, None)[:3]
    return order, store, date(2020, 1, 6), Decimal(amount), *words


def _keys_and_changes(bench: Workbench) -> None:
    rows = _lines(
        *(_line("1", s, "1.0001", "não", 0.1, _instant(1)) for s in STORES),
        _line("2", "a", "-5", None, None, None),
        _line("2", "a", "-5", None, None, None),
        _line("3", "a", "1", "x", None, _instant(1)),
        _line("3", "a", "2", "x", 1e-7, _instant(2)),
        _line("3", "a", "2", None, 1e-7, _instant(2)),
        _line("4", "a", "3", "old", 1e22, None),
        _line("4", "a", "3", "new", 1e22, _instant(1)),
    )
    bench.append("staged", rows)
    found = unique(bench, FEED, "staged")
    assert (found.rows, found.deduplicated, found.conflicting) == (10, 3, 2)
    there = _lines(
        _line("1", "001", "1.0001", "não", 0.1, _instant(1)),
        _line("1", "1", "1.0002", "não", 0.1, _instant(1)),
        _line("1", "A", "9", None, None, _instant(3)),
        _line("1", "a", "9", None, None, None),
        _line("5", "a", "9", None, None, None),
    )
    target = pa.Table.from_batches(there)
    change = difference(bench, SPEC, found.name, target.to_reader(), newer_holds=True)
    assert (change.before, change.inserted, change.updated) == (5, 6, 2)
    assert (change.deleted, change.held) == (1, 1)
    settled(bench, change, found.name)
    # A column that the table has not yet.
    fewer = target.drop(["group"])
    assert difference(bench, SPEC, found.name, fewer.to_reader()).updated == 4


@pytest.mark.slow
@pytest.mark.spark
def test_one_row_a_key_and_what_changes(spark: Any, tmp_path: Path) -> None:
    assert {"doubled.sql", "judged.sql", "unique_rows.sql", "compared.sql", "settled.sql"} <= set(
        _on_both(spark, tmp_path, _keys_and_changes)
    )


@pytest.mark.slow
@pytest.mark.spark
def test_means_over_periods(spark: Any, tmp_path: Path) -> None:
    """Doubles whose sum depends on their order, ties, and a period without a value."""
    hard = [0.1, 0.2, 0.3, 1e22, -1e22, 123456789.123456789, 2.5e-9, 3.5e-9, 1 / 3, 7e-320, None]
    days = [date(2020, 1, 1 + i) for i in range(len(hard))]

    def scenario(bench: Workbench) -> None:
        bench.append("periods", pa.table(
            {"day": days, "label": [date(2020, 1, 5 + 3 * (i // 3)) for i in range(len(hard))]}
        ).to_batches())  # fmt: skip
        shops = [s for s in STORES for _ in days]
        rows = pa.table({"store_id": shops, "date": days * len(STORES),
                         "order": pa.array(hard * len(STORES), NUMBER),
                         "from": pa.array(hard[::-1] * len(STORES), NUMBER)})  # fmt: skip
        bench.append("days", rows.to_batches())
        one = averaged(bench, "one", "days", ("store_id", "date"), ("order",))
        two = averaged(bench, "two", "days", ("store_id", "date"), ("from",))
        key, words = ("store_id", "date"), ("from", "group", "order")
        combined(bench, "together", [(one, ("order",)), (two, ("from",))], key, words)

    assert _on_both(spark, tmp_path, scenario) == ["averaged.sql", "averaged.sql", "combined.sql"]


@pytest.mark.slow
@pytest.mark.spark
def test_a_sum_that_does_not_fit_is_told_alike(spark: Any, tmp_path: Path) -> None:
    rows = pa.table({"store_id": ["a"] * 2, "date": [date(2020, 1, 6)] * 2,
                     "sales": pa.array([Decimal(99999999999999)] * 2, AMOUNT)})  # fmt: skip
    periods = pa.table({"day": [date(2020, 1, 6)], "label": [date(2020, 1, 12)]})
    for engine in (DuckDbEngine(tmp_path / "duckdb"), SparkEngine(spark, tmp_path / "spark")):
        bench = Workbench(engine)
        bench.append("rows_", rows.to_batches())
        bench.append("periods", periods.to_batches())
        with pytest.raises(OverflowError):
            bench.make("aggregated", "aggregated", rows="rows_", periods="periods")
        bench.close()


# ---------------------------------------------------------------------- a whole ingestion


def _chain(folder: Path) -> Chain:
    """Everything that a project can ask for, with the hard cases."""
    folder.mkdir()
    chain = Chain(folder)
    chain.source["stores"] = {
        "from": "shops", "columns": {"store_id": "shop", "opened_on": "opened"},
        "attributes": ["order", "Região"], "valid_from": "since",
    }  # fmt: skip
    chain.source["covariates"] = [
        {"from": "promo", "columns": {"store_id": "shop", "date": "day"},
         "known": {"from": {"known_at": "entered"}}},
        {"from": "weather", "columns": {"date": "day"}, "known": {"rain": {"known_at": "entered"}}},
        {"from": "visits", "columns": {"store_id": "shop", "date": "day"},
         "known": ["group"], "realised": ["visits"]},
    ]  # fmt: skip
    chain.table("shops", ("shop", "since", "opened", '"order"', '"Região"'), [
        ("a", "2019-01-01", "2018-05-06", "x'y\"z", "Sul"), ("a", "2020-01-01", None, None, "Sul"),
        ("São João", "2019-01-01", None, "1", ""), ("z", "2019-01-01", None, "\\n", None),
    ])  # fmt: skip
    chain.table("promo", ("shop", "day", "entered", '"from"'), [
        ("a", "2020-01-06", "2019-12-01", 1), ("a", "2020-01-07", "2019-12-01", 0.1),
        ("a", "2020-01-07", "2019-12-15", 0.2), ("São João", "2020-01-07", "2019-12-15", "1/3"),
    ])  # fmt: skip
    chain.table("weather", ("day", "entered", "rain"), [
        ("2020-01-06", "2020-01-05", 0.1), ("2020-01-07", "2020-01-05", 0.2),
        ("2020-01-07", "2020-01-07", 123456789.123456789), ("2020-02-01", "2020-01-07", None),
    ])  # fmt: skip
    chain.table("visits", ("shop", "day", '"group"', "visits"), [
        ("a", "2020-01-06", 1, 10), ("a", "2020-01-07", 0, None), ("b", "2020-01-06", "2.5", 7),
    ])  # fmt: skip
    return chain


FIRST = [
    *((f"x{i}", s, "2020-01-06", "1.0001", OLD) for i, s in enumerate(STORES)),
    ("1", "a", "2020-01-06", 10.25, OLD), ("2", "b", "2020-01-12", "-0.0001", MIDDLE),
    ("3", "a", "06/01/2020", 1, OLD), ("3", "a", "06/01/2020", 1, OLD), ("4", "a", None, 1, OLD),
    ("5", "a", "2020-01-07", 1, OLD), ("5", "a", "2020-01-07", 2, OLD),
    ("6", "a", "2020-01-07", 1, OLD), ("6", "a", "2020-01-07", 5, MIDDLE),
    ("6", "a", "2020-01-07", 5, MIDDLE), ("7", None, "2020-01-07", 5, OLD),
    ("8", "gone", "2020-01-20", 3, OLD), ("9", "a", "2020-01-21", 4, NEW),
]  # fmt: skip
SECOND = [
    *((f"x{i}", s, "2020-01-06", "1.0001", OLD) for i, s in enumerate(STORES)),
    ("1", "São João", "2020-02-03", 10.25, NEW),  # moved its store and its date
    ("2", "b", "2020-01-12", 7, OLD),  # older than what is there
    ("3", "a", "2020-01-06", 1, NEW),  # mended
    ("4", "a", None, 1, OLD), ("6", "a", "2020-01-07", 5, MIDDLE),
    ("9", "a", "2020-01-21", 4, NEW),  # 8 vanished
    ("10", "new", "2020-02-04", "1e3", NEW),
]  # fmt: skip


@dataclass(frozen=True)
class Ingested:
    """Of each run: what it said, every table that it made on the way, every table as it left it."""

    results: list[dict[str, Any]]
    made: list[tuple[str, str, pa.Table]]
    tables: list[dict[str, pa.Table]]


def _ingested(
    folder: Path, open_engine: Callable[[Path], Engine], monkeypatch: pytest.MonkeyPatch
) -> Ingested:
    chain, done = _chain(folder), Ingested([], [], [])

    def opened(scratch: Path) -> Noting:
        return Noting(open_engine(scratch), done.made)

    monkeypatch.setattr(platforms, "open_engine", opened)
    for rows in (FIRST, SECOND):
        chain.lines(*rows)
        result = ingest(chain.project()).as_dict()
        done.results.append({k: v for k, v in result.items() if k != "run_id"})
        store = chain.project().tables
        done.tables.append(
            {name: store.scan(name).read_all() for name in store.names() if name != "runs"}
        )
    return done


def test_every_statement_runs_on_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file of ``sql/`` needs a case in ``_chain``, ``FIRST``, ``SECOND``, or above."""
    made = _ingested(tmp_path / "duckdb", DuckDbEngine, monkeypatch).made
    bench = Workbench(Noting(DuckDbEngine(tmp_path / "bench"), made))
    _keys_and_changes(bench)
    bench.close()
    assert {statement for statement, _, _ in made} == set(_STATEMENTS.values())


@pytest.mark.slow
@pytest.mark.spark
def test_a_whole_ingestion(spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same source in two projects: every table on the way, every table at the end."""
    here = _ingested(tmp_path / "duckdb", DuckDbEngine, monkeypatch)
    there = _ingested(tmp_path / "spark", lambda f: SparkEngine(spark, f), monkeypatch)
    assert [m[:2] for m in here.made] == [m[:2] for m in there.made]
    for (statement, name, one), (_, _, other) in zip(here.made, there.made, strict=True):
        _equal(one, other, f"{statement}: {name}")
    for before, after in zip(here.tables, there.tables, strict=True):
        assert before.keys() == after.keys()
        for name in before:
            _equal(before[name], after[name], name)
    assert here.results == there.results
