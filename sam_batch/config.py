"""What the user can set, declared once: names, types, ranges, defaults and one sentence each.

YAML files and `section.key=value` overrides end in one frozen tree. Reading them is `sam_batch.configfile`'s work; this
module does no input or output and imports no heavy package.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StrictInt, field_validator, model_validator

from sam_batch.config_output import OutputConfig
from sam_batch.config_prompts import PromptsConfig
from sam_batch.config_storage import StorageConfig as StorageConfig  # so that it is found here
from sam_batch.model import families
from sam_batch.section import Neutral, Resolved, Section, Shapes, UnitInterval

PointGrid = list[tuple[UnitInterval, UnitInterval]]
_SHARE = r"^(100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?)%$"


def _is_area(area: Any) -> Any:
    """A bare 0.001 or "400" may mean either, and is refused."""
    pixels = isinstance(area, int) and not isinstance(area, bool) and area > 0
    share = isinstance(area, str) and re.fullmatch(_SHARE, area) and float(area[:-1]) > 0
    if not (pixels or share):
        raise ValueError("should be pixels (400), a share of the image with its percent sign (0.1%), or null")
    return area


MaskArea = Annotated[
    Annotated[StrictInt, Field(ge=1)] | Annotated[str, Field(pattern=_SHARE)], BeforeValidator(_is_area)
]
"""Pixels of a mask as a whole number, or their share of the image's as a text that ends in %."""


class InputConfig(Section):
    """Which images are labelled."""

    uri: Resolved[str | tuple[str, ...]] = Field(
        description="Folder, glob, object-store prefix, manifest (.txt, .csv, .jsonl, ...), .tar, or a list of them."
    )
    recursive: Neutral[bool] = Field(True, description="Look into sub-folders.")
    extensions: Neutral[tuple[str, ...]] = Field(
        ("jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "tif", "tiff", "bmp", "avif", "heic", "heif"),
        min_length=1,
        description='Files with other extensions are passed over (case is ignored); "" is for files without one.',
    )
    exclude: Neutral[str | tuple[str, ...]] = Field(
        ("@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__MACOSX"),
        description="Globs of files and folders to pass over, below the input; without a slash, at any depth.",
    )
    follow_links: Neutral[bool] = Field(
        False, description="Follow links to folders and out of the input; each folder is seen once."
    )
    changed: Neutral[Literal["redo", "refuse"]] = Field(
        "redo", description="Images whose content changed since they were labelled: label them again, or refuse to run."
    )
    limit: Neutral[StrictInt | None] = Field(
        None, ge=1, description="Label only the first so many images; null for all."
    )
    max_pixels: Shapes[StrictInt] = Field(
        64_000_000, ge=1, description="Images with more pixels fail without being decoded (header check)."
    )
    max_bytes: Shapes[StrictInt] = Field(512 << 20, ge=1, description="Files with more bytes fail without being read.")
    bands: Shapes[tuple[StrictInt, ...] | None] = Field(
        None,
        description="Bands shown as red, green and blue, or one as grey, from 1; null is what the file says of them.",
    )
    scale: Shapes[Literal["auto", "full", "min_max", "percentile"] | tuple[float, float]] = Field(
        "auto",
        description="Values that become 0 to 255: auto keeps 8 bits and finds a range for others (docs/pixels.md); or "
        "the type's, the image's, its 2nd to 98th percentile, or [low, high].",
    )
    nodata: Shapes[float | None] = Field(
        None, description="Value that stands for no data: left out of the range; null is what the file says."
    )
    alpha: Shapes[Literal["auto", "ignore", "blend"]] = Field(
        "auto",
        description="Lay transparency on white: auto where the format is sure of it (in no GeoTIFF) and bands is null; "
        "ignore never; blend always.",
    )

    @field_validator("uri")
    @classmethod
    def _uri_is_given(cls, uri: str | tuple[str, ...]) -> str | tuple[str, ...]:
        given = (uri,) if isinstance(uri, str) else uri
        if not given or any(not one.strip() for one in given):
            raise ValueError("name at least one folder, glob, prefix or manifest")
        return uri

    @field_validator("bands")
    @classmethod
    def _one_band_or_three(cls, bands: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if bands is not None and (len(bands) not in (1, 3) or min(bands) < 1):
            raise ValueError("name one band or three; the first is 1")
        return bands

    @field_validator("scale")
    @classmethod
    def _low_before_high(cls, scale: str | tuple[float, float]) -> str | tuple[float, float]:
        if not isinstance(scale, str) and scale[0] >= scale[1]:
            raise ValueError("low should be less than high")
        return scale

    @field_validator("extensions")
    @classmethod
    def _bare_lower_case(cls, extensions: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(one.lower().lstrip(".") for one in extensions)

    @property
    def uris(self) -> tuple[str, ...]:
        """The inputs as a tuple, however many were given."""
        return (self.uri,) if isinstance(self.uri, str) else self.uri

    @property
    def excludes(self) -> tuple[str, ...]:
        """The globs to pass over, likewise."""
        return (self.exclude,) if isinstance(self.exclude, str) else self.exclude


class ModelConfig(Section):
    """Which weights."""

    name: Resolved[str] = Field(
        "vit_h",
        description="demo is in the package; the others are Meta's; auto reads the type from the checkpoint.",
        json_schema_extra={"enum": [*families.names(), "auto"]},
    )
    checkpoint: Resolved[str] = Field("auto", description="auto (by name), a path (.pth or .safetensors), or a URL.")
    sha256: Resolved[str | None] = Field(
        None, pattern="^[0-9a-f]{64}$", description="Refuse the checkpoint unless it has this hash."
    )

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in (known := [*families.names(), "auto"]):
            raise ValueError(f"should be one of {', '.join(known)}")
        return name

    @model_validator(mode="after")
    def _auto_needs_a_checkpoint(self) -> Self:
        if self.name == "auto" and self.checkpoint == "auto":
            raise ValueError("name and checkpoint cannot both be auto: name a model or a checkpoint")
        return self


class VerifyConfig(Section):
    """How near a TensorRT engine must come to torch in float32 before it is used."""

    images: Neutral[StrictInt] = Field(2, ge=1, le=64, description="Photographs of the input that it is tried on.")
    min_cosine: Neutral[UnitInterval] = Field(0.999, description="Least cosine between two embeddings of an image.")
    max_iou_error: Neutral[UnitInterval] = Field(0.05, description="Largest difference between two predicted IoUs.")
    min_mask_iou: Neutral[UnitInterval] = Field(0.99, description="Least mean IoU between two masks of a prompt.")
    min_worst_mask_iou: Neutral[UnitInterval] = Field(0.5, description="Least IoU of any of them.")
    max_count_change: Neutral[UnitInterval] = Field(
        0.02, description="Largest change in how many masks pass pred_iou_thresh."
    )


class TensorRTConfig(Section):
    """How TensorRT engines are built, and where they lie."""

    flavour: Neutral[Literal["auto", "classic", "rtx"]] = Field(
        "auto",
        description="Which library: classic is TensorRT, rtx is TensorRT for RTX; auto is the one that is installed, "
        "and classic where both are.",
    )
    folder: Neutral[str] = Field("engines", min_length=1, description="Where engines are built and looked for.")
    build: Neutral[Literal["never", "on_start"]] = Field(
        "never", description="on_start builds the engines that are missing before a job starts."
    )
    workspace_bytes: Neutral[StrictInt | None] = Field(
        None, ge=1 << 20, description="GPU memory that an engine may use for scratch; null for all of it."
    )
    positions: Neutral[Literal["auto", "written", "tiled", "folded"]] = Field(
        "auto",
        description="How attention over the whole image takes relative positions: written as a matrix, or without it, "
        "tiled (for one image at a time) or folded; auto is without in fp16 with rtx, which fuses that.",
    )
    max_images: Neutral[StrictInt] = Field(1, ge=1, le=64, description="Images that an encoder takes at once.")
    max_prompts: Neutral[Annotated[StrictInt, Field(ge=1, le=1024)] | Literal["auto"]] = Field(
        "auto", description="Prompts that a decoder takes at once; auto is 64, or fewer on a GPU of little memory."
    )
    max_aux_streams: Neutral[StrictInt | None] = Field(
        None,
        ge=0,
        le=64,
        description="Streams that an engine may use beside the main one; fewer take less memory; null is for the "
        "library to choose.",
    )
    max_tokens: Neutral[StrictInt] = Field(
        19,
        ge=2,
        le=256,
        description="Tokens of a prompt that engines take: its points, and two for a box or else one; 19 are the 17 "
        "key points of a person and a box.",
    )
    verify: VerifyConfig = Field(default_factory=lambda: VerifyConfig())

    @model_validator(mode="after")
    def _tiles_are_for_one_image(self) -> Self:
        if self.positions == "tiled" and self.max_images > 1:
            raise ValueError("positions=tiled is for one image at a time; set folded or auto, or max_images to 1")
        return self


class EngineConfig(Section):
    """How the model is run."""

    kind: Resolved[Literal["auto", "torch", "tensorrt", "fake"]] = Field(
        "auto",
        description="auto is tensorrt where its engines are built and verified, else torch; fake is for tests.",
    )
    precision: Resolved[Literal["auto", "fp32", "bf16", "fp16"]] = Field(
        "auto", description="auto is fp16 on CUDA and fp32 on CPUs; bf16 is faster on CPUs that have it, not the same."
    )
    device: Neutral[Literal["auto", "cpu", "cuda"]] = Field("auto", description="auto is cuda where there is a GPU.")
    tensorrt: TensorRTConfig = Field(default_factory=lambda: TensorRTConfig())

    @model_validator(mode="after")
    def _tensorrt_is_for_gpus(self) -> Self:
        if self.kind == "tensorrt" and self.device == "cpu":
            raise ValueError("tensorrt runs on a GPU; set device to cuda or auto, or kind to torch")
        return self


class GeneratorConfig(Section):
    """Everything mode: segment-anything's names and defaults, then filters that are off by default."""

    mode: Shapes[str] = Field(
        "everything", description="How masks are found: everything segments all there is, from a grid of points."
    )
    points_per_side: Shapes[StrictInt | None] = Field(
        32,
        ge=1,
        le=512,
        description="Points along one side of the grid; null exactly when point_grids is given.",
    )
    points_per_batch: Neutral[StrictInt] = Field(
        64, ge=1, description="Prompts decoded at once; changes memory and speed, not masks but for rounding."
    )
    pred_iou_thresh: Shapes[UnitInterval] = Field(0.88, description="Masks with a lower predicted IoU are dropped.")
    stability_score_thresh: Shapes[UnitInterval] = Field(0.95, description="Masks with a lower stability are dropped.")
    stability_score_offset: Shapes[float] = Field(
        1.0, gt=0, description="Shift of the logits when stability is measured."
    )
    box_nms_thresh: Shapes[UnitInterval] = Field(
        0.7, description="Box IoU above which the worse of two masks is dropped."
    )
    crop_n_layers: Shapes[StrictInt] = Field(0, ge=0, le=4, description="Also run on crops: layer i has 4**i of them.")
    crop_nms_thresh: Shapes[UnitInterval] = Field(0.7, description="The same between the masks of different crops.")
    crop_overlap_ratio: Shapes[float] = Field(
        512 / 1500, ge=0, lt=1, description="Overlap of crops, of the shorter side."
    )
    crop_n_points_downscale_factor: Shapes[StrictInt] = Field(
        1, ge=1, description="Layer i has points_per_side / factor**i points a side."
    )
    point_grids: Shapes[tuple[PointGrid, ...] | None] = Field(
        None,
        description="Own grids instead of points_per_side: one a layer, each a list of [x, y] in 0 to 1.",
    )
    min_mask_region_area: Shapes[StrictInt] = Field(
        0, ge=0, description="Fill holes of masks and drop their islands smaller than this; drops no mask; 0 is off."
    )
    max_mask_region_area: Shapes[StrictInt] = Field(
        0, ge=0, description="Older name of max_mask_area, for pixels only; 0 is off."
    )
    min_mask_area: Shapes[MaskArea | None] = Field(
        None, description="Drop masks with fewer pixels: 400, or 0.1% of the image's; null is off."
    )
    max_mask_area: Shapes[MaskArea | None] = Field(
        None, description="Drop masks with more pixels: 250000, or 50% of the image's; null is off."
    )
    mask_nms_thresh: Shapes[UnitInterval | None] = Field(
        None, description="Mask IoU above which the worse of two masks is dropped; null is off."
    )
    containment_thresh: Shapes[UnitInterval | None] = Field(
        None, description="Drop a mask of which at least this share lies in a better one; null is off."
    )
    max_masks_per_image: Shapes[StrictInt | None] = Field(
        None, ge=1, description="Keep only the best so many masks; null is off."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_source_of_points(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("point_grids") is not None:
            if values.get("points_per_side") is not None:
                raise ValueError("points_per_side and point_grids are both given; set one of them to null")
            return {**values, "points_per_side": None}
        return values

    @model_validator(mode="after")
    def _points_fit_the_layers(self) -> Self:
        if self.point_grids is None:
            if self.points_per_side is None:
                raise ValueError("points_per_side and point_grids are both null; give one of them")
            if self.points_per_side // self.crop_n_points_downscale_factor**self.crop_n_layers < 1:
                raise ValueError("crop_n_points_downscale_factor leaves the last crop layer without points")
        elif len(self.point_grids) != self.crop_n_layers + 1 or not all(self.point_grids):
            raise ValueError(f"point_grids needs {self.crop_n_layers + 1} non-empty grids: one a crop layer")
        return self


class RunConfig(Section):
    """How the work is spread; nothing here changes a result; shard_size counts for new shards alone."""

    executor: Neutral[Literal["ray", "inline"]] = Field("ray", description="inline is a plain loop in this process.")
    shard_size: Neutral[Annotated[StrictInt, Field(ge=1, le=4096)] | Literal["auto"]] = Field(
        "auto",
        description="Images a shard, the unit of work, commit and resume; auto is 32, fewer in small jobs and inline.",
    )
    actors: Neutral[StrictInt | Literal["auto"]] = Field(
        "auto", description="Engines; auto is one a GPU, or one on the CPU."
    )
    max_actors: Neutral[StrictInt | None] = Field(
        None, ge=1, description="Engines at most, on a cluster that grows: actors are the least; null is no more."
    )
    max_failure_rate: Neutral[UnitInterval] = Field(
        0.05, description="More failed images than this end in exit code 3."
    )
    abort_failure_rate: Neutral[UnitInterval] = Field(
        0.5, description="More failed ones among the last 1000 images end a run on its way; max_failure_rate if larger."
    )
    image_timeout_seconds: Neutral[StrictInt] = Field(
        900, ge=1, description="A worker is ended in which no image ends for so long, times the image's views."
    )
    grace_seconds: Neutral[float] = Field(
        2.0,
        ge=0,
        le=3600,
        description="What ends so long after SIGTERM is still committed; a stop by Ray leaves 3 s, by Kubernetes 30.",
    )
    retry_failed: Neutral[bool] = Field(False, description="Work again on images that failed in earlier runs.")
    stall_timeout_seconds: Neutral[StrictInt] = Field(
        7200,
        ge=10,
        description="Give up when no shard moves or no GPU comes free for so long; a shard on a CPU can take an hour.",
    )
    verbose: Neutral[bool] = Field(False, description="Show Ray's own log and progress bars, and tracebacks.")
    log: Neutral[Literal["text", "json"]] = Field(
        "text", description="Standard error: text for a person, or JSON lines, also one for each image and its shard."
    )
    webhook: Neutral[str | None] = Field(
        None,
        pattern="^(https?://[^/]+|env:[^=]+$)",
        description="URL that is sent the summary at the end, as JSON; or env:NAME for a variable with the URL in it, "
        "since the configuration is kept in the output.",
    )

    @field_validator("actors")
    @classmethod
    def _at_least_one(cls, actors: int | str) -> int | str:
        if isinstance(actors, int) and actors < 1:
            raise ValueError("should be at least 1, or auto")
        return actors

    @model_validator(mode="after")
    def _least_before_most(self) -> Self:
        if self.max_actors is not None and self.actors != "auto" and self.actors > self.max_actors:
            raise ValueError(f"max_actors is {self.max_actors}, fewer than actors, {self.actors}")
        return self


class Config(Section):
    """One labelling job."""

    input: InputConfig
    storage: StorageConfig = Field(default_factory=lambda: StorageConfig())
    model: ModelConfig = Field(default_factory=lambda: ModelConfig())
    engine: EngineConfig = Field(default_factory=lambda: EngineConfig())
    generator: GeneratorConfig = Field(default_factory=lambda: GeneratorConfig())
    prompts: PromptsConfig = Field(default_factory=lambda: PromptsConfig())
    output: OutputConfig
    run: RunConfig = Field(default_factory=lambda: RunConfig())


MOVED = {
    f"engine.{name}": f"engine.tensorrt.{name}"
    for name in ("folder", "build", "workspace_bytes", "max_images", "max_prompts", "verify")
}
"""Keys and sections of earlier versions, and where they are now; files and overrides may still name them."""
