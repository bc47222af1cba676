"""The section `output` of the configuration: what is written, and where; see `sam_batch.config`."""

from typing import Literal

from pydantic import Field, StrictInt

from sam_batch.section import Neutral, Section, Shapes, UnitInterval


class ColorMasksConfig(Section):
    """One picture an image, every mask in a colour of its own, small masks on top."""

    enabled: Shapes[bool] = Field(True, description="Write them.")
    over_image: Shapes[bool] = Field(True, description="Blend the colours over the photograph; else on black.")
    opacity: Shapes[UnitInterval] = Field(0.55, description="Of the colours over the photograph.")
    outlines: Shapes[bool] = Field(False, description="Draw the edge of each mask in its full colour.")
    numbers: Shapes[bool] = Field(False, description="Write each mask's mask_id on it.")
    format: Shapes[Literal["png", "jpeg"]] = Field("png", description="jpeg is smaller, and its colours are not exact.")


class SegmentsConfig(Section):
    """RGBA cut-outs, one a mask."""

    enabled: Shapes[bool] = Field(True, description="Write them.")
    min_area: Shapes[StrictInt] = Field(0, ge=0, description="Masks with fewer pixels get no cut-out.")
    frame: Shapes[Literal["crop", "full"]] = Field(
        "crop", description="Cut to the mask's box, or keep the whole frame."
    )
    pack: Shapes[Literal["none", "tar"]] = Field("none", description="One file a mask, or one tar a shard.")


class LabelMasksConfig(Section):
    """One 16-bit picture an image: 0 is background, mask_id + 1 elsewhere, small masks on top."""

    enabled: Shapes[bool] = Field(False, description="Write them.")


class CocoConfig(Section):
    """COCO instance annotations over the whole output."""

    enabled: Neutral[bool] = Field(True, description="false takes coco out of output.exports.")
    max_bytes: Neutral[StrictInt] = Field(1 << 30, ge=1 << 16, description="Split into several files above this size.")
    segmentation: Neutral[Literal["rle", "counts", "polygons"]] = Field(
        "rle", description="How masks are spelt: compressed or plain run lengths, or polygons; each exact."
    )


class YoloConfig(Section):
    """A YOLO data set."""

    task: Neutral[Literal["segment", "detect"]] = Field("segment", description="Lines of polygons, or of boxes.")
    images: Neutral[Literal["copy", "none"]] = Field("copy", description="Copies of the pictures beside the labels.")
    val: Neutral[UnitInterval] = Field(0.1, description="Share of the images that is for validation, chosen by key.")


class LabelStudioConfig(Section):
    """Tasks of Label Studio."""

    image_prefix: Neutral[str | None] = Field(
        None,
        description="Before each image's key, as /data/local-files/?d=photos/; null is where the image was read.",
    )


class OutputConfig(Section):
    """What is written, and where."""

    uri: Neutral[str] = Field(min_length=1, description="Folder or object-store prefix.")
    color_masks: ColorMasksConfig = Field(default_factory=lambda: ColorMasksConfig())
    segments: SegmentsConfig = Field(default_factory=lambda: SegmentsConfig())
    label_masks: LabelMasksConfig = Field(default_factory=lambda: LabelMasksConfig())
    report: Neutral[bool] = Field(True, description="Write report.html when the job ends.")
    exports: Neutral[tuple[str, ...]] = Field(("coco",), description="Formats that are written when the job ends.")
    coco: CocoConfig = Field(default_factory=lambda: CocoConfig())
    yolo: YoloConfig = Field(default_factory=lambda: YoloConfig())
    label_studio: LabelStudioConfig = Field(default_factory=lambda: LabelStudioConfig())

    @property
    def formats(self) -> tuple[str, ...]:
        """What to export, each once."""
        return tuple(name for name in dict.fromkeys(self.exports) if name != "coco" or self.coco.enabled)
