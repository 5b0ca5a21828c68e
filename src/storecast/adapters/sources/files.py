"""A folder of parquet and CSV files.

A relation is a file's name, or a pattern such as ``sales-*.parquet`` for several of one schema.
In a CSV every column is text: only an empty field without quotes is null.
"""

from __future__ import annotations

import contextlib
import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from storecast.adapters.sources.csv_end import Marked, unmarked
from storecast.adapters.sources.spans import as_filter
from storecast.adapters.sources.steady import Steady
from storecast.errors import Code, SourceError
from storecast.ports import Relation, SourceColumn, Span, Tallied

_BATCH = 65_536
_BLOCK = 4 << 20
_DELIMITERS = ",;\t|"
_ENDINGS = (".parquet", ".pq", ".csv", ".tsv", ".txt")


class FilesSource:
    """A folder, whose files must stay as they are while they are read.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self._folder = path
        self._steady = Steady()
        self._found: dict[str, list[Path]] = {}

    def columns(self, relation: Relation) -> list[SourceColumn]:
        """The columns of a file, or of several that agree."""
        files = self._files(relation)
        first = _schema(files[0], self._steady)
        for other in files[1:]:
            _same(files[0], first, other, _schema(other, self._steady))
        return [SourceColumn(f.name, str(f.type), kind_of(f.type)) for f in first]

    def read(
        self,
        relation: Relation,
        columns: Sequence[str],
        span: Span | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Stream the named columns: of a CSV as text, of a parquet file in their own types."""
        self.columns(relation)
        more = span.columns if span is not None else ()
        needed = list(dict.fromkeys([*columns, *more]))
        for file in self._files(relation):
            for batch in _read(file, needed, self._steady):
                wanted = as_filter(span, batch.schema)
                kept = batch if wanted is None else batch.filter(wanted)
                if kept.num_rows:
                    yield kept.select(list(columns))

    def tally(self, relation: Relation, wanted: Tallied) -> pa.Table | None:  # noqa: ARG002
        """None: it cannot count."""
        return None

    def first_equal(
        self,
        relation: Relation,  # noqa: ARG002
        column: str,  # noqa: ARG002
        pairs: Sequence[tuple[str, str]],  # noqa: ARG002
    ) -> tuple[str, str] | None:
        """None: texts are compared to the character."""
        return None

    def same_name(self, one: str, other: str) -> bool:
        """Names are compared to the character."""
        return one == other

    def close(self) -> None:
        """Nothing is held open."""

    def _files(self, relation: Relation) -> list[Path]:
        """The files of a relation, the same ones for the whole run."""
        name = str(relation.table)
        if name not in self._found:
            self._found[name] = self._look(relation)
        return self._found[name]

    def _look(self, relation: Relation) -> list[Path]:
        if not self._folder.is_dir():
            raise SourceError(
                Code.SOURCE_UNREACHABLE,
                f"there is no folder {self._folder.name!r} to read files from",
                where=str(self._folder),
                expected="a folder with parquet or CSV files",
                next_step="correct source.path; a relative one starts at the project folder",
            )
        name = str(relation.table)
        there = sorted(
            p.relative_to(self._folder).as_posix()
            for p in self._folder.rglob("*")
            if p.is_file() and p.suffix.lower() in _ENDINGS
        )
        exact = self._folder / name
        outside = Path(name).is_absolute() or ".." in Path(name).parts
        if not outside and exact.is_file():
            return [exact]
        found = [] if outside else sorted(p for p in self._folder.glob(name) if p.is_file())
        found = [p for p in found if p.suffix.lower() in _ENDINGS]
        if not found:
            near = difflib.get_close_matches(name, there, 1, 0.4)
            raise SourceError(
                Code.SOURCE_TABLE_NOT_FOUND,
                f"there is no file {name!r} in {self._folder.name}"
                + (f"; did you mean {near[0]!r}?" if near else ""),
                where=str(self._folder),
                expected=", ".join(there[:20]) or "parquet or CSV files",
                found=name,
                next_step="correct the name after `from:` in storecast.yaml, or put the file there",
            )
        return found


def _schema(file: Path, steady: Steady) -> pa.Schema:
    if _is_parquet(file):
        try:
            with steady.opened(file) as handle:
                return pq.read_schema(handle).remove_metadata()
        except (pa.ArrowException, OSError) as fault:
            raise _unreadable(file, fault, "a parquet file") from fault
    try:
        with steady.opened(file) as handle:
            names = _header(file, _first_line(file, handle))
    except OSError as fault:
        raise _unreadable(file, fault, "a file that can be read") from fault
    return pa.schema([pa.field(name, pa.string()) for name in names])


def _same(first: Path, one: pa.Schema, second: Path, other: pa.Schema) -> None:
    if sorted(one.names) != sorted(other.names):
        differing = sorted(set(one.names) ^ set(other.names))
        raise SourceError(
            Code.SOURCE_COLUMN_NOT_FOUND,
            f"{first.name} and {second.name} have different columns",
            where=second.name,
            expected=", ".join(one.names),
            found=f"not in both: {', '.join(differing)}",
            next_step="make the files alike, or name only those that are",
        )
    for field in one:
        kind = other.field(field.name).type if other.names.count(field.name) == 1 else field.type
        if kind != field.type:
            raise SourceError(
                Code.COLUMN_TYPE_INVALID,
                f"column {field.name!r} has one type in {first.name}, another in {second.name}",
                where=f"{second.name}.{field.name}",
                expected=str(field.type),
                found=str(kind),
                next_step="write the files with one schema",
            )


def _read(file: Path, columns: Sequence[str], steady: Steady) -> Iterator[pa.RecordBatch]:
    read, expected = (
        (_read_parquet, "a parquet file")
        if _is_parquet(file)
        else (_read_csv, "UTF-8 text with the same fields in each line")
    )
    try:
        with steady.opened(file) as handle:
            yield from read(file, handle, columns)
    except (pa.ArrowException, OSError, EOFError) as fault:
        raise _unreadable(file, fault, expected) from fault


def _read_parquet(
    _file: Path, handle: BinaryIO, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(handle) as parquet:
        for batch in parquet.iter_batches(_BATCH, columns=list(columns)):
            if batch.num_rows:
                yield batch.select(list(columns))


def _read_csv(file: Path, handle: BinaryIO, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    line = _first_line(file, handle)
    handle.seek(0)
    delimiter = _delimiter_of(line)
    with (
        contextlib.closing(Marked(handle, delimiter, len(_header(file, line)))) as marked,
        pc.open_csv(
            marked,
            read_options=pc.ReadOptions(block_size=_BLOCK),
            parse_options=pc.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pc.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                include_columns=list(columns),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        ) as reader,
    ):
        yield from unmarked(reader)


def _header(file: Path, line: str) -> list[str]:
    try:
        row = pc.open_csv(
            pa.py_buffer((line + "\n").encode()),
            read_options=pc.ReadOptions(autogenerate_column_names=True),
            parse_options=pc.ParseOptions(delimiter=_delimiter_of(line)),
            convert_options=pc.ConvertOptions(strings_can_be_null=False),
        ).read_all()
    except pa.ArrowException as fault:
        found = ValueError(f"the first line: {line}")
        raise _unreadable(file, found, "column names in one line, the first") from fault
    row = row.cast(pa.schema([pa.field(name, pa.string()) for name in row.column_names]))
    return [str(column[0].as_py()) for column in row.columns]


def _delimiter_of(line: str) -> str:
    """The delimiter that the header has most of, outside quotes."""
    outside = "".join(line.split('"')[::2])
    counts = Counter({d: outside.count(d) for d in _DELIMITERS})
    best, count = counts.most_common(1)[0]
    return best if count else ","


def _first_line(file: Path, handle: BinaryIO) -> str:
    try:
        line = handle.readline(1 << 20).decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as fault:
        raise _unreadable(file, fault, "UTF-8") from fault
    if not line.strip():
        raise SourceError(
            Code.SOURCE_EMPTY,
            f"the file {file.name} has no header line",
            where=str(file),
            expected="column names in the first line",
            next_step="write the column names in the first line, or export the file anew",
        )
    if "\x00" in line:
        raise _unreadable(file, ValueError("zero bytes: UTF-16?"), "UTF-8")
    return line


def _is_parquet(file: Path) -> bool:
    return file.suffix.lower() in (".parquet", ".pq")


def _unreadable(file: Path, fault: Exception, expected: str) -> SourceError:
    return SourceError(
        Code.SOURCE_QUERY_FAILED,
        f"the file {file.name} cannot be read",
        where=str(file),
        expected=expected,
        found=" ".join(str(fault).split()),
        next_step="write the file anew"
        if _is_parquet(file)
        else "save the CSV as UTF-8, with quotes around fields that hold the delimiter",
    )


def kind_of(kind: pa.DataType) -> str:
    """What a ``SourceColumn`` calls an Arrow type."""
    tests = (
        ("text", lambda t: pa.types.is_string(t) or pa.types.is_large_string(t)),
        ("integer", pa.types.is_integer),
        ("decimal", pa.types.is_decimal),
        ("float", pa.types.is_floating),
        ("date", pa.types.is_date),
        ("timestamp", pa.types.is_timestamp),
        ("boolean", pa.types.is_boolean),
    )
    return next((name for name, test in tests if test(kind)), "unknown")
