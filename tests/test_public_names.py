"""The names that the package exports are there, and importing it starts nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import storecast

HEAVY = ("torch", "darts", "mlflow", "pyspark", "lightgbm", "sklearn", "pandas", "duckdb",
         "deltalake", "matplotlib")  # fmt: skip


@pytest.mark.parametrize("name", storecast.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(storecast, name) is not None


def test_names_are_sorted_and_shown() -> None:
    assert storecast.__all__ == sorted(storecast.__all__)
    assert dir(storecast) == storecast.__all__


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'ingestt'"):
        _ = storecast.ingestt


def fresh(code: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = fresh("import sys, storecast; print(*sys.modules)").split()
    assert not [name for name in HEAVY if name in loaded]
    assert not [name for name in loaded if name.startswith("storecast.")]


@pytest.mark.parametrize("module", ["storecast.cli", "storecast.project", "storecast.runs",
                                    "storecast.registry", "storecast.tracking"])  # fmt: skip
def test_what_every_command_imports_loads_no_model_library(module: str) -> None:
    loaded = fresh(f"import sys, {module}; print(*sys.modules)").split()
    for name in ("torch", "darts", "mlflow", "pyspark", "lightgbm", "matplotlib"):
        assert name not in loaded


@pytest.mark.slow
def test_importing_starts_nothing() -> None:
    code = """
import logging, os, pkgutil, threading
import storecast
before = logging.getLogger().handlers[:], dict(os.environ)
for module in pkgutil.walk_packages(storecast.__path__, "storecast."):
    if module.name not in ("storecast.cli", "storecast.artifact.loader"):
        __import__(module.name)
import mlflow
ours = logging.getLogger("storecast")
assert not [h for h in ours.handlers if not isinstance(h, logging.NullHandler)]
assert logging.getLogger().handlers == before[0], "a logging handler"
assert not mlflow.is_tracking_uri_set(), "a tracking address"
assert threading.active_count() == 1, threading.enumerate()
print("quiet")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "quiet", done.stderr
