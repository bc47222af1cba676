"""What the exported graphs are made of: attention between tokens and an image, norms, and precisions.

The four kinds of attention are those of `model.sam.attention`, written for compilers of graphs instead of CPUs: sizes
are constants but for the first, no einsum, no indexing, products around a softmax with the scale on one side alone.
What is made of tokens alone is float32 and cast where it meets cells, to their type, which is that of the whole
attention.
Weights that keep their type are shared with segment-anything's modules, others copied.

Subscripts: P prompts, T tokens, H heads, D channels of a head, C channels, L cells of the image.
"""

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn

_Module = TypeVar("_Module", bound=nn.Module)


def lowered(module: _Module, dtype: torch.dtype) -> _Module:
    """The module itself where its weights have the type already, else a copy of it."""
    same = all(weight.dtype == dtype for weight in module.parameters())
    return module if same else copy.deepcopy(module).to(dtype)


def rebiased(linear: nn.Linear, bias: Tensor) -> nn.Linear:
    """A layer with the same weight and another bias."""
    layer = nn.Linear(linear.in_features, linear.out_features, device="meta")
    layer.load_state_dict({"weight": linear.weight.detach(), "bias": bias.detach()}, assign=True)
    return layer.requires_grad_(False)


def with_bias_before(linear: nn.Linear, bias: Tensor) -> nn.Linear:
    """A layer that adds a bias to its input too."""
    with torch.no_grad():
        return rebiased(linear, linear(bias))


def norm2d(norm: LayerNorm2d, values_NChw: Tensor) -> Tensor:
    """`LayerNorm2d` as a layer norm, which is one operator."""
    rows = values_NChw.permute(0, 2, 3, 1)
    return F.layer_norm(rows, norm.weight.shape, norm.weight, norm.bias, norm.eps).permute(0, 3, 1, 2)


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention as compilers know it, of scaled queries: two products, a softmax between them.

    With roots of the scale on both sides TensorRT has fused wrong kernels (NVIDIA/TensorRT issues 4328 and 4333).
    """
    logits = query @ key.mT
    return (logits if bias is None else logits + bias).softmax(dim=-1) @ value


class _Heads(nn.Module):
    """The projections of segment-anything's `Attention` between tokens and something."""

    def __init__(self, attention: Attention, tokens: int) -> None:
        super().__init__()
        self.heads: int = attention.num_heads
        self.tokens = tokens
        self.depth: int = attention.internal_dim // attention.num_heads

    def _split(self, linear: nn.Linear, tokens_PTC: Tensor) -> Tensor:
        """Project tokens, to (P, H, T, D)."""
        return linear(tokens_PTC).reshape(-1, self.tokens, self.heads, self.depth).transpose(1, 2)

    def _merge(self, found_PHTD: Tensor) -> Tensor:
        return found_PHTD.transpose(1, 2).reshape(-1, self.tokens, self.heads * self.depth)

    def _by_head(self, linear: nn.Linear) -> Tensor:
        """(H, D, C), the rows of a projection."""
        return linear.weight.detach().reshape(self.heads, self.depth, -1)


class TokenAttention(_Heads):
    """Tokens attend to each other: `self_attn`."""

    def __init__(self, attention: Attention, tokens: int) -> None:
        super().__init__(attention, tokens)
        self.q_proj, self.k_proj = attention.q_proj, attention.k_proj
        self.v_proj, self.out_proj = attention.v_proj, attention.out_proj

    def forward(self, placed_PTC: Tensor, values_PTC: Tensor, hidden_PT: Tensor | None = None) -> Tensor:
        """(P, T, C) float32; what is hidden is added to the logits of each token."""
        query, key = self._split(self.q_proj, placed_PTC), self._split(self.k_proj, placed_PTC)
        bias = None if hidden_PT is None else hidden_PT[:, None, None]
        found = attend(query * self.depth**-0.5, key, self._split(self.v_proj, values_PTC), bias)
        return self.out_proj(self._merge(found))


class TokenToImageGraph(_Heads):
    """Tokens attend to the image of their prompt: `cross_attn_token_to_image`.

    Tokens are projected into the channels of the image, which is keys and values for all heads. The bias of the keys
    adds the same to every logit of a token, which softmax does not see; that of the values passes through, since the
    weights sum to one.
    """

    key_weight: Tensor
    value_weight: Tensor

    def __init__(self, attention: Attention, tokens: int) -> None:
        super().__init__(attention, tokens)
        self.q_proj = attention.q_proj
        self.out_proj = with_bias_before(attention.out_proj, attention.v_proj.bias)
        self.register_buffer("key_weight", self._by_head(attention.k_proj))
        self.register_buffer("value_weight", self._by_head(attention.v_proj).mT.contiguous())

    def forward(self, asking_PTC: Tensor, image_PLC: Tensor, placed_PLC: Tensor) -> Tensor:
        """(P, T, C) float32."""
        columns, channels = self.heads * self.tokens, image_PLC.shape[2]
        query = self._split(self.q_proj, asking_PTC) * self.depth**-0.5
        wide = (query @ self.key_weight).reshape(-1, columns, channels).to(image_PLC.dtype)
        weights = (wide @ placed_PLC.mT).softmax(dim=-1)
        found = (weights @ image_PLC).float().reshape(-1, self.heads, self.tokens, channels)
        return self.out_proj(self._merge(found @ self.value_weight))


class SharedTokenToImageGraph(_Heads):
    """The same of one image that all prompts read: it is projected, once, and the prompts' tokens stand in one row."""

    def __init__(self, attention: Attention, tokens: int, dtype: torch.dtype) -> None:
        super().__init__(attention, tokens)
        self.q_proj, self.out_proj = attention.q_proj, attention.out_proj
        self.k_proj, self.v_proj = lowered(attention.k_proj, dtype), lowered(attention.v_proj, dtype)

    def forward(self, asking_PTC: Tensor, image_1LC: Tensor, placed_1LC: Tensor) -> Tensor:
        """(P, T, C) float32."""
        query = self._row(self.q_proj(asking_PTC).to(image_1LC.dtype)) * self.depth**-0.5
        found = attend(query, self._row(self.k_proj(placed_1LC)), self._row(self.v_proj(image_1LC)))
        merged = found.transpose(1, 2).reshape(-1, self.tokens, self.heads * self.depth)
        return self.out_proj(merged.float())

    def _row(self, projected: Tensor) -> Tensor:
        """(1, H, all rows, D)."""
        return projected.reshape(1, -1, self.heads, self.depth).transpose(1, 2)


class ImageToTokenGraph(_Heads):
    """The image attends to the tokens: `cross_attn_image_to_token`.

    Tokens are projected into the image's channels, as keys and as values. The bias of the output is spread over the
    heads, since the weights of each sum to one.
    """

    query_weight: Tensor
    query_bias: Tensor
    out_weight: Tensor
    out_bias: Tensor

    def __init__(self, attention: Attention, tokens: int) -> None:
        super().__init__(attention, tokens)
        self.k_proj, self.v_proj = attention.k_proj, attention.v_proj
        bias = attention.q_proj.bias.detach().reshape(self.heads, self.depth, 1)
        out = attention.out_proj.weight.detach().T.reshape(self.heads, self.depth, -1)
        self.register_buffer("query_weight", self._by_head(attention.q_proj))
        self.register_buffer("query_bias", bias)
        self.register_buffer("out_weight", out.contiguous())
        self.register_buffer("out_bias", attention.out_proj.bias.detach() / self.heads)

    def forward(
        self, asked_PTC: Tensor, values_PTC: Tensor, placed_PLC: Tensor, hidden_PT: Tensor | None = None
    ) -> Tensor:
        """(P, L, C) of the cells' type; of an image (1, L, C) too. What is hidden is added to each token's logits."""
        columns, cells, channels = self.heads * self.tokens, placed_PLC.shape[1], placed_PLC.shape[2]
        dtype = placed_PLC.dtype
        key = self._split(self.k_proj, asked_PTC) * self.depth**-0.5
        wide = (key @ self.query_weight).reshape(-1, columns, channels).to(dtype)
        offset = key @ self.query_bias  # (P, H, T, 1)
        offset = offset if hidden_PT is None else offset + hidden_PT[:, None, :, None]
        offset = offset.reshape(-1, 1, columns).to(dtype)
        logits = (placed_PLC @ wide.mT + offset).reshape(-1, cells, self.heads, self.tokens)
        weights = logits.softmax(dim=-1).reshape(-1, cells, columns)
        values = self._split(self.v_proj, values_PTC) @ self.out_weight + self.out_bias
        return weights @ values.reshape(-1, columns, channels).to(dtype)
