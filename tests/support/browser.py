"""A headless Chromium of the system's, pages of it that are watched, and the app as a program to visit."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import URLError

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
PATIENCE = 120  # seconds until the app answers


@contextmanager
def started() -> Iterator[Any]:
    """The browser."""
    from playwright.sync_api import sync_playwright  # here: `make test` does without the package

    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, f"none of {', '.join(NAMES)} is installed; on Debian: apt-get install chromium-headless-shell"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def watched(browser: Any, allowed: tuple[str, ...], **how: Any) -> Iterator[Any]:
    """A new page of a visitor's own, that may not complain, nor ask for addresses that begin otherwise."""
    page = browser.new_page(**({"viewport": {"width": 1200, "height": 900}} | how))
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(allowed) else complaints.append(request.url))
    yield page
    page.close()
    assert complaints == []


@contextmanager
def served(*settings: str) -> Iterator[str]:
    """The address of the app, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outside = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
    }  # else NiceGUI balks
    command = [sys.executable, "-m", "sam_batch", "app", *settings, "--port", str(port)]
    app = subprocess.Popen(command, env=outside)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + PATIENCE
        while not _answers(address):
            assert app.poll() is None, f"the app ended with {app.returncode}"
            assert time.monotonic() < deadline, "the app does not answer"
            time.sleep(0.2)
        yield address
    finally:
        app.terminate()
        app.wait(60)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address):
            return True
    except URLError:
        return False
