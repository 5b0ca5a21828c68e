from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from storecast.backtest.choosing import Split, chosen_by, ranked

DAYS = tuple(date(2024, month, 28) for month in range(1, 6))


@pytest.mark.parametrize(("windows", "choosing"), [(0, 5), (2, 3), (4, 1), (9, 1)])
def test_the_last_windows_are_kept_and_one_at_least_chooses(windows: int, choosing: int) -> None:
    split = Split.of(DAYS, windows)
    assert split.choosing == DAYS[:choosing]
    assert split.choosing + split.kept == DAYS


def scores(**by_model: list[float | None]) -> pl.DataFrame:
    rows = [
        {"model": model, "scope": "cutoff", "member": day.isoformat(), "wape": value}
        for model, values in by_model.items()
        for day, value in zip(DAYS, values, strict=True)
    ]
    rows += [{"model": m, "scope": "overall", "member": "all", "wape": 0.0} for m in by_model]
    return pl.DataFrame(rows, schema_overrides={"wape": pl.Float64})


def test_what_happens_in_the_windows_that_the_gate_keeps_does_not_choose() -> None:
    told = scores(
        naive=[0.3, 0.3, 0.3, 0.3, 0.3], trees=[0.1, 0.2, 0.3, 9.0, 9.0],
        level=[0.4, 0.4, 0.4, 0.0, 0.0],
    )  # fmt: skip
    means = chosen_by(told, "wape", Split.of(DAYS, 2).choosing)
    assert means == pytest.approx({"naive": 0.3, "trees": 0.2, "level": 0.4})
    assert ranked(means, "naive") == ["trees", "naive", "level"]
    everything = chosen_by(told, "wape", DAYS)
    assert ranked(everything, "naive")[0] == "level"


def test_undefined_windows_do_not_count_and_the_baseline_stands_before_its_equals() -> None:
    told = scores(
        better=[None, 0.2, 0.4, 9.0, 9.0], naive=[None, 0.3, 0.3, 0.3, 0.3],
        never=[None, None, None, 0.1, 0.1],
    )  # fmt: skip
    means = chosen_by(told, "wape", DAYS[:3])
    assert set(means) == {"better", "naive"}
    assert ranked({"a": 0.3, "naive": 0.3}, "naive") == ["naive", "a"]
