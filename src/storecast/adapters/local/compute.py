"""Independent tasks in processes of their own, with one numeric thread each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

from storecast.errors import Code, ModelError, StorecastError
from storecast.ports import ResultT, TaskT

if TYPE_CHECKING:
    import pyarrow as pa

_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}


class LocalCompute:
    """Processes on this machine.

    Args:
        workers: how many; None: as many as this process may use processors. One that is asked for
            is this very process.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._here = workers == 1
        self.workers = workers if workers is not None else _processors()

    def run_tasks(
        self,
        function: Callable[[TaskT], ResultT],
        tasks: Sequence[TaskT],
        *,
        cost: Callable[[TaskT], float] | None = None,
        lost: Callable[[TaskT, StorecastError], ResultT] | None = None,
        apart: bool = False,
    ) -> Iterator[tuple[TaskT, ResultT]]:
        """Run each task; yield as they finish, the dear ones started first.

        What a task raises is raised here, whole, and ends the others. A task whose worker was
        killed is tried once more, alone; then ``lost`` says what stands for it. A single task, or
        a single worker, needs no process, save ``apart``.

        Raises:
            ModelError: MODEL_FAILED where a worker was killed twice and there is no ``lost``.
        """
        ordered = list(tasks) if cost is None else sorted(tasks, key=cost, reverse=True)
        workers = min(self.workers, len(ordered))
        here = self._here or (workers <= 1 and not apart)
        # A worker that were to start workers would wait for itself.
        if here or not ordered or multiprocessing.parent_process() is not None:
            for task in ordered:
                yield task, function(task)
            return
        rest = ordered
        while rest:
            finished: set[int] = set()
            try:
                for number, result in _in_processes(function, rest, workers):
                    finished.add(number)
                    yield rest[number], result
            except BrokenProcessPool:
                rest = [task for number, task in enumerate(rest) if number not in finished]
                # tasks start in their order: those at work were the first that are not finished
                for task in rest[:workers]:
                    yield task, _alone(function, task, lost)
                rest = rest[workers:]
            else:
                return

    def map_stores(
        self,
        function: Callable[[pa.Table], pa.Table],
        groups: Iterable[pa.Table],
    ) -> Iterator[pa.Table]:
        """Apply ``function`` to each group of whole stores; results come as they finish."""
        for _, result in self.run_tasks(function, list(groups)):
            yield result


def _in_processes(
    function: Callable[[TaskT], ResultT], tasks: Sequence[TaskT], workers: int
) -> Iterator[tuple[int, ResultT]]:
    """The tasks' numbers and results. Raises BrokenProcessPool where a worker was killed."""
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_worker
    )
    finished = False
    try:
        with _environment(_ONE_THREAD):
            # Workers start here, one a submission: they read the variables as they import.
            futures = {pool.submit(function, task): number for number, task in enumerate(tasks)}
        # what finished before a worker was killed comes before the fault
        broken: BrokenProcessPool | None = None
        for future in as_completed(futures):
            number = futures.pop(future)
            try:
                result = future.result()
            except BrokenProcessPool as fault:
                broken = fault
                continue
            yield number, result
        if broken is not None:
            raise broken
        finished = True
    finally:
        if not finished:
            _terminate(pool)
        pool.shutdown(wait=True, cancel_futures=True)


def _alone(
    function: Callable[[TaskT], ResultT],
    task: TaskT,
    lost: Callable[[TaskT, StorecastError], ResultT] | None,
) -> ResultT:
    """A task once more, in a process with nothing beside it."""
    try:
        ((_, result),) = _in_processes(function, [task], 1)
    except BrokenProcessPool as fault:
        told = ModelError(
            Code.MODEL_FAILED,
            "the worker process ended before its task did, twice, the second time alone",
            expected="a worker that answers",
            found="killed, most often for want of memory",
            next_step="close other programs, or leave the model out with --models",
        )
        if lost is None or not _startable():
            raise told from fault
        return lost(task, told)
    return result


def _startable() -> bool:
    """Whether a worker that has next to nothing to do answers."""
    try:
        return bool(list(_in_processes(abs, [1], 1)))
    except BrokenProcessPool:
        return False


def _terminate(pool: ProcessPoolExecutor) -> None:
    for process in list((getattr(pool, "_processes", None) or {}).values()):
        with contextlib.suppress(Exception):
            process.terminate()


def _begin_worker() -> None:
    # Ctrl-C reaches the whole group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _processors() -> int:
    process_cpu_count: Callable[[], int | None] | None = getattr(os, "process_cpu_count", None)
    if process_cpu_count is not None:
        return process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
