"""Dates in a named format through a whole ingestion: read, compared, quarantined."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from storecast.ingestion.step import IngestResult, ingest

from .chains import Chain

FORMS = {
    "%d/%m/%Y": "{2}/{1}/{0}",
    "%m/%d/%Y": "{1}/{2}/{0}",
    # To a source that compares texts, days of other months.
    "%Y-%d-%m": "{0}-{2}-{1}",
    "%Y%m%d": "{0}{1}{2}",
    "%d.%m.%Y %H:%M": "{2}.{1}.{0} 00:00",
}


def _write(chain: Chain, form: str, *rows: tuple[str, str, str, Any, str]) -> None:
    def written(day: str) -> str:
        return FORMS[form].format(*day.split("-"))

    chain.lines(*((n, s, written(d), v, written(w)) for n, s, d, v, w in rows))


ROWS = [(f"x{n}", "a", f"2020-{n:02}-05", n, f"2020-{n:02}-06") for n in range(1, 13)]


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest, chain: Chain) -> str:
    chain.changes["series"] = {"frequency": "MS"}
    chain.sales |= {
        "date_format": request.param, "watermark_format": request.param, "reconcile": "100d",
    }  # fmt: skip
    return str(request.param)


def _sales(chain: Chain) -> list[tuple[Any, ...]]:
    return sorted(chain.read("sales", "date", "sales"))


def test_new_corrected_and_vanished_rows_are_found_in_any_format(chain: Chain, form: str) -> None:
    _write(chain, form, *ROWS)
    first = ingest(chain.project())
    assert (first.rows_inserted, first.rejected) == (12, {})
    assert first.through == date(2020, 12, 5)
    assert _sales(chain) == [(date(2020, n, 1), Decimal(n)) for n in range(1, 13)]

    changed = [*ROWS[:10], ("x12", "a", "2020-11-07", 5, "2020-12-09"),
               ("x13", "a", "2020-12-08", 7, "2020-12-09")]  # fmt: skip
    _write(chain, form, *changed)
    second = ingest(chain.project())
    assert second.mode == "incremental"
    assert (second.rows_inserted, second.rows_updated, second.rows_deleted) == (1, 1, 1)
    assert _sales(chain)[-2:] == [
        (date(2020, 11, 1), Decimal(5)), (date(2020, 12, 1), Decimal(7)),
    ]  # fmt: skip
    assert ingest(chain.project()).rows_deleted == 0
    full: IngestResult = ingest(chain.project(), full=True)
    assert (full.rows_inserted, full.rows_updated, full.rows_deleted) == (0, 0, 0)


@pytest.mark.parametrize("written", ["25/01/2020", "01/25/2020", "2020-25-01", "20200125"])
def test_without_its_format_nothing_is_taken_for_a_date(chain: Chain, written: str) -> None:
    chain.lines(("x1", "a", written, 1, None), ("x2", "a", "2020-01-25", 2, None))
    result = ingest(chain.project())
    assert result.rejected == {"DATE_NOT_ISO": 1}
    assert chain.read("transactions", "id") == [("x2",)]


def test_another_format_is_read_anew_and_quarantines_what_it_does_not_read(chain: Chain) -> None:
    chain.sales["date_format"] = "%d/%m/%Y"
    chain.lines(("x1", "a", "02/01/2020", 1, None), ("x2", "a", "25/01/2020", 2, None))
    assert ingest(chain.project()).rows_inserted == 2
    chain.sales["date_format"] = "%m/%d/%Y"
    result = ingest(chain.project())
    assert result.rejected == {"DATE_NOT_IN_FORMAT": 1}
    assert (result.rows_updated, result.rows_deleted) == (1, 1)
    assert chain.read("transactions", "date") == [(date(2020, 2, 1),)]
    ((reason,),) = chain.read("rejected_rows", "reason")
    assert reason == (
        "lines.day, row id = x2: The date is not written %m/%d/%Y, such as 11/24/2003. Write it so "
        "in the source; a column has one format."
    )
