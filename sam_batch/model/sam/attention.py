"""The two cross attentions of SAM's mask decoder, between a few tokens and thousands of image cells.

segment-anything's `Attention` projects every cell of the image for every prompt. Here the few tokens are projected
instead, into the image's channels: q (W x) is (q W) x, and (a x) W is a (x W). Both are equal in real arithmetic, and
8 heads x 7 tokens = 56 columns take the place of 128. What is projected of the positions alone is a constant, kept. The
first layer sees one image for all prompts: there the cells are projected, once (`project`).

The weights are those of the modules given, shared with them, not copied. What is done to tokens alone is done in the
weights' precision; only products with the image's cells are in the precision of the cells, which may be half.
Subscripts: P prompts, T tokens, H heads, D channels of a head, C channels, L cells of the image.
"""

from typing import NamedTuple

import torch
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn

LARGE = 1 << 12  # rows or columns of a matrix


class Projections(NamedTuple):
    """An image as `TokenToImage` sees it.

    Attributes:
        keys: (H, D, L).
        values: (H, L, D), without their bias.
    """

    keys: Tensor
    values: Tensor


def product(left: Tensor, right: Tensor) -> Tensor:
    """Batched `left @ right`; what CPUs multiply faster as matrices, one by one."""
    if not _is_for_matrices(left, right):
        return torch.bmm(left, right)
    if len(left) == 1:
        matrix, other = left[0], right[0]
        return (_one_dnn(matrix, other.T, None) if _is_for_one_dnn(matrix) else torch.mm(matrix, other))[None]
    result = left.new_empty((*left.shape[:2], right.shape[2]))
    for matrix, other, out in zip(left, right, result, strict=True):
        torch.mm(matrix, other, out=out)
    return result


def _is_for_matrices(left: Tensor, right: Tensor) -> bool:
    """A batch of one; or large ones in half precision, since torch copies transposed operands of a batch."""
    if len(left) == 1:
        return True
    if left.dtype.itemsize != 2 or left.device.type != "cpu" or torch.is_grad_enabled():
        return False
    return max(*left.shape[1:], right.shape[2]) >= LARGE


def linear(layer: nn.Linear, values: Tensor) -> Tensor:
    """Call a linear layer on many rows."""
    values = values.to(layer.weight.dtype)
    return _one_dnn(values, layer.weight, layer.bias) if _is_for_one_dnn(values) else layer(values)


def _is_for_one_dnn(values: Tensor) -> bool:
    """Whether oneDNN multiplies these faster: with AVX-512, in half the time; without, by a fifth slower.

    Torch gives float32 matrices to MKL, which leaves AMD's AVX-512 idle. It has no public way to ask for oneDNN: 1 x 1
    convolutions are even slower, and batched products go to MKL too. The operator is the one that torch's own compiler
    emits, so it may leave as it came; it has no gradient. One machine always decides alike, for a repeated job's bytes.
    """
    if values.dtype != torch.float32 or values.device.type != "cpu" or torch.is_grad_enabled():
        return False
    if "AVX512" not in torch.backends.cpu.get_cpu_capability():
        return False
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]


def _one_dnn(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`values @ weight.T + bias`."""
    return torch.ops.mkldnn._linear_pointwise(values, weight, bias, "none", [], "")


class _CrossAttention(nn.Module):
    """The four projections of segment-anything's `Attention`, by head."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.q_proj, self.k_proj = attention.q_proj, attention.k_proj
        self.v_proj, self.out_proj = attention.v_proj, attention.out_proj
        self.heads: int = attention.num_heads

    def _weight(self, linear: nn.Linear) -> Tensor:
        """(H, D, C), the rows of a projection."""
        return torch.unflatten(linear.weight, 0, (self.heads, -1))

    def _split(self, linear: nn.Linear, tokens_PTC: Tensor) -> Tensor:
        """Project tokens, to (P, H, T, D)."""
        return torch.unflatten(linear(tokens_PTC), 2, (self.heads, -1)).transpose(1, 2)

    def _encode(self, linear: nn.Linear, position_LC: Tensor) -> Tensor:
        """(H, D, L), what a projection without its bias makes of the positions."""
        return torch.einsum("lc,hdc->hdl", position_LC, self._weight(linear))

    def _logits(self, linear: nn.Linear, tokens_PHTD: Tensor, image_PLC: Tensor, position_HDL: Tensor) -> Tensor:
        """(P, H, T, L), projected tokens times the projection by `linear` of image and positions, scaled."""
        tokens_PHTD = tokens_PHTD * tokens_PHTD.shape[-1] ** -0.5
        wide = torch.einsum("phtd,hdc->phtc", tokens_PHTD, self._weight(linear)).flatten(1, 2)
        logits = torch.unflatten(product(wide.to(image_PLC.dtype), image_PLC.mT), 1, tokens_PHTD.shape[1:3])
        return logits.add_(torch.einsum("phtd,hdl->phtl", tokens_PHTD.to(position_HDL.dtype), position_HDL))

    @staticmethod
    def _shared_logits(tokens_PHTD: Tensor, image_HDL: Tensor) -> Tensor:
        """(P, H, T, L), the same of one image projected before."""
        tokens_PHTD = tokens_PHTD * tokens_PHTD.shape[-1] ** -0.5
        return torch.einsum("phtd,hdl->phtl", tokens_PHTD.to(image_HDL.dtype), image_HDL)


class TokenToImage(_CrossAttention):
    """Tokens attend to the image: `cross_attn_token_to_image`.

    The bias of the keys is left out: it adds the same to every logit of a token, which softmax does not see. That of
    the values is added last, since the weights sum to one.

    Args:
        attention: segment-anything's.
        position_LC: The positional encoding of the cells, part of the keys.
        low: The precision of the cells.
    """

    position: Tensor

    def __init__(self, attention: Attention, position_LC: Tensor, low: torch.dtype) -> None:
        super().__init__(attention)
        self.register_buffer("position", self._encode(self.k_proj, position_LC).to(low), persistent=False)

    def project(self, image_LC: Tensor) -> Projections:
        """Project an image that all prompts read, in the weights' precision, to that of cells."""
        keys = torch.einsum("lc,hdc->hdl", image_LC, self._weight(self.k_proj)).add_(self.position)
        values = torch.einsum("lc,hdc->hld", image_LC, self._weight(self.v_proj)).contiguous()
        return Projections(keys.to(self.position.dtype), values.to(self.position.dtype))

    def forward(self, tokens_PTC: Tensor, image_PLC: Tensor) -> Tensor:
        """(P, T, C), what each prompt's tokens find in its own image."""
        queries = self._split(self.q_proj, tokens_PTC)
        weights = self._logits(self.k_proj, queries, image_PLC, self.position).softmax(dim=-1)
        wide = torch.unflatten(product(weights.flatten(1, 2), image_PLC), 1, weights.shape[1:3])
        return self._join(torch.einsum("phtc,hdc->phtd", wide.to(queries.dtype), self._weight(self.v_proj)))

    def shared(self, tokens_PTC: Tensor, image: Projections) -> Tensor:
        """(P, T, C), what each prompt's tokens find in the one image."""
        weights = self._shared_logits(self._split(self.q_proj, tokens_PTC), image.keys).softmax(dim=-1)
        return self._join(torch.einsum("phtl,hld->phtd", weights, image.values).to(tokens_PTC.dtype))

    def _join(self, found_PHTD: Tensor) -> Tensor:
        return self.out_proj(found_PHTD.transpose(1, 2).flatten(2) + self.v_proj.bias)


class ImageToToken(_CrossAttention):
    """The image attends to the tokens: `cross_attn_image_to_token`.

    The bias of the output is spread over the heads, since the weights of each sum to one.

    Args:
        attention: segment-anything's.
        position_LC: The positional encoding of the cells, part of the queries.
        low: The precision of the cells.
    """

    position: Tensor

    def __init__(self, attention: Attention, position_LC: Tensor, low: torch.dtype) -> None:
        super().__init__(attention)
        position_HDL = self._encode(self.q_proj, position_LC) + self.q_proj.bias.unflatten(0, (self.heads, -1, 1))
        self.register_buffer("position", position_HDL.to(low), persistent=False)

    def project(self, image_LC: Tensor) -> Tensor:
        """Project an image that all prompts write to, likewise: its (H, D, L) queries."""
        queries = torch.einsum("lc,hdc->hdl", image_LC, self._weight(self.q_proj)).add_(self.position)
        return queries.to(self.position.dtype)

    def forward(self, keys_PTC: Tensor, values_PTC: Tensor, image_PLC: Tensor) -> Tensor:
        """(P, L, C), what each prompt's own image finds in its tokens."""
        keys = self._split(self.k_proj, keys_PTC)
        return self._spread(self._logits(self.q_proj, keys, image_PLC, self.position), values_PTC)

    def shared(self, keys_PTC: Tensor, values_PTC: Tensor, queries_HDL: Tensor) -> Tensor:
        """(P, L, C), what the one image finds in each prompt's tokens."""
        return self._spread(self._shared_logits(self._split(self.k_proj, keys_PTC), queries_HDL), values_PTC)

    def _spread(self, logits_PHTL: Tensor, values_PTC: Tensor) -> Tensor:
        weight = self.out_proj.weight.unflatten(1, (self.heads, -1))  # (C, H, D)
        wide = torch.einsum("phtd,chd->phtc", self._split(self.v_proj, values_PTC), weight)
        wide = (wide + self.out_proj.bias / self.heads).to(logits_PHTL.dtype)
        return product(logits_PHTL.softmax(dim=2).flatten(1, 2).mT, wide.flatten(1, 2))
