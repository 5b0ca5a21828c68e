from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from storecast.adapters.local.compute import LocalCompute
from storecast.errors import Code, ContractError, ModelError, StorecastError


def _square(n: int) -> tuple[int, int, str]:
    return n * n, os.getpid(), os.environ.get("OMP_NUM_THREADS", "")


def _refuse(n: int) -> int:
    if n == 2:
        raise ContractError(
            Code.NO_VARIATION, "all zero", where="store 2", expected="sales", next_step="look"
        )
    return n


def _die(n: int) -> int:
    if n == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.1)
    return n


def _die_once(mark: str) -> str:
    if mark and not Path(mark).exists():
        Path(mark).write_text("died here")
        os.kill(os.getpid(), signal.SIGKILL)
    return mark


def _linger(n: int) -> int:
    if n:
        time.sleep(60)
    return os.getpid()


def test_tasks_run_in_processes_with_one_thread() -> None:
    results = dict(LocalCompute(workers=2).run_tasks(_square, [1, 2, 3, 4]))
    assert {n: r[0] for n, r in results.items()} == {1: 1, 2: 4, 3: 9, 4: 16}
    assert os.getpid() not in {r[1] for r in results.values()}
    assert {r[2] for r in results.values()} == {"1"}


def test_one_task_or_one_worker_needs_no_process() -> None:
    assert [r[1] for _, r in LocalCompute(workers=4).run_tasks(_square, [3])] == [os.getpid()]
    ordered = [n for n, _ in LocalCompute(workers=1).run_tasks(_square, [1, 3, 2], cost=float)]
    assert ordered == [3, 2, 1]


def test_what_may_end_its_process_is_kept_apart_from_this_one() -> None:
    (told,) = LocalCompute(workers=4).run_tasks(_square, [3], apart=True)
    assert told[1][1] != os.getpid()
    assert list(LocalCompute(workers=4).run_tasks(_square, [], apart=True)) == []


def test_an_error_comes_back_whole() -> None:
    with pytest.raises(ContractError) as caught:
        list(LocalCompute(workers=2).run_tasks(_refuse, [1, 2, 3]))
    assert caught.value.as_dict() == {
        "code": "NO_VARIATION", "message": "all zero", "where": "store 2", "expected": "sales",
        "found": None, "next_step": "look",
    }  # fmt: skip


def test_a_task_whose_worker_is_killed_twice_is_lost_and_the_others_are_not() -> None:
    told: list[StorecastError] = []

    def lost(n: int, fault: StorecastError) -> int:
        told.append(fault)
        return -n

    tasks = [2, 1, 3, 4, 5, 6, 7]
    results = dict(LocalCompute(workers=2).run_tasks(_die, tasks, lost=lost))
    assert results == {n: -n if n == 2 else n for n in tasks}
    assert [fault.code for fault in told] == [Code.MODEL_FAILED]


def test_a_task_whose_worker_is_killed_once_is_tried_again(tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    assert sorted(LocalCompute(workers=2).run_tasks(_die_once, ["", mark])) == [
        ("", ""),
        (mark, mark),
    ]
    assert Path(mark).exists()


def test_without_a_word_of_what_stands_for_it_a_lost_task_is_a_failed_model() -> None:
    with pytest.raises(ModelError) as caught:
        list(LocalCompute(workers=2).run_tasks(_die, [1, 2]))
    assert caught.value.code is Code.MODEL_FAILED


def test_who_stops_listening_ends_the_workers() -> None:
    began = time.monotonic()
    tasks = LocalCompute(workers=2).run_tasks(_linger, [0, 1])
    _, pid = next(tasks)
    tasks.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 30
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
