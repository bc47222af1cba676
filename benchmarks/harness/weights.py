"""Models to measure: real weights where they are at hand, otherwise random ones that make the same work.

Random weights are tuned so that as many masks pass the thresholds as real ones would let pass: that decides how much
there is to up-scale and to post-process. Their masks mean nothing. They fill the image, so that suppression would
leave one of them and nothing to compare; it is told to keep them all. segment-anything, which encodes masks before it
suppresses, does the same work as ever; this package, which encodes afterwards, does more of it than with real weights.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam
from torch import Tensor, nn

from sam_batch.config import GeneratorConfig
from sam_batch.engine.preprocess import preprocess
from sam_batch.engine.protocol import Prompts
from sam_batch.engine.torch_engine import TorchEngine
from sam_batch.masks.kernels.choose import stable_masks
from sam_batch.masks.logits import Scale
from sam_batch.model import load
from sam_batch.model.sam.demo import build_demo
from sam_batch.model.sam.family import SAM
from sam_batch.model.sam.models import DEMO
from sam_batch.records import UInt8Array, View
from sam_batch.segment.views import cut_views, whole_view

BUILDERS: dict[str, Callable[[], Sam]] = {
    "demo": build_demo,
    **{name: sam_model_registry[name] for name in ("vit_b", "vit_l", "vit_h")},
}
DEMO_JOB = Path(__file__).parents[2] / "configs" / "demo.yaml"

PASS_IOU = 0.40  # of all masks
PASS_BOTH = 0.25  # of all masks
POINTS_PER_SIDE = 6  # of the sample that random weights are tuned on
LOGIT_STD = 20.0  # a deviation at which masks are about as stable as real ones
IOU_MEAN, IOU_STD = 0.8, 0.05


def load_model(
    model: str, checkpoint: str | None, sample_HW3: UInt8Array, points_per_side: int
) -> tuple[Sam, str, GeneratorConfig]:
    """A model, what its weights are, and the thresholds that go with them.

    Of the demo's settings only those that every system is given: what else it does to masks the others do not.

    Args:
        model: A name in `BUILDERS`.
        checkpoint: Real weights of that model, or None.
        sample_HW3: The image that random weights are tuned on.
        points_per_side: Of the generator that is returned.

    Raises:
        CheckpointError: The weights are missing or damaged.
    """
    settings: dict[str, Any] = {}
    if checkpoint is not None:
        sam, weights = load.load_model(checkpoint), f"weights from {Path(checkpoint).name}"
    elif model == "demo" and Path(DEMO.source).exists():
        sam, weights = load.load_model("demo"), "its trained weights"
        configured = yaml.safe_load(DEMO_JOB.read_text())["generator"]
        settings = {name: configured[name] for name in ("pred_iou_thresh", "stability_score_thresh")}
    else:
        sam, weights = random_sam(BUILDERS[model]), "random weights"
        iou, stability = tune(sam, sample_HW3)
        settings = {"pred_iou_thresh": iou, "stability_score_thresh": stability, "box_nms_thresh": 1.0}
    return sam, weights, GeneratorConfig(**settings | {"points_per_side": points_per_side})


@torch.no_grad()
def random_sam(build: Callable[[], Sam], seed: int = 0, attention: float = 9.0, values: float = 4.0) -> Sam:
    """A model whose masks depend on the picture and on the point: float32, on the CPU, the same for the same seed.

    Args:
        build: Makes the model.
        seed: Of the weights.
        attention: By which the decoder's queries and keys are stretched: more looks closer, and magnifies rounding.
        values: Likewise of what it then reads.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sam = build().eval()
        for name, parameter in sam.named_parameters():
            if name.endswith(("pos_embed", "rel_pos_h", "rel_pos_w")):  # zeros in a new model
                nn.init.normal_(parameter, std=0.05)
            elif name.startswith("mask_decoder") and name.endswith(("q_proj.weight", "k_proj.weight")):
                parameter.mul_(attention)
            elif name.startswith("mask_decoder") and name.endswith(("v_proj.weight", "out_proj.weight")):
                parameter.mul_(values)
    for layer in (sam.mask_decoder.output_upscaling[0], sam.mask_decoder.output_upscaling[3]):
        layer.weight.copy_(0.2 * layer.weight + 2 * layer.weight.mean(dim=(2, 3), keepdim=True))  # smooth masks
    return sam


@torch.no_grad()
def tune(sam: Sam, sample_HW3: UInt8Array) -> tuple[float, float]:
    """Give random weights logits and predicted IoUs of a usual size, in place.

    Returns:
        The thresholds on predicted IoU and stability that `PASS_IOU` and `PASS_BOTH` of the sample's masks pass.
    """
    boxes = whole_view((sample_HW3.shape[0], sample_HW3.shape[1]))
    (view,) = cut_views(sample_HW3, boxes, sam.image_encoder.img_size)
    logits_Khw, iou_K = _decode(sam, view)

    stretch = LOGIT_STD / logits_Khw.std()
    for mlp in sam.mask_decoder.output_hypernetworks_mlps:
        mlp.layers[-1].weight.mul_(stretch)
        mlp.layers[-1].bias.mul_(stretch)
    spread = IOU_STD / iou_K.std()
    head = sam.mask_decoder.iou_prediction_head.layers[-1]
    head.weight.mul_(spread)
    head.bias.copy_(IOU_MEAN + (head.bias - iou_K.mean()) * spread)

    # Both layers are the last ones and linear: what they give now is known without another run.
    scale = Scale(sam.image_encoder.img_size, view.pixels.shape[:2], sample_HW3.shape[:2])
    levels = {"threshold": sam.mask_threshold, "offset": GeneratorConfig().stability_score_offset}
    masks = stable_masks(stretch * logits_Khw, scale, **levels, min_stability=0.0)
    stability_K = torch.tensor([one.stability for one in masks])
    return thresholds(IOU_MEAN + (iou_K - iou_K.mean()) * spread, stability_K, PASS_IOU, PASS_BOTH)


def thresholds(iou_K: Tensor, stability_K: Tensor, pass_iou: float, pass_both: float) -> tuple[float, float]:
    """The predicted IoU that a share of the masks passes, and the stability that leaves a smaller share of all."""
    iou = iou_K.quantile(1 - pass_iou)
    stability = stability_K[iou_K > iou].quantile(1 - pass_both / pass_iou)
    return iou.item(), stability.item()


def _decode(sam: Sam, view: View) -> tuple[Tensor, Tensor]:
    """Logits (K, h, w) and predicted IoU (K,) of a grid's masks, in float32 on the CPU."""
    engine = TorchEngine(sam, SAM, model="random", precision="fp32", device="cpu")
    scored = engine.score(engine.embed(preprocess(view.pixels, engine.spec))[0], _grid(view))
    return engine.finish(scored, torch.ones_like(scored.iou).nonzero()), scored.iou.flatten()


def _grid(view: View) -> Prompts:
    height, width = view.pixels.shape[:2]
    unit = (torch.arange(POINTS_PER_SIDE, dtype=torch.float64) + 0.5) / POINTS_PER_SIDE
    points_P2 = torch.cartesian_prod(unit * width, unit * height)
    return Prompts(points=points_P2[:, None], labels=torch.ones((len(points_P2), 1), dtype=torch.int32))
