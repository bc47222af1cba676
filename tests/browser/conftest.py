"""A headless Chromium of the system's: no test downloads a browser."""

import shutil

import pytest

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def chromium():
    from playwright.sync_api import sync_playwright  # here: `make test` does without the package

    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, f"none of {', '.join(NAMES)} is installed; on Debian: apt-get install chromium-headless-shell"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """A page that must not complain, nor ask for anything outside of the disk."""
    opened = chromium.new_page(viewport={"width": 1200, "height": 900})
    complaints = []
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: complaints.append(request.url) if is_outside(request.url) else None)
    yield opened
    opened.close()
    assert complaints == []


def is_outside(url):
    return not url.startswith(("file:", "data:"))
