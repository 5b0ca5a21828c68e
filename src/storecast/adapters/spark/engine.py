"""Spark as the SQL engine of a run: each table is parquet in a folder of the run's own.

Views alone would be computed anew at each use, and a cache is not to be had everywhere.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from storecast.adapters.spark.dialect import spelt

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_OVERFLOWS = ("NUMERIC_VALUE_OUT_OF_RANGE", "CAST_OVERFLOW", "ARITHMETIC_OVERFLOW")


class SparkEngine:
    """Temporary views of a session over parquet files.

    Args:
        session: its time zone is UTC, it runs in ANSI mode (Spark's own since 4.0).
        folder: of this run alone, seen by every worker; gone when the engine closes.
    """

    def __init__(self, session: SparkSession, folder: Path) -> None:
        self._session = session
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._tables: dict[str, Path] = {}
        self._made = 0

    def create(self, name: str, select: str) -> None:
        """Make the table ``name`` of what ``select`` gives, in place of one that is there."""
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException

        path = self._new_path(name)
        frame = self._session.sql(spelt(select))
        try:
            frame.write.parquet(str(path))
        except (PySparkException, Py4JError) as fault:
            if any(sign in str(fault) for sign in _OVERFLOWS):
                raise OverflowError(str(fault).splitlines()[0]) from fault
            raise
        self._show(name, path, frame)

    def append(self, name: str, batches: Sequence[pa.RecordBatch]) -> None:
        """Add rows to the table ``name``, made where it is not there."""
        there = self._tables.get(name)
        path = there or self._new_path(name)
        path.mkdir(exist_ok=True)
        self._made += 1
        pq.write_table(pa.Table.from_batches(batches), path / f"appended-{self._made}.parquet")
        self._show(name, path, self._session.table(name) if there else None)

    def register(self, name: str, rows: pa.Table | pa.RecordBatchReader) -> None:
        """Give rows a name, until ``forget``."""
        path = self._new_path(name)
        path.mkdir()
        with pq.ParquetWriter(path / "rows.parquet", rows.schema) as writer:
            for batch in rows.to_batches() if isinstance(rows, pa.Table) else rows:
                writer.write_batch(batch)
        self._read(path, None).createOrReplaceTempView(name)

    def forget(self, name: str) -> None:
        """Take back a registered name."""
        self._session.catalog.dropTempView(name)

    def tables(self) -> set[str]:
        """Names of the tables there are."""
        return set(self._tables)

    def tuples(self, query: str) -> list[tuple[Any, ...]]:
        """The few rows of a query, as Python values."""
        columns = [column.to_pylist() for column in self._rows(query).columns]
        return list(zip(*columns, strict=True))

    def stream(self, query: str) -> pa.RecordBatchReader:
        """The rows of a query."""
        return self._rows(query).to_reader()

    def close(self) -> None:
        """Forget everything."""
        for name in self._tables:
            self._session.catalog.dropTempView(name)
        self._tables.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    # ------------------------------------------------------------------ inside

    def _rows(self, query: str) -> pa.Table:
        rows: pa.Table = self._session.sql(spelt(query)).toArrow()
        return rows

    def _new_path(self, name: str) -> Path:
        self._made += 1
        return self._folder / f"{name}-{self._made}"

    def _show(self, name: str, path: Path, like: DataFrame | None) -> None:
        self._read(path, like).createOrReplaceTempView(name)
        self._tables[name] = path

    def _read(self, path: Path, like: DataFrame | None) -> DataFrame:
        # Telling the schema spares a job that looks for it.
        reader = self._session.read if like is None else self._session.read.schema(like.schema)
        return reader.parquet(str(path))
