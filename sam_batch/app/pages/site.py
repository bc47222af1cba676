"""The app as a server: one page with three tabs, for each visitor anew, and what all of them share.

On this machine alone, requests under another name than this machine's are refused: a page of somebody else's, open in
the same browser, cannot reach the app by giving its own name this machine's address.
"""

import ipaddress
import sys
from typing import Final

from nicegui import app, ui
from starlette.middleware.trustedhost import TrustedHostMiddleware

from sam_batch.app.automatic import Automatic
from sam_batch.app.batch import Jobs
from sam_batch.app.guided import Guided
from sam_batch.app.limits import AROUND_A_FILE, BodyLimit
from sam_batch.app.model import Model
from sam_batch.app.pages.automatic import AutomaticPage
from sam_batch.app.pages.batch import BatchPage
from sam_batch.app.pages.guided import GuidedPage
from sam_batch.config import Config

TITLE: Final = "sam-batch"
EXPOSED: Final = (
    "Everybody who reaches this address can read the images and outputs that the user of this machine can read, "
    "start jobs as that user, and load models."
)


def serve(config: Config, host: str, port: int, *, show: bool) -> None:
    """Serve the app until it is interrupted; the jobs that it started end with it.

    Args:
        config: Model and engine, and the settings that visitors begin with.
        host: Address to listen on.
        port: To listen on.
        show: Open a browser.

    Raises:
        ConfigError: The model or the engine cannot be used.
    """
    model, jobs = Model(config), Jobs()
    is_local = is_loopback(host)
    app.add_middleware(BodyLimit, most=config.input.max_bytes + AROUND_A_FILE)
    if is_local:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]", host])
    app.on_shutdown(jobs.stop_all)
    warning = "" if is_local else EXPOSED

    def page() -> None:
        build_page(model, jobs, warning)

    print(f"sam-batch app on http://{host}:{port}", file=sys.stderr)  # noqa: T201
    if warning:
        print(f"warning: {warning}", file=sys.stderr)  # noqa: T201
    ui.run(
        page,
        host=host,
        port=port,
        title=TITLE,
        show=show,
        dark=None,
        reload=False,
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=30,
    )


def build_page(model: Model, jobs: Jobs, warning: str) -> None:
    """One visitor's page, with states of the visitor's own."""
    automatic, guided = Automatic(model), Guided(model)
    with ui.tabs() as tabs:
        first, second, third = ui.tab("Automatic"), ui.tab("Guided"), ui.tab("Batch")
    with ui.tab_panels(tabs, value=first, animated=False).classes("full-width").props("keep-alive"):
        with ui.tab_panel(first):
            AutomaticPage(automatic, model)
        with ui.tab_panel(second):
            GuidedPage(guided, model)
        with ui.tab_panel(third):
            BatchPage(jobs, automatic.job, warning)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
