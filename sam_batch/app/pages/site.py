"""The app as a server: one page with three tabs, for each visitor anew, and what all of them share.

On this machine alone, requests under another name than this machine's are refused: a page of somebody else's, open in
the same browser, cannot reach the app by giving its own name this machine's address.
"""

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


def serve(config: Config, host: str, port: int, *, show: bool, warning: str) -> None:
    """Serve the app until it is interrupted; the jobs that it started end with it.

    Args:
        config: Model and engine, and the settings that visitors begin with.
        host: Address to listen on.
        port: To listen on.
        show: Open a browser.
        warning: What visitors should know; empty where only this machine reaches the address.

    Raises:
        ConfigError: The model or the engine cannot be used.
    """
    model, jobs = Model(config), Jobs()
    app.add_middleware(BodyLimit, most=config.input.max_bytes + AROUND_A_FILE)
    if not warning:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "::1", "[::1]", host])
    app.on_shutdown(jobs.stop_all)

    def page() -> None:
        build_page(model, jobs, warning)

    ui.run(
        page,
        host=host,
        port=port,
        title="sam-batch",
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
