"""A family of models that is nothing like SAM: two feature maps, and discs around points. All that a new one needs."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam_batch.model.family import Family, Features, Model, PromptParts, Traits

SIDE = 64


class ToyFamily(Family):
    """One model, `toy`, whose only weights are those of one convolution."""

    name = "Toy"
    models = (Model("toy", image_side=SIDE, signature=(3,), sha256="0" * 64, source="toy.safetensors"),)

    def translate(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        return state if "stem.weight" in state else None

    def signature(self, state: Mapping[str, Tensor]) -> tuple[int, ...]:
        return (state["stem.weight"].shape[0],)

    def describe(self, signature: tuple[int, ...]) -> str:
        return f"a stem of width {signature[0]}"

    def build(self, name: str) -> nn.Module:
        return nn.ModuleDict({"stem": nn.Conv2d(3, 3, 4, stride=4)})

    def traits(self, module: nn.Module) -> Traits:
        return Traits(SIDE, SIDE // 4, pixel_mean=(127.5,) * 3, pixel_std=(127.5,) * 3, mask_threshold=0.0)

    def arrange(self, module: nn.Module, precision: str, device: str) -> "ToyModel":
        return ToyModel(module.to(device), device)


class ToyModel:
    """Discs of three sizes around each point, brighter places in larger ones."""

    def __init__(self, module: nn.Module, device: str) -> None:
        self._stem, self.device = module["stem"], torch.device(device)

    def embed(self, images_N3SS: Tensor) -> Features:
        fine = self._stem(images_N3SS)
        return fine, F.avg_pool2d(fine, 4)

    def score(self, features: Features, prompts: PromptParts) -> tuple[Tensor, Any]:
        (fine, coarse), points = features, prompts.points
        center_P2 = points[:, 0].float() / 4
        brightness_P = coarse.mean().expand(len(points)) + fine.mean()
        radius_PM = (2 + brightness_P.sigmoid()[:, None]) * torch.tensor([1.0, 2.0, 3.0])
        return torch.full((len(points), 3), 0.95), (center_P2, radius_PM)

    def finish(self, state: Any, index_K2: Tensor) -> Tensor:
        (center_P2, radius_PM), (prompt_K, mask_K) = state, index_K2.T
        ticks = torch.arange(SIDE // 4)
        x_K, y_K = center_P2[prompt_K].T
        away = ((ticks - x_K[:, None, None]) ** 2 + (ticks[:, None] - y_K[:, None, None]) ** 2).sqrt()
        return 20 * (radius_PM[prompt_K, mask_K][:, None, None] - away)
