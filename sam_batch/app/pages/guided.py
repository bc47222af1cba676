"""The page of `app.guided`: what the mouse does over the photograph, and the candidates beside it."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from nicegui import run, ui

from sam_batch.app.guided import Guided, Place, brush_width
from sam_batch.app.model import Model
from sam_batch.app.pages.parts import MAIN, SIDE, Latest, guarded, model_loader, photograph_opener
from sam_batch.app.photograph import Photograph

MODES: Final = {
    "foreground": "Foreground point",
    "background": "Background point",
    "box": "Box",
    "paint foreground": "Paint foreground",
    "paint background": "Paint background",
    "paint box": "Paint a box",
}
_COLORS: Final = {"foreground": "#2ecc40", "background": "#ff4136", "box": "#ffdc00"}
_MOST_PLACES: Final = 5000  # of one stroke
_DRAG: Final = 3.0  # pixels of the picture that a box is longer than a slip of the hand


class GuidedPage:
    """One visitor's tab.

    Args:
        state: What is shown.
        model: The app's.
    """

    def __init__(self, state: Guided, model: Model) -> None:
        self._state = state
        self._path: list[Place] = []  # of the mouse since it was pressed, in pixels of the picture
        self._refresh = Latest(self._show)
        with ui.row().classes("full-width no-wrap items-start"):
            with ui.column().style(SIDE):
                model_loader(model, self._refresh)
                photograph_opener(model, self._opened)
                ui.label("The mouse sets a").classes("text-weight-medium")
                self._mode = ui.radio(MODES, value="foreground").props("dense")
                ui.label("Shift and a click set a background point.").classes("text-caption text-grey")
                self._candidates()
                with ui.row():
                    for name, action in (("Refine", state.refine), ("Undo", state.undo), ("Reset", state.reset)):
                        ui.button(name, on_click=guarded(self._doing(action))).props("flat")
                with ui.row():
                    ui.button("Export PNG", on_click=guarded(self._export_png)).props("flat")
                    ui.button("Export COCO", on_click=guarded(self._export_coco)).props("flat")
            with ui.column().style(MAIN):
                self._only_chosen = ui.switch("Only the chosen mask", on_change=self._refresh)
                events = ["mousedown", "mousemove", "mouseup"]
                self._picture = ui.interactive_image(on_mouse=guarded(self._mouse), events=events, cross="#ffffff")
                self._picture.classes("full-width").style("cursor: crosshair; user-select: none").mark("candidates")

    @ui.refreshable_method
    def _candidates(self) -> None:
        options = {
            number: f"{name}: score {one.score:.3f}, {one.area} px"
            for number, (name, one) in enumerate(zip(("red", "green", "blue"), self._state.candidates, strict=False))
        }
        if options:
            ui.radio(options, value=self._state.step.chosen, on_change=guarded(self._choose)).props("dense").mark(
                "scores"
            )

    async def _opened(self, photograph: Photograph) -> None:
        self._state.begin(photograph)
        await self._refresh()

    async def _choose(self, event: Any) -> None:
        self._state.choose(event.value)
        await self._refresh()

    def _doing(self, action: Callable[[], None]) -> Callable[[], Awaitable[None]]:
        async def do() -> None:
            await run.io_bound(action)
            await self._refresh()

        return do

    async def _mouse(self, event: Any) -> None:
        if self._state.photograph is None:
            return
        place, mode = (event.image_x, event.image_y), self._mode.value
        if event.type == "mousedown" and event.button == 0:
            self._path = [place]
        elif event.type == "mousemove" and self._path and event.buttons & 1:
            if mode not in ("foreground", "background") and len(self._path) < _MOST_PLACES:
                self._path.append(place)
                self._draw_prompts()
        elif event.type == "mouseup" and self._path:
            path, self._path = [*self._path, place], []
            await self._finished(mode, path, is_background=event.shift)
        elif event.type == "mousemove":
            self._path = []  # the button was let go outside of the picture

    async def _finished(self, mode: str, path: list[Place], *, is_background: bool) -> None:
        """The mouse was let go: ask."""
        scale = self._state.photograph.scale if self._state.photograph else 1.0
        places = [(x * scale, y * scale) for x, y in path]
        (x0, y0), (x1, y1) = places[0], places[-1]
        match mode.split():
            case ["paint", brush]:
                await run.io_bound(self._state.paint, brush, places)
            case ["box"] if max(abs(x1 - x0), abs(y1 - y0)) > _DRAG * scale:
                await run.io_bound(self._state.draw_box, x0, y0, x1, y1)
            case ["foreground" | "background" as kind]:
                foreground = kind == "foreground" and not is_background
                await run.io_bound(self._state.click, x0, y0, foreground=foreground)
        await self._refresh()

    async def _show(self) -> None:
        if self._state.photograph is None:
            return
        picture = await run.io_bound(self._state.picture, only_chosen=self._only_chosen.value)
        self._picture.set_source(picture)
        self._draw_prompts()
        self._candidates.refresh()

    def _draw_prompts(self) -> None:
        """Lay what was asked over the picture, as SVG of numbers alone."""
        photograph, step = self._state.photograph, self._state.step
        if photograph is None:
            return
        scale, width = photograph.scale, brush_width(photograph.size_hw) / photograph.scale
        shapes = [_line([(x / scale, y / scale) for x, y in one.path], one.brush, width) for one in step.strokes]
        if step.box is not None:
            shapes.append(_rectangle(*(side / scale for side in step.box)))
        shapes += [_dot(x / scale, y / scale, label) for (x, y), label in zip(step.points, step.labels, strict=True)]
        if self._path and self._mode.value == "box":
            (x0, y0), (x1, y1) = self._path[0], self._path[-1]
            shapes.append(_rectangle(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
        elif self._path and self._mode.value.startswith("paint"):
            shapes.append(_line(self._path, self._mode.value.split()[1], width))
        self._picture.set_content("".join(shapes))

    async def _export_png(self) -> None:
        ui.download.content(await run.io_bound(self._state.to_png), "mask.png")

    def _export_coco(self) -> None:
        ui.download.content(self._state.to_coco(), "coco.json")


def _dot(x: float, y: float, label: int) -> str:
    color = _COLORS["foreground" if label else "background"]
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{color}" stroke="white" stroke-width="2"/>'


def _rectangle(x0: float, y0: float, x1: float, y1: float) -> str:
    size = f'width="{x1 - x0:.1f}" height="{y1 - y0:.1f}"'
    return f'<rect x="{x0:.1f}" y="{y0:.1f}" {size} fill="none" stroke="{_COLORS["box"]}" stroke-width="3"/>'


def _line(path: list[Place], brush: str, width: float) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*path, path[-1]])
    style = f'stroke="{_COLORS[brush]}" stroke-width="{width:.1f}" stroke-linecap="round" stroke-opacity="0.7"'
    return f'<polyline points="{places}" fill="none" {style}/>'
