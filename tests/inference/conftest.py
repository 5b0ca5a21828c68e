"""A project with two champions, one after the other, made once and copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from storecast.configfile import parse_config
from storecast.platforms import assemble
from storecast.project import Project
from tests.fills import FIRST, chain_sales, fill, settings

from .champions import champion

STORES = ("001", "1", "Öç")
THROUGH = FIRST + timedelta(days=119)
CLOSED_ON = THROUGH - timedelta(days=10)

Twice = Callable[..., Project]


@pytest.fixture(scope="package")
def two_champions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two")
    project = assemble(parse_config(settings()), root)
    fill(project, chain_sales(STORES, 120), {"1": CLOSED_ON})
    champion(project, "seasonal_naive")
    champion(project, "local_level")
    return root


@pytest.fixture
def twice(two_champions: Path, tmp_path: Path) -> Twice:
    """A copy; keys of the configuration as keywords."""

    def make(**changes: Any) -> Project:
        root = tmp_path / "project"
        if not root.exists():
            shutil.copytree(two_champions, root)
        return assemble(parse_config(settings(**changes)), root)

    return make
