"""The browser of the tests that look at a page, and the mark of those that cannot run without one."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-pings"]

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: dev/browser.sh installs it")


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A running Chromium without a window."""
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        try:
            yield chromium
        finally:
            chromium.close()
