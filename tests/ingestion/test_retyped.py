"""A column whose type changes in the source: everything is read, and ends as a full run."""

from __future__ import annotations

import pytest

from storecast.ingestion.step import ingest

from .chains import Chain

OLD, NEW = "2020-01-10 00:00:00", "2020-02-01 00:00:00"
COLUMNS = ("id TEXT", "store TEXT", "day TEXT", "amount TEXT", "changed TEXT")


def _typed(chain: Chain, **types: str) -> None:
    """Two stores and, in an INTEGER column, what SQLite makes of their names."""
    columns = [f"{c.split()[0]} {types.get(c.split()[0], c.split()[1])}" for c in COLUMNS]
    rows = [("01", "001", "2020-01-06", "1", OLD), ("02", "002", "2020-01-06", "2", OLD)]
    if types:
        rows.append(("03", "001", "2020-01-13", "4", NEW))
    chain.table("lines", columns, rows)


@pytest.mark.parametrize("name", ["store", "id"])
def test_a_retyped_identifier_reads_everything(chain: Chain, name: str) -> None:
    _typed(chain)
    ingest(chain.project())
    assert ingest(chain.project()).mode == "incremental"
    _typed(chain, **{name: "INTEGER"})
    result = ingest(chain.project())
    assert result.mode == "full"
    assert result.why_full == f"the source's types have changed: {name!r} was text and is integer"
    rows = [(s, i) for i, s in chain.read("transactions", "id", "store_id")]
    stores, ids = ("1", "2"), ("01", "02", "03")
    if name == "id":
        stores, ids = ("001", "002"), ("1", "2", "3")
    assert sorted(rows) == sorted(zip((stores[0], stores[1], stores[0]), ids, strict=True))
    assert {s for s, *_ in chain.read("sales")} == set(stores)
    assert ingest(chain.project()).mode == "incremental"
