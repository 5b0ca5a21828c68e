"""Cuts the data of the demo ``iowa`` from the gathered public record.

    python tools/make_iowa_demo.py INVOICE_LINES.parquet STORES.parquet

The cut is deterministic: the same input gives the same rows in the same order.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

TARGET = Path(__file__).parents[1] / "src" / "storecast" / "demos" / "iowa"

# Its bulk orders are half of what all the others sell and would hide them in every total.
LEFT_OUT = ["2663"]

LINES = pa.schema(
    [
        pa.field("invoice_id", pa.string(), nullable=False),
        pa.field("date", pa.date32(), nullable=False),
        pa.field("store_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("bottles", pa.int32(), nullable=False),
        pa.field("sales", pa.decimal128(18, 2), nullable=False),
    ]
)

# `status` is left out on purpose: it is today's, and gives away which shops closed later.
STORE_COLUMNS = ["store_id", "name", "city", "zip"]


def cut_lines(source: Path) -> pa.Table:
    """The invoice lines of every shop but those left out, sorted by invoice line.

    Raises:
        ValueError: an amount is not whole cents.
    """
    lines = pl.read_parquet(source).filter(~pl.col("store_id").is_in(LEFT_OUT))
    cents = (lines["sales"] * 100).round().cast(pl.Int64)
    if not ((lines["sales"] * 100 - cents).abs() < 1e-6).all():
        raise ValueError("an amount is not whole cents")
    cent = pl.lit("0.01").cast(pl.Decimal(18, 2))
    exact = (pl.col("cents").cast(pl.Decimal(18, 2)) * cent).cast(pl.Decimal(18, 2))
    lines = lines.with_columns(cents=cents).with_columns(sales=exact)
    return lines.sort("invoice_id").select(LINES.names).to_arrow().cast(LINES)


def cut_stores(source: Path, lines: pa.Table) -> pa.Table:
    """Name, town and postcode of those shops of the cut that have a row at all."""
    sold = pl.Series(lines.column("store_id").unique().to_pylist())
    stores = pl.read_parquet(source).filter(pl.col("store_id").is_in(sold.implode()))
    return stores.select(STORE_COLUMNS).sort("store_id").to_arrow()


def write(table: pa.Table, target: Path) -> None:
    """Writes small: neighbouring invoice numbers share their beginnings, items repeat."""
    pq.write_table(
        table,
        target,
        compression="zstd",
        compression_level=19,
        row_group_size=2_000_000,
        use_dictionary=[name for name in table.column_names if name != "invoice_id"],
        column_encoding=(
            {"invoice_id": "DELTA_BYTE_ARRAY"} if "invoice_id" in table.column_names else None
        ),
        store_decimal_as_integer=True,
    )


def main() -> None:
    """Reads the two paths and writes the two files of the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lines", type=Path)
    parser.add_argument("stores", type=Path)
    paths = parser.parse_args()
    lines = cut_lines(paths.lines)
    write(lines, TARGET / "invoice_lines.parquet")
    write(cut_stores(paths.stores, lines), TARGET / "stores.parquet")


if __name__ == "__main__":
    main()
