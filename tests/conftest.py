"""A project whose tables are filled without a source, for the stages after the ingestion; and the
one Spark session of the whole test run.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
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


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    """A local session with Spark's own defaults, but for speed; skipped without Java, not on CI."""
    missing = "no Java" if shutil.which("java") is None else None
    try:
        sql = importlib.import_module("pyspark.sql")
    except ImportError:
        missing = "no PySpark"
    if missing is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = sql.SparkSession.builder.master("local[2]").appName("storecast")
    for name, value in {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "OFF",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        # Half the processor's time: the tests end before the optimising compiler pays.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
    }.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()
