"""Sales: at the source's own grain, and those of each store and period."""

from __future__ import annotations

from collections.abc import Mapping

from storecast.core.calendar import Frequency
from storecast.errors import Code, ContractError
from storecast.ingestion import covariates, equations
from storecast.ingestion.bench import Workbench
from storecast.ingestion.changes import Changes
from storecast.ingestion.feeds import Feeds
from storecast.ingestion.merge import Unique, settled
from storecast.ingestion.staging import Staged, label_periods


def merge(
    changes: Changes,
    feeds: Feeds,
    staged: Staged,
    rows: Mapping[str, Unique],
    frequency: Frequency,
    *,
    full: bool,
) -> str:
    """Find what both tables of sales become.

    Args:
        changes: the run's.
        feeds: everything that is read.
        staged: the sales as they were read.
        rows: one row a key, by the feed's name.
        frequency: of the series.
        full: the source is right even where the table has a newer version of a row.

    Returns:
        the bench's table of the sales as they will be, at their own grain.

    Raises:
        ContractError: SALES_TOO_LARGE, ROWS_DO_NOT_BALANCE, AMOUNTS_DO_NOT_BALANCE.
    """
    bench, own = changes.bench, rows["sales"]
    final = wanted = own.name
    main = None
    if "transactions" in changes.specs:
        holds = feeds.sales.watermark and not full
        main = changes.find("transactions", final, newer_holds=holds)
        final = settled(bench, main, own.name)
        # A row that holds its place may lie on a day that did not come with this reading.
        label_periods(bench, [final], frequency)
        wanted = _aggregated(bench, final)
    wanted = covariates.with_realised(bench, changes.specs["sales"], feeds.covariates, rows, wanted)
    change = changes.find("sales", wanted)
    main = main or change
    equations.rows_of_feed(staged, changes.count(staged, own, main))
    equations.amounts(bench, staged, own, main, wanted)
    return final


def _aggregated(bench: Workbench, rows: str) -> str:
    try:
        return bench.make("aggregated", "aggregated", rows=rows, periods="periods")
    except OverflowError as fault:
        raise ContractError(
            Code.SALES_TOO_LARGE,
            "the sales of a store and period together do not fit DECIMAL(18,4)",
            where="sales",
            expected="less than 100,000,000,000,000",
            next_step="correct the amounts in the source",
        ) from fault
