"""A headless Chromium of the system's: no test downloads a browser."""

import pytest
from support.browser import served, started, watched

SETTINGS = ("engine.device=cpu", "engine.precision=fp32", "generator.points_per_side=8", "run.executor=inline")


@pytest.fixture(scope="session")
def chromium():
    with started() as browser:
        yield browser


@pytest.fixture
def page(chromium):
    """A page that must not complain, nor ask for anything outside of the disk."""
    with watched(chromium, ("file:", "data:")) as page:
        yield page


@pytest.fixture(scope="session")
def app():
    """The address of the app with the demo model; files have 300,000 bytes at most."""
    with served(*SETTINGS, "input.max_bytes=300000") as address:
        yield address


@pytest.fixture
def visit(chromium, app):
    """Opens the app as another visitor, in a page that must not complain, nor ask for anything but the app."""
    from contextlib import ExitStack

    with ExitStack() as pages:

        def open_page():
            page = pages.enter_context(watched(chromium, (app, app.replace("http", "ws"), "data:", "blob:")))
            page.goto(app)
            return page

        yield open_page
