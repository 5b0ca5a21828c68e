"""The source database of the demo: built once, then one delivery after the other.

How many deliveries it has had stands in its own load log, which is also where the pipeline
reads how far the source is complete.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from storecast.demos.iowa import story
from storecast.errors import Code, ConfigurationError, SourceError

_TABLES = """
CREATE TABLE stores (
    store_number TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    city TEXT NOT NULL,
    zip TEXT NOT NULL
);
CREATE TABLE invoice_lines (
    invoice_id TEXT NOT NULL PRIMARY KEY,
    invoice_date TEXT NOT NULL,
    store_number TEXT NOT NULL,
    item_id TEXT NOT NULL,
    bottles INTEGER NOT NULL,
    amount REAL NOT NULL,
    updated_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE load_log (
    loaded_at TEXT NOT NULL PRIMARY KEY,
    complete_through TEXT NOT NULL
);
"""
# One tree instead of two (WITHOUT ROWID) halves the file, which is read whole at every run.

_UPSERT = "INSERT OR REPLACE INTO invoice_lines VALUES (?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class Delivered:
    """What one call of :func:`advance` changed in the source.

    Attributes:
        deliveries: how many were made.
        complete_through: the last day through which the source is complete now.
        lines_added: lines that were not there before, late ones included.
        lines_corrected: lines that say something else now.
        lines_cancelled: lines that are gone.
        remaining: deliveries that are still to come.
    """

    deliveries: int
    complete_through: date
    lines_added: int
    lines_corrected: int
    lines_cancelled: int
    remaining: int


def build(database: Path) -> None:
    """Writes the database as it stands before the first delivery.

    It is built beside its place and moved there whole, so that a kill leaves either no
    database or a complete one.
    """
    # Loaded here, since advancing does without it.
    from adbc_driver_sqlite import dbapi

    unfinished = database.with_name(database.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    database.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(unfinished)) as connection:
        connection.executescript(_TABLES)

    lines = _as_rows(pl.concat([story.settled(), story.unsettled(0)]).sort("invoice_id"))
    stores = story.stores().rename({"store_id": "store_number"})
    with (
        dbapi.connect(str(unfinished), autocommit=True) as target,
        target.cursor() as cursor,
    ):
        # A half-written file is thrown away in any case: no journal is needed.
        cursor.execute("PRAGMA journal_mode = OFF")
        cursor.execute("PRAGMA synchronous = OFF")
        cursor.adbc_ingest("stores", stores.to_arrow(), mode="append")
        cursor.adbc_ingest("invoice_lines", lines.to_arrow(), mode="append")
    with closing(sqlite3.connect(unfinished)) as connection, connection:
        # Committed with the disk's word for it, and with it all that was written before.
        connection.execute("PRAGMA synchronous = FULL")
        _log(connection, 0)
    unfinished.replace(database)


def delivered(database: Path) -> int:
    """How many deliveries the database has had."""
    with _open(database) as connection:
        return _delivered(connection)


def remaining(database: Path) -> int:
    """How many deliveries are still to come."""
    return story.DELIVERIES - delivered(database)


def advance(database: Path, deliveries: int) -> Delivered:
    """Makes the next ``deliveries``, all of them or, when fewer are left, none.

    They are one transaction: after a kill the same call starts from where the killed one did.

    Raises:
        ConfigurationError: fewer are left (``DEMO_EXHAUSTED``), or ``deliveries`` is below 1.
        SourceError: the database cannot be read or written.
    """
    if deliveries < 1:
        raise ConfigurationError(
            Code.USAGE,
            "the number of deliveries has to be at least 1",
            where="--advance",
            expected="1, 2, …",
            found=str(deliveries),
        )
    with _open(database) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = _deliver(connection, deliveries)
        except BaseException:
            connection.rollback()
            raise
        connection.commit()
        return result


def _deliver(connection: sqlite3.Connection, deliveries: int) -> Delivered:
    done = _delivered(connection)
    left = story.DELIVERIES - done
    if deliveries > left:
        raise _exhausted(deliveries, left)
    added = corrected = cancelled = 0
    shown = story.unsettled(done)
    for number in range(done + 1, done + deliveries + 1):
        arrived = story.unsettled(number)
        gone = shown.join(arrived, on="invoice_id", how="anti")
        fresh = arrived.join(shown, on=["invoice_id", "updated_at"], how="anti")
        new = fresh.join(shown, on="invoice_id", how="anti").height
        connection.executemany(
            "DELETE FROM invoice_lines WHERE invoice_id = ?",
            gone.select("invoice_id").iter_rows(),
        )
        connection.executemany(_UPSERT, _as_rows(fresh).iter_rows())
        _log(connection, number)
        added, corrected = added + new, corrected + fresh.height - new
        cancelled += gone.height
        shown = arrived
    return Delivered(
        deliveries=deliveries,
        complete_through=story.complete_through(done + deliveries),
        lines_added=added,
        lines_corrected=corrected,
        lines_cancelled=cancelled,
        remaining=left - deliveries,
    )


def _exhausted(asked: int, left: int) -> ConfigurationError:
    if left == 0:
        message = "the demo has no further delivery: all have been made"
        next_step = "play it again in a new folder: storecast init OTHER_DIR --demo iowa"
    else:
        noun = "delivery" if left == 1 else "deliveries"
        message = f"the demo has only {left} {noun} left; none was made"
        next_step = f"storecast init --advance {left}"
    return ConfigurationError(
        Code.DEMO_EXHAUSTED,
        message,
        where="--advance",
        expected=f"at most {left}",
        found=str(asked),
        next_step=next_step,
    )


def _as_rows(lines: pl.DataFrame) -> pl.DataFrame:
    """Lines as the table ``invoice_lines`` has them: in its order, dates as ISO text."""
    return lines.select(
        "invoice_id",
        pl.col("date").dt.strftime("%Y-%m-%d").alias("invoice_date"),
        pl.col("store_id").alias("store_number"),
        "item_id",
        "bottles",
        pl.col("sales").cast(pl.Float64).alias("amount"),
        "updated_at",
    )


def _log(connection: sqlite3.Connection, delivery: int) -> None:
    connection.execute(
        "INSERT INTO load_log VALUES (?, ?)",
        (story.loaded_at(delivery), story.complete_through(delivery).isoformat()),
    )


def _delivered(connection: sqlite3.Connection) -> int:
    (through,) = connection.execute("SELECT max(complete_through) FROM load_log").fetchone()
    number = 0 if through is None else (date.fromisoformat(through) - story.OPENING).days // 7
    if through is None or not 0 <= number <= story.DELIVERIES:
        raise SourceError(
            Code.SOURCE_THROUGH_INVALID,
            "the load log does not say how many deliveries the demo has had",
            where="load_log.complete_through",
            expected=f"{story.OPENING} to {story.complete_through(story.DELIVERIES)}",
            found=str(through),
            next_step="make a new demo project in another folder",
        )
    return number


@contextmanager
def _open(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection that begins no transaction by itself; SQLite's faults are translated."""
    try:
        # mode=rw: a database that is not there is not made by looking.
        uri = f"{database.resolve().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise SourceError(
            Code.SOURCE_QUERY_FAILED,
            f"the demo's database could not be read or written: {error}",
            where=str(database),
            next_step="close other programs that use it, or make a new demo project",
        ) from error
