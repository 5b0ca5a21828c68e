"""Periods without a row of a known covariate: within the sales' span, and ahead of it.

A model takes what is not there as unknown; a calendar that ends too soon, or a store that a
promotion table forgets, would otherwise never be noticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import polars as pl
import pyarrow as pa

from storecast.core.panel import SeriesRules
from storecast.ingestion.bench import Workbench
from storecast.ingestion.feeds import CovariateFeed

_EXAMPLES = 3
_SPANS = pa.schema(
    [("store_id", pa.string()), ("first_date", pa.date32()), ("last_date", pa.date32())]
)
_UNITS = {"D": "day", "W": "week", "M": "month"}


@dataclass(frozen=True)
class Gap:
    """What a table of known covariates lacks; counts are of periods, or of stores and periods.

    Attributes:
        relation: the source's table.
        by_store: whether it has a row for each store.
        unit: day, week or month.
        periods: that the sales span, each store from its first to its last; of those that models
            learn from.
        missing: of these, how many have no row.
        examples: a few of them, as text.
        ahead: periods after the last complete one that a forecast asks for.
        ahead_missing: of these, how many have no row.
        ahead_examples: a few of them, as text.
    """

    relation: str
    by_store: bool
    unit: str
    periods: int
    missing: int
    examples: tuple[str, ...]
    ahead: int
    ahead_missing: int
    ahead_examples: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def sentences(self) -> list[str]:
        """For people; none where nothing is missing."""
        unit = f"{'store-' if self.by_store else ''}{self.unit}s"
        told = []
        if self.missing:
            told.append(
                f"{self.relation} has no row for {self.missing:,} of {self.periods:,} {unit} with "
                f"sales before and after: {_such(self.missing, self.examples)}"
            )
        if self.ahead_missing:
            told.append(
                f"{self.relation} has no row for {self.ahead_missing:,} of the {self.ahead:,} "
                f"{unit} that a forecast from today's sales asks for: "
                f"{_such(self.ahead_missing, self.ahead_examples)}"
            )
        return told


def _such(n: int, examples: Sequence[str]) -> str:
    return ("for example " if n > len(examples) else "") + ", ".join(examples)


def find(
    bench: Workbench,
    tables: Sequence[tuple[CovariateFeed, str]],
    spans: str,
    closed: str | None,
    rules: SeriesRules,
    through: date,
) -> dict[str, Gap]:
    """What each table of known covariates lacks, by the feed's name.

    Args:
        bench: where the tables are.
        tables: the feeds, and the bench's table of each by period.
        spans: the bench's table of store_id, first_date, last_date (labels) of the sales.
        closed: the bench's table of the stores, with closed_on; None where it is not known.
        rules: of the series, with the horizon.
        through: last day for which the sales are complete.
    """
    if not tables:
        return {}
    given: pl.DataFrame = pl.DataFrame(
        bench.rows(f"SELECT store_id, first_date, last_date FROM {spans}")  # noqa: S608 - a table of the bench
    )
    past, last = _past(given, rules, through)
    alive = _alive(bench, past, last, closed, rules, through)
    found = {}
    for number, (feed, table) in enumerate(tables):
        ahead = _ahead(alive, feed, rules, last)
        looked_at = [
            _of_stores(bench, table, f"spans_{number}_{name}", stores, rules)
            if feed.by_store
            else _of_all(bench, table, stores, rules)
            for name, stores in (("past", past), ("ahead", ahead))
        ]
        (periods, missing, examples), (coming, wanting, coming_examples) = looked_at
        found[feed.feed.name] = Gap(
            str(feed.feed.relation), feed.by_store, _UNITS[rules.frequency.kind],
            periods, missing, examples, coming, wanting, coming_examples,
        )  # fmt: skip
    return found


# ---------------------------------------------------------------------- what is asked for


def _past(given: pl.DataFrame, rules: SeriesRules, through: date) -> tuple[pl.DataFrame, int]:
    """store_id, first, last (ordinals, inclusive) of what models learn from; the last period."""
    last = rules.frequency.complete(through)
    spans = given.select(
        "store_id",
        first=rules.frequency.ordinals("first_date").clip(lower_bound=rules.first_period),
        last=rules.frequency.ordinals("last_date").clip(upper_bound=last),
    )
    return spans.filter(pl.col("first") <= pl.col("last")).sort("store_id"), last


def _alive(
    bench: Workbench,
    past: pl.DataFrame,
    last: int,
    closed: str | None,
    rules: SeriesRules,
    through: date,
) -> pl.DataFrame:
    """The stores that sold something in their last quarter of a year and are not closed."""
    alive = past.filter(pl.col("last") > last - rules.frequency.silence)
    if closed is None:
        return alive
    gone: pl.DataFrame = pl.DataFrame(
        bench.rows(f"SELECT store_id FROM {closed} WHERE closed_on <= DATE '{through}'")  # noqa: S608 - a table of the bench
    )
    return alive.join(gone.cast(pl.String), on="store_id", how="anti", maintain_order="left")


def _ahead(alive: pl.DataFrame, feed: CovariateFeed, rules: SeriesRules, last: int) -> pl.DataFrame:
    told = [rules.known[name].ahead for name in feed.known]
    furthest = max(rules.horizon if n is None else min(n, rules.horizon) for n in told)
    return alive.select(
        "store_id",
        first=pl.lit(last + 1, dtype=pl.Int32),
        last=pl.lit(last + furthest, dtype=pl.Int32),
    ).filter(pl.col("first") <= pl.col("last"))


# ---------------------------------------------------------------------- what is there

_Found = tuple[int, int, tuple[str, ...]]
"""How many are asked for, how many of them are missing, and some of these."""


def _of_all(bench: Workbench, table: str, stores: pl.DataFrame, rules: SeriesRules) -> _Found:
    if stores.is_empty():
        return 0, 0, ()
    wanted = _ordinals(stores.select(pl.col("first").min(), pl.col("last").max()))
    there = _labelled(bench, f"SELECT date FROM {table}", rules)  # noqa: S608 - a table of the bench
    missing = wanted.join(there, on="period", how="anti", maintain_order="left")
    labels = rules.frequency.labels(missing["period"][:_EXAMPLES])
    return wanted.height, missing.height, tuple(map(str, labels))


def _of_stores(
    bench: Workbench, table: str, name: str, stores: pl.DataFrame, rules: SeriesRules
) -> _Found:
    if stores.is_empty():
        return 0, 0, ()
    _put(bench, name, stores, rules)
    covered = bench.make(f"covered_{name}", "covered", spans=name, rows=table)
    present: pl.DataFrame = pl.DataFrame(bench.rows(f"SELECT * FROM {covered}"))  # noqa: S608 - a table of the bench
    counted = stores.join(present, on="store_id", how="left", maintain_order="left").with_columns(
        wanted=pl.col("last").cast(pl.Int64) - pl.col("first") + 1
    )
    lacking = counted.filter(pl.col("row__present") < pl.col("wanted"))
    missing = int((lacking["wanted"] - lacking["row__present"]).sum())
    some = lacking.select(stores.columns)[:_EXAMPLES]
    return int(counted["wanted"].sum()), missing, _examples(bench, table, name, some, rules)


def _examples(
    bench: Workbench, table: str, name: str, stores: pl.DataFrame, rules: SeriesRules
) -> tuple[str, ...]:
    """The first missing period of each of a few stores."""
    if stores.is_empty():
        return ()
    some = f"{name}_some"
    _put(bench, some, stores, rules)
    there = _labelled(
        bench,
        f"SELECT r.store_id, r.date FROM {table} AS r INNER JOIN {some} AS s "  # noqa: S608 - tables of the bench
        "ON r.store_id = s.store_id",
        rules,
    )
    missing = _ordinals(stores).join(
        there, on=["store_id", "period"], how="anti", maintain_order="left"
    )
    first = missing.group_by("store_id", maintain_order=True).first()
    labels = rules.frequency.labels(first["period"])
    return tuple(f"store {s!r} {d}" for s, d in zip(first["store_id"], labels, strict=True))


def _ordinals(spans: pl.DataFrame) -> pl.DataFrame:
    """A row for each period of each span."""
    return spans.with_columns(
        period=pl.int_ranges("first", pl.col("last") + 1, dtype=pl.Int32)
    ).explode("period")


def _labelled(bench: Workbench, query: str, rules: SeriesRules) -> pl.DataFrame:
    """The rows of a query, with their period's ordinal."""
    rows: pl.DataFrame = pl.DataFrame(bench.rows(query))
    return rows.with_columns(period=rules.frequency.ordinals(pl.col("date").cast(pl.Date)))


def _put(bench: Workbench, name: str, stores: pl.DataFrame, rules: SeriesRules) -> None:
    labelled = stores.select(
        "store_id",
        first_date=rules.frequency.labels("first"),
        last_date=rules.frequency.labels("last"),
    )
    bench.append(name, labelled.to_arrow().cast(_SPANS).to_batches())
