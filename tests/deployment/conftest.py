"""Projects whose validation takes a moment: in this process, and without MLflow's pages."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from storecast.adapters.local.compute import LocalCompute
from storecast.configfile import parse_config
from storecast.platforms import assemble
from storecast.project import Project
from storecast.tracking import DATABASE, Tracking
from storecast.validation import recording
from storecast.validation.step import validate
from tests.fills import FIRST, chain_sales, fill, settings

NAIVE, LEVEL = "seasonal_naive", "local_level"
WINDOWS = {"windows": 12, "step": 7, "warmup": 2}
"""Of the ten scored ones the gate keeps five: enough for a level of 0.1."""
SALES = chain_sales(("001", "1", "Öç"), 220)


def upto(days: int, change: Callable[[pl.DataFrame], pl.DataFrame] = lambda f: f) -> pl.DataFrame:
    return change(SALES).filter(pl.col("date") < FIRST + timedelta(days=days))


def until(days: int) -> date:
    return FIRST + timedelta(days=days - 1)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database without anything in it: its tables take seconds to make."""
    file = tmp_path_factory.mktemp("mlflow") / DATABASE
    Tracking(None, None, "none", file.parent).client().search_experiments()
    return file


@pytest.fixture
def shop(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Project]:
    """A project of so many days that is validated; asked again, the same one, later."""
    monkeypatch.setattr(recording, "record_validation", lambda *_: "parent")
    monkeypatch.setattr(recording, "finish", lambda *_: None)
    shutil.copy(empty_store, tmp_path / DATABASE)

    def make(
        days: int = 160, *, validated: bool = True, audit: Any = "fast",
        change: Callable[[pl.DataFrame], pl.DataFrame] = lambda f: f, **changes: Any,
    ) -> Project:  # fmt: skip
        config = parse_config(settings(**{"validation": WINDOWS, **changes}))
        project = dataclasses.replace(assemble(config, tmp_path), compute=LocalCompute(1))
        fill(project, upto(days, change))
        if validated:
            validate(project, audit=audit)
        return project

    return make
