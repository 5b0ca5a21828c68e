"""A project whose tables are filled without a source, for the stages after the ingestion."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from storecast.configfile import parse_config
from storecast.platforms import assemble
from storecast.project import Project
from tests.fills import chain_sales, fill, settings

with warnings.catch_warnings():
    # MLflow warns about its own type hints where it is first imported
    warnings.simplefilter("ignore")
    import mlflow.pyfunc  # noqa: F401

Filled = Callable[..., Project]


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    """Make a project with 120 days of three stores; keys of the configuration as keywords."""

    def make(days: int = 120, closed: dict[str, date] | None = None, **changes: Any) -> Project:
        project = assemble(parse_config(settings(**changes)), tmp_path)
        fill(project, chain_sales(("001", "1", "Öç"), days), closed)
        return project

    return make
