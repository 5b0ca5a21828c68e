# ruff: noqa: S608 - the names in these statements are our own normalised ones
"""Rules about sets of rows: one row a key, what changes in a table, means over periods."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa

from storecast.core.schema import TableSpec
from storecast.ingestion.bench import Workbench, joined, listed, quoted
from storecast.ingestion.contract import Feed

BOOKKEEPING = ("ingested_at", "run_id")
"""Columns that say when and by which run a row was written; no part of what it says."""


# ---------------------------------------------------------------------- one row a key


@dataclass(frozen=True)
class Unique:
    """Accepted rows of a feed, one a key, in the table ``name``.

    Attributes:
        deduplicated: rows that an equal or a newer one stands for.
        conflicting: rows in conflict; ``judged`` names the table that has them.
    """

    name: str
    rows: int
    deduplicated: int = 0
    conflicting: int = 0
    judged: str | None = None


def unique(bench: Workbench, feed: Feed, staged: str) -> Unique:
    """Keep one row of each key: the newest, if the watermark or equality says which."""
    columns, total = feed.schema.names, bench.count(staged)
    bench.make(f"{staged}_doubled", "doubled", key=listed(feed.key), staged=staged)
    if bench.count(f"{staged}_doubled") == 0:
        return Unique(staged, total)
    values = [c for c in columns if c not in feed.key and c != "watermark"]
    parts = {
        "columns": listed(columns),
        "prefixed": listed(columns, "s."),
        "key": listed(feed.key),
        "prefixed_key": listed(feed.key, "s."),
        "same_key": joined(feed.key, "s", "d"),
        "newest": "s.watermark DESC NULLS LAST" if feed.watermark else listed(feed.key, "s."),
        "order": listed(values or feed.key, "s."),
        "staged": staged,
        "doubled": f"{staged}_doubled",
        "judged": f"{staged}_judged",
    }
    bench.make(f"{staged}_judged", "judged", **parts)
    bench.make(f"{staged}_unique", "unique_rows", **parts)
    return Unique(
        f"{staged}_unique",
        bench.count(f"{staged}_unique"),
        deduplicated=bench.count(f"{staged}_judged", "row__verdict = 'superseded'"),
        conflicting=bench.count(f"{staged}_judged", "row__verdict = 'conflicting'"),
        judged=f"{staged}_judged",
    )


# ---------------------------------------------------------------------- what changes


@dataclass(frozen=True)
class Change:
    """What makes a table what it shall be.

    ``wanted`` is the bench's table of the whole content, or of the part that is looked at;
    ``name`` that of the rows that differ, each with its values before; the same one where the
    table has no rows yet. The counts are of what is looked at.
    """

    spec: TableSpec
    wanted: str
    name: str
    values: tuple[str, ...]
    before: int
    after: int
    inserted: int
    updated: int
    deleted: int
    held: int

    @property
    def unchanged(self) -> int:
        """Rows that came and change nothing."""
        return self.after - self.inserted - self.updated

    @property
    def whole(self) -> bool:
        """Whether every row of ``name`` is new."""
        return self.name == self.wanted

    @property
    def nothing(self) -> bool:
        """Whether the table is already what it shall be."""
        return self.inserted + self.updated + self.deleted == 0


def difference(
    bench: Workbench,
    spec: TableSpec,
    wanted: str,
    target: pa.RecordBatchReader | str | None,
    *,
    newer_holds: bool = False,
    columns: Sequence[str] | None = None,
) -> Change:
    """Compare the rows of ``wanted`` with the table.

    Args:
        bench: where both are compared.
        spec: the table.
        wanted: the bench's table with the rows as they shall be.
        target: the rows as they are, or the bench's table of those that are looked at; None for
            a table that has none.
        newer_holds: a row of the table with a newer watermark stays.
        columns: what is compared beside the key; None is all.
    """
    # A table may be compared twice: at the sales' own grain, and whole.
    name = f"change_{spec.name}" if columns is None else f"own_change_{spec.name}"
    given = spec.names if columns is None else columns
    values = tuple(c for c in given if c not in spec.primary_key and c not in BOOKKEEPING)
    after = bench.count(wanted)
    if target is None:
        # Everything is new: no need to compare, nor to copy.
        return Change(spec, wanted, wanted, values, 0, after, after, 0, 0, 0)
    if isinstance(target, str):
        _compare(bench, spec, name, wanted, target, spec.names, values, newer_holds)
        before = bench.count(target)
    else:
        with bench.viewed("target", target) as passing:
            have = set(target.schema.names)
            _compare(bench, spec, name, wanted, "target", have, values, newer_holds)
        before = passing.rows
    counts = dict(bench.tuples(f"SELECT row__change, COUNT(*) FROM {name} GROUP BY row__change"))
    return Change(
        spec,
        wanted,
        name,
        values,
        before=before,
        after=after,
        inserted=counts.get("inserted", 0),
        updated=counts.get("updated", 0),
        deleted=counts.get("deleted", 0),
        held=counts.get("held", 0),
    )


def _compare(
    bench: Workbench,
    spec: TableSpec,
    name: str,
    wanted: str,
    target: str,
    have: Collection[str],
    values: Sequence[str],
    newer_holds: bool,
) -> None:
    key = spec.primary_key
    # Rows of a table that has no watermark yet are older than whatever comes.
    older = (
        "w.watermark < t.watermark OR (w.watermark IS NULL AND t.watermark IS NOT NULL)"
        if newer_holds and "watermark" in have
        else "FALSE"
    )

    def before(column: str) -> str:
        # A column that the configuration has added since is null in every row that is there.
        return f"t.{quoted(column)}" if column in have else "NULL"

    bench.make(
        name,
        "compared",
        keys=", ".join(f"COALESCE(w.{q}, t.{q}) AS {q}" for q in map(quoted, key)),
        values=listed(values, "w."),
        befores=", ".join(f"{before(v)} AS {quoted(f'before__{v}')}" for v in values),
        no_before=f"t.{quoted(key[0])} IS NULL",
        no_after=f"w.{quoted(key[0])} IS NULL",
        same=" AND ".join(f"w.{quoted(v)} IS NOT DISTINCT FROM {before(v)}" for v in values),
        older=older,
        wanted=wanted,
        target=target,
        same_key=joined(key, "w", "t"),
    )


def settled(bench: Workbench, change: Change, wanted: str) -> str:
    """The rows as the table will have them; returns the bench's table."""
    if change.held == 0:
        return wanted
    key = change.spec.primary_key
    bench.create("held", f"SELECT * FROM {change.name} WHERE row__change = 'held'")
    return bench.make(
        f"{wanted}_settled",
        "settled",
        settled=", ".join(
            f"w.{quoted(c)}"
            if c in key
            else f"CASE WHEN h.row__change = 'held' THEN h.{quoted(f'before__{c}')} "
            f"ELSE w.{quoted(c)} END AS {quoted(c)}"
            for c in (*key, *change.values)
        ),
        wanted=wanted,
        held="held",
        same_key=joined(key, "w", "h"),
    )


# ---------------------------------------------------------------------- periods


def averaged(
    bench: Workbench, name: str, rows: str, key: Sequence[str], columns: Sequence[str]
) -> str:
    """Means over each period's days; ``date`` of the key becomes the period's label."""
    return bench.make(
        name,
        "averaged",
        keys=", ".join("p.label AS date" if k == "date" else f"w.{quoted(k)}" for k in key),
        grouped=", ".join("p.label" if k == "date" else f"w.{quoted(k)}" for k in key),
        means=", ".join(f"{_mean(f'w.{quoted(c)}')} AS {quoted(c)}" for c in columns),
        rows=rows,
        periods="periods",
    )


def _mean(column: str) -> str:
    # By way of text, since engines differ in how they turn a double into a decimal and back.
    decimal = f"CAST(CAST({column} AS STRING) AS DECIMAL(38, 9))"
    total = f"CAST(CAST(SUM({decimal}) AS STRING) AS DOUBLE)"
    return (
        f"CASE WHEN COUNT({column}) = 1 THEN MAX({column}) "
        f"ELSE {total} / NULLIF(COUNT({column}), 0) END"
    )


def combined(
    bench: Workbench,
    name: str,
    tables: Sequence[tuple[str, Sequence[str]]],
    key: Sequence[str],
    columns: Sequence[str],
) -> str:
    """One table of several that each have the key and some of the columns."""
    union = " UNION ALL ".join(
        f"SELECT {listed(key)}, "
        + ", ".join(
            quoted(c) if c in own else f"CAST(NULL AS DOUBLE) AS {quoted(c)}" for c in columns
        )
        + f" FROM {table}"
        for table, own in tables
    )
    values = ", ".join(f"MAX({q}) AS {q}" for q in map(quoted, columns))
    return bench.make(name, "combined", key=listed(key), values=values, union=union)
