"""A table as a file of the user's: CSV, parquet or Excel, identifiers as text in each."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from storecast.errors import Code, ConfigurationError, TableError

_EXCEL_ROWS = 1_048_575


def export(table: pa.Table, target: Path) -> int:
    """Write ``table`` to ``target`` by its ending (.csv, .parquet, .xlsx); returns the rows.

    The file appears whole or not at all. In CSV every text is quoted, so that ``001`` stays a
    text for a reader that honours quotes; in Excel it is a text cell.

    Raises:
        ConfigurationError: EXPORT_FORMAT_UNKNOWN.
        TableError: TABLE_WRITE_FAILED.
    """
    writers: dict[str, Callable[[pa.Table, Path], None]] = {
        ".csv": _csv,
        ".parquet": _parquet,
        ".xlsx": _excel,
    }
    write = writers.get(target.suffix.lower())
    if write is None:
        raise ConfigurationError(
            Code.EXPORT_FORMAT_UNKNOWN,
            f"{target.name}: the ending {target.suffix or '(none)'!r} names no format",
            where=str(target),
            expected=", ".join(writers),
            found=target.suffix or "no ending",
        )
    if write is _excel and table.num_rows > _EXCEL_ROWS:
        raise ConfigurationError(
            Code.EXPORT_FORMAT_UNKNOWN,
            f"{table.num_rows:,} rows do not fit a sheet of Excel",
            where=str(target),
            expected=f"at most {_EXCEL_ROWS:,} rows",
            next_step="export to .csv or .parquet",
        )
    try:
        _whole(target, lambda file: write(table, file))
    except OSError as fault:
        raise TableError(
            Code.TABLE_WRITE_FAILED,
            f"{target} cannot be written: {fault.strerror or fault}",
            where=str(target),
        ) from fault
    return int(table.num_rows)


def _whole(target: Path, write: Callable[[Path], None]) -> None:
    handle, name = tempfile.mkstemp(suffix=target.suffix, dir=target.resolve().parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _csv(table: pa.Table, file: Path) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(table.column_names)
        for batch in table.to_batches():
            columns = [column.to_pylist() for column in batch.columns]
            writer.writerows(zip(*columns, strict=True))


def _parquet(table: pa.Table, file: Path) -> None:
    pq.write_table(table, file, compression="zstd")


def _excel(table: pa.Table, file: Path) -> None:
    frame = pl.DataFrame(table)
    plain = frame.with_columns(
        pl.col(pl.Decimal).cast(pl.Float64),
        pl.col(pl.Datetime).dt.replace_time_zone(None),
    )
    # Options off: a store named '=1+1' is a text, never a formula or a link.
    options = {
        "strings_to_numbers": False,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "nan_inf_to_errors": True,
    }
    import xlsxwriter

    with xlsxwriter.Workbook(file, options) as book:
        plain.write_excel(book, worksheet="table", autofit=plain.height < 20_000)
