from __future__ import annotations

import pytest

from storecast.backtest.remaining import Remaining


def test_the_time_left_follows_the_models_and_not_the_number_of_tasks() -> None:
    left = Remaining({"tft": 2, "naive": 50}, {"tft": 20.0, "naive": 0.05}, 2)
    assert left.seconds() is None
    left.finished("tft", 100.0)
    # of the naive nothing is seen: 0.05 where the other costs 20, so 0.25 s each
    assert left.seconds() == max(100.0, (100.0 + 50 * 0.25) / 2)
    left.finished("tft", 120.0)
    assert left.seconds() == pytest.approx(50 * (110.0 / 20 * 0.05) / 2)
    for _ in range(50):
        left.finished("naive", 0.01)
    assert left.seconds() == 0.0


def test_one_long_task_takes_its_time_however_many_workers_there_are() -> None:
    left = Remaining({"tft": 2}, {"tft": 20.0}, 16)
    left.finished("tft", 100.0)
    assert left.seconds() == 100.0
