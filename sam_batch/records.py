"""The values that flow through the job. They are frozen, know no files and no Ray.

Shape legend of the package: `N` images, `P` prompts, `M` masks per prompt (3), `K` kept masks, `C` channels,
`H W` original pixels, `h w` low-resolution logits, `S` model input side, `L` cells of an embedding, `gh gw` the sides
of their grid, `4` xyxy in original pixels unless said, `2` (x, y). A suffix in a name gives the shape: `boxes_K4`,
`logits_Khw`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sam_batch.errors import FailureKind as FailureKind  # it tells a `Failure`, and lies beside the errors

UInt8Array: TypeAlias = NDArray[np.uint8]


class Status(StrEnum):
    """How a planned image ended."""

    OK = "ok"
    EMPTY = "empty"  # no masks: a valid result
    FAILED = "failed"


class Stage(StrEnum):
    """Where an image failed."""

    LOAD = "load"
    SEGMENT = "segment"
    WRITE = "write"


class PixelNote(StrEnum):
    """What was lost on the way from a file to RGB bytes: a closed list, so that images can be counted by it."""

    PAGES_DROPPED = "pages_dropped"  # further pages, frames or pictures
    BANDS_DROPPED = "bands_dropped"  # bands that are neither shown nor laid on white
    ALPHA_FLATTENED = "alpha_flattened"  # pixels that are not opaque were laid on white
    MASK_IGNORED = "mask_ignored"  # a TIFF's page that says which pixels count
    DEPTH_REDUCED = "depth_reduced"  # more than 8 bits a sample became 8
    RANGE_STRETCHED = "range_stretched"  # another range than the type's own became 0 to 255
    NODATA_FILLED = "nodata_filled"  # samples without data, NaN and infinity became 0
    COLOURS_CONVERTED = "colours_converted"  # CMYK or Lab became RGB without the file's profile
    PROFILE_IGNORED = "profile_ignored"  # an ICC profile other than sRGB


class PromptFailureKind(StrEnum):
    """Why a prompt was not answered: a closed list, so that failures can be counted."""

    NOT_FINITE = "not_finite"  # a coordinate or a logit is NaN or infinite
    BAD_LABEL = "bad_label"
    OUTSIDE = "outside"
    EMPTY_BOX = "empty_box"
    REVERSED_BOX = "reversed_box"
    WRONG_SIZE = "wrong_size"  # of its mask or logits
    UNKNOWN_FRAME = "unknown_frame"  # its image is turned by EXIF, and nothing says whether its numbers are
    UNKNOWN_CATEGORY = "unknown_category"
    NOTHING_GIVEN = "nothing_given"  # no part that is taken as a prompt
    CROWD = "crowd"  # COCO's iscrowd: of no single object
    NOT_SUPPORTED = "not_supported"  # by the engine
    NON_FINITE_OUTPUT = "non_finite_output"
    IMAGE_FAILED = "image_failed"


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One planned image.

    Attributes:
        image_id: Position in the plan; never changes.
        key: Path relative to the input root, POSIX, with extension; names the outputs.
        uri: Where the bytes are, as `data.storage` reads it.
        size: Bytes, as listed; None when the listing does not say.
        prompts: What it is to be segmented by; None where it carries none.
    """

    image_id: int
    key: str
    uri: str
    size: int | None = None
    prompts: "tuple[Prompt, ...] | None" = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an image has no masks."""

    stage: Stage
    kind: FailureKind
    message: str


@dataclass(frozen=True, slots=True)
class View:
    """One crop of an image, resized so that its longest side is the model's.

    Attributes:
        box: xyxy of the crop in original pixels.
        pixels: (h', w', 3) uint8 RGB, max(h', w') == S.
        layer: Of crops: 0 is the whole image.
    """

    box: tuple[int, int, int, int]
    pixels: UInt8Array
    layer: int = 0

    @property
    def crop_hw(self) -> tuple[int, int]:
        """Height and width of the crop in original pixels."""
        x0, y0, x1, y1 = self.box
        return y1 - y0, x1 - x0

    @property
    def view_hw(self) -> tuple[int, int]:
        """Height and width of the resized pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]


@dataclass(frozen=True, slots=True)
class PromptFailure:
    """Why a prompt was not answered."""

    kind: PromptFailureKind
    message: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the mask of one object is asked for with: any of its parts, or none.

    Attributes:
        points: (x, y) in original pixels.
        labels: One a point: 1 foreground, 0 background, -1 no point at all.
        box: xyxy in original pixels.
        mask: COCO's compressed run lengths of a mask of the image's size.
        logits: Instead of a mask, low-resolution logits of an earlier answer: (h, w) float32, row by row.
        prompt_id: The user's name of it; None in everything mode.
        category_id: Of what it shows, if that is known.
        category: The same by its name.
        attributes: What else its source says of it, as a JSON object; empty where that is nothing.
        fault: What is wrong with it, known before an engine sees it.
    """

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: str | None = None
    logits: bytes | None = field(default=None, repr=False)
    prompt_id: str | None = None
    category_id: int | None = None
    category: str | None = None
    attributes: str = ""
    fault: PromptFailure | None = None


@dataclass(frozen=True, slots=True)
class PromptResult:
    """How one prompt of an image ended: exactly one a prompt, in their order.

    Attributes:
        prompt: The prompt.
        status: ok; empty, if its masks have no pixel; or failed.
        failure: Present exactly when the status is failed.
    """

    prompt: Prompt
    status: Status
    failure: PromptFailure | None = None


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """A decoded image, ready for an engine.

    Attributes:
        ref: What it is.
        height: Of the decoded, oriented image, in pixels.
        width: Likewise.
        sha256: Of the encoded bytes, hexadecimal.
        data: The encoded bytes; the writer decodes them again, which costs less than moving pixels.
        views: The whole image first, then the crops, coarse layers first.
        notes: What decoding lost, in the order of `PixelNote`.
        prompts: Of the image; None where it carries none, and a grid of points is laid over it.
    """

    ref: ImageRef
    height: int
    width: int
    sha256: str
    data: bytes
    views: tuple[View, ...]
    notes: tuple[PixelNote, ...] = ()
    prompts: tuple[Prompt, ...] | None = None


@dataclass(frozen=True, slots=True)
class Annotation:
    """One mask.

    Attributes:
        mask_id: Position in the image's list of masks.
        bbox: xywh in original pixels as COCO means it: the box of the run lengths.
        area: Pixels.
        predicted_iou: The model's own estimate.
        stability_score: IoU between the masks at the threshold minus and plus the offset.
        prompt: What it was found with.
        crop_box: xywh of the crop the mask was found in, original pixels.
        counts: COCO's compressed run lengths of the (height, width) mask, column-major.
    """

    mask_id: int
    bbox: tuple[float, float, float, float]
    area: int
    predicted_iou: float
    stability_score: float
    prompt: Prompt
    crop_box: tuple[float, float, float, float]
    counts: str


@dataclass(frozen=True, slots=True)
class StoredCandidate:
    """A mask that passed the thresholds, as it was before any was suppressed.

    Attributes:
        mask: Its `mask_id` is its position among the image's candidates; it may have no pixel.
        layer: Of the view that it was found in.
    """

    mask: Annotation
    layer: int


@dataclass(frozen=True, slots=True)
class ImageResult:
    """How one planned image ended: exactly one a planned image.

    Attributes:
        ref: What it is.
        status: ok, empty or failed.
        height: Pixels, 0 where the image could not be loaded or its worker died before it was segmented.
        width: Likewise.
        sha256: Of the bytes, or an empty string where they could not be read or its worker died as early.
        annotations: In the order the reference returns them; of prompts, in theirs.
        failure: Present exactly when the status is failed.
        notes: What decoding lost, in the order of `PixelNote`; empty where the image could not be loaded.
        prompts: How each of the image's prompts ended, if it was segmented by prompts.
        candidates: What the annotations were chosen from, view by view; None where it is not kept.
    """

    ref: ImageRef
    status: Status
    height: int = 0
    width: int = 0
    sha256: str = ""
    annotations: tuple[Annotation, ...] = field(default=())
    failure: Failure | None = None
    notes: tuple[PixelNote, ...] = ()
    prompts: tuple[PromptResult, ...] = ()
    candidates: tuple[StoredCandidate, ...] | None = field(default=None, repr=False)

    @classmethod
    def segmented(
        cls,
        image: LoadedImage,
        annotations: Sequence[Annotation],
        prompts: Sequence[PromptResult] = (),
        candidates: tuple[StoredCandidate, ...] | None = None,
    ) -> "ImageResult":
        """The row of an image that was segmented; without annotations it is empty."""
        status = Status.OK if annotations else Status.EMPTY
        return cls(
            image.ref,
            status,
            image.height,
            image.width,
            image.sha256,
            tuple(annotations),
            notes=image.notes,
            prompts=tuple(prompts),
            candidates=candidates,
        )

    @classmethod
    def failed(
        cls,
        ref: ImageRef,
        failure: Failure,
        *,
        height: int = 0,
        width: int = 0,
        sha256: str = "",
        notes: tuple[PixelNote, ...] = (),
    ) -> "ImageResult":
        """The row of an image that has no masks because something went wrong, with what is known of it.

        Its prompts fail with it.
        """
        reason = PromptFailure(PromptFailureKind.IMAGE_FAILED, f"its image failed: {failure.kind}")
        prompts = tuple(PromptResult(prompt, Status.FAILED, prompt.fault or reason) for prompt in ref.prompts or ())
        return cls(ref, Status.FAILED, height, width, sha256, failure=failure, notes=notes, prompts=prompts)
