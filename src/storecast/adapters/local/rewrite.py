"""A table written anew where more rows change than memory should hold.

The rows that come are laid down on disk; then those that stay pass from the old files to the new
ones, and the rows that came follow them.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from storecast.adapters.local import scan

MOST: Final = 1_000_000
"""Rows that a merge may hold in memory."""

_BATCH = 65_536
_MEMORY = "500MB"
_FOLDER = "_coming"


@contextlib.contextmanager
def laid_down(folder: Path, rows: pa.RecordBatchReader) -> Iterator[Path]:
    """The rows as a file in a folder of the table's own that no reader looks into."""
    place = folder / _FOLDER
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    try:
        with pq.ParquetWriter(place / "rows.parquet", rows.schema) as writer:
            for batch in rows:
                writer.write_batch(batch, row_group_size=_BATCH)
        yield place / "rows.parquet"
    finally:
        shutil.rmtree(place, ignore_errors=True)


def merged(
    files: Sequence[str], coming: Path, schema: pa.Schema, key: Sequence[str], gone: pa.Table | None
) -> Iterator[pa.RecordBatch]:
    """The rows of ``files`` whose key is neither among ``coming`` nor ``gone``, then ``coming``."""
    if files:
        yield from _staying(files, coming, schema.names, key, gone)
    with pq.ParquetFile(coming) as came:
        yield from came.iter_batches(_BATCH)


def _staying(
    files: Sequence[str],
    coming: Path,
    columns: Sequence[str],
    key: Sequence[str],
    gone: pa.Table | None,
) -> Iterator[pa.RecordBatch]:
    with duckdb.connect() as connection:
        for name, value in (
            ("TimeZone", "UTC"),
            ("memory_limit", _MEMORY),
            ("temp_directory", str(coming.parent)),
            ("enable_external_file_cache", "false"),
            ("python_enable_replacements", "false"),
        ):
            connection.execute(f"SET {name} = {scan.literal(value)}")
        leaving = f"SELECT * FROM {scan.viewed(connection, [str(coming)], key)}"  # noqa: S608 - our own names
        if gone is not None and gone.num_rows:
            connection.register("gone", gone)
            leaving += f" UNION ALL SELECT {scan.listed(key)} FROM gone"  # noqa: S608
        origin = scan.viewed(
            connection, files, columns, scan.joined("ANTI JOIN", f"({leaving})", key)
        )
        query = f"SELECT {scan.listed(columns)} FROM {origin}"  # noqa: S608 - our own names
        yield from connection.sql(query).to_arrow_reader(_BATCH)


def clean(folder: Path) -> None:
    """Remove what a killed merge had laid down."""
    shutil.rmtree(folder / _FOLDER, ignore_errors=True)
