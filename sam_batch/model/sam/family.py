"""Segment Anything, as Meta published it, and the small demo model of the same classes. Imports no torch by itself."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from sam_batch.model.family import Family, Graph, Positions, PromptEncoder, TorchModel, Traits
from sam_batch.model.sam.models import DEMO, VIT_B, VIT_H, VIT_L

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class SamFamily(Family):
    """Modules are segment-anything's own `Sam`; see `model.family.Family` for what the methods promise."""

    name = "SAM"
    models = (DEMO, VIT_B, VIT_L, VIT_H)

    def translate(self, state: "Mapping[str, Tensor]") -> "Mapping[str, Tensor] | None":
        """segment-anything's names, or those of Hugging Face's `SamModel`."""
        from sam_batch.model.sam.huggingface import is_huggingface, to_segment_anything

        if is_huggingface(state):
            state = to_segment_anything(state)
        return state if "image_encoder.patch_embed.proj.weight" in state else None

    def signature(self, state: "Mapping[str, Tensor]") -> tuple[int, ...]:
        """Width and depth of the image encoder."""
        patches = state["image_encoder.patch_embed.proj.weight"]
        blocks = {name.split(".")[2] for name in state if name.startswith("image_encoder.blocks.")}
        return (patches.shape[0] if patches.ndim else 0), len(blocks)

    def describe(self, signature: tuple[int, ...]) -> str:
        """In words."""
        width, depth = signature
        return f"an image encoder of width {width} and {depth} blocks"

    def build(self, name: str) -> Any:
        """A `Sam`."""
        from segment_anything import sam_model_registry

        from sam_batch.model.sam.demo import build_demo

        return build_demo() if name == DEMO.name else sam_model_registry[name]()

    def traits(self, module: Any) -> Traits:
        """As its buffers and attributes say."""
        red, green, blue = module.pixel_mean.flatten().tolist()
        red_std, green_std, blue_std = module.pixel_std.flatten().tolist()
        return Traits(
            image_side=module.image_encoder.img_size,
            mask_side=module.prompt_encoder.mask_input_size[0],
            pixel_mean=(red, green, blue),
            pixel_std=(red_std, green_std, blue_std),
            mask_threshold=module.mask_threshold,
        )

    def arrange(self, module: Any, precision: str, device: str) -> TorchModel:
        """Through `model.sam.torch_model`."""
        from sam_batch.model.sam.torch_model import SamModel

        return SamModel(module, precision, device)

    def graphs(
        self, module: Any, precision: str, *, attention: bool, positions: Positions, max_tokens: int | None
    ) -> dict[str, Graph]:
        """Through `model.sam.graphs`."""
        from sam_batch.model.sam.graphs import sam_graphs

        return sam_graphs(module, precision, attention=attention, positions=positions, max_tokens=max_tokens)

    def prompt_encoder(self, module: Any, device: "torch.device") -> PromptEncoder:
        """Through `model.sam.prompt_tokens`; only this part of the modules is kept."""
        from sam_batch.model.sam.prompt_tokens import prompt_tokens

        return partial(prompt_tokens, module.prompt_encoder.float().to(device))


SAM = SamFamily()
