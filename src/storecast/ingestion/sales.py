# ruff: noqa: S608 - the names in these statements are our own normalised ones
"""Sales: at the source's own grain, and those of each store and period."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import pyarrow as pa

from storecast.core.calendar import Frequency
from storecast.errors import Code, ContractError
from storecast.ingestion import covariates, equations
from storecast.ingestion.bench import Workbench, joined, listed
from storecast.ingestion.changes import Changes
from storecast.ingestion.feeds import Feeds
from storecast.ingestion.merge import BOOKKEEPING, Change, Unique, settled
from storecast.ingestion.partial import Part, new_rows, old_rows
from storecast.ingestion.staging import PERIODS, Staged, label_days, label_periods

_LONGEST = 31
"""Days of the longest period."""

_NEAR = 62
"""Days between two spans of the table that cost less to read than another reading."""


@dataclass(frozen=True)
class After:
    """The sales as they will be, as far as the rest of a run needs them.

    Attributes:
        days: the bench's table of rows at their own grain by day: date, row__rows.
        stores: the bench's table of store_id, first_date, last_date, periods.
        main: what becomes of the table at their own grain.
    """

    days: str
    stores: str
    main: Change


# ---------------------------------------------------------------------- all of them


def merge(
    changes: Changes,
    feeds: Feeds,
    staged: Staged,
    rows: Mapping[str, Unique],
    frequency: Frequency,
    *,
    full: bool,
) -> After:
    """Find what both tables of sales become, all rows having been read.

    Args:
        changes: the run's.
        feeds: everything that is read.
        staged: the sales as they were read.
        rows: one row a key, by the feed's name.
        frequency: of the series.
        full: the source is right even where the table has a newer version of a row.

    Raises:
        ContractError: SALES_TOO_LARGE, ROWS_DO_NOT_BALANCE, AMOUNTS_DO_NOT_BALANCE.
    """
    bench, own, sales = changes.bench, rows["sales"], changes.specs["sales"]
    main = changes.compare(
        feeds.sales.table,
        own.name,
        newer_holds=feeds.sales.watermark and not full,
        columns=feeds.sales.schema.names,
    )
    final = wanted = settled(bench, main, own.name)
    if "transactions" in changes.specs:
        changes.accept(main, final)
        # A row that holds its place may lie on a day that did not come with this reading.
        label_periods(bench, [final], frequency)
        wanted = _aggregated(bench, final)
    wanted = covariates.with_realised(bench, sales, feeds.covariates, rows, wanted)
    if "transactions" in changes.specs or wanted != final:
        changes.find("sales", wanted)
    else:
        changes.accept(main, final)
    equations.rows_of_feed(staged, changes.count(staged, own, main))
    equations.amounts(bench, staged, own, main, wanted)
    return After(
        bench.create(
            "days_after", f"SELECT date, COUNT(*) AS row__rows FROM {final} GROUP BY date"
        ),
        _stores(bench, wanted),
        main,
    )


def _aggregated(bench: Workbench, rows: str) -> str:
    try:
        return bench.make("aggregated", "aggregated", rows=rows, periods=PERIODS)
    except OverflowError as fault:
        raise _too_large(bench, rows) from fault


def _too_large(bench: Workbench, rows: str) -> ContractError:
    store, day, sales = bench.tuples(
        f"SELECT store_id, date, sales FROM {rows} ORDER BY ABS(sales) DESC NULLS LAST LIMIT 1"
    )[0]
    return ContractError(
        Code.SALES_TOO_LARGE,
        "the sales of a store and period together do not fit DECIMAL(18,4)",
        where="sales",
        expected="less than 100,000,000,000,000",
        found=f"the largest amount among them: {sales} of store {store!r} on {day}",
        next_step="correct the amounts in the source",
    )


def _stores(bench: Workbench, rows: str) -> str:
    return bench.create(
        "stores_after",
        "SELECT store_id, MIN(date) AS first_date, MAX(date) AS last_date, COUNT(*) AS periods "
        f"FROM {rows} GROUP BY store_id",
    )


# ---------------------------------------------------------------------- some of them


def merge_part(
    changes: Changes,
    feeds: Feeds,
    part: Part,
    rows: Mapping[str, Unique],
    frequency: Frequency,
) -> After:
    """Find what both tables of sales become, some rows having been read.

    Raises:
        ContractError: SALES_TOO_LARGE, ROWS_DO_NOT_BALANCE, AMOUNTS_DO_NOT_BALANCE.
    """
    bench, main = changes.bench, part.change
    equations.rows_of_table(main)
    bench.create("changed", f"SELECT * FROM {main.name} WHERE row__change <> 'held'")
    finer, realised = "transactions" in changes.specs, _has_realised(changes)
    if finer:
        changes.accept(main)
        wanted = _aggregated_anew(changes, main, frequency)
    elif realised:
        wanted = _changed_days(bench, main)
    if realised:
        # What was realised may have changed for any period.
        wanted = covariates.with_realised(
            bench, changes.specs["sales"], feeds.covariates, rows, _every(changes, wanted)
        )
        change = changes.find("sales", wanted)
    else:
        change = changes.compare("sales", wanted, _target(changes)) if finer else main
        changes.accept(change)
    equations.rows_of_feed(part.staged, changes.count(part.staged, part.rows, main))
    equations.amounts_of_part(bench, part.staged, part.rows, main, change)
    return After(_days_after(bench, main), _stores(bench, _periods_after(changes, change)), main)


def _has_realised(changes: Changes) -> bool:
    own = ("store_id", "date", "sales", "watermark", *BOOKKEEPING)
    return any(c not in own for c in changes.specs["sales"].names)


def _changed_days(bench: Workbench, main: Change) -> str:
    """The sales of the store-days that change."""
    key = listed(main.spec.primary_key)
    bench.create("affected", f"SELECT {key} FROM changed")
    columns = listed((*main.spec.primary_key, *main.values))
    return bench.create(
        "days_changed",
        f"SELECT {columns} FROM changed WHERE row__change IN ('inserted', 'updated')",
    )


def _aggregated_anew(changes: Changes, main: Change, frequency: Frequency) -> str:
    """The sales of each store and period that a change touches, from all their rows."""
    bench = changes.bench
    moved = f"{old_rows(main)} UNION ALL {new_rows(main)}"
    bench.create("moved", f"SELECT DISTINCT store_id, date FROM ({moved}) AS moved")
    days = [row[0] for row in bench.tuples("SELECT DISTINCT date FROM moved ORDER BY date")]
    spans = list(_spans(days))
    _label(bench, spans, frequency)
    bench.create(
        "affected",
        "SELECT DISTINCT m.store_id, p.label AS date FROM moved AS m "
        f"INNER JOIN {PERIODS} AS p ON m.date = p.day",
    )
    names = [*dict.fromkeys([*main.spec.primary_key, "store_id", "date", "sales"])]
    where = " OR ".join(f"(date BETWEEN DATE '{a}' AND DATE '{b}')" for a, b in spans)
    try:
        with bench.viewed("target", changes.run.scan(main.spec.name, names, where or "FALSE")):
            return bench.make(
                "aggregated",
                "aggregated_anew",
                target="target",
                changed="changed",
                same_key=joined(main.spec.primary_key, "t", "c"),
                periods=PERIODS,
                affected="affected",
            )
    except OverflowError as fault:
        raise _too_large(bench, "changed") from fault


def _spans(days: Iterable[date]) -> Iterator[tuple[date, date]]:
    """Spans that hold every day of every period with one of ``days``, which ascend."""
    span: tuple[date, date] | None = None
    reach = timedelta(days=_LONGEST)
    for day in days:
        if span is not None and day - reach <= span[1] + timedelta(days=_NEAR):
            span = span[0], day + reach
            continue
        if span is not None:
            yield span
        span = day - reach, day + reach
    if span is not None:
        yield span


def _label(bench: Workbench, spans: Sequence[tuple[date, date]], frequency: Frequency) -> None:
    days = [a + timedelta(days=n) for a, b in spans for n in range((b - a).days + 1)]
    known = set(bench.rows(f"SELECT day FROM {PERIODS}")["day"].to_pylist())
    label_days(bench, pa.array([d for d in days if d not in known], pa.date32()), frequency)


def _target(changes: Changes) -> str:
    """The rows of ``sales`` that may change."""
    bench, spec = changes.bench, changes.specs["sales"]
    names = [c for c in spec.names if c not in BOOKKEEPING]
    with bench.viewed("target", changes.run.scan("sales", names)):
        return bench.create(
            "sales_there",
            f"SELECT {listed(names, 't.')} FROM target AS t INNER JOIN affected AS a "
            f"ON {joined(spec.primary_key, 't', 'a')}",
        )


def _every(changes: Changes, wanted: str) -> str:
    """All sales: those that a change touches anew, the others as they are."""
    bench, spec = changes.bench, changes.specs["sales"]
    names = [c for c in spec.names if c in ("store_id", "date", "sales", "watermark")]
    with bench.viewed("target", changes.run.scan("sales", names)):
        return bench.create(
            "every_sale",
            f"SELECT {listed(names, 't.')} FROM target AS t LEFT JOIN affected AS a "
            f"ON {joined(spec.primary_key, 't', 'a')} WHERE a.store_id IS NULL "
            f"UNION ALL SELECT {listed(names)} FROM {wanted}",
        )


def _days_after(bench: Workbench, main: Change) -> str:
    return bench.create(
        "days_after",
        "SELECT date, SUM(row__rows) AS row__rows FROM ("
        "SELECT date, row__rows FROM days_before "
        f"UNION ALL SELECT date, -1 AS row__rows FROM ({old_rows(main)}) AS gone "
        f"UNION ALL SELECT date, 1 AS row__rows FROM ({new_rows(main)}) AS come"
        ") AS counted GROUP BY date HAVING SUM(row__rows) > 0",
    )


def _periods_after(changes: Changes, change: Change) -> str:
    bench = changes.bench
    bench.create(
        "periods_changed",
        f"SELECT store_id, date, row__change FROM {change.name} "
        "WHERE row__change IN ('inserted', 'deleted')",
    )
    with bench.viewed("target", changes.run.scan("sales", ["store_id", "date"])):
        return bench.create(
            "periods_after",
            "SELECT t.store_id, t.date FROM target AS t LEFT JOIN periods_changed AS c "
            f"ON {joined(('store_id', 'date'), 't', 'c')} WHERE c.store_id IS NULL "
            "UNION ALL SELECT store_id, date FROM periods_changed WHERE row__change = 'inserted'",
        )
