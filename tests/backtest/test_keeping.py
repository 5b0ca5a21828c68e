"""Finished tasks in their files: taken when all that decides them is the same, and only then."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from storecast.backtest import audit, keeping, tasks
from storecast.backtest.keeping import Done, clean, keep, taken
from storecast.backtest.road import Road
from storecast.backtest.tasks import Outcome, backtest
from storecast.core.panel import History
from storecast.models.base import Recipe

from .backtest_chains import THROUGH, Here, recipe, rich_history

CUTOFFS = [THROUGH - timedelta(weeks=w) for w in (8, 6, 4)]
MODELS = [recipe("seasonal_naive"), recipe("local_level")]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that were fitted."""
    told: list[str] = []
    real = tasks.forecast_window

    def noted(one: Recipe, *rest: Any) -> Any:
        told.append(one.name)
        return real(one, *rest)

    monkeypatch.setattr(tasks, "forecast_window", noted)
    return told


def run(
    history: History, folder: Path | None, *, models: list[Recipe] | None = None, **more: Any
) -> dict[Any, Outcome]:
    made = backtest(history, models or MODELS, CUTOFFS, 4, Here(), keep=folder, **more)
    return {(o.recipe.name, o.cutoff): o for o in made}


def test_what_was_finished_is_taken_equal_to_the_bit(tmp_path: Path, asked: list[str]) -> None:
    history = rich_history()
    fresh, first = run(history, None), run(history, tmp_path)
    assert len(asked) == 12
    again = run(history, tmp_path)
    assert len(asked) == 12
    assert {o.kept for o in first.values()} == {False}
    assert {o.kept for o in again.values()} == {True}
    for key, outcome in again.items():
        assert outcome.frame.equals(fresh[key].frame)
        assert outcome.frame.schema == fresh[key].frame.schema
        assert (outcome.seconds, outcome.peak_memory_mb) == (
            first[key].seconds,
            first[key].peak_memory_mb,
        )


def other_data(history: History) -> History:
    first = pl.col("date") == pl.col("date").min()
    return dataclasses.replace(
        history,
        sales=history.sales.with_columns(
            pl.when(first).then(pl.col("sales") + 0.0001).otherwise("sales").alias("sales")
        ),
    )


def test_another_past_parameter_baseline_or_code_is_computed(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    history, one = rich_history(), [recipe("local_level")]
    run(history, tmp_path, models=one)
    changes: list[Callable[[], Any]] = [
        lambda: run(other_data(history), tmp_path, models=one),
        lambda: run(history, tmp_path, models=[recipe("local_level", window=3)]),
        lambda: run(history, tmp_path, models=one, baseline=recipe("theta")),
        lambda: run(history, tmp_path, models=[dataclasses.replace(one[0], accelerator="cpu")]),
        lambda: (
            monkeypatch.setattr(tasks, "surroundings", lambda: "another torch"),
            run(history, tmp_path, models=one),
        ),
    ]
    for change in changes:
        asked.clear()
        change()
        assert len(asked) == 3


def test_after_a_delivery_only_windows_that_it_changes_are_computed(
    tmp_path: Path, asked: list[str]
) -> None:
    history = rich_history()
    run(history, tmp_path)
    asked.clear()
    # a correction inside the window of the last cutoff, past the windows of the others
    day = THROUGH - timedelta(weeks=1)
    later = dataclasses.replace(
        history,
        sales=history.sales.with_columns(
            pl.when(pl.col("date") > day).then(pl.col("sales") * 2 + 1).otherwise("sales")
            .alias("sales")
        ),
    )  # fmt: skip
    assert not later.sales.equals(history.sales)
    made = run(later, tmp_path)
    assert {key[1] for key, outcome in made.items() if not outcome.kept} == {CUTOFFS[-1]}
    assert sorted(asked) == ["local_level", "seasonal_naive"]
    fresh = run(later, None)
    assert all(made[key].frame.equals(fresh[key].frame) for key in fresh)


@pytest.mark.parametrize("damage", ["short", "changed", "empty"])
def test_a_damaged_file_is_computed_anew(tmp_path: Path, asked: list[str], damage: str) -> None:
    history = rich_history()
    first = run(history, tmp_path)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 6
    content = bytearray(files[0].read_bytes())
    if damage == "changed":
        content[len(content) // 2] ^= 1
    files[0].write_bytes({"short": content[:-9], "changed": content, "empty": bytearray()}[damage])
    asked.clear()
    again = run(history, tmp_path)
    assert len(asked) == 1
    assert all(again[key].frame.equals(first[key].frame) for key in first)
    asked.clear()
    run(history, tmp_path)
    assert not asked


def test_a_failure_is_not_kept(tmp_path: Path) -> None:
    done = Done(pl.DataFrame({"a": [1.0]}), "no memory", 1.0, None)
    keep(tmp_path, "key", done)
    assert taken(tmp_path, "key") is None
    keep(tmp_path, "key", dataclasses.replace(done, failure=None))
    assert taken(tmp_path, "key") is not None


def test_files_used_longest_ago_go_first_and_unfinished_ones_at_once(tmp_path: Path) -> None:
    for number in range(4):
        keep(tmp_path, f"key{number}", Done(pl.DataFrame({"a": [number]}), None, 1.0, None))
        (file,) = tmp_path.glob(f"key{number}-*")
        os.utime(file, (number, number))
    (tmp_path / "key9.77.unfinished").write_bytes(b"half")
    size = file.stat().st_size
    assert taken(tmp_path, "key0") is not None  # used just now
    clean(tmp_path, 2 * size + 1)
    assert sorted(f.name.split("-")[0] for f in tmp_path.iterdir()) == ["key0", "key3"]
    clean(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_written_costs_time_alone(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    history = rich_history()
    made, fresh = run(history, blocked), run(history, None)
    assert all(made[key].frame.equals(fresh[key].frame) for key in fresh)


def test_the_audit_takes_nothing_and_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    history = rich_history()
    run(history, tmp_path)
    asked.clear()

    def forbidden(*_: Any) -> Any:
        raise AssertionError("the audit looked into the finished tasks")

    monkeypatch.setattr(keeping, "taken", forbidden)
    monkeypatch.setattr(keeping, "keep", forbidden)
    road = Road(tuple(MODELS), MODELS[0], tuple(CUTOFFS[:2]), 4)
    findings = audit.audit(road, history, CUTOFFS[1], scratch=None)
    assert {f.status for f in findings} == {"passed"}
    # as it is, altered, deleted, doubled: four walks of two models at two cutoffs
    assert len(asked) == 16


KILLED = """
import os, signal, sys
from pathlib import Path
import storecast.backtest.tasks as tasks
from tests.backtest.test_keeping import run
from tests.backtest.backtest_chains import rich_history

folder, log, until = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
real = tasks.forecast_window

def counted(recipe, *rest):
    if len(log.read_text().splitlines()) == until:
        os.kill(os.getpid(), signal.SIGKILL)
    with log.open("a") as file:
        file.write(recipe.name + chr(10))
    return real(recipe, *rest)

tasks.forecast_window = counted
run(rich_history(), folder)
"""


def test_a_backtest_that_was_killed_goes_on_where_it_stood(tmp_path: Path) -> None:
    log, folder = tmp_path / "log", tmp_path / "tasks"
    log.touch()
    ends = []
    for until in (4, -1):
        ends.append(
            subprocess.run(
                [sys.executable, "-c", KILLED, str(folder), str(log), str(until)],
                cwd=Path(__file__).parents[2],
                check=False,
            ).returncode
        )
    assert ends == [-signal.SIGKILL, 0]
    # four finished, then the kill: the other two are all that the second run computes
    assert len(log.read_text().splitlines()) == 6
    resumed, fresh = run(rich_history(), folder), run(rich_history(), None)
    assert {o.kept for o in resumed.values()} == {True}
    assert all(resumed[key].frame.equals(fresh[key].frame) for key in fresh)
