"""What the user can set, declared once: names, types, ranges, defaults and one sentence each.

YAML files and `section.key=value` overrides end in one frozen tree. Reading them is `sam_batch.configfile`'s work; this
module does no input or output and imports no heavy package.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StrictInt, field_validator, model_validator

from sam_batch.config_engine import EngineConfig as EngineConfig  # so that these are found here
from sam_batch.config_output import OutputConfig
from sam_batch.config_prompts import PromptsConfig
from sam_batch.config_run import RunConfig
from sam_batch.config_storage import StorageConfig as StorageConfig
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
