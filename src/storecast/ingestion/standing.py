# ruff: noqa: S608 - the names in these statements are our own normalised ones
"""What differs from the source for good: told at each run, without being read again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from storecast.ingestion import places
from storecast.ingestion.bench import Workbench
from storecast.ingestion.merge import Change
from storecast.ingestion.reconcile import Numbers, Region


@dataclass(frozen=True)
class Standing:
    """Stores and months that differ from the source as they did when a run had read them.

    Attributes:
        regions: those that this run did not read again.
        held: rows in them that earlier runs held back, and this one has not read.
        places: rows held back in each, of this run and of those before it.
    """

    regions: int = 0
    held: int = 0
    places: Mapping[Region, int] = field(default_factory=dict)


def find(
    bench: Workbench,
    change: Change,
    lasting: Mapping[Region, Numbers],
    done: set[Region],
    before: Mapping[Region, int],
) -> Standing:
    """Find what stands.

    Args:
        bench: where the change lies.
        change: of the sales, at their own grain.
        lasting: regions that differ all the same.
        done: those that this run has read whole.
        before: ``places`` of the run before.
    """
    now = _held(bench, change, lasting) if change.held else Counter[Region]()
    unread = {r: before.get(r, 0) for r in lasting if r not in done}
    # A row that is within the overlap is read again although its region is not.
    earlier = sum(max(0, rows - now[r]) for r, rows in unread.items())
    most = {r: max(unread.get(r, 0), now[r]) for r in lasting}
    return Standing(len(unread), earlier, {r: rows for r, rows in most.items() if rows})


def _held(bench: Workbench, change: Change, lasting: Mapping[Region, Numbers]) -> Counter[Region]:
    """Rows that the change holds back, where the source has them, or where we do."""
    month, ours = places.MONTH, _ours(change)
    found = bench.tuples(
        "SELECT s, m, our_s, our_m, COUNT(*) FROM ("
        f"SELECT store_id AS s, {month.format('date')} AS m, "
        f"{ours['store_id']} AS our_s, {month.format(ours['date'])} AS our_m "
        f"FROM {change.name} WHERE row__change = 'held') AS held GROUP BY s, m, our_s, our_m"
    )
    held: Counter[Region] = Counter()
    for store, number, our_store, our_number, rows in found:
        there = (str(store), int(number))
        held[there if there in lasting else (str(our_store), int(our_number))] += int(rows)
    return held


def _ours(change: Change) -> dict[str, str]:
    return {c: c if c in change.spec.primary_key else f"before__{c}" for c in ("store_id", "date")}


def remembered(details: Mapping[str, Any]) -> dict[Region, int]:
    """What ``to_remember`` made of places."""
    return {(r[0], r[1]): r[2] for r in details.get("held_in", ())}


def to_remember(standing: Standing) -> list[list[Any]]:
    """The places, for the ledger."""
    return [[*region, rows] for region, rows in sorted(standing.places.items())]
