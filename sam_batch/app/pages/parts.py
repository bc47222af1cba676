"""Pieces that the tabs share: work beside the page, messages, opening a photograph, loading a model.

All text that comes from users or files is shown as text: no element here is given HTML.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final

from nicegui import run, ui

from sam_batch.app.model import Model
from sam_batch.app.photograph import Photograph, read_place, read_upload
from sam_batch.errors import SamBatchError

Handler = Callable[..., Any]
SIDE: Final = "width: 22rem; flex: none"  # styles of the two columns of a tab
MAIN: Final = "flex: 1; min-width: 0"


def guarded(handler: Handler) -> Handler:
    """A handler of events that shows what is wrong as a sentence, never as a traceback."""

    @functools.wraps(handler)
    async def handled(*arguments: Any) -> None:
        try:
            result = handler(*arguments)
            if inspect.isawaitable(result):
                await result
        except (SamBatchError, ValueError) as error:
            complain(str(error))
        except Exception:
            complain("something went wrong that nobody foresaw; the terminal of the app says more")
            raise

    return handled


def complain(message: str) -> None:
    """Show a sentence at the bottom until it is closed."""
    ui.notify(message, type="negative", close_button="OK", timeout=0, multi_line=True)


class Latest:
    """Work that is asked for faster than it is done: what was asked for meanwhile is done once, at the end.

    Args:
        work: To be done; sees what is there when it begins.
    """

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work, self._is_busy, self._is_wanted = work, False, False

    async def __call__(self) -> None:
        """Have the work done, by this call or by the one that is at it."""
        self._is_wanted = True
        if self._is_busy:
            return
        self._is_busy = True
        try:
            while self._is_wanted:
                self._is_wanted = False
                await self._work()
        finally:
            self._is_busy = False


def photograph_opener(model: Model, opened: Callable[[Photograph], Awaitable[None]]) -> None:
    """Upload a photograph, or name one of this machine."""
    config = model.config

    @guarded
    async def upload(event: Any) -> None:
        data = await event.file.read()
        event.sender.reset()
        await opened(await run.io_bound(read_upload, event.file.name, data, config))

    @guarded
    async def pick() -> None:
        await opened(await run.io_bound(read_place, place.value.strip(), config))

    ui.upload(
        label="Drop a photograph here, or choose one (+)",
        auto_upload=True,
        max_files=1,
        max_file_size=config.input.max_bytes,
        on_upload=upload,
        on_rejected=lambda: complain(f"the file has more than {config.input.max_bytes} bytes (input.max_bytes)"),
    ).classes("full-width").props("flat bordered")
    with ui.row().classes("full-width items-center no-wrap"):
        place = ui.input("or its path, as this machine sees it").classes("col").on("keydown.enter", pick)
        ui.button("Open", on_click=pick).props("flat")


def model_loader(model: Model, loaded: Callable[[], Awaitable[None]]) -> None:
    """Say which model there is, and load another, by its name or its file."""

    @guarded
    async def load() -> None:
        button.disable()
        try:
            await run.io_bound(model.load, name.value.strip())
            await loaded()
        finally:
            button.enable()

    with ui.row().classes("full-width items-center no-wrap"):
        name = ui.input("another model: demo, vit_b, vit_l, vit_h, or its file").classes("col")
        name.on("keydown.enter", load)
        button = ui.button("Load", on_click=load).props("flat")
    told = ui.label().classes("text-caption").mark("model")

    def tell() -> None:
        told.set_text(f"model {model.origin.model}, {model.origin.precision}; one for all tabs and visitors")

    tell()
    ui.timer(1, tell)
