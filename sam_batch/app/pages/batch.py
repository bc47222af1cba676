"""The page of `app.batch` and `app.browse`: a job above, its results below."""

import time
from collections.abc import Callable

from nicegui import run, ui

from sam_batch.app.batch import Jobs, Progress, folder_job, foretell, output_alone, yaml_job
from sam_batch.app.browse import Page, Shown, read_page
from sam_batch.app.pages.parts import guarded
from sam_batch.config import Config
from sam_batch.data.storage import shown
from sam_batch.errors import SamBatchError
from sam_batch.job.status import Watch

WAIT_SECONDS = 1.0  # between two looks at a job; ten times as long as a look takes, where that is more


class BatchPage:
    """One visitor's tab.

    Args:
        jobs: The app's.
        settings: What a folder's job has besides folder, suffix and destination: those of the tab Automatic.
        warning: What visitors should know of whose folders these are; empty for nothing.
    """

    def __init__(self, jobs: Jobs, settings: Callable[[], Config], warning: str) -> None:
        self._jobs, self._settings = jobs, settings
        self._output: Config | None = None  # whose results are looked at
        self._watch: Watch | None = None  # on the same, where it is followed
        self._page, self._is_looking, self._next_look = 0, False, 0.0
        with ui.column().classes("full-width"):
            if warning:
                ui.label(warning).classes("text-negative")
            self._form()
            self._bar = ui.linear_progress(0, show_value=False).mark("progress")
            self._told = ui.label().style("white-space: pre-wrap").mark("status")
            self._said = ui.label().style("white-space: pre-wrap; font-family: monospace").classes("text-caption")
            self._results()
        ui.timer(WAIT_SECONDS / 2, guarded(self._look_again))

    def _form(self) -> None:
        self._kind = ui.radio({"folder": "A folder", "yaml": "A YAML job"}, value="folder").props("inline dense")
        with (
            ui.row()
            .classes("full-width no-wrap")
            .bind_visibility_from(self._kind, "value", lambda kind: kind == "folder")
        ):
            self._source = ui.input("Folder, glob, bucket or manifest").classes("col")
            self._suffix = ui.input("Suffixes, such as jpg, png; empty for all").classes("col")
        with ui.row().classes("full-width").bind_visibility_from(self._kind, "value", lambda kind: kind == "yaml"):
            self._yaml = ui.input("YAML file").classes("col")
        self._destination = ui.input("Destination; or a finished output to look at").classes("full-width")
        self._destination.bind_visibility_from(self._kind, "value", lambda kind: kind == "folder")
        hint = "A folder is labelled with the settings of the tab Automatic. Paths are those of this machine."
        ui.label(hint).classes("text-caption text-grey")
        with ui.row():
            ui.button("What would be done", on_click=guarded(self._foretell)).props("flat")
            ui.button("Start", on_click=guarded(self._start))
            ui.button("Stop", on_click=guarded(self._stop)).props("flat")
            ui.button("Show results", on_click=guarded(self._look)).props("flat")

    @ui.refreshable_method
    def _results(self, page: Page | None = None) -> None:
        if page is None:
            return
        with ui.row().classes("items-center"):
            ui.label(f"Page {page.number + 1} of {page.pages}, {page.images} images").mark("page")
            ui.button("Before", on_click=guarded(lambda: self._turn(-1))).props("flat").set_enabled(page.number > 0)
            later = ui.button("Next", on_click=guarded(lambda: self._turn(1))).props("flat")
            later.set_enabled(page.number + 1 < page.pages)
        with ui.row():
            for image in page.shown:
                _show_image(image)

    def _job(self) -> Config:
        if self._kind.value == "yaml":
            return yaml_job(self._yaml.value)
        return folder_job(self._settings(), self._source.value, self._suffix.value, self._destination.value)

    async def _foretell(self) -> None:
        self._watch = None
        self._told.set_text(await run.io_bound(lambda: foretell(self._job())))

    async def _start(self) -> None:
        config = self._job()
        await run.io_bound(self._jobs.start, config)
        self._follow(config)
        self._results.refresh(None)

    async def _stop(self) -> None:
        self._jobs.stop(self._named())

    async def _look(self) -> None:
        self._follow(self._named())
        await self._turn(0)

    def _named(self) -> Config:
        """Of the output that the form names."""
        if self._kind.value == "yaml":
            return yaml_job(self._yaml.value)
        return output_alone(self._settings(), self._destination.value)

    def _follow(self, output: Config) -> None:
        self._output, self._watch, self._page, self._next_look = output, Watch(output), 0, 0.0

    async def _turn(self, pages: int) -> None:
        if (config := self._output) is None:
            return
        page = await run.io_bound(read_page, config.output.uri, config.storage, self._page + pages)
        self._page = page.number
        self._results.refresh(page)

    async def _look_again(self) -> None:
        """Look how far the job is, if it is time."""
        watch = self._watch
        if watch is None or self._is_looking or time.monotonic() < self._next_look:
            return
        self._is_looking, start = True, time.monotonic()
        try:
            progress = await run.io_bound(self._jobs.progress, watch)
            if watch is self._watch:
                await self._show(progress)
        except SamBatchError:
            self._watch = None  # said once
            raise
        finally:
            self._is_looking = False
            self._next_look = time.monotonic() + max(WAIT_SECONDS, 10 * (time.monotonic() - start))

    async def _show(self, progress: Progress) -> None:
        self._bar.set_value(progress.share)
        told = [progress.ended or progress.line, progress.status.to_text()]
        self._told.set_text("\n".join(filter(None, told)))
        self._said.set_text(progress.said)
        self._watch = self._watch if progress.is_going_on else None
        if progress.ended and progress.done:
            await self._turn(0)


def _show_image(image: Shown) -> None:
    with ui.card().classes("q-pa-xs").style("width: 18rem"):
        if image.picture is not None:
            ui.image(image.picture).style("height: 12rem").props("fit=contain no-spinner no-transition")
        ui.label(shown(image.key)).classes("text-weight-medium").style("overflow-wrap: anywhere")
        ui.label(image.told).classes("text-caption").style("overflow-wrap: anywhere")
