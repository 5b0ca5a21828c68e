"""Tuning: on what, by how many trials, and how it goes on after a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from storecast.backtest.audit import audit
from storecast.backtest.road import Inline, Road
from storecast.backtest.tasks import Task
from storecast.backtest.tuning import AT_ONCE, Trial, Tuner, TuningWindows, bounded, tuned
from storecast.core.panel import History
from storecast.models.base import Recipe
from storecast.models.ensemble import members_of, with_members

from .backtest_chains import history_of, recipe

NAIVE = recipe("seasonal_naive")
LAST = date(2022, 10, 2)
WINDOWS = TuningWindows((LAST - timedelta(weeks=8), LAST - timedelta(weeks=6)),
                        LAST - timedelta(weeks=4))  # fmt: skip
TREES = Recipe("trees", "lightgbm", {"n_estimators": 4, "lags": [1, 2, 4]}, tune=6)


def noisy() -> History:
    chance = np.random.default_rng(1)
    return history_of({s: (59, list(chance.gamma(2, 20, 60))) for s in "abc"})


class Counting(Inline):
    """Compute here, the tasks counted, and those that had been finished before."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.kept = 0

    def run_tasks(self, function: Any, tasks: Any, **more: Any) -> Any:
        self.tasks += tasks
        for task, done in super().run_tasks(function, tasks, **more):
            self.kept += done.kept
            yield task, done


def tuner(history: History | None = None, **more: Any) -> Tuner:
    return Tuner(history or noisy(), WINDOWS, 4, more.pop("compute", Inline()), NAIVE, **more)


def test_as_many_trials_as_were_asked_for_the_first_as_configured_and_the_best_is_taken() -> None:
    compute = Counting()
    found = tuner(compute=compute)(TREES)
    assert len(found.trials) == 6
    assert len(compute.tasks) == 6 * len(WINDOWS.cutoffs)
    assert {task.cutoff for task in compute.tasks} == set(WINDOWS.cutoffs)
    assert found.trials[0].parameters == {}
    values = [trial.value for trial in found.trials]
    assert found.best == values.index(min(v for v in values if v is not None))
    assert len({str(trial.parameters) for trial in found.trials}) == 6
    # what is given stays
    tuned_names = {"num_leaves", "learning_rate", "min_child_samples", "colsample_bytree"}
    assert set(found.trials[1].parameters) == tuned_names
    assert found.recipe.parameters == {**TREES.parameters, **found.trials[found.best].parameters}
    assert (found.recipe.name, found.recipe.tune) == ("trees", 0)
    assert found.recipe.digest != TREES.digest
    assert tuner()(TREES) == found


def test_more_trials_begin_as_fewer_do() -> None:
    more, fewer = tuner()(TREES), tuner()(replace(TREES, tune=AT_ONCE + 1))
    assert more.trials[: AT_ONCE + 1] == fewer.trials


def changed(history: History, after: date) -> History:
    """Sales after a day are others."""
    sales = history.sales.with_columns(
        sales=pl.when(pl.col("date") > after).then(1e4 - pl.col("sales")).otherwise("sales")
    )
    return replace(history, sales=sales)


def test_no_scored_target_is_seen_and_those_before_are() -> None:
    """The last warm-up window reaches two periods past the first scored cutoff."""
    history = noisy()
    before = tuner(history)(TREES)
    assert tuner(changed(history, WINDOWS.until))(TREES) == before
    earlier = changed(history, WINDOWS.until - timedelta(weeks=1))
    assert tuner(earlier)(TREES).trials != before.trials


def test_what_fails_everywhere_is_left_as_it_was() -> None:
    # it has no known sale to learn from
    silent = history_of({"a": (59, [0.0] * 60)})
    found = tuner(silent)(TREES)
    assert [trial.value for trial in found.trials] == [None] * 6
    assert found.best is None
    assert found.recipe == replace(TREES, tune=0)


def test_an_ensemble_takes_its_member_as_it_is_tuned() -> None:
    both = with_members(Recipe("both", "ensemble"), [NAIVE, TREES])
    recipes, baseline, found = tuned(tuner(), (NAIVE, both))
    assert set(found) == {"trees"}
    assert members_of(recipes[1]) == (NAIVE, found["trees"].recipe)
    assert baseline == NAIVE
    assert [m.tune for m in members_of(bounded(both, 2))] == [0, 2]


def test_finished_trials_are_taken_from_the_journal(tmp_path: Path) -> None:
    compute = Counting()
    found = tuner(compute=compute, journal=tmp_path)(replace(TREES, tune=4))
    (file,) = tmp_path.iterdir()
    assert tuner(compute=compute, journal=tmp_path)(TREES).trials[:4] == found.trials
    assert len(compute.tasks) == 6 * 2
    # other data is another tuning
    tuner(changed(noisy(), date(2022, 1, 1)), journal=tmp_path)(TREES)
    assert len(list(tmp_path.iterdir())) == 2
    file.write_text("[{", "utf-8")
    assert tuner(journal=tmp_path)(TREES) == tuner()(TREES)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.backtest.test_tuning import TREES, Inline, tuner

class Killed(Inline):
    done = 0
    def run_tasks(self, function, tasks, **more):
        for told in super().run_tasks(function, tasks, **more):
            yield told
            Killed.done += 1
            if Killed.done == 11:
                os.kill(os.getpid(), signal.SIGKILL)

place = Path(sys.argv[1])
tuner(compute=Killed(), journal=place / "trials", keep=place / "tasks")(TREES)
"""


@pytest.mark.fault
def test_a_killed_tuning_goes_on_and_finds_what_an_undisturbed_one_does(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=root, check=False, timeout=120
    )
    assert ended.returncode == -signal.SIGKILL
    # four trials are in the journal, of the batch under way three of four windows are kept
    compute = Counting()
    again = tuner(compute=compute, journal=tmp_path / "trials", keep=tmp_path / "tasks")(TREES)
    assert len(compute.tasks) == 2 * 2
    assert compute.kept == 3
    assert again == tuner()(TREES)


ROAD = Road((replace(TREES, tune=3),), NAIVE, (LAST,), 4, WINDOWS)


def test_the_audit_tunes_anew_and_catches_a_tuning_that_sees_what_came_later() -> None:
    history = noisy()
    (found,) = audit(ROAD, history, LAST)
    assert found.status == "passed"
    leaky = replace(ROAD, tuning=TuningWindows((LAST,), LAST + timedelta(weeks=4)))
    (found,) = audit(leaky, history, LAST)
    assert found.status == "leaking"


def test_a_trial_is_plain() -> None:
    found = tuner()(replace(TREES, tune=2))
    plain = found.as_dict()
    assert Trial(**plain["trials"][1]) == found.trials[1]
    assert plain["best"] == found.best
