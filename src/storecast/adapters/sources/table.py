"""Any Delta table that the local platform can name, each at one version while it is open."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pa_fs
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from storecast.adapters.sources.files import kind_of
from storecast.adapters.sources.spans import as_filter
from storecast.adapters.sources.sql import name_parts, table_not_found
from storecast.errors import Code, SourceError
from storecast.ports import Relation, SourceColumn, Span, Tallied

_BATCH = 65_536


class TableSource:
    """The lakehouse of the project, and Delta folders elsewhere.

    A name has one to three parts, catalog, schema and table, of which the configured ones can be
    left out; what holds a slash is the path of a folder, a relative one from the project.

    Args:
        root: the project folder.
        catalog: of the configuration.
        schema: of the configuration.
    """

    def __init__(self, root: Path, catalog: str, schema: str) -> None:
        self._root = root
        self._lakehouse = root / "lakehouse"
        self._default = (catalog, schema)
        self._tables: dict[Path, DeltaTable] = {}

    def columns(self, relation: Relation) -> list[SourceColumn]:
        """The columns of a table, in order."""
        schema = self._schema(relation)
        return [SourceColumn(f.name, str(f.type), kind_of(f.type)) for f in schema]

    def read(
        self, relation: Relation, columns: Sequence[str], span: Span | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Stream the named columns in their own types."""
        folder, table = self._opened(relation)
        try:
            # Arrow's own file system: with delta-rs's, which is Python, a reading thread that
            # closes a file while the interpreter ends brings the whole process down.
            files = pa_fs.SubTreeFileSystem(str(folder), pa_fs.LocalFileSystem())
            dataset = table.to_pyarrow_dataset(filesystem=files)
            batches = dataset.scanner(
                columns=list(columns),
                filter=as_filter(span, dataset.schema),
                batch_size=_BATCH,
            ).to_batches()
            for batch in batches:
                if batch.num_rows:
                    yield batch
        except (DeltaError, OSError, pa.ArrowException) as fault:
            raise _unreadable(relation, fault) from fault

    def tally(self, relation: Relation, wanted: Tallied) -> pa.Table | None:  # noqa: ARG002
        """None: to count, Arrow would have to read the rows as well."""
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
        """Forget the versions; nothing is held open."""
        self._tables.clear()

    # ------------------------------------------------------------------ inside

    def _schema(self, relation: Relation) -> pa.Schema:
        _, table = self._opened(relation)
        return pa.schema(table.schema().to_arrow())

    def _opened(self, relation: Relation) -> tuple[Path, DeltaTable]:
        folder = self._folder(str(relation.table))
        if folder not in self._tables:
            if not (folder / "_delta_log").is_dir():
                raise self._not_found(str(relation.table))
            try:
                self._tables[folder] = DeltaTable(str(folder))
            except (DeltaError, OSError) as fault:
                raise _unreadable(relation, fault) from fault
        return folder, self._tables[folder]

    def _folder(self, name: str) -> Path:
        if "/" in name:
            return self._root / Path(name).expanduser()
        parts = name_parts(name, "`", "`")
        if not 1 <= len(parts) <= 3:
            raise self._not_found(name)
        return self._lakehouse.joinpath(*self._default[: 3 - len(parts)], *parts)

    def _not_found(self, name: str) -> SourceError:
        if "/" in name:
            return SourceError(
                Code.SOURCE_TABLE_NOT_FOUND,
                f"there is no Delta table in the folder {name}",
                where=str(self._folder(name)),
                expected="a folder with _delta_log/",
                found=name,
                next_step="correct the path; a relative one starts at the project folder",
            )
        logs = self._lakehouse.glob("*/*/*/_delta_log")
        there = sorted(tuple(log.parent.relative_to(self._lakehouse).parts) for log in logs)
        parts = len(name_parts(name, "`", "`"))
        near = [t[3 - parts :] for t in there if t[: 3 - parts] == self._default[: 3 - parts]]
        shown = [".".join(t) for t in near or there]
        return table_not_found(name, shown, "the lakehouse", str(self._lakehouse))


def _unreadable(relation: Relation, fault: Exception) -> SourceError:
    said = " ".join(str(fault).split())
    return SourceError(
        Code.SOURCE_QUERY_FAILED,
        f"the table {relation} cannot be read",
        where=str(relation),
        expected="a Delta table that delta-rs and Arrow can read",
        # What follows is the stack of the library.
        found=_STACK.split(said)[0],
        next_step=next(
            (step for signs, step in _NEXT_STEPS if any(s in said.lower() for s in signs)),
            "the table is damaged: bring it back from a copy, or write it anew",
        ),
    )


_STACK = re.compile(r" 0: (?=<unknown>|\S+::)")
_NEXT_STEPS = (
    (
        ("no such file", "object at location"),
        "a file that was vacuumed meanwhile is not missed by the next run; one that is gone for "
        "good comes back from a copy alone",
    ),
    (
        ("deletion vector", "column mapping", "reader feature", "readerfeature", "reader version",
         "not supported", "not yet supported", "unsupported"),
        "read it on Spark: a table with deletion vectors or column mapping is not read here",
    ),
    (("permission denied",), "let storecast's user read the folder"),
)  # fmt: skip
"""What to do, by the words that say what is wrong."""
