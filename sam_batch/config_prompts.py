"""The section `prompts` of the configuration: where known objects come from, and how their masks are asked for."""

from typing import Literal, Self

from pydantic import Field, StrictInt, model_validator

from sam_batch.section import Neutral, Resolved, Section, Shapes


class PromptsConfig(Section):
    """Objects that are known already, by boxes, points or masks: images that carry some are segmented by them."""

    uri: Resolved[str | tuple[str, ...] | None] = Field(
        None,
        description="A file of prompts, a YOLO folder, a glob, or a list of them (docs/prompts.md); null for none.",
    )
    format: Resolved[str] = Field(
        "auto", description="coco, yolo or table (.csv, .tsv, .jsonl, .parquet); auto goes by the name."
    )
    dataset: Resolved[str | None] = Field(
        None, description="COCO data set that names the images and categories of a list of results."
    )
    use: Resolved[tuple[Literal["box", "points", "mask"], ...]] = Field(
        ("box", "points"), min_length=1, description="Parts of an object that its mask is asked for with."
    )
    box_format: Resolved[Literal["xyxy", "xywh", "cxcywh"] | None] = Field(
        None, description="What the numbers of a table's column box are; other formats say it themselves."
    )
    normalised: Resolved[bool] = Field(False, description="A table's coordinates are shares of the image's sides.")
    occluded_points: Resolved[bool] = Field(
        False, description="Also take COCO's key points that are labelled, but not visible."
    )
    min_score: Resolved[float | None] = Field(None, description="Leave out objects with a lower score; null for none.")
    frame: Shapes[Literal["auto", "oriented", "stored"]] = Field(
        "auto",
        description="Whether coordinates are of the image as its EXIF orientation shows it, or of the pixels as they "
        "are stored; auto goes by the source's width and height.",
    )
    without: Resolved[Literal["grid", "skip", "fail"]] = Field(
        "grid", description="Images that carry no prompt: segmented by generator's grid, left out, or failed."
    )
    unmatched: Neutral[Literal["note", "refuse"]] = Field(
        "note", description="Prompts of images that are not in the input; if all are, that is always refused."
    )
    bad_rows: Resolved[Literal["refuse", "skip"]] = Field(
        "refuse", description="Rows that cannot be understood: refuse to run, or leave them out with a note."
    )
    choose: Shapes[Literal["auto", "single", "best", "all"]] = Field(
        "auto",
        description="Of SAM's masks: the single one, the best of three, all three; auto is the best for one point or "
        "box, and the single one for more.",
    )
    refine: Shapes[StrictInt] = Field(
        0, ge=0, le=10, description="How many times the best mask is given back as a prompt beside the others."
    )

    @model_validator(mode="after")
    def _other_keys_need_a_uri(self) -> Self:
        defaults = PromptsConfig.model_construct()
        changed = [name for name in type(self).model_fields if getattr(self, name) != getattr(defaults, name)]
        if self.uri is None and changed:
            raise ValueError(f"{', '.join(changed)}: there are no prompts; set prompts.uri")
        return self

    @property
    def uris(self) -> tuple[str, ...]:
        """The sources as a tuple, however many were given."""
        return (self.uri,) if isinstance(self.uri, str) else self.uri or ()
