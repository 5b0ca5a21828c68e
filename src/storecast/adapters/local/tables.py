"""Delta tables in a folder, by delta-rs: what a laptop has instead of Unity Catalog."""

from __future__ import annotations

import difflib
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import deltalake
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from storecast.adapters.local import rewrite, scan, upkeep
from storecast.adapters.local.faults import translated
from storecast.adapters.local.panics import kept_aside
from storecast.adapters.local.rows import (
    GONE,
    Rows,
    Stream,
    cast,
    chained,
    checked_all,
    divided,
    marked,
    marked_gone,
    refuse_double,
    schema_of,
)
from storecast.core.schema import Column, TableSpec
from storecast.errors import Code, ConfigurationError, TableError

_KEY = "storecast.key"
_NOT_IN_A_FOLDER = "[]^|"


class LocalTables:
    """Tables of one catalog and schema, each in its folder under ``root``.

    Args:
        root: the folder of the catalog and schema; made at the first write.
        retention_days: how far back time travel must reach.
    """

    def __init__(self, root: Path, retention_days: int) -> None:
        self._root = root
        self._retention_days = retention_days

    # ------------------------------------------------------------------ looking

    def names(self) -> list[str]:
        """Names of the tables that exist, sorted."""
        return sorted(log.parent.name for log in self._root.glob("*/_delta_log") if _begun(log))

    def spec_of(self, name: str) -> pa.Schema:
        """The Arrow schema of an existing table (raises TABLE_NOT_FOUND)."""
        return schema_of(self._open(name))

    def made(self, name: str) -> bool:
        """Whether a table is one of ours: it says what its key is (raises TABLE_NOT_FOUND)."""
        return bool(self.key_of(name))

    def key_of(self, name: str) -> tuple[str, ...]:
        """The key of a table that is one of ours, else () (raises TABLE_NOT_FOUND)."""
        return _key(self._open(name))

    def version(self, name: str) -> int | None:
        """The newest version, None where the table does not exist."""
        return self._open(name).version() if self._exists(name) else None

    def history(self, name: str) -> list[Mapping[str, Any]]:
        """Commits, newest first: version, timestamp (ISO 8601), operation, metrics."""
        return [
            {
                "version": commit["version"],
                "timestamp": datetime.fromtimestamp(commit["timestamp"] / 1000, UTC).isoformat(),
                "operation": commit["operation"],
                "parameters": commit.get("operationParameters", {}),
                "metrics": commit.get("operationMetrics", {}),
            }
            for commit in sorted(
                self._open(name).history(), key=lambda c: int(c["version"]), reverse=True
            )
        ]

    def scan(
        self,
        name: str,
        *,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        among: pa.Table | None = None,
    ) -> pa.RecordBatchReader:
        """Stream a table at a version (None: the newest).

        Args:
            name: the table.
            version: None is the newest.
            columns: None is all.
            where: a SQL condition.
            among: only rows whose values in its columns are those of one of its rows.
        """
        table = self._open(name, version)
        schema = schema_of(table)
        wanted = list(columns) if columns is not None else schema.names
        matched = among.schema.names if among is not None else []
        unknown = [c for c in (*wanted, *matched) if c not in schema.names]
        if unknown:
            raise TableError(
                Code.TABLE_SCHEMA_MISMATCH,
                f"table {name} has no column {', '.join(unknown)}",
                where=name,
                expected=", ".join(schema.names),
            )
        needed = [c for c in schema.names if c in wanted or (where is not None and c in where)]
        schema = pa.schema([schema.field(c) for c in wanted])
        files = scan.paths(table, self._root / name)
        self._refuse_missing(name, table.version(), files)
        rows = scan.rows(files, needed, where, among)
        return pa.RecordBatchReader.from_batches(schema, _read(name, rows, schema))

    # ------------------------------------------------------------------ changing

    def create(self, spec: TableSpec) -> None:
        """Create an empty table, or add missing nullable columns.

        Raises:
            ConfigurationError: CONFIG_CHANGED where a column would go, change its type,
                or the key would change.
        """
        if not self._exists(spec.name):
            _refuse_folder(self._root)
            retention = f"interval {self._retention_days} days"
            with translated(spec.name), kept_aside():
                DeltaTable.create(
                    str(self._root / spec.name),
                    deltalake.Schema([_field(spec, c) for c in spec.columns]),
                    name=spec.name,
                    description=spec.description,
                    configuration={
                        "delta.deletedFileRetentionDuration": retention,
                        "delta.logRetentionDuration": retention,
                        "delta.checkpointInterval": str(upkeep.CHECKPOINT_EVERY),
                    },
                )
        self._extend(spec)

    def _extend(self, spec: TableSpec) -> None:
        table = self._open(spec.name)
        _check_unchanged(spec, table)
        have = {f.name for f in table.schema().fields}
        added = [c for c in spec.columns if c.name not in have]
        constraints = {
            name: condition
            for name, condition in spec.checks
            if f"delta.constraints.{name}" not in table.metadata().configuration
        }
        with translated(spec.name), kept_aside():
            if added:
                table.alter.add_columns([_field(spec, c) for c in added])
            for name, condition in constraints.items():
                self._open(spec.name).alter.add_constraint({name: condition})

    def merge(
        self,
        spec: TableSpec,
        rows: Rows,
        *,
        delete: pa.Table | None = None,
        append: bool = False,
    ) -> int:
        """Upsert ``rows`` by the primary key and remove the keys in ``delete``: one commit.

        ``append`` says that the caller knows no key to exist (a first load). No rows and no
        deletion commit nothing. Returns the version now current.

        Raises:
            TableError: TABLE_SCHEMA_MISMATCH, TABLE_KEY_VIOLATION (a null key, or one twice),
                TABLE_CONSTRAINT_VIOLATION, TABLE_WRITE_FAILED. The table is as before.
        """
        table = self._open(spec.name)
        if append:
            if delete is not None and delete.num_rows:
                raise ValueError("an append deletes nothing")
            return self._write(spec, table, rows, "append")
        first, rest = divided(rows)
        if rest is not None:
            return self._rewrite(spec, table, chained(rows.schema, first, rest), delete)
        wanted = checked_all(spec, table, first)
        gone = marked_gone(spec, wanted.schema, delete)
        if wanted.num_rows + gone.num_rows == 0:
            return table.version()
        source = pa.concat_tables([marked(wanted), gone])
        refuse_double(spec, source)
        with translated(spec.name), kept_aside():
            ranges = self._touched(spec, table, source)
            if ranges:
                _merge(spec, table, source, ranges)
            elif wanted.num_rows:
                _write(table, wanted.to_reader(), "append")
        return self._open(spec.name).version()

    def _rewrite(
        self, spec: TableSpec, table: DeltaTable, rows: Rows, delete: pa.Table | None
    ) -> int:
        """As ``merge``, for more rows than memory should hold: the whole table is written."""
        folder, key = self._root / spec.name, spec.primary_key
        stream = Stream(spec, table, rows)
        with (
            translated(spec.name, stream),
            kept_aside(),
            rewrite.laid_down(folder, stream.reader()) as coming,
        ):
            schema, files = schema_of(table), scan.paths(table, folder)
            self._refuse_missing(spec.name, table.version(), files)
            merged = rewrite.merged(files, coming, schema, key, delete)
            batches = (cast(batch, schema) for batch in merged)
            _write(table, pa.RecordBatchReader.from_batches(schema, batches), "overwrite")
        return self._open(spec.name).version()

    def _touched(self, spec: TableSpec, table: DeltaTable, source: pa.Table) -> list[str]:
        """Where the keys of ``source`` are: a condition for each file that has one of them.

        Read first, for the library would hold in memory each file without a match.
        """
        column = "date" if any(c.name == "date" and not c.nullable for c in spec.columns) else None
        files = scan.paths(table, self._root / spec.name)
        self._refuse_missing(spec.name, table.version(), files)
        found = scan.bounds(files, source.select(list(spec.primary_key)), column)
        if column is None:
            return ["true"] if found else []
        return [
            f"t.\"date\" >= DATE '{least}' AND t.\"date\" <= DATE '{most}'" for least, most in found
        ]

    def replace(self, spec: TableSpec, rows: Rows) -> int:
        """Make ``rows`` the whole content: one commit. Raises as ``merge``."""
        return self._write(spec, self._open(spec.name), rows, "overwrite")

    def restore(self, name: str, version: int) -> int:
        """Make the content that of ``version``. Returns the version now current."""
        table = self._open(name)
        with translated(name), kept_aside():
            table.restore(version)
        return self._open(name).version()

    def drop(self, name: str) -> None:
        """Remove a table and its whole past (raises TABLE_NOT_FOUND)."""
        self._open(name)
        folder = self._root / name
        with translated(name):
            # Without its log it is no table any more, whatever happens to the files.
            (folder / "_delta_log").rename(folder / f"_dropped_log_{secrets.token_hex(4)}")
            shutil.rmtree(folder)

    def compact(self, name: str) -> int:
        """Put small files together where there are many. Returns the version now current."""
        with translated(name), kept_aside():
            upkeep.compact(self._open(name))
        return self._open(name).version()

    def clean(self, name: str) -> None:
        """Delete files that no version within the retention has."""
        with translated(name), kept_aside():
            upkeep.clean(self._open(name), self._root / name, self._retention_days)

    def _write(
        self, spec: TableSpec, table: DeltaTable, rows: Rows, mode: Literal["append", "overwrite"]
    ) -> int:
        stream = Stream(spec, table, rows)
        if stream.empty and mode == "append":
            return table.version()
        with translated(spec.name, stream), kept_aside():
            _write(table, stream.reader(), mode)
        return self._open(spec.name).version()

    def _refuse_missing(self, name: str, version: int, files: Sequence[str]) -> None:
        """Refuse what files are missing of: too old a version, or a table that is damaged."""
        gone = [file for file in files if not Path(file).exists()]
        if not gone:
            return
        newest = self._open(name)
        if newest.version() == version or set(gone) & {*scan.paths(newest, self._root / name)}:
            raise _damaged(self._root / name, gone, len(files))
        raise _expired(name, version)

    def _exists(self, name: str) -> bool:
        return name.isidentifier() and _begun(self._root / name / "_delta_log")

    def _open(self, name: str, version: int | None = None) -> DeltaTable:
        if not self._exists(name):
            raise not_found(name, self.names())
        with translated(name):
            newest = DeltaTable(str(self._root / name))
            if version is None or version == newest.version():
                return newest
            if not 0 <= version < newest.version():
                raise TableError(
                    Code.TABLE_NOT_FOUND,
                    f"table {name} has no version {version}",
                    where=name,
                    expected=f"0 to {newest.version()}",
                    found=str(version),
                )
            try:
                return DeltaTable(str(self._root / name), version=version)
            except DeltaError as fault:
                raise _expired(name, version) from fault


def not_found(name: str, names: Sequence[str]) -> TableError:
    """TABLE_NOT_FOUND, with the nearest of the tables that exist."""
    near = difflib.get_close_matches(name, names, 1)
    return TableError(
        Code.TABLE_NOT_FOUND,
        f"there is no table {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
        where=name,
        expected=", ".join(names) or "an ingested project",
        next_step="`storecast tables list` shows what there is",
    )


# ---------------------------------------------------------------------- schemas


def _begun(log: Path) -> bool:
    return any(log.glob("*.json")) or any(log.glob("*.checkpoint.parquet"))


def _field(spec: TableSpec, column: Column) -> deltalake.Field:
    metadata = {"comment": column.description}
    if column.name in spec.primary_key:
        metadata[_KEY] = str(spec.primary_key.index(column.name))
    arrow = pa.field(column.name, column.type, column.nullable, metadata)
    return deltalake.Field.from_arrow(arrow)


def _key(table: DeltaTable) -> tuple[str, ...]:
    key = {int(f.metadata[_KEY]): f.name for f in table.schema().fields if _KEY in f.metadata}
    return tuple(key[k] for k in sorted(key))


def _check_unchanged(spec: TableSpec, table: DeltaTable) -> None:
    have = {f.name: f for f in schema_of(table)}
    key = _key(table)
    changes = []
    if key and key != spec.primary_key:
        before, now = ", ".join(key), ", ".join(spec.primary_key)
        changes.append(f"the key is ({before}) and would be ({now})")
    for name, is_there in have.items():
        column = next((c for c in spec.columns if c.name == name), None)
        if column is None:
            changes.append(f"column {name} would go")
        elif column.type != is_there.type:
            changes.append(f"column {name} is {is_there.type} and would be {column.type}")
    changes += [
        f"column {c.name} would be new and NOT NULL"
        for c in spec.columns
        if c.name not in have and not c.nullable
    ]
    if changes:
        raise ConfigurationError(
            Code.CONFIG_CHANGED,
            f"the configuration would change table {spec.name}: {'; '.join(changes)}",
            where=spec.name,
            expected="the columns and key of the existing table, or further nullable columns",
            next_step="take the change back, or ingest into another `schema:`",
        )


def _refuse_folder(root: Path) -> None:
    """The library breaks down over a folder whose name its addresses cannot have."""
    found = sorted(set(_NOT_IN_A_FOLDER) & set(str(root)))
    if found:
        raise TableError(
            Code.TABLE_WRITE_FAILED,
            f"a table cannot lie in a folder with {' '.join(found)} in its name",
            where=str(root),
            expected=f"a path without any of {' '.join(_NOT_IN_A_FOLDER)}",
            next_step="rename the folder, or move the project",
        )


# ---------------------------------------------------------------------- writing


def _write(
    table: DeltaTable, rows: pa.RecordBatchReader, mode: Literal["append", "overwrite"]
) -> None:
    deltalake.write_deltalake(
        table,
        rows,
        mode=mode,
        target_file_size=upkeep.FILE_BYTES,
        writer_properties=upkeep.writer(),
    )


def _merge(spec: TableSpec, table: DeltaTable, source: pa.Table, ranges: Sequence[str]) -> None:
    columns = [c for c in source.schema.names if c != GONE]
    same = " AND ".join(f't."{k}" = s."{k}"' for k in spec.primary_key)
    values = {c: f's."{c}"' for c in columns}
    (
        table.merge(
            source,
            f"{same} AND ({' OR '.join(f'({r})' for r in ranges)})",
            source_alias="s",
            target_alias="t",
            # The bounds of the source rule files out.
            streamed_exec=False,
            writer_properties=upkeep.writer(),
        )
        .when_matched_delete(f"s.{GONE}")
        .when_matched_update(values, predicate=f"NOT s.{GONE}")
        .when_not_matched_insert(values, predicate=f"NOT s.{GONE}")
        .execute()
    )


# ---------------------------------------------------------------------- rows


def _damaged(folder: Path, gone: Sequence[str], of: int) -> TableError:
    return TableError(
        Code.TABLE_DAMAGED,
        f"table {folder.name} is damaged: {len(gone)} of its {of} files "
        f"{'is' if len(gone) == 1 else 'are'} gone",
        where=str(folder),
        expected="every file that the table's log names",
        found=f"no {Path(gone[0]).name}",
        next_step=f"put the file back; or remove the folder {folder} and run `storecast ingest "
        "--full`, which builds a table of ingestion anew (any other table comes with the command "
        "that writes it)",
    )


def _expired(name: str, version: int) -> TableError:
    return TableError(
        Code.TABLE_NOT_FOUND,
        f"version {version} of table {name} is older than the retention, and gone",
        where=name,
        expected="a version within tables.retention_days",
        found=str(version),
        next_step=f"`storecast tables history {name}` shows when each version was made",
    )


def _read(name: str, rows: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with translated(name):
        for batch in rows:
            yield cast(batch, schema)
