"""Covariates and attributes: several tables, their versions, and dates that have no row."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from storecast import runs
from storecast.history import load_history
from storecast.ingestion.gaps import Gap
from storecast.ingestion.result import IngestResult
from storecast.ingestion.step import ingest

from .chains import Chain

OLD = "2020-01-10 00:00:00"
MONDAY = date(2020, 1, 6)
PROMO: dict[str, Any] = {
    "from": "promo", "columns": {"store_id": "shop", "date": "day"}, "known": ["promo"],
}  # fmt: skip
RAIN: dict[str, Any] = {"from": "weather", "columns": {"date": "day"}, "known": ["rain"]}


def _days(first: int, last: int) -> list[str]:
    """Days from Monday the 6th of January 2020 on, which is day 0; both ends inclusive."""
    return [str(MONDAY + timedelta(days=n)) for n in range(first, last + 1)]


def _sold(chain: Chain, **stores: tuple[int, int]) -> None:
    """Each store sells on its first day, on its last, and on each of the odd ones between."""
    chain.lines(*(
        (f"{s}{d}", s, d, 1, OLD) for s, (first, last) in stores.items()
        for n, d in enumerate(_days(first, last)) if n % 2 or n in (0, last - first)
    ))  # fmt: skip


def _gap(result: IngestResult, number: int = 0) -> Gap:
    return result.covariates_without_row[f"covariates[{number}]"]


@pytest.fixture
def daily(chain: Chain) -> Chain:
    chain.changes = {"series": {"frequency": "D"}, "max_rejected": 1}
    chain.table("promo", ("shop", "day", "promo"), [])
    chain.table("weather", ("day", "rain"), [])
    return chain


# ------------------------------------------------------------------ dates without a row


def test_store_days_without_a_row_are_counted_from_first_to_last_sale(daily: Chain) -> None:
    _sold(daily, a=(0, 9), b=(5, 9), c=(0, 3))
    daily.source["covariates"] = [PROMO]
    given = [*(("a", d, 1) for d in (*_days(0, 3), *_days(6, 13))),
             *(("b", d, 1) for d in _days(0, 13)),
             ("stranger", _days(0, 0)[0], 1)]  # fmt: skip
    daily.table("promo", ("shop", "day", "promo"), given)
    result = ingest(daily.project())
    gap = _gap(result)
    # a lacks days 4 and 5, c all four of its own; c sold lately enough to be forecast.
    assert (gap.periods, gap.missing, gap.ahead, gap.ahead_missing) == (19, 6, 12, 4)
    assert gap.examples == ("store 'a' 2020-01-10", "store 'c' 2020-01-06")
    assert gap.ahead_examples == ("store 'c' 2020-01-16",)
    assert result.sentences()[-2:] == [
        "promo has no row for 6 of 19 store-days with sales before and after: for example "
        "store 'a' 2020-01-10, store 'c' 2020-01-06",
        "promo has no row for 4 of the 12 store-days that a forecast from today's sales asks for: "
        "for example store 'c' 2020-01-16",
    ]
    ledger = runs.ledger(daily.project())[-1]["details"]["covariates_without_row"]
    assert ledger["covariates[0]"]["missing"] == 6
    assert result.as_dict()["covariates_without_row"]["covariates[0]"]["ahead_missing"] == 4


def test_days_without_a_row_are_counted_for_the_whole_chain(daily: Chain) -> None:
    _sold(daily, a=(0, 5), b=(8, 9))
    daily.source["covariates"] = [RAIN]
    daily.table("weather", ("day", "rain"), [(d, 1) for d in (*_days(0, 6), *_days(8, 10))])
    result = ingest(daily.project())
    gap = _gap(result)
    assert (gap.periods, gap.missing, gap.examples) == (10, 1, ("2020-01-13",))
    assert (gap.ahead, gap.ahead_missing) == (4, 3)
    assert gap.ahead_examples == ("2020-01-17", "2020-01-18", "2020-01-19")
    assert "weather has no row for 1 of 10 days" in " ".join(result.sentences())


def test_where_nothing_is_missing_nothing_is_said(daily: Chain) -> None:
    _sold(daily, a=(0, 9))
    daily.source["covariates"] = [RAIN, PROMO]
    daily.table("weather", ("day", "rain"), [(d, None) for d in _days(-9, 30)])
    daily.table("promo", ("shop", "day", "promo"), [("a", d, 1) for d in _days(-9, 30)])
    result = ingest(daily.project())
    assert [_gap(result, n).sentences() for n in (0, 1)] == [[], []]
    assert not any("no row for" in s for s in result.sentences())


def test_what_nobody_forecasts_or_learns_from_is_not_asked_for(daily: Chain) -> None:
    """Closed stores, those long silent, what is known for fewer days, days before training."""
    _sold(daily, open=(0, 199), silent=(0, 50), shut=(150, 199))
    daily.table("shops", ("shop", "closed"), [("shut", _days(199, 199)[0]), ("open", None)])
    daily.source["stores"] = {
        "from": "shops", "columns": {"store_id": "shop", "closed_on": "closed"},
    }  # fmt: skip
    daily.source["covariates"] = [{**PROMO, "known": {"promo": {"ahead": 2}}}]
    daily.changes["training"] = {"from": _days(10, 10)[0]}
    gap = _gap(ingest(daily.project()))
    assert gap.periods == gap.missing == 190 + 41 + 50
    assert (gap.ahead, gap.ahead_missing) == (2, 2)
    assert gap.ahead_examples == ("store 'open' 2020-07-24",)
    daily.source["covariates"] = [{**PROMO, "known": {"promo": {"ahead": 0}}}]
    assert _gap(ingest(daily.project())).ahead == 0


@pytest.mark.parametrize(("frequency", "unit"), [("W-SUN", "week"), ("MS", "month")])
def test_periods_are_counted_where_the_frequency_is_coarser(
    chain: Chain, frequency: str, unit: str
) -> None:
    chain.changes["series"] = {"frequency": frequency}
    _sold(chain, a=(0, 300))
    chain.table("weather", ("day", "rain"), [(d, 1) for d in (*_days(0, 60), *_days(120, 500))])
    chain.source["covariates"] = [RAIN]
    gap = _gap(ingest(chain.project()))
    assert gap.unit == unit
    assert (gap.periods, gap.missing) == {"week": (43, 8), "month": (10, 1)}[unit]
    assert gap.examples[0] == {"week": "2020-03-15", "month": "2020-04-01"}[unit]
    assert (gap.ahead, gap.ahead_missing) == (4, 0)


def test_a_sale_in_the_future_widens_no_span(daily: Chain) -> None:
    _sold(daily, a=(0, 9))
    daily.sales["through"] = _days(4, 4)[0]
    daily.source["covariates"] = [RAIN]
    gap = _gap(ingest(daily.project()))
    assert (gap.periods, gap.ahead) == (5, 4)


# ------------------------------------------------------------------ several tables, versions


def test_several_tables_of_each_kind_come_together(daily: Chain) -> None:
    _sold(daily, a=(0, 2), b=(0, 2))
    daily.table("promo", ("shop", "day", "promo"), [("a", d, 1) for d in _days(0, 1)])
    daily.table("prices", ("shop", "day", "price", "visits"),
                [("a", _days(1, 1)[0], 5, 7), ("b", _days(2, 2)[0], 6, 8)])  # fmt: skip
    daily.table("weather", ("day", "rain"), [(d, 2) for d in _days(0, 0)])
    daily.table("paydays", ("day", "payday"), [(d, 1) for d in _days(1, 2)])
    daily.source["covariates"] = [
        PROMO,
        {**PROMO, "from": "prices", "known": ["price"], "realised": ["visits"]},
        RAIN,
        {**RAIN, "from": "paydays", "known": ["payday"]},
    ]
    result = ingest(daily.project())
    one, two, three = (date.fromisoformat(d) for d in _days(0, 2))
    assert daily.read("covariates") == [
        ("a", one, 1.0, None), ("a", two, 1.0, 5.0), ("b", three, None, 6.0),
    ]  # fmt: skip
    assert daily.read("covariates_by_date") == [
        (one, 2.0, None), (two, None, 1.0), (three, None, 1.0),
    ]  # fmt: skip
    visits = daily.read("sales", "store_id", "date", "visits")
    assert ("a", two, 7.0) in visits
    assert ("b", three, 8.0) in visits
    # Each table answers for itself: what another has does not fill it.
    assert [_gap(result, n).missing for n in range(4)] == [4, 4, 2, 1]
    assert ingest(daily.project()).tables == result.tables


def test_versions_of_attributes_and_covariates_are_kept_in_the_named_format(daily: Chain) -> None:
    daily.sales |= {"date_format": "%d/%m/%Y", "watermark_format": "%d/%m/%Y %H:%M"}
    daily.lines(("x1", "a", "06/01/2020", 1, "10/01/2020 00:00"))
    daily.table("shops", ("shop", "since", "shut", "town"),
                [("a", "01/02/2019", "", "Olinda"), ("a", "03/01/2020", "31.12.2030", "Recife"),
                 ("b", "2019-01-01", None, "Natal")])  # fmt: skip
    daily.table("promo", ("shop", "day", "entered", "promo"),
                [("a", "01/06/2020", "12/25/2019", 1), ("a", "01/06/2020", "01/02/2020", 0),
                 ("a", "13/06/2020", "01/02/2020", 0)])  # fmt: skip
    daily.source["stores"] = {
        "from": "shops", "columns": {"store_id": "shop", "closed_on": "shut"},
        "attributes": ["town"], "valid_from": "since", "date_format": "%d/%m/%Y",
    }  # fmt: skip
    daily.source["covariates"] = [
        {**PROMO, "known": {"promo": {"known_at": "entered"}}, "date_format": "%m/%d/%Y"},
    ]
    result = ingest(daily.project())
    assert result.rejected == {"DATE_NOT_IN_FORMAT": 3}
    assert daily.read("store_versions", "valid_from", "town") == [(date(2019, 2, 1), "Olinda")]
    assert daily.read("covariate_versions", "date", "known_at", "promo") == [
        (MONDAY, date(2019, 12, 25), 1.0), (MONDAY, date(2020, 1, 2), 0.0),
    ]  # fmt: skip
    assert daily.read("covariates", "promo") == [(0.0,)]
    reasons = {r[0] for r in daily.read("rejected_rows", "reason")}
    assert any("shops.shut, row shop = a, since = 03/01/2020: The date is not written %d/%m/%Y" in r
               for r in reasons)  # fmt: skip
    assert any("promo.day, row shop = a, day = 13/06/2020" in r for r in reasons)
    again = ingest(daily.project())
    assert again.tables["store_versions"] == result.tables["store_versions"]
    with runs.begin(daily.project(), "validate") as run:
        history = load_history(run, daily.project())
    assert history.rules.timeless is False
