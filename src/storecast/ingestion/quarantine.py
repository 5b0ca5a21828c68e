# ruff: noqa: S608 - the names in these statements are our own
"""The quarantine: rows that break a rule, each once, with its reason, until they are mended."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import polars as pl
import pyarrow as pa

from storecast.errors import Code, ContractError, SourceError
from storecast.ingestion.bench import Workbench, listed
from storecast.ingestion.contract import Feed, check, rejected
from storecast.ingestion.merge import Unique
from storecast.runs import Run

_MEND = "Mend the rows that `storecast tables show rejected_rows` names."
_SPEC = "rejected_rows"
TABLE = "rejected"
"""The bench's table of rejected rows."""


def conflicting_rows(
    bench: Workbench, again: Iterable[pa.RecordBatch], feed: Feed, rows: Unique
) -> Iterator[pa.RecordBatch]:
    """The rows in conflict, as the source has them.

    They are read once more: to keep every row as it came, for the few that conflict, would
    double what is staged.

    Args:
        bench: where the staged rows are.
        again: all rows that were read.
        feed: what they are.
        rows: the staged ones, one a key.

    Raises:
        SourceError: SOURCE_QUERY_FAILED where the source has changed since.
    """
    columns = feed.schema.names
    wanted: pl.DataFrame = pl.DataFrame(
        bench.rows(
            f"SELECT DISTINCT {listed(columns)} FROM {rows.judged} "
            "WHERE row__verdict = 'conflicting'"
        )
    )
    found = 0
    for batch in again:
        checked = check(batch, feed)
        accepted: pl.DataFrame = pl.DataFrame(checked.accepted)
        places = accepted.with_row_index("place").join(
            wanted.match_to_schema(accepted.schema), on=columns, how="semi", nulls_equal=True
        )["place"]
        if len(places):
            found += len(places)
            reasons = [(Code.CONFLICTING_DUPLICATE, None)] * len(places)
            yield rejected(checked.raw.take(places.cast(pl.Int64).to_arrow()), feed, reasons)
    if found != rows.conflicting:
        raise SourceError(
            Code.SOURCE_QUERY_FAILED,
            f"{feed.relation} changed while it was read",
            where=f"source.{feed.name}",
            expected=f"{rows.conflicting} rows in conflict",
            found=str(found),
            next_step="ingest again",
        )


def of_feed(run: Run, feed: Feed) -> pa.Table:
    """The rows of a feed that are in the quarantine: their key there, and ``raw_row``.

    Other feeds may be meant for the same table: whose a row is, its columns say.
    """
    names = ["table_name", "row_hash", "occurrence", "raw_row"]
    rows = run.read(_SPEC, names, f"table_name = '{feed.table}'")
    own = [set(json.loads(row)) == set(feed.sources) for row in rows["raw_row"].to_pylist()]
    return rows.filter(pa.array(own, pa.bool_()))


def quarantined(bench: Workbench, target: pa.Table, run_id: str, kept: str | None) -> str:
    """The quarantine as it shall be; returns the bench's table.

    Args:
        bench: where the rejected rows of all feeds are.
        target: the quarantine as it is.
        run_id: the run that rejected them.
        kept: the bench's table of the rows that stay without having come; None for none.
    """
    with bench.viewed("there_quarantined", target):
        bench.create("quarantine", "SELECT * FROM there_quarantined")
    rows = bench.make(
        "quarantined_now", "quarantined", rejected=TABLE, target="quarantine", run_id=run_id
    )
    if kept is None:
        return rows
    columns = target.schema.names
    return bench.create(
        "quarantined_all",
        f"SELECT {listed(columns)} FROM {rows} UNION ALL "
        f"SELECT {listed(columns, 'q.')} FROM quarantine AS q INNER JOIN {kept} AS k "
        "ON q.row_hash = k.row_hash AND q.occurrence = k.occurrence AND "
        "q.table_name = k.table_name",
    )


def reasons(bench: Workbench) -> dict[str, int]:
    """How many rows each code rejected, the most frequent first."""
    return dict(
        bench.tuples(
            f"SELECT reason_code, COUNT(*) FROM {TABLE} "
            "GROUP BY reason_code ORDER BY COUNT(*) DESC, reason_code"
        )
    )


def refuse_too_many(
    bench: Workbench, feed: Feed, rows: int, rows_rejected: int, allowed: float
) -> None:
    """Stop before the commit where too large a share of a feed is rejected.

    Args:
        bench: where the rejected rows of this run are.
        feed: whose rows.
        rows: of the feed, as far as they are known: those read, or after a reading of some of
            them all that the table and the quarantine will have.
        rows_rejected: of these, how many the quarantine will have.
        allowed: the share.

    Raises:
        ContractError: TOO_MANY_REJECTED, with the top reasons and an example of each.
    """
    if rows_rejected <= allowed * rows:
        return
    top = bench.tuples(
        f"SELECT reason_code, COUNT(*), MIN(reason) FROM {TABLE} "
        f"WHERE feed = '{feed.name}' GROUP BY reason_code ORDER BY COUNT(*) DESC, reason_code "
        "LIMIT 3"
    )
    raise ContractError(
        Code.TOO_MANY_REJECTED,
        f"{rows_rejected:,} of {rows:,} rows of {feed.relation} were rejected "
        f"({rows_rejected / rows:.2%}): "
        + (", ".join(f"{code} {count:,}" for code, count, _ in top) or "all by earlier runs"),
        where=f"source.{feed.name}",
        expected=f"at most {allowed:.2%} (max_rejected)",
        found="; ".join(
            f"{code}, for example {raw[:150]}" for code, raw in _examples(bench, feed, top)
        ),
        next_step=f"{top[0][2] if top else _MEND} Or raise max_rejected.",
    )


def _examples(
    bench: Workbench, feed: Feed, top: Iterable[tuple[str, int, str]]
) -> Iterator[tuple[str, str]]:
    """Each code, and the row of which its reason speaks."""
    for code, _, reason in top:
        with bench.viewed("told", pa.table({"reason": pa.array([reason], pa.string())})):
            raw = bench.value(
                f"SELECT MIN(r.raw_row) FROM {TABLE} AS r INNER JOIN told AS t "
                f"ON r.reason = t.reason WHERE r.feed = '{feed.name}'"
            )
        yield code, str(raw)
