"""Prompts from the frame they were annotated in to the frame of the decoded image, which EXIF's orientation turned.

Coordinates are those of pixels' edges: a box over the whole image ends at its width and height. Sizes that fit neither
frame are a fault of the prompts; nothing is ever scaled to make them fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from sam_batch.data.pixels import turned
from sam_batch.masks import rle
from sam_batch.masks.low_res import is_mask
from sam_batch.masks.patch import Patch
from sam_batch.records import Prompt, PromptFailure
from sam_batch.records import PromptFailureKind as Kind

Frame = Literal["auto", "oriented", "stored"]
Size = tuple[int, int]

UPRIGHT = 1  # EXIF's orientation of an image that is not turned
_SWAPS = (5, 6, 7, 8)  # orientations that make the width the height


@dataclass(frozen=True, slots=True)
class Shot:
    """What is known of an image's frames.

    Attributes:
        height: Of the decoded, oriented image, in pixels.
        width: Likewise.
        orientation: EXIF's, 1 to 8, that was applied to it.
    """

    height: int
    width: int
    orientation: int = UPRIGHT

    @property
    def oriented_wh(self) -> Size:
        """Width and height as shown."""
        return self.width, self.height

    @property
    def is_turned(self) -> bool:
        """Whether the two differ; values outside of EXIF's standard turn nothing."""
        return self.orientation in range(UPRIGHT + 1, 9)

    @property
    def stored_wh(self) -> Size:
        """Width and height of the pixels in the file."""
        return (self.height, self.width) if self.orientation in _SWAPS else (self.width, self.height)


@dataclass(frozen=True, slots=True)
class Annotated:
    """What a source says of the frame of an image's prompts.

    Attributes:
        width: Of the image as it was annotated, in pixels; None where the source does not say.
        height: Likewise.
        normalised: Coordinates are shares of the image's sides.
    """

    width: int | None = None
    height: int | None = None
    normalised: bool = False


def place(prompts: Sequence[Prompt], annotated: Annotated, shot: Shot, frame: Frame) -> tuple[Prompt, ...]:
    """Bring an image's prompts into the frame of the decoded image.

    Args:
        prompts: As their source gives them.
        annotated: What it says of their frame.
        shot: The image.
        frame: What the configuration says of it.

    Returns:
        As many; those that cannot be placed carry their fault.
    """
    recognised = _recognise(annotated, shot, frame)
    if isinstance(recognised, PromptFailure):
        return tuple(replace(prompt, fault=prompt.fault or recognised) for prompt in prompts)
    stored = recognised == "stored" and shot.is_turned
    scale_wh = (shot.stored_wh if stored else shot.oriented_wh) if annotated.normalised else (1, 1)
    orientation = shot.orientation if stored else UPRIGHT
    if scale_wh == (1, 1) and orientation == UPRIGHT:
        return tuple(prompts)
    return tuple(_placed(prompt, scale_wh, shot.stored_wh, orientation) for prompt in prompts)


def _recognise(annotated: Annotated, shot: Shot, frame: Frame) -> Frame | PromptFailure:
    """Which frame an image was annotated in, or why that is not known."""
    candidates: dict[Frame, Size] = {"oriented": shot.oriented_wh, "stored": shot.stored_wh}
    if frame != "auto":
        candidates = {frame: candidates[frame]}
    fitting = list(candidates)
    if annotated.width and annotated.height:
        fitting = [name for name, wh in candidates.items() if wh == (annotated.width, annotated.height)]
    if not fitting:
        actual = " or ".join(dict.fromkeys(f"{width} x {height}" for width, height in candidates.values()))
        message = f"its source says {annotated.width} x {annotated.height} pixels, the image has {actual}"
        return PromptFailure(Kind.WRONG_SIZE, message)
    if len(fitting) > 1 and shot.is_turned:
        message = f"EXIF turns its image (orientation {shot.orientation}), and its source's size does not say whether "
        return PromptFailure(Kind.UNKNOWN_FRAME, message + "the coordinates are turned, too; set prompts.frame")
    return fitting[0]


def _placed(prompt: Prompt, scale_wh: Size, stored_wh: Size, orientation: int) -> Prompt:
    scale_x, scale_y = scale_wh

    def placed(x: float, y: float) -> tuple[float, float]:
        return turn(x * scale_x, y * scale_y, stored_wh, orientation)

    box = prompt.box
    if box is not None:
        (xa, ya), (xb, yb) = placed(box[0], box[1]), placed(box[2], box[3])
        # A reversed box stays one: corners are only put in order as far as the turn has changed it.
        x_turns, y_turns = _flips(orientation)
        box = (xb, ya, xa, yb) if x_turns else (xa, ya, xb, yb)
        box = (box[0], box[3], box[2], box[1]) if y_turns else box
    points = tuple(placed(x, y) for x, y in prompt.points)
    mask = prompt.mask if prompt.mask is None else _turned_mask(prompt.mask, stored_wh, orientation)
    return replace(prompt, points=points, box=box, mask=mask)


def turn(x: float, y: float, stored_wh: Size, orientation: int) -> tuple[float, float]:
    """A place in the stored pixels as a place in the oriented image; see `pixels.decode`."""
    width, height = stored_wh
    x_flips, y_flips = _flips(orientation)
    if orientation in _SWAPS:
        x, y, width, height = y, x, height, width
    return (width - x if x_flips else x), (height - y if y_flips else y)


def _flips(orientation: int) -> tuple[bool, bool]:
    """Whether x and y of the oriented image run against the stored ones, after they were swapped."""
    return orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)


def _turned_mask(counts: str, stored_wh: Size, orientation: int) -> str:
    """Run lengths of stored pixels as those of the oriented image; what is no mask of them stays, and fails later."""
    width, height = stored_wh
    if orientation == UPRIGHT or not is_mask(counts, height, width):
        return counts
    stored_HW = rle.decode(counts, height, width)
    shown_HW = turned(stored_HW.view(np.uint8)[..., None], orientation)[..., 0].view(bool)
    return rle.encode_patch(Patch.of(shown_HW), *shown_HW.shape)
