"""The section `output` of the configuration: what is written, and where; see `sam_batch.config`."""

from typing import Literal, TypeAlias

from pydantic import Field, StrictInt

from sam_batch.section import Neutral, Section, Shapes, UnitInterval

ImagesMode: TypeAlias = Literal["copy", "link", "oriented"]


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


class DatasetConfig(Section):
    """What exports say of the data set."""

    category: Neutral[str] = Field("object", min_length=1, description="Of masks that no prompt gives a category.")
    description: Neutral[str] = Field("Masks of objects", description="In a sentence.")
    version: Neutral[str | None] = Field(None, description="Of the data set, as 1.0.")
    contributor: Neutral[str | None] = Field(None, description="Whose it is.")
    url: Neutral[str | None] = Field(None, description="Where it is at home.")
    license: Neutral[str | None] = Field(None, description="Of the images, as cc-by-4.0; null says nothing of it.")
    license_url: Neutral[str | None] = Field(None, description="Where the licence can be read.")


class CocoConfig(Section):
    """COCO instance annotations over the whole output: coco, and coco-images, which has the pictures beside it."""

    enabled: Neutral[bool] = Field(True, description="false takes coco out of output.exports.")
    max_bytes: Neutral[StrictInt] = Field(
        1 << 29,
        ge=1 << 16,
        description="Split into several files above this size; pycocotools needs some four times as much memory.",
    )
    images: Neutral[ImagesMode] = Field(
        "copy", description="Of coco-images: copies, links, or oriented: as the pictures were labelled."
    )
    segmentation: Neutral[Literal["rle", "counts", "polygons"]] = Field(
        "rle", description="How masks are spelt: compressed or plain run lengths, or polygons; each exact."
    )


class YoloConfig(Section):
    """A YOLO data set."""

    task: Neutral[Literal["segment", "detect"]] = Field("segment", description="Lines of polygons, or of boxes.")
    images: Neutral[ImagesMode | Literal["none"]] = Field(
        "copy", description="Pictures beside the labels: copies, links, oriented: as they were labelled; or none."
    )
    val: Neutral[UnitInterval] = Field(0.1, description="Share of the images that is for validation, chosen by key.")


class LabelmeConfig(Section):
    """LabelMe's files."""

    images: Neutral[ImagesMode | Literal["none"]] = Field(
        "none", description="Pictures beside them: copies, links, oriented: as they were labelled; or none."
    )


class PackedConfig(Section):
    """A data set whose files hold the pictures too."""

    images: Neutral[Literal["copy", "oriented"]] = Field(
        "copy", description="Pictures in it: the files themselves; or oriented, as they were labelled."
    )


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
    candidates: Shapes[bool] = Field(
        False,
        description="Also keep the masks of everything mode from before duplicates were dropped, so that "
        "sam-batch filter is exact with any stricter threshold and tune can try some; rows grow several times.",
    )
    report: Neutral[bool] = Field(True, description="Write report.html when the job ends.")
    exports: Neutral[tuple[str, ...]] = Field(("coco",), description="Formats that are written when the job ends.")
    dataset: DatasetConfig = Field(default_factory=lambda: DatasetConfig())
    coco: CocoConfig = Field(default_factory=lambda: CocoConfig())
    yolo: YoloConfig = Field(default_factory=lambda: YoloConfig())
    hf: PackedConfig = Field(default_factory=lambda: PackedConfig())
    webdataset: PackedConfig = Field(default_factory=lambda: PackedConfig())
    labelme: LabelmeConfig = Field(default_factory=lambda: LabelmeConfig())
    label_studio: LabelStudioConfig = Field(default_factory=lambda: LabelStudioConfig())

    @property
    def formats(self) -> tuple[str, ...]:
        """What to export, each once."""
        return tuple(name for name in dict.fromkeys(self.exports) if name != "coco" or self.coco.enabled)
