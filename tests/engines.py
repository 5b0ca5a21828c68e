"""What tests need beside storecast itself: absent, it skips them, and fails them on CI."""

from __future__ import annotations

import importlib.util
import os

import pytest


def needs(module: str) -> None:
    """Skip the test, or the module that is being imported, without a package; fail it on CI."""
    if importlib.util.find_spec(module) is not None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"no {module}")
    pytest.skip(f"needs {module}", allow_module_level=True)
