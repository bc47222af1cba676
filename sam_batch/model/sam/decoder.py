"""SAM's mask decoder in two halves, rearranged for many prompts of one image.

segment-anything's `MaskDecoder` computes everything for every prompt and every mask. `Decoder` computes with its
weights the same numbers, equal in real arithmetic: what all prompts share once, tokens instead of the image's cells
where either will do (`model.sam.attention`), and only what is asked for. `score` predicts each mask's IoU; `finish`
up-scales chosen masks. Which ones is the caller's business.

In half precision each prompt's cells are multiplied in half; tokens, residuals, norms and the IoU head are float32, as
`model.sam.lowering` leaves them. Nothing is remembered between calls. Subscripts are those of `model.sam.attention`.
"""

from typing import NamedTuple

import torch
from segment_anything.modeling import MaskDecoder, Sam
from segment_anything.modeling.transformer import TwoWayAttentionBlock
from torch import Tensor, nn

from sam_batch.model.sam.attention import ImageToToken, Projections, TokenToImage
from sam_batch.model.sam.norms import Cells, add_and_norm
from sam_batch.model.sam.upscaler import Upscaler
from sam_batch.model.threads import on_each_core

# Numbers that go through the transformer at once: cells of 256 channels, over all prompts of a chunk. On a CPU the 8 MB
# of two prompts of SAM's 64 x 64 cells stay in the last cache; a GPU takes 64 prompts of about 25 MB.
SCORE_NUMBERS = {"cpu": 1 << 21, "cuda": 1 << 26}
# In half precision products are so fast that what is done to tokens alone shows: these prompts share it on a CPU.
FEWEST_PROMPTS = 4
# Cells up-scaled at once, over all prompts of a chunk: a quarter of such a prompt on a CPU, 32 prompts on a GPU.
FINISH_CELLS = {"cpu": 1 << 10, "cuda": 1 << 17}


class Scored(NamedTuple):
    """What `Decoder.score` makes of P prompts.

    Attributes:
        iou: (P, M) predicted IoUs.
        tokens: (P, M, C), one a mask.
        cells: Of each prompt (L, C), the image after it attended to the prompt, in the precision of matrices.
        first: Which of SAM's mask tokens is the first of the M.
    """

    iou: Tensor
    tokens: Tensor
    cells: list[Tensor]
    first: int


class _SharedImage(NamedTuple):
    """The first layer's projections of one image that all prompts read and write to."""

    projections: Projections
    queries: Tensor


class Decoder(nn.Module):
    """The mask decoder of a SAM, with its weights.

    Args:
        sam: On its device, in eval mode and lowered to its precision.
    """

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        decoder: MaskDecoder = sam.mask_decoder
        transformer = decoder.transformer
        self.low = decoder.output_upscaling[0].weight.dtype
        with torch.no_grad():
            position_LC = sam.prompt_encoder.get_dense_pe()[0].flatten(1).T
            layers = [_Layer(block, position_LC, self.low) for block in transformer.layers]
            self.token_to_image = TokenToImage(transformer.final_attn_token_to_image, position_LC, self.low)
        self.first_layer, self.layers = layers[0], nn.ModuleList(layers)
        self.norm = transformer.norm_final_attn
        self.iou_token, self.mask_tokens = decoder.iou_token, decoder.mask_tokens
        self.no_mask = sam.prompt_encoder.no_mask_embed
        self.iou_head = decoder.iou_prediction_head
        self.hypernetworks = decoder.output_hypernetworks_mlps
        self.mask_size: tuple[int, int] = sam.prompt_encoder.mask_input_size
        self.device = position_LC.device.type
        self.upscaler = Upscaler(decoder, self.mask_size[0] // 4, self.mask_size[1] // 4, FINISH_CELLS[self.device])
        fewest = FEWEST_PROMPTS if self.low.itemsize == 2 else 1
        self.score_chunk = max(fewest, SCORE_NUMBERS[self.device] // position_LC.numel())
        self.finish_chunk = max(1, FINISH_CELLS[self.device] // len(position_LC))

    def score(self, embedding: Tensor, sparse_PnC: Tensor, dense: Tensor | None, *, multimask: bool) -> Scored:
        """Run the transformer and the IoU head.

        Args:
            embedding: (C, S/16, S/16), of one image.
            sparse_PnC: What the prompt encoder makes of points and boxes.
            dense: (P, C, S/16, S/16), what it makes of masks; None without masks.
            multimask: Three masks a prompt, or the single one.
        """
        masks = slice(1, len(self.hypernetworks)) if multimask else slice(0, 1)
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(len(sparse_PnC), -1, -1)
        chunks = torch.split(torch.cat([own, sparse_PnC], dim=1), self.score_chunk)
        if dense is None:
            image = self._cells(embedding + self.no_mask.weight[:, :, None, None])
            shared = self.first_layer.share(image.exact[0])
            parts = on_each_core(lambda tokens: self._transform(tokens, image, shared, masks), chunks, self.device)
        else:
            pairs = list(zip(chunks, torch.split(embedding + dense, self.score_chunk), strict=True))
            parts = on_each_core(
                lambda pair: self._transform(pair[0], self._cells(pair[1]), None, masks), pairs, self.device
            )
        tokens_PTC = torch.cat([tokens for tokens, _ in parts])
        cells = [cells_LC for _, cells_PLC in parts for cells_LC in cells_PLC]
        return Scored(self.iou_head(tokens_PTC[:, 0])[:, masks], tokens_PTC[:, 1:], cells, masks.start)

    def finish(self, scored: Scored, index_K2: Tensor) -> Tensor:
        """Up-scale chosen masks, each prompt once.

        Args:
            scored: What `score` returned.
            index_K2: (prompt, mask) pairs, on the CPU, since which prompts are needed decides shapes. What is derived
                of them is copied in two pieces: a device waits for every index that comes from the CPU.

        Returns:
            (K, h, w) float32 logits, in the order of the index.
        """
        order = index_K2[:, 0].argsort(stable=True)
        prompt_K, mask_K = index_K2[order].T
        prompts, place_K, counts = torch.unique_consecutive(prompt_K, return_inverse=True, return_counts=True)
        starts = [0, *counts.cumsum(0).tolist()]
        slot_K = torch.arange(len(order)) - torch.tensor(starts)[place_K]
        weights_KD = self._weights(scored, prompt_K, mask_K)
        rows_K, place_K, slot_K = torch.stack([order, place_K % self.finish_chunk, slot_K]).to(weights_KD.device)
        logits_Khw = scored.tokens.new_empty((len(order), *self.mask_size))

        def finish_chunk(start: int) -> None:
            chunk = prompts[start : start + self.finish_chunk].tolist()
            some = slice(starts[start], starts[start + len(chunk)])
            pairs = place_K[some], slot_K[some]
            most = int(counts[start : start + len(chunk)].max())
            weights_PMD = weights_KD.new_zeros((len(chunk), most, weights_KD.shape[1]))
            weights_PMD[pairs] = weights_KD[some]
            cells_PLC = _stack([scored.cells[prompt] for prompt in chunk])
            logits = self.upscaler(cells_PLC, weights_PMD)[pairs].to(logits_Khw.dtype)
            logits_Khw.index_copy_(0, rows_K[some], logits)

        on_each_core(finish_chunk, range(0, len(prompts), self.finish_chunk), self.device)
        return logits_Khw

    def _cells(self, images: Tensor) -> Cells:
        """Of (C, h, w) or (P, C, h, w), as rows (P, L, C)."""
        exact = images.flatten(2).mT.contiguous()
        return Cells(exact, exact.to(self.low))

    def _transform(
        self, tokens_PTC: Tensor, cells: Cells, shared: _SharedImage | None, masks: slice
    ) -> tuple[Tensor, Tensor]:
        """Tokens of IoU and of the masks asked for, (P, 1 + M, C), and cells (P, L, C) in the matrices' precision."""
        queries = tokens_PTC
        for layer in self.layers:
            queries, cells = layer(queries, tokens_PTC, cells, shared)
            shared = None
        used, tokens = (torch.cat([all_[:, :1], all_[:, 1:][:, masks]], dim=1) for all_ in (queries, tokens_PTC))
        return self.norm(used + self.token_to_image(used + tokens, cells.low)), cells.low

    def _weights(self, scored: Scored, prompt_K: Tensor, mask_K: Tensor) -> Tensor:
        """(K, D), what the hypernetwork of each chosen mask makes of its token, in the precision of the cells."""
        order = mask_K.argsort(stable=True)
        rows, prompts, masks = torch.stack([order, prompt_K[order], mask_K[order]]).to(scored.tokens.device)
        tokens_KC = scored.tokens[prompts, masks]
        networks = self.hypernetworks[scored.first : scored.first + scored.tokens.shape[1]]
        parts = torch.split(tokens_KC, torch.bincount(mask_K, minlength=len(networks)).tolist())
        weights_KD = tokens_KC.new_empty((len(order), self.upscaler.channels))
        weights_KD[rows] = torch.cat([network(part) for network, part in zip(networks, parts, strict=True)])
        return weights_KD.to(self.low)


class _Layer(nn.Module):
    """segment-anything's `TwoWayAttentionBlock`."""

    def __init__(self, block: TwoWayAttentionBlock, position_LC: Tensor, low: torch.dtype) -> None:
        super().__init__()
        self.block = block
        self.token_to_image = TokenToImage(block.cross_attn_token_to_image, position_LC, low)
        self.image_to_token = ImageToToken(block.cross_attn_image_to_token, position_LC, low)

    def share(self, image_LC: Tensor) -> _SharedImage:
        return _SharedImage(self.token_to_image.project(image_LC), self.image_to_token.project(image_LC))

    def forward(
        self, queries_PTC: Tensor, tokens_PTC: Tensor, cells: Cells, shared: _SharedImage | None
    ) -> tuple[Tensor, Cells]:
        """Let the tokens attend to each other and to the image, then the image to the tokens.

        Args:
            queries_PTC: The tokens as the layer before left them.
            tokens_PTC: The tokens as they came, added as positions.
            cells: Each prompt's image, or the one of all prompts.
            shared: `share` of that one image; None where each prompt has its own.

        Returns:
            (P, T, C) queries and each prompt's cells.
        """
        block = self.block
        queries = self._attend_to_themselves(queries_PTC, tokens_PTC)
        asking, read = queries + tokens_PTC, self.token_to_image
        found = read.shared(asking, shared.projections) if shared else read(asking, cells.low)
        queries = block.norm2(queries + found)
        queries = block.norm3(queries + block.mlp(queries))
        asked, write = queries + tokens_PTC, self.image_to_token
        found = write.shared(asked, queries, shared.queries) if shared else write(asked, queries, cells.low)
        return queries, add_and_norm(cells.exact, found, block.norm4)

    def _attend_to_themselves(self, queries: Tensor, tokens: Tensor) -> Tensor:
        block = self.block
        if block.skip_first_layer_pe:
            return block.norm1(block.self_attn(queries, queries, queries))
        both = queries + tokens
        return block.norm1(queries + block.self_attn(both, both, queries))


def _stack(cells: list[Tensor]) -> Tensor:
    """(P, L, C); what a CPU takes, one prompt at a time, is not copied."""
    return cells[0][None] if len(cells) == 1 else torch.stack(cells)
