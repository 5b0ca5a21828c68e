"""Attributes that give closures away: found by what they go with, on real shops too."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl
import pytest

from storecast.demos.iowa import story
from storecast.setup.attribute_checks import telltales
from tests.setup.test_doctor import Clinic, clinic, named  # noqa: F401 - clinic is a fixture

CLOSED = [True] * 4 + [False] * 16


def _marked(
    marks: Sequence[str | None], closed: list[bool] = CLOSED
) -> list[tuple[str, str | None, bool, int, int]]:
    found = telltales(pl.DataFrame({"mark": marks}), pl.Series(closed))
    return [(t.attribute, t.value, t.with_it, t.closed, t.of) for t in found]


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        # Today's state.
        (["I"] * 4 + ["A"] * 16, ("mark", "I", True, 4, 4)),
        (["I"] * 4 + ["A"] * 15 + ["I"], ("mark", "I", True, 4, 5)),
        (["I"] * 3 + ["A"] * 17, ("mark", "I", True, 3, 3)),
        # Filled while a store is open: the manager, say.
        ([None] * 4 + list("abcdefghijklmnop"), ("mark", None, True, 4, 4)),
        # Filled once it has closed: the reason, or the day.
        (list("abcd") + [None] * 16, ("mark", None, False, 4, 4)),
        (list("abcd") + ["open"] * 16, ("mark", "open", False, 4, 4)),
    ],
)  # fmt: skip
def test_what_gives_closures_away(
    marks: list[str | None], expected: tuple[str, str | None, bool, int, int]
) -> None:
    assert _marked(marks) == [expected]


@pytest.mark.parametrize(
    "marks",
    [
        # A region of which most have closed, but not four in five.
        ["N"] * 3 + ["S"] + ["N"] * 2 + ["S"] * 14,
        # Towns of one shop each, closed or not.
        [str(n) for n in range(20)],
        ["A"] * 20,
        [None] * 20,
    ],
)
def test_what_does_not(marks: list[str | None]) -> None:
    assert _marked(marks) == []


def test_where_all_have_closed_nothing_tells() -> None:
    assert _marked(["I"] * 10 + ["A"] * 10, [True] * 20) == []
    assert _marked(["I"] * 10 + ["A"] * 10, [False] * 20) == []
    assert _marked(["I"] * 10 + ["A"] * 10, [True] * 9 + [False] + [True] * 8 + [False] * 2) == []


def test_real_shops_have_harmless_names_and_towns() -> None:
    sold = story.cut().group_by("store_id").agg(last=pl.col("date").max())
    shops = story.stores().join(sold, on="store_id", how="inner")
    newest = sold["last"].max()
    assert isinstance(newest, date)
    closed = (shops["last"] < newest - timedelta(days=91)).alias("closed")
    assert closed.sum() >= 3
    assert telltales(shops.select("name", "city", "zip"), closed) == []
    # As the State's own column has it: today's, and wrong for one in twenty.
    status = (
        pl.select(pl.when(closed).then(pl.lit("I")).otherwise(pl.lit("A")))
        .to_series()
        .alias("status")
    )
    (told,) = telltales(pl.DataFrame([status]), closed)
    assert (told.value, told.with_it) == ("I", True)


# ------------------------------------------------------------------ through the doctor


def _shops(clinic: Clinic, closed_on: bool = False) -> None:  # noqa: F811 - the fixture
    """Twelve stores, of which four fell silent half a year before the end."""
    rows = [
        (f"{store}-{week}", f"{store:03}", str(date(2021, 1, 4) + timedelta(weeks=week)), 5)
        for store in range(12)
        for week in range(60 if store >= 4 or closed_on else 30)
    ]
    clinic.fill(rows)
    values = ", ".join(
        f"('{store:03}', '{'fechada' if store < 4 else 'aberta'}', '{'NS'[store % 2]}', "
        f"{repr('01/10/2021') if store < 4 and closed_on else 'NULL'})"
        for store in range(12)
    )
    clinic.sql("CREATE TABLE lojas (loja TEXT, fase TEXT, zona TEXT, fim TEXT);"
               f"INSERT INTO lojas VALUES {values}")  # fmt: skip


def test_the_doctor_names_attribute_value_share_and_remedy(clinic: Clinic) -> None:  # noqa: F811
    _shops(clinic)
    stores = {"from": "lojas", "columns": {"store_id": "loja"}, "attributes": ["fase", "zona"]}
    clinic.configure(source__stores=stores)
    (finding,) = named(clinic.check(), "attributes")
    assert finding.status == "warning"
    assert finding.sentence == (
        "'fase' gives closures away: of 4 stores with 'fechada', 4 (100%) have closed or sold "
        "nothing for a quarter of a year, of the others 0%; every backtest would know so in advance"
    )
    assert "leave it out" in str(finding.next_step)
    assert "valid_from" in str(finding.next_step)


def _versioned(clinic: Clinic) -> None:  # noqa: F811 - the fixture
    _shops(clinic)
    clinic.sql("ALTER TABLE lojas ADD COLUMN desde TEXT DEFAULT '2021-01-01'")
    stores = {"from": "lojas", "columns": {"store_id": "loja"}, "attributes": ["fase"],
              "valid_from": "desde"}  # fmt: skip
    clinic.configure(source__stores=stores)


def test_with_versions_nothing_is_given_away(clinic: Clinic) -> None:  # noqa: F811
    _versioned(clinic)
    clinic.sql("INSERT INTO lojas (loja, fase, zona, desde) "
               "VALUES ('001', 'aberta', 'S', '2020-01-01')")  # fmt: skip
    assert named(clinic.check(), "attributes") == []


def test_one_version_of_each_store_is_none(clinic: Clinic) -> None:  # noqa: F811
    _versioned(clinic)
    # The same version once more is no second one.
    clinic.sql("INSERT INTO lojas (loja, fase, zona, desde) "
               "VALUES ('001', 'fechada', 'S', '2021-01-01')")  # fmt: skip
    (finding,) = named(clinic.check(), "attributes")
    assert finding.sentence.startswith("'fase' gives closures away")
    assert "no store has a second one yet" in str(finding.next_step)


def test_a_closing_day_counts_as_much_as_silence(clinic: Clinic) -> None:  # noqa: F811
    """And is read in the format that the stores have."""
    _shops(clinic, closed_on=True)
    stores = {"from": "lojas", "columns": {"store_id": "loja"}, "attributes": ["fase"]}
    clinic.configure(source__stores=stores)
    assert named(clinic.check(), "attributes") == []
    stores |= {"columns": {"store_id": "loja", "closed_on": "fim"}, "date_format": "%d/%m/%Y"}
    clinic.configure(source__stores=stores)
    assert "'fase' gives closures away" in named(clinic.check(), "attributes")[0].sentence


def test_dates_in_a_format_are_looked_at_in_it(clinic: Clinic) -> None:  # noqa: F811
    clinic.sql("UPDATE vendas SET dia = substr(dia, 9, 2) || '/' || substr(dia, 6, 2) || '/' || "
               "substr(dia, 1, 4)")  # fmt: skip
    diagnosis = clinic.check()
    assert not diagnosis.healthy
    assert "date_format" in str(named(diagnosis, "dates")[0].next_step)
    clinic.configure(source__sales__date_format="%d/%m/%Y")
    diagnosis = clinic.check()
    assert diagnosis.healthy, diagnosis.findings
    assert "2021-01-04 to" in named(diagnosis, "history")[0].sentence
    clinic.configure(source__sales__date_format="%m/%d/%Y")
    (finding,) = named(clinic.check(), "dates")
    assert "%m/%d/%Y" in str(finding.next_step)
