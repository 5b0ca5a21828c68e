# ruff: noqa: S608 - the names in these statements are our own normalised ones
"""The equations of an ingestion: every row and every cent accounted for, before any commit."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from storecast.errors import Code, ContractError
from storecast.ingestion.bench import Workbench
from storecast.ingestion.merge import Change, Unique
from storecast.ingestion.staging import Staged


def rows_of_table(change: Change) -> None:
    """Before + inserted − deleted = after."""
    _balance(
        change.before + change.inserted - change.deleted,
        change.after,
        f"rows of {change.spec.name}: before + inserted − deleted, and after",
    )


def rows_of_feed(staged: Staged, counts: Mapping[str, int]) -> None:
    """Read = inserted + updated + unchanged + rejected + deduplicated."""
    _balance(
        counts["rows_read"],
        sum(counts[f"rows_{n}"] for n in ("inserted", "updated", "unchanged", "rejected",
                                          "deduplicated")),
        f"rows of {staged.feed.relation}: read, and accounted for",
    )  # fmt: skip


def amounts(bench: Workbench, staged: Staged, rows: Unique, change: Change, wanted: str) -> None:
    """The accepted amount, less what was superseded or held back, is the amount in sales.

    Args:
        bench: where all of them are.
        staged: the sales as they were read.
        rows: the same, one a key.
        change: what becomes of the table at their own grain.
        wanted: the bench's table of the sales of each store and period.
    """
    given = staged.amount - _sum(bench, rows.judged, "sales", "row__verdict <> 'kept'")
    if change.held:
        given -= _sum(bench, change.name, "sales", "row__change = 'held'")
        given += _sum(bench, change.name, "before__sales", "row__change = 'held'")
    kept = _sum(bench, wanted, "sales")
    _same_amounts(
        given, kept, f"the accepted amount of {staged.feed.relation}", "the amount in sales"
    )


def amounts_of_part(
    bench: Workbench, staged: Staged, rows: Unique, main: Change, change: Change
) -> None:
    """The accepted amount is that of one row a key, and both tables change by one amount.

    Args:
        bench: where all of them are.
        staged: the sales as they were read, some of the source's.
        rows: the same, one a key.
        main: what becomes of the table at their own grain.
        change: what becomes of the sales of each store and period.
    """
    of = f"of {staged.feed.relation}"
    given = staged.amount - _sum(bench, rows.judged, "sales", "row__verdict <> 'kept'")
    one_a_key = _sum(bench, rows.name, "sales")
    _same_amounts(given, one_a_key, f"the accepted amount {of}", "the amount of one row a key")
    _same_amounts(
        _moved(bench, main),
        _moved(bench, change),
        f"the amount by which {main.spec.name} changes",
        "the amount by which sales changes",
    )


def _moved(bench: Workbench, change: Change) -> Decimal:
    after = _sum(bench, change.name, "sales", "row__change IN ('inserted', 'updated')")
    before = _sum(bench, change.name, "before__sales", "row__change IN ('deleted', 'updated')")
    return after - before


def _same_amounts(one: Decimal, other: Decimal, what: str, which: str) -> None:
    if one != other:
        raise ContractError(
            Code.AMOUNTS_DO_NOT_BALANCE,
            f"{what} is not {which}",
            where="sales",
            expected=str(one),
            found=str(other),
            next_step="this is a fault of storecast: please report it",
        )


def _sum(bench: Workbench, table: str | None, column: str, where: str = "TRUE") -> Decimal:
    if table is None:
        return Decimal(0)
    total = bench.value(f"SELECT SUM({column}) FROM {table} WHERE {where}")
    return Decimal(0) if total is None else Decimal(total)


def _balance(one: int, other: int, what: str) -> None:
    if one != other:
        raise ContractError(
            Code.ROWS_DO_NOT_BALANCE,
            f"{what} do not balance",
            expected=f"{one:,}",
            found=f"{other:,}",
            next_step="this is a fault of storecast: please report it",
        )
