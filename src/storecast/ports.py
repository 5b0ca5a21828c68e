"""The ports: what a platform provides. Arrow crosses them, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Protocol, TypeVar

import pyarrow as pa

from storecast.core.schema import TableSpec
from storecast.errors import StorecastError

HOLDS_FLOATS: Final = b"storecast.holds_floats"
"""Metadata by which a source marks a text field some of whose values are stored as floats."""

WRITTEN_ISO: Final = b"storecast.written_iso"
"""Metadata by which a source marks a typed date that it writes as ISO 8601 text itself."""

WITHOUT_END: Final = b"storecast.without_end"
"""Metadata of a column of days or instants in which a source lets the years below stand for
infinity, which Arrow does not have."""

LAST_YEARS: Final = {-4712: "-infinity", 29999: "infinity"}
"""The first as astronomers count, 4713 BC. Later ones the time zones of Arrow do not bear."""

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Relation:
    """Where rows come from: a table or view by name, or a query."""

    table: str | None = None
    query: str | None = None

    def __str__(self) -> str:
        """The name for messages."""
        return self.table if self.table is not None else "query"


@dataclass(frozen=True)
class SourceColumn:
    """A column of a relation: its name, the source's own type name, and its kind.

    ``kind`` is one of text, integer, decimal, float, date, timestamp, boolean, unknown;
    ``fixed_width`` marks char(n), whose padding the identifier rule trims.
    """

    name: str
    type_name: str
    kind: str = "unknown"
    fixed_width: bool = False

    @property
    def is_row_version(self) -> bool:
        """Whether it is SQL Server's rowversion, also called timestamp, which is no time."""
        return self.kind == "unknown" and self.type_name in ("rowversion", "timestamp")


@dataclass(frozen=True)
class Span:
    """A wish to read fewer rows: those whose ``column`` lies in [since, until).

    Whoever reads gives at least these, those whose ``column`` is null or cannot be compared with
    a day, those that are null in a column of ``or_null``, and those whose text in ``or_undated`` is
    no ISO 8601 day from 1900 to 2200; more are allowed, and whoever asks sorts them out. None is
    without bound. Of a column with a type, days before 1900 and after 2200 are given where it is
    ``column`` itself, and not elsewhere: an index on ``column`` would be of no use any more.
    """

    column: str
    since: date | None = None
    until: date | None = None
    or_null: tuple[str, ...] = ()
    or_undated: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that it looks at."""
        undated = () if self.or_undated is None else (self.or_undated,)
        return (self.column, *self.or_null, *undated)


@dataclass(frozen=True)
class Tallied:
    """The columns of a tally: source names, and the first day that counts."""

    store_id: str
    day: str
    sales: str
    since: date | None = None


TALLY: Final = pa.schema(
    [
        pa.field("store_id", pa.string()),
        pa.field("month", pa.date32()),
        pa.field("n_rows", pa.int64()),
        pa.field("amount", pa.decimal128(38, 4)),
    ]
)
"""Rows and sums by store, as the source writes it, and month, by its first day."""


class Source(Protocol):
    """A user's database, folder or lakehouse, opened for reading only.

    What it says between its opening and its closing it says of one state, where the source can.
    """

    def columns(self, relation: Relation) -> list[SourceColumn]:
        """The columns of a relation, in order.

        Raises:
            SourceError: SOURCE_TABLE_NOT_FOUND, SOURCE_UNREACHABLE, SOURCE_QUERY_FAILED.
        """

    def read(
        self, relation: Relation, columns: Sequence[str], span: Span | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Stream the named columns in batches, under their source names.

        A column is Arrow text where the source has no types worth trusting (SQLite, CSV),
        else its own Arrow type. A null is a null. Nothing is guessed, nothing filtered but by
        ``span``.

        Raises:
            SourceError: as ``columns``; SOURCE_INTERRUPTED where the connection breaks midway.
        """

    def tally(self, relation: Relation, wanted: Tallied) -> pa.Table | None:
        """Count and sum by store and month, in the source: rows of ``TALLY``.

        Rows whose date or amount the source itself cannot read are counted in no month, or with
        an amount of zero: a tally that differs makes the rows be read again, nothing else. None
        where the source cannot count (files, or dates that it keeps as text).
        """

    def first_equal(
        self, relation: Relation, column: str, pairs: Sequence[tuple[str, str]]
    ) -> tuple[str, str] | None:
        """The first pair of different texts that are equal to the source; None where none is.

        So they are under a collation that ignores case. At least one text of a pair is a value of
        the column. Thousands of pairs are some readings of the column, no pairs are none.
        """

    def same_name(self, one: str, other: str) -> bool:
        """Whether two names of columns mean one column where it reads by name."""

    def close(self) -> None:
        """Give back what was opened. Twice is once."""


class TableStore(Protocol):
    """Delta tables of one catalog and schema."""

    def names(self) -> list[str]:
        """Names of the tables that exist, sorted."""

    def spec_of(self, name: str) -> pa.Schema:
        """The Arrow schema of an existing table (raises TABLE_NOT_FOUND)."""

    def key_of(self, name: str) -> tuple[str, ...]:
        """The key of an existing table that ``create`` made, else () (raises TABLE_NOT_FOUND)."""

    def made(self, name: str) -> bool:
        """Whether a table is one that ``create`` made: others are not ours to change."""

    def version(self, name: str) -> int | None:
        """The newest version, None where the table does not exist."""

    def create(self, spec: TableSpec) -> None:
        """Create an empty table (its version 0), or add missing nullable columns.

        Raises:
            ConfigurationError: CONFIG_CHANGED where a column would go, change its type,
                or the key would change.
        """

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

        ``where`` is a SQL condition; with ``among`` only rows whose values in its columns are
        those of one of its rows. Both are cheap where they leave few days or few keys.
        """

    def merge(
        self,
        spec: TableSpec,
        rows: pa.Table | pa.RecordBatchReader,
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

    def replace(self, spec: TableSpec, rows: pa.Table | pa.RecordBatchReader) -> int:
        """Make ``rows`` the whole content: one commit. Raises as ``merge``."""

    def restore(self, name: str, version: int) -> int:
        """Make the content that of ``version``. Returns the version now current."""

    def compact(self, name: str) -> int:
        """Put small files together where there are many. Returns the version now current.

        The content stays. Called after each write, it does something now and then only.
        """

    def clean(self, name: str) -> None:
        """Delete files that no version within the retention has; commits nothing."""

    def drop(self, name: str) -> None:
        """Remove a table and its whole past (raises TABLE_NOT_FOUND)."""

    def history(self, name: str) -> list[Mapping[str, Any]]:
        """Commits, newest first: version, timestamp (ISO 8601), operation, metrics."""


class Engine(Protocol):
    """Temporary tables of one run, and SQL over them: DuckDB on a laptop, or Spark.

    Statements are SELECTs over tables by name, in the SQL that both share, names in double
    quotes. Texts are compared by their bytes, time is UTC, and what does not fit a type is an
    error, never cut. Closed when the run ends, and everything is gone.
    """

    def create(self, name: str, select: str) -> None:
        """Make the table ``name`` of what ``select`` gives, in place of one that is there.

        Raises:
            OverflowError: a value does not fit the type that it is cast to.
        """

    def append(self, name: str, batches: Sequence[pa.RecordBatch]) -> None:
        """Add rows to the table ``name``, made where it is not there."""

    def register(self, name: str, rows: pa.Table | pa.RecordBatchReader) -> None:
        """Give rows a name, until ``forget``; those of a reader can be read once."""

    def forget(self, name: str) -> None:
        """Take back a registered name."""

    def tables(self) -> set[str]:
        """Names of the tables there are."""

    def tuples(self, query: str) -> list[tuple[Any, ...]]:
        """The few rows of a query, as Python values."""

    def stream(self, query: str) -> pa.RecordBatchReader:
        """The rows of a query; nothing else may run until they are read."""

    def close(self) -> None:
        """Forget everything. Twice is once."""


class Compute(Protocol):
    """Two verbs: run independent tasks, and map a function over groups of stores."""

    @property
    def workers(self) -> int:
        """How many tasks run at once."""

    def run_tasks(
        self,
        function: Callable[[TaskT], ResultT],
        tasks: Sequence[TaskT],
        *,
        cost: Callable[[TaskT], float] | None = None,
        lost: Callable[[TaskT, StorecastError], ResultT] | None = None,
        apart: bool = False,
    ) -> Iterator[tuple[TaskT, ResultT]]:
        """Run each task, in processes with one numeric thread each; yield as they finish.

        ``function`` is importable by name, a task pickles. Dear ones (``cost``) start first. A
        task whose worker was killed is tried once more, alone; if that is killed too, ``lost``,
        called here, says what stands for it (None: MODEL_FAILED is raised). ``apart``: never in
        this process, though there be one task or one worker, since a task may end its process.
        """

    def map_stores(
        self,
        function: Callable[[pa.Table], pa.Table],
        groups: Iterable[pa.Table],
    ) -> Iterator[pa.Table]:
        """Apply ``function`` to each group of whole stores."""


class Registry(Protocol):
    """Registered versions of one model name, and their aliases."""

    def alias(self, alias: str) -> str | None:
        """The version that carries the alias, None if none does."""

    def set_alias(self, alias: str, version: str) -> None:
        """Move the alias and read it back (raises ALIAS_NOT_SET)."""

    def versions(self) -> list[Mapping[str, Any]]:
        """Every version, newest first: version, created_at, run_id, tags, aliases."""


@dataclass(frozen=True)
class Through:
    """How far a source is complete: its last complete day, and who says so."""

    day: date
    origin: str
