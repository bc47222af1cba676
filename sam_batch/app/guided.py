"""The tab Guided: points, boxes and paint in, three candidates out. One visitor's state, and no page.

A step holds all that is asked and its answer, and never changes; undoing goes back to the step before, without the
network. Positions are (x, y) in pixels of the photograph.
"""

import json
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

import cv2
import numpy as np

from sam_batch.app.model import Model
from sam_batch.app.photograph import Photograph, sendable
from sam_batch.errors import InputError
from sam_batch.library.embedding import Origin
from sam_batch.library.painted import CANDIDATE_COLORS, Color, paint_candidates, painted_box, painted_points
from sam_batch.library.results import Mask, Masks
from sam_batch.output.render import segment_cutouts
from sam_batch.records import UInt8Array

Place: TypeAlias = tuple[float, float]
Box: TypeAlias = tuple[float, float, float, float]
Brush = Literal["foreground", "background", "box"]

MOST_STEPS: Final = 50  # to undo; each keeps three masks and their logits, a megabyte for SAM
_OPACITY: Final = 0.5


@dataclass(frozen=True, slots=True)
class Stroke:
    """One stroke of a brush.

    Attributes:
        brush: What it stands for: each painted region is a point in its middle; the outline of a box is a box.
        path: Where it went.
    """

    brush: Brush
    path: tuple[Place, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What was asked, and the answer.

    Attributes:
        points: That were clicked.
        labels: One a point: 1 foreground, 0 background.
        box: xyxy, as it was drawn.
        strokes: What was painted.
        previous: (h, w) float32, low-resolution logits of an earlier answer's mask, which is refined.
        masks: The candidates, in SAM's order; None where nothing was asked.
        origin: Of the model that answered.
        chosen: The candidate that is refined and exported.
    """

    points: tuple[Place, ...] = ()
    labels: tuple[int, ...] = ()
    box: Box | None = None
    strokes: tuple[Stroke, ...] = ()
    previous: Any = field(default=None, repr=False)
    masks: Masks | None = field(default=None, repr=False)
    origin: Origin | None = None
    chosen: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the answers, as it is listed beside the picture."""

    color: Color
    score: float
    area: int


class Guided:
    """What one visitor does with one photograph.

    Attributes:
        photograph: None before one is opened.
    """

    def __init__(self, model: Model) -> None:
        self.photograph: Photograph | None = None
        self._model = model
        self._turn = threading.Lock()
        self.reset()

    @property
    def step(self) -> Step:
        """Where things stand."""
        return self._steps[-1]

    def begin(self, photograph: Photograph) -> None:
        """Begin with another photograph."""
        self.photograph = photograph
        self.reset()

    def reset(self) -> None:
        """Begin anew with the same one."""
        self._steps: deque[Step] = deque([Step()], maxlen=MOST_STEPS)  # what is being answered goes to the old ones

    def undo(self) -> None:
        """Go back to the step before, if there is one."""
        with self._turn:
            if len(self._steps) > 1:
                self._steps.pop()

    def click(self, x: float, y: float, *, foreground: bool) -> None:
        """Add a point.

        Raises:
            InputError: There is no photograph.
            ValueError: The point lies outside of it.
        """
        self._ask(lambda step: replace(step, points=(*step.points, (x, y)), labels=(*step.labels, int(foreground))))

    def draw_box(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Put a box in the place of any other, from two opposite corners.

        Raises:
            InputError: There is no photograph.
            ValueError: The box is empty, or lies outside of it.
        """
        box = min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)
        self._ask(lambda step: replace(step, box=box))

    def paint(self, brush: Brush, path: Sequence[Place]) -> None:
        """Add a stroke; strokes of one brush that touch are one region.

        Raises:
            InputError: There is no photograph.
            ValueError: What was painted is no prompt.
        """
        self._ask(lambda step: replace(step, strokes=(*step.strokes, Stroke(brush, tuple(path)))))

    def refine(self) -> None:
        """Ask once more, with the chosen mask as a prompt beside the others.

        Raises:
            InputError: There is no mask, or it is another model's.
        """
        if self.step.origin not in (None, self._model.origin):
            raise InputError("another model was loaded since; undo or reset, and prompt that one first")
        logits = self.mask().logits
        self._ask(lambda step: replace(step, previous=logits))

    def choose(self, candidate: int) -> None:
        """Say which of the candidates is refined and exported; no step to undo."""
        self._steps[-1] = replace(self.step, chosen=candidate)

    @property
    def candidates(self) -> list[Candidate]:
        """The answers, in the order of their colours."""
        masks = self.step.masks
        if masks is None:
            return []
        return [
            Candidate(*one) for one in zip(CANDIDATE_COLORS, masks.scores.tolist(), masks.areas.tolist(), strict=True)
        ]

    def picture(self, *, only_chosen: bool = False) -> str:
        """The photograph under the candidates, small ones on top, as a `data:` address.

        Args:
            only_chosen: Leave the others out.

        Raises:
            InputError: There is no photograph.
        """
        rgb_HW3, masks = self._opened().rgb_HW3, self.step.masks
        if masks is None:
            return self._opened().picture()
        shown = slice(self.step.chosen, self.step.chosen + 1) if only_chosen else slice(None)
        drawn = paint_candidates(rgb_HW3, masks.arrays[shown], colors=CANDIDATE_COLORS[shown], opacity=_OPACITY)
        return sendable(drawn)

    def mask(self) -> Mask:
        """The chosen candidate.

        Raises:
            InputError: There is none.
        """
        return self._answered()[self.step.chosen]

    def to_png(self) -> bytes:
        """The chosen mask cut out: RGBA of the photograph's size, transparent outside of the mask.

        Raises:
            InputError: There is none, or it has no pixel.
        """
        annotation = self.mask().annotation
        for _, png in segment_cutouts(self._opened().rgb_HW3, [annotation], min_area=1, frame="full"):
            return png
        raise InputError("the chosen mask has no pixel")

    def to_coco(self) -> str:
        """The chosen mask as a COCO data set of one image, in one category.

        Raises:
            InputError: There is none.
        """
        masks = self._answered()
        (record,) = masks[self.step.chosen : self.step.chosen + 1].records("coco_rle")
        image = {"id": 0, "file_name": self._opened().name, "width": masks.width, "height": masks.height}
        annotation = {
            "id": 1,
            "image_id": 0,
            "category_id": 1,
            "iscrowd": 0,
            "score": record["predicted_iou"],
            **record,
        }
        return json.dumps(
            {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "object"}]}, indent=1
        )

    def _ask(self, change: Callable[[Step], Step]) -> None:
        """Change what is asked, get it answered, and go there."""
        with self._turn:  # quick clicks come in threads of their own, and each builds on the one before
            photograph, steps = self._opened(), self._steps
            step = change(steps[-1])
            if step.origin not in (None, self._model.origin):
                step = replace(step, previous=None)  # whose logits are of another model
            masks, origin = self._model.predict(photograph, choose="all", **to_prompts(step, photograph.size_hw))
            steps.append(replace(step, masks=masks, origin=origin, chosen=int(masks.scores.argmax())))

    def _answered(self) -> Masks:
        if self.step.masks is None:
            raise InputError("there is no mask yet; click on an object, or draw a box around it")
        return self.step.masks

    def _opened(self) -> Photograph:
        if self.photograph is None:
            raise InputError("open a photograph first")
        return self.photograph


def to_prompts(step: Step, image_hw: tuple[int, int]) -> dict[str, Any]:
    """What `Segmenter.predict` is given for a step: parts of one object.

    Args:
        step: What was clicked counts before what was painted; a painted box before one that was drawn.
        image_hw: Height and width of the photograph.
    """
    painted = {brush: painted_points(*_canvas(step, brush, image_hw), tolerance=0) for brush in _points_of(step)}
    points = [*step.points, *(tuple(point) for points in painted.values() for point in points.tolist())]
    labels = [*step.labels, *(int(brush == "foreground") for brush, points in painted.items() for _ in points)]
    outlined = any(stroke.brush == "box" for stroke in step.strokes)
    box = painted_box(*_canvas(step, "box", image_hw), tolerance=0) if outlined else step.box
    prompts = {
        "points": points or None,
        "labels": labels or None,
        "boxes": box,
        "masks": step.previous,
    }
    return {name: value for name, value in prompts.items() if value is not None}


def _points_of(step: Step) -> list[Brush]:
    brushes: tuple[Brush, ...] = ("foreground", "background")
    return [brush for brush in brushes if any(stroke.brush == brush for stroke in step.strokes)]


def _canvas(step: Step, brush: Brush, image_hw: tuple[int, int]) -> tuple[UInt8Array, UInt8Array]:
    """An empty canvas of the photograph's size, and the same under all strokes of a brush; (H, W, 1) each."""
    empty_HW1 = np.zeros((*image_hw, 1), np.uint8)
    painted_HW1 = empty_HW1.copy()
    for stroke in step.strokes:
        if stroke.brush == brush:
            path_n2 = np.round(np.array([*stroke.path, stroke.path[-1]])).astype(np.int32)  # a dot is a line, too
            cv2.polylines(painted_HW1, [path_n2], isClosed=False, color=(255,), thickness=brush_width(image_hw))
    return empty_HW1, painted_HW1


def brush_width(image_hw: tuple[int, int]) -> int:
    """Of a stroke, in pixels: visible in a picture of this size."""
    return max(3, max(image_hw) // 100)
