"""A promotion and a rollback that SIGKILL ends anywhere: Champion is there at every moment, and
doing it again ends where an undisturbed one ends.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from storecast import lineage, registry, runs
from storecast.errors import Code, Refusal
from storecast.registry import CHAMPION, PREVIOUS_CHAMPION
from tests.promotion import children
from tests.promotion.conftest import Served

# MLflow and SQLAlchemy warn about themselves
pytestmark = [
    pytest.mark.filterwarnings("default"),
    pytest.mark.fault,
    pytest.mark.slow,
]

NAME = "demo.chain.chain"
ENDS = {
    # from Champion 3, PreviousChampion 2, Challenger 2
    "promote": {CHAMPION: "2", PREVIOUS_CHAMPION: "3"},
    "rollback": {CHAMPION: "2", PREVIOUS_CHAMPION: "2", registry.CHALLENGER: "2"},
}


@pytest.fixture
def folder(served: Served) -> Path:
    project = served()
    registry.of(project).challenge("2")
    return project.root


@contextmanager
def watched(folder: Path) -> Iterator[list[str | None]]:
    """Ask the database again and again for the champion, past everything of ours."""
    seen: list[str | None] = []
    stop = Event()

    def look() -> None:
        with closing(sqlite3.connect(folder / "mlflow.db", timeout=30)) as connection:
            while not stop.is_set():
                row = connection.execute(
                    "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?",
                    (NAME, CHAMPION),
                ).fetchone()
                seen.append(None if row is None else str(row[0]))
                time.sleep(0.0005)

    watcher = Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        stop.set()
        watcher.join()


def finished(folder: Path, command: str) -> None:
    """Do it again, and see that all is as if it had not been disturbed."""
    project = children.project_in(folder)
    told = [c["command"] for c in lineage.changes(project, NAME)]
    if (command, told[-1]) == ("rollback", "rollback"):
        # It was killed when all was done, its row of the ledger included.
        with pytest.raises(Refusal) as refused:
            children.moved(folder, command)
        assert refused.value.code is Code.NO_PREVIOUS_CHAMPION
    else:
        children.moved(folder, command)
    assert registry.of(project).aliases.all() == ENDS[command]
    changes = lineage.changes(project, NAME)
    assert [(c["command"], c["from"], c["to"]) for c in changes[3:]] == [(command, "3", "2")]
    assert (changes[-1]["by"], changes[-1]["reason"]) == (lineage.operator(), "tried")
    assert runs.ledger(project)[-1]["status"] in ("done", "refused")


POINTS = [("promote", n, after) for n in range(1, 5) for after in (False, True)] + [
    ("rollback", n, after) for n in range(1, 3) for after in (False, True)
]


@pytest.mark.parametrize(("command", "write", "after"), POINTS)
def test_killed_before_and_after_each_write(
    folder: Path, command: str, write: int, after: bool
) -> None:
    with watched(folder) as seen:
        assert children.exit_code(children.killed_at, folder, command, write, after) == (
            -signal.SIGKILL
        )
        finished(folder, command)
    assert len(seen) > 10
    assert set(seen) <= {"3", "2"}
    assert seen[0] == "3"
    assert seen[-1] == "2"
    assert seen == sorted(seen, reverse=True)  # it moves once, and never back


@pytest.mark.parametrize("command", ["promote", "rollback"])
def test_there_is_no_further_write(folder: Path, command: str) -> None:
    """So that the points above are all there are."""
    writes = sum(1 for c, _, after in POINTS if c == command and after)
    assert children.exit_code(children.killed_at, folder, command, writes + 1, False) == 0
    assert registry.of(children.project_in(folder)).aliases.all() == ENDS[command]


@pytest.mark.parametrize("command", ["promote", "rollback"])
@pytest.mark.parametrize("trial", range(6))
def test_killed_at_random(folder: Path, command: str, trial: int) -> None:
    seconds = random.Random(f"{command} {trial}").uniform(0.0, 0.9)
    with watched(folder) as seen:
        ended = children.exit_code(children.killed_in_time, folder, command, seconds)
        assert ended in (-signal.SIGKILL, 0)
        finished(folder, command)
    assert set(seen) <= {"3", "2"}
    assert seen == sorted(seen, reverse=True)
