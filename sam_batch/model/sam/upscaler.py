"""The second half of SAM's mask decoder: from what its transformer left to mask logits.

Both transposed convolutions have kernel and stride 2, so that every cell of the image becomes 4 x 4 pixels on its own.
Here they are matrix products on rows of channels, where norms and activations run along the memory, and the picture is
put together last, from one number a pixel and mask. The numbers are those of `MaskDecoder.output_upscaling`.

Subscripts: P prompts, M masks of each, L cells of the image, C channels, D = C / 8 channels of a pixel.
"""

import torch
from segment_anything.modeling import MaskDecoder
from torch import Tensor, nn

from sam_batch.model.sam.attention import linear, product
from sam_batch.model.sam.norms import norm_rows


class Upscaler(nn.Module):
    """`MaskDecoder.output_upscaling` and the product with what the hypernetworks return.

    Args:
        decoder: segment-anything's; the two convolutions' weights are copied, into another order.
        height: Rows of cells.
        width: Cells of a row.
        block: Cells of a prompt up-scaled at once. It changes the speed alone.
    """

    order: Tensor

    def __init__(self, decoder: MaskDecoder, height: int, width: int, block: int) -> None:
        super().__init__()
        first, self.norm, self.first_act, second, self.second_act = decoder.output_upscaling
        self.first, self.second = _as_linear(first), _as_linear(second)
        self.channels = second.out_channels
        self.height, self.block = height, block
        order = _picture_order(height, width, self.first.weight.device)
        self.register_buffer("order", order, persistent=False)

    def forward(self, cells_PLC: Tensor, weights_PMD: Tensor) -> Tensor:
        """Turn cells into mask logits.

        Args:
            cells_PLC: The image after it attended to each prompt, row by row.
            weights_PMD: Of a pixel's channels in each mask.

        Returns:
            (P, M, 4 height, 4 width), in the precision of the weights.
        """
        blocks = torch.split(cells_PLC, self.block, dim=1)
        masks = torch.cat([product(weights_PMD, self._pixels(block).mT) for block in blocks], dim=2)
        # Of a matrix, CPUs select columns four to eight times as fast as they permute axes that end in a pair.
        picture = masks.flatten(0, 1).index_select(1, self.order)
        return torch.unflatten(torch.unflatten(picture, 1, (4 * self.height, -1)), 0, masks.shape[:2])

    def _pixels(self, cells_PLC: Tensor) -> Tensor:
        """(P, 16 L, D), the pixels of each cell one after the other."""
        halves = torch.unflatten(linear(self.first, cells_PLC), 2, (4, -1))
        pixels = linear(self.second, self.first_act(norm_rows(halves, self.norm)))
        return torch.unflatten(self.second_act(pixels), 3, (4, -1)).flatten(1, 3)


def _picture_order(height: int, width: int, device: torch.device) -> Tensor:
    """(16 L,), for each pixel of the picture, row by row, its place among the cells' pixels."""
    places = torch.arange(height * width * 16, device=device)
    # Rows and columns of cells, the lower and the right half of a cell, and of that half.
    return torch.unflatten(places, 0, (height, width, 2, 2, 2, 2)).permute(0, 2, 4, 1, 3, 5).flatten()


def _as_linear(convolution: nn.ConvTranspose2d) -> nn.Linear:
    """A transposed convolution with kernel and stride 2: from a cell to its 2 x 2 parts, one after the other."""
    state = convolution.state_dict()
    weight, bias = state["weight"].permute(2, 3, 1, 0).flatten(0, 2), state["bias"].repeat(4)
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.load_state_dict({"weight": weight.contiguous(), "bias": bias}, assign=True)
    return layer.requires_grad_(False)
