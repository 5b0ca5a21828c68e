"""What is compared, and in which order models stand."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from storecast.backtest.comparison import compared
from storecast.core.calendar import CalendarRules, Frequency
from storecast.core.panel import SeriesRules
from storecast.core.schema import METRICS
from storecast.validation.leaderboard import leaderboard


def rules_of(code: str) -> SeriesRules:
    return SeriesRules(
        frequency=Frequency(code),
        season=7,
        missing="zero",
        training_from=date(2000, 1, 1),
        horizon=31,
        quantiles=(0.5,),
        point="median",
        calendar=CalendarRules(),
    )


@pytest.mark.parametrize(
    ("code", "step", "cutoffs", "lengths"),
    [
        ("D", "MS", [date(2022, 1, 31), date(2022, 2, 28), date(2022, 3, 31)], [28, 31, 30]),
        ("D", "W-MON", [date(2022, 1, 3), date(2022, 1, 10)], [7, 7]),
        ("D", "D", [date(2022, 1, 3), date(2022, 1, 4)], [1, 1]),
        ("D", 5, [date(2022, 1, 3), date(2022, 1, 8)], [5, 5]),
        ("D", 40, [date(2022, 1, 3), date(2022, 2, 12)], [31, 31]),
        ("MS", "MS", [date(2022, 1, 31), date(2022, 2, 28)], [1, 1]),
        ("W-SUN", "MS", [date(2022, 1, 30), date(2022, 2, 27)], [4, 4]),
    ],
)
def test_a_window_counts_up_to_the_next_cutoff(
    code: str, step: Any, cutoffs: list[date], lengths: list[int]
) -> None:
    rules = rules_of(code)
    frame = pl.DataFrame(
        [(c, rules.frequency.ordinal(c) + h) for c in cutoffs for h in range(1, 32)],
        schema={"cutoff": pl.Date, "period": pl.Int32},
        orient="row",
    )
    part = frame.filter(compared(frame, rules, cutoffs, step))
    assert not part["period"].is_duplicated().any()
    assert part.group_by("cutoff").len().sort("cutoff")["len"].to_list() == lengths


def scores_of(**wapes: float | None) -> pl.DataFrame:
    none = dict.fromkeys(METRICS)
    rows = [
        {"model": m, "scope": scope, "member": member, **none, "wape": None if w is None else w + d,
         "n_scored": 9, "n_filled": 0}
        for m, w in wapes.items()
        for scope, member, d in (
            ("overall", "all", 0.0), ("cutoff", "x", -0.1), ("cutoff", "y", 0.1)
        )
    ]  # fmt: skip
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(METRICS, pl.Float64))


def test_the_best_stands_first_the_baseline_before_its_equals_the_undefined_last() -> None:
    lines = leaderboard(scores_of(a=0.5, base=0.5, best=0.4, none=None), "wape", "base")
    assert [line.model for line in lines] == ["best", "base", "a", "none"]
    assert lines[0].gain == pytest.approx(0.2)
    assert lines[0].spread == pytest.approx((0.3, 0.5))
    assert lines[3].gain is None
    assert lines[3].spread is None


def test_what_is_really_better_is_told_from_what_is_not() -> None:
    scores = pl.concat(
        [
            scores_of(base=0.5).filter(pl.col("scope") == "overall"),
            scores_of(sure=0.4, luck=0.45).filter(pl.col("scope") == "overall"),
            *(
                scores_of(base=0.5, sure=0.4 - i / 100, luck=0.0 if i == 7 else 0.51)
                .filter((pl.col("scope") == "cutoff") & (pl.col("member") == "x"))
                .with_columns(member=pl.lit(f"2022-0{i}-28"))
                for i in range(1, 8)
            ),
        ]
    )
    lines = {line.model: line for line in leaderboard(scores, "wape", "base")}
    assert {m: line.verdict for m, line in lines.items()} == {
        "sure": "better", "luck": "not_told_apart", "base": None,
    }  # fmt: skip
    assert lines["sure"].p_value == pytest.approx(2 * 2 / 128)
    assert lines["base"].p_value is None
