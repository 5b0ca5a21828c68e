"""One demo database for the whole session: it takes seconds to build."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from storecast.demos.iowa import deliveries


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As it stands before the first delivery; read only."""
    database = tmp_path_factory.mktemp("iowa") / "iowa.db"
    deliveries.build(database)
    return database


@pytest.fixture
def database(fresh_database: Path, tmp_path: Path) -> Path:
    """A copy that a test may advance."""
    return Path(shutil.copyfile(fresh_database, tmp_path / "iowa.db"))
