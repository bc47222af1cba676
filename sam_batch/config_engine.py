"""The section `engine` of the configuration: how the model is run."""

from typing import Annotated, Literal, Self

from pydantic import Field, StrictInt, model_validator

from sam_batch.section import Neutral, Resolved, Section, UnitInterval


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
