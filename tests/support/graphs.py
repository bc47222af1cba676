"""Exported graphs, run by ONNX Runtime, and SAM's own answers to compare with."""

from functools import cache
from pathlib import Path

import onnxruntime
import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor

from sam_batch.engine.protocol import Prompts

MAX_TOKENS = 19


@cache
def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(path: Path, *inputs: Tensor) -> list[Tensor]:
    """The outputs of a graph, in its order; inputs are cast to the types it declares."""
    session = _session(path)
    declared = session.get_inputs()
    types = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}
    arrays = {one.name: value.to(types[one.type]).numpy() for one, value in zip(declared, inputs, strict=True)}
    return [torch.from_numpy(output) for output in session.run(None, arrays)]


def decode(folder: Path, embedding_1Css: Tensor, tokens: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor]:
    """(P, 4) predicted IoUs and (P, 4, h, w) logits, through both halves of the decoder."""
    if masks is None:
        iou, mask_tokens, cells = run(folder / "score.onnx", embedding_1Css, tokens)
    else:
        filled = fill(tokens, masks, MAX_TOKENS)
        iou, mask_tokens, cells = run(folder / "prompted.onnx", embedding_1Css, *filled)
    return iou, run(folder / "finish.onnx", mask_tokens, cells)[0]


def fill(tokens_PtC: Tensor, masks_P1hw: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What `prompted` takes beside an embedding, of prompts with masks."""
    missing = most - tokens_PtC.shape[1]
    filling_Pt = torch.cat([torch.zeros(tokens_PtC.shape[:2]), torch.ones(len(tokens_PtC), missing)], dim=1)
    return F.pad(tokens_PtC, (0, 0, 0, missing)), filling_Pt, masks_P1hw, torch.zeros(len(tokens_PtC), 1, 1, 1)


@torch.no_grad()
def encode_prompts(sam: Sam, prompts: Prompts) -> tuple[Tensor, Tensor]:
    """Sparse and dense, as segment-anything's prompt encoder returns them."""
    points = None if prompts.points is None else (prompts.points, prompts.labels)
    return sam.prompt_encoder(points, prompts.boxes, prompts.masks)


@torch.no_grad()
def reference_decode(sam: Sam, embedding_1Css: Tensor, prompts: Prompts) -> tuple[Tensor, Tensor]:
    """The same as `decode`, by segment-anything in float32."""
    sparse, dense = encode_prompts(sam, prompts)
    logits, iou = sam.mask_decoder.predict_masks(embedding_1Css, sam.prompt_encoder.get_dense_pe(), sparse, dense)
    return iou, logits


def random_prompts(sam: Sam, kind: str, count: int, seed: int = 0) -> Prompts:
    """`count` points, boxes, or boxes with masks of an earlier round."""
    generator = torch.Generator().manual_seed(seed)
    side = sam.image_encoder.img_size
    if kind == "points":
        points = side * torch.rand(count, 1, 2, generator=generator)
        return Prompts(points=points, labels=torch.ones(count, 1, dtype=torch.int32))
    corners = side * torch.rand(count, 2, 2, generator=generator)
    boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
    if kind == "boxes":
        return Prompts(boxes=boxes)
    size = sam.prompt_encoder.mask_input_size
    return Prompts(boxes=boxes, masks=4.0 * torch.randn(count, 1, *size, generator=generator))


def scaled_error(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, where the wanted values have a root mean square of one."""
    assert found.shape == wanted.shape
    scale = wanted.double().square().mean().sqrt()
    return float(((found.double() - wanted.double()).abs().max() / scale).item())
