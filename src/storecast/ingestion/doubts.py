# ruff: noqa: S608 - the names in these statements are our own normalised ones
"""Rows of which a partial reading cannot say yet what they are: where to look once more."""

from __future__ import annotations

from datetime import date

import polars as pl

from storecast.ingestion import places, quarantine, reconcile
from storecast.ingestion.bench import Workbench, joined, listed, quoted
from storecast.ingestion.contract import Feed
from storecast.ingestion.reconcile import Region


def find(bench: Workbench, feed: Feed, rows: str, since: date) -> pl.DataFrame:
    """Keys, and the places where the source may have a row of theirs that was not read.

    Args:
        bench: where what came, the table's rows of its keys, and the quarantine are.
        feed: the sales.
        rows: the bench's table of the accepted rows, one a key.
        since: rows with a watermark from this day on were read.

    Returns:
        the key's columns, row__store, row__month; each once.
    """
    first, month = quoted(feed.key[0]), places.MONTH.format("t.date")
    key, place = listed(feed.key, "{0}."), ", {0}.row__store, {0}.row__month"
    statements = [
        # A key that came, but not as a row to take, or as one no newer than the table's: an older
        # version, or the other one of a pair in conflict, may be where the table has it.
        f"SELECT {key.format('t')}, t.store_id AS row__store, {month} AS row__month "
        f"FROM there_by_key AS t LEFT JOIN {rows} AS w ON {joined(feed.key, 't', 'w')} "
        f"WHERE w.{first} IS NULL OR (w.watermark = t.watermark "
        f"AND t.watermark < CAST('{since}T00:00:00+00:00' AS TIMESTAMPTZ))",
        # A rejected row whose key came: it may be there beside what came.
        f"SELECT {(key + place).format('q')} FROM quarantined AS q "
        f"INNER JOIN came AS c ON {joined(feed.key, 'q', 'c')} WHERE NOT q.row__reached",
    ]
    if reconcile.REGIONS in bench.tables():
        # One of a pair in conflict, whose other was looked for.
        statements.append(
            f"SELECT {(key + place).format('k')} FROM kept AS k "
            f"INNER JOIN quarantined AS q ON {joined(feed.key, 'k', 'q')} "
            f"INNER JOIN {reconcile.REGIONS} AS r "
            "ON r.row__store = q.row__store AND r.row__month = q.row__month"
        )
    return pl.DataFrame(bench.rows(" UNION ".join(statements)))


def vanished(bench: Workbench, feed: Feed, rows: str) -> bool:
    """Whether a row has left the quarantine without anything in its place."""
    gone = bench.value(
        "SELECT COUNT(*) FROM quarantined AS q "
        "LEFT JOIN kept AS k ON q.row_hash = k.row_hash AND q.occurrence = k.occurrence "
        f"LEFT JOIN (SELECT DISTINCT row_hash FROM {quarantine.TABLE} "
        f"WHERE feed = '{feed.name}') AS r ON q.row_hash = r.row_hash "
        f"LEFT JOIN {rows} AS w ON {joined(feed.key, 'q', 'w')} "
        f"WHERE k.row_hash IS NULL AND r.row_hash IS NULL AND w.{quoted(feed.key[0])} IS NULL"
    )
    return bool(gone)


def apart(
    found: pl.DataFrame, looked: pl.DataFrame | None, done: set[Region], first: int | None
) -> tuple[set[Region], pl.DataFrame]:
    """Regions that are read whole, and keys that are looked for where they are.

    Args:
        found: keys and places.
        looked: of these, those that were looked for before.
        done: regions that were read.
        first: the month from which on the source is compared; None where it is not.
    """
    new = found.join(reconcile.frame(done), on=list(places.PLACE), how="anti")
    if looked is not None:
        new = new.join(looked, on=new.columns, how="anti", nulls_equal=True)
    if first is None:
        return set(), new
    month = pl.col("row__month")
    compared = (month >= first) | (month == places.NO_MONTH)
    return set(new.filter(compared).select(places.PLACE).unique().rows()), new.filter(~compared)
