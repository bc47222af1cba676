"""The page of `app.automatic`: controls on the left, the picture and its segments on the right."""

import base64
from collections.abc import Callable
from typing import Any, Final

from nicegui import run, ui

from sam_batch.app.automatic import MIN_AREA, PAGE, Automatic, Segment
from sam_batch.app.controls import Control, generator_controls
from sam_batch.app.model import Model
from sam_batch.app.pages.parts import MAIN, SIDE, Latest, guarded, model_loader, photograph_opener
from sam_batch.app.photograph import Photograph

Changed = Callable[[str, str], Any]
_LEAST_AREA: Final = Control(MIN_AREA, "Masks with fewer pixels have no segment.", "whole", "0", False, True, 0)


class AutomaticPage:
    """One visitor's tab.

    Args:
        state: What is shown.
        model: The app's.
    """

    def __init__(self, state: Automatic, model: Model) -> None:
        self._state, self._gallery_page = state, 0
        self._refresh = Latest(self._show)
        with ui.row().classes("full-width no-wrap items-start"):
            with ui.column().style(SIDE):
                model_loader(model, self._model_loaded)
                photograph_opener(model, self._opened)
                with ui.row():
                    self._button = ui.button("Find everything", on_click=guarded(self._search))
                    ui.button("Stop", on_click=state.stop).props("flat").bind_visibility_from(
                        self._button, "enabled", lambda on: not on
                    )
                self._bar = ui.linear_progress(0, show_value=False)
                self._controls()
            with ui.column().style(MAIN):
                self._told = ui.label(state.told()).classes("text-subtitle1").mark("told")
                self._picture = ui.interactive_image().classes("full-width").mark("masks")
                with ui.row():
                    ui.button("Save as YAML", on_click=guarded(self._save)).props("flat")
                    ui.button("Save the picture", on_click=guarded(self._save_picture)).props("flat")
                self._gallery()
        ui.timer(0.2, self._tell)
        ui.context.client.on_delete(state.stop)

    @ui.refreshable_method
    def _controls(self) -> None:
        controls = [*generator_controls(), _LEAST_AREA]
        ui.label("Applied at once").classes("text-subtitle1")
        self._group([control for control in controls if control.only_filters])
        with ui.expansion("Need a search").classes("full-width").mark("expert"):
            self._group([control for control in controls if not control.only_filters])
        ui.button("Defaults of the configuration", on_click=guarded(self._set_defaults)).props("flat dense")

    def _group(self, controls: list[Control]) -> None:
        for control in controls:
            _show_control(control, self._state.value(control.key), guarded(self._changed))

    @ui.refreshable_method
    def _gallery(self, segments: tuple[Segment, ...] = (), count: int = 0) -> None:
        first = self._gallery_page * PAGE
        with ui.row().classes("items-center"):
            ui.label(f"Segments {first + 1 if count else 0} to {first + len(segments)} of {count}").mark("segments")
            ui.button("Before", on_click=guarded(lambda: self._turn(-1))).props("flat dense").set_enabled(first > 0)
            later = ui.button("Next", on_click=guarded(lambda: self._turn(1))).props("flat dense")
            later.set_enabled(first + PAGE < count)
        with ui.row():
            for segment in segments:
                _show_segment(segment)

    async def _opened(self, photograph: Photograph) -> None:
        self._state.begin(photograph)
        await self._refresh()

    async def _model_loaded(self) -> None:
        self._state.forget()
        await self._refresh()

    async def _search(self) -> None:
        self._button.disable()
        try:
            await run.io_bound(self._state.search)
        finally:
            self._button.enable()
        await self._refresh()

    async def _changed(self, key: str, text: str) -> None:
        self._gallery_page = 0
        self._state.set(key, text)
        await self._refresh()

    async def _set_defaults(self) -> None:
        self._state.set_defaults()
        self._controls.refresh()
        await self._refresh()

    async def _turn(self, pages: int) -> None:
        self._gallery_page += pages
        await self._refresh()

    async def _show(self) -> None:
        """Draw what there is, beside the page."""
        if self._state.photograph is None:
            return
        told, picture, segments, count = await run.io_bound(self._drawn)
        self._told.set_text(told)
        self._picture.set_source(picture)
        self._gallery.refresh(segments, count)

    def _drawn(self) -> tuple[str, str, tuple[Segment, ...], int]:
        state = self._state
        return state.told(), state.picture(), tuple(state.segments(self._gallery_page)), state.segment_count

    def _tell(self) -> None:
        """Say how far the search is."""
        if (progress := self._state.progress) is not None:
            self._told.set_text(f"searching: {progress:.0%}")
        self._bar.set_value(progress or 0)

    def _save(self) -> None:
        ui.download.content(self._state.to_yaml(), "job.yaml")

    async def _save_picture(self) -> None:
        picture = await run.io_bound(self._state.color_mask)
        ui.download.content(picture, f"color_mask.{self._state.config.output.color_masks.format}")


def _show_control(control: Control, value: str, changed: Changed) -> None:
    """A setting, with its sentence and its default."""
    with ui.column().classes("full-width q-gutter-none").mark(control.name):
        ui.label(control.name).classes("text-weight-medium")
        if control.kind == "share":
            _share(control, value, changed)
        elif control.kind == "choice":
            ui.select(list(control.choices), value=value, on_change=lambda event: changed(control.key, event.value))
        else:
            _field(control, value, changed)
        default = (
            f"{float(control.default):.3g}" if control.kind == "share" and not control.optional else control.default
        )
        ui.label(f"{control.sentence} Default: {default}.").classes("text-caption text-grey")


def _share(control: Control, value: str, changed: Changed) -> None:
    with ui.row().classes("full-width items-center no-wrap"):
        on = ui.switch(value=value != "null") if control.optional else None
        slider = ui.slider(min=0, max=1, step=0.005, value=0.5 if value == "null" else float(value)).classes("col")
        slider.props(f"aria-label={control.name}")
        ui.label().bind_text_from(slider, "value", lambda share: f"{share:.3g}")

    async def change() -> None:
        await changed(control.key, str(slider.value) if on is None or on.value else "null")

    slider.on_value_change(change)
    if on is not None:
        slider.bind_enabled_from(on, "value")
        on.on_value_change(change)


def _field(control: Control, value: str, changed: Changed) -> None:
    field = ui.input(value="" if value == "null" else value, placeholder="off" if control.optional else "")
    field.classes("full-width").props(f"dense aria-label={control.name}").on(
        "change", lambda: changed(control.key, field.value.strip() or ("null" if control.optional else ""))
    )


def _show_segment(segment: Segment) -> None:
    annotation = segment.annotation
    with ui.card().classes("q-pa-xs").tight():
        ui.image("data:image/png;base64," + base64.b64encode(segment.png).decode("ascii")).style(
            "width: 8rem; height: 8rem"
        ).props("fit=contain no-spinner no-transition")
        ui.label(f"{annotation.mask_id}: {annotation.predicted_iou:.2f}, {annotation.area} px").classes("text-caption")
