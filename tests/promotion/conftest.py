from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storecast.configfile import parse_config
from storecast.platforms import assemble
from storecast.project import Project
from tests.fills import chain_sales, fill, settings
from tests.registered import deployed

Served = Callable[..., Project]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project with three versions; the last one deployed is the champion."""
    root = tmp_path_factory.mktemp("template")
    project = assemble(parse_config(settings()), root)
    fill(project, chain_sales(("001", "1"), 60))
    deployed(project, {}, {}, {})
    return root


@pytest.fixture
def served(template: Path, tmp_path: Path) -> Served:
    """A copy of the project, as if its folder had been moved; keys of the configuration."""

    def make(**changes: Any) -> Project:
        root = tmp_path / "project"
        shutil.copytree(template, root)
        return assemble(parse_config(settings(**changes)), root)

    return make
