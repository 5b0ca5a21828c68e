import importlib
import os
import shutil

import pytest

QUIET = (
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
)


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium; without one the test is skipped, on CI it fails."""
    try:
        api = importlib.import_module("playwright.sync_api")
    except ImportError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip("no Playwright")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    with api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=path, args=[f"--{a}" for a in QUIET]
            )
        except api.Error as fault:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"no Chromium: {str(fault).splitlines()[0]}")
        yield browser
        browser.close()
