"""The command line as a user has it: arguments in, exit code and envelope out."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from storecast import cli
from tests.shops import configure


@dataclass(frozen=True)
class Answer:
    exit_code: int
    out: str
    err: str

    @property
    def envelope(self) -> dict[str, Any]:
        (line,) = self.out.splitlines()
        return dict(json.loads(line))

    @property
    def code(self) -> str:
        return str(self.envelope["error"]["code"])


Storecast = Callable[..., Answer]


@pytest.fixture
def storecast(capsys: pytest.CaptureFixture[str]) -> Storecast:
    """Run a command in this process; the exit code is the one a shell would see."""

    def run(*arguments: str | Path) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Answer(int(left.value.code or 0), captured.out, captured.err)

    return run


def weeks(first: date, n: int) -> list[date]:
    return [first + timedelta(weeks=i) for i in range(n)]


Row = tuple[Any, ...]


@dataclass(frozen=True)
class Shop:
    """A project over an SQLite database of one sales table."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / "vendas.db"

    def sql(self, statement: str, rows: Iterable[Row] | None = None) -> None:
        with sqlite3.connect(self.database) as connection:
            if rows is None:
                connection.executescript(statement)
            else:
                connection.executemany(statement, rows)
        connection.close()

    def configure(self, **changes: Any) -> None:
        configure(self.root, **changes)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """An empty sales table and a small configuration."""
    made = Shop(tmp_path)
    made.sql("CREATE TABLE vendas (id TEXT, loja TEXT, dia TEXT, valor)")
    made.configure()
    return made


INSERT = "INSERT INTO vendas VALUES (?, ?, ?, ?)"


def good_rows(stores: Iterable[str] = ("001", "1"), n: int = 60) -> list[Row]:
    days = weeks(date(2021, 1, 4), n)
    return [
        (f"{s}-{i}", s, day.isoformat(), 100 + (i * 7 + len(s)) % 13)
        for s in stores
        for i, day in enumerate(days)
    ]
