"""A real browser: Debian's chromium, driven by selenium."""

import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

PATIENCE = 60
"""Seconds that a test waits for a page."""


@contextmanager
def chromium(downloads):
    """A browser without a window; the test is skipped if there is none."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed (apt-get install chromium chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = webdriver.Chrome(options=options, service=Service(driver))
    try:
        window.set_window_size(1400, 900)
        yield window
    finally:
        window.quit()


@contextmanager
def served(*command):
    """A page that ``agg`` serves; gives its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "agg_pipeline.cli", *command, "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        first = process.stdout.readline()
        assert first.startswith("open http"), first
        yield first.split()[1]
    finally:
        process.terminate()
        process.wait(PATIENCE)


def until(condition, what):
    """Wait for something that is true."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {PATIENCE} s")
