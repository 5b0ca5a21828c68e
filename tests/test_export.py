"""Export: identifiers are text in every format, and a file is whole or absent."""

from __future__ import annotations

import csv
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storecast.errors import Code, ConfigurationError, TableError
from storecast.export import export

IDS = ["001", "1", "1e5", "NULL", "nan", "12345678901234567890", "São", "a", "A", "=1+1"]


@pytest.fixture
def table() -> pa.Table:
    n = len(IDS)
    return pa.table({
        "store_id": IDS,
        "date": pa.array([date(2024, 2, 29)] * n),
        "sales": pa.array([Decimal("12.3400")] * n, pa.decimal128(18, 4)),
        "ingested_at": pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * n, pa.timestamp("us", "UTC")),
    })  # fmt: skip


def test_csv(table: pa.Table, tmp_path: Path) -> None:
    target = tmp_path / "t.csv"
    assert export(table, target) == len(IDS)
    with target.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [r["store_id"] for r in rows] == IDS
    assert '"001"' in target.read_text("utf-8")
    assert rows[0]["date"] == "2024-02-29"
    assert Decimal(rows[0]["sales"]) == Decimal("12.34")


def test_excel(table: pa.Table, tmp_path: Path) -> None:
    target = tmp_path / "t.xlsx"
    export(table, target)
    sheet = openpyxl.load_workbook(target).active
    cells = [row[0] for row in sheet.iter_rows(min_row=2)]
    assert [c.value for c in cells] == IDS
    assert all(c.data_type == "s" for c in cells)


def test_parquet(table: pa.Table, tmp_path: Path) -> None:
    target = tmp_path / "t.parquet"
    export(table, target)
    assert pq.read_table(target).equals(table)


def test_an_unknown_ending_is_refused(table: pa.Table, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        export(table, tmp_path / "t.doc")
    assert caught.value.code is Code.EXPORT_FORMAT_UNKNOWN
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_file(
    table: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "t.csv"
    target.write_text("before")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(csv, "writer", full)
    with pytest.raises(TableError) as caught:
        export(table, target)
    assert "No space left" in caught.value.message
    assert target.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]
