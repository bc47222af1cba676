"""What half precision does to what users find: average recall of everything mode on drawn scenes, by precision.

The truth is exact: each connected region of a part, a body or an object that has at least `LEAST_AREA` pixels, once. A
scene's recall at a threshold is the share of its regions that some mask covers with at least that IoU; its average is
over thresholds from 0.5 to 0.95, and the figure is the mean over scenes, in points (hundredths). All precisions see the
same scenes, so their difference is surer than the figure; its standard error is given. On a CPU half precision is
torch's own arithmetic for it there, which stands for a GPU's and is not that. At the end one JSON line.

    python -m benchmarks.recall --scenes 200
"""

import argparse
import json
from collections.abc import Iterator

import numpy as np
import torch
from pycocotools import mask as coco
from segment_anything.modeling import Sam
from torch import Tensor

from benchmarks.demo_quality import HELD_OUT
from benchmarks.harness.environment import describe, environment
from benchmarks.harness.systems import Ours, Rles
from benchmarks.harness.weights import load_model
from sam_batch.config import EngineConfig, GeneratorConfig
from sam_batch.engine.factory import resolve
from sam_batch.engine.torch_engine import set_up_process
from sam_batch.model.precision import DTYPES
from sam_batch.records import UInt8Array
from training.samples import augment, components
from training.scenes import levels
from training.sources import Fresh

LEAST_AREA = 128  # pixels; as in training, smaller regions are not asked for
SAME = 0.9  # IoU above which the region of one level is that of another
THRESHOLDS = np.linspace(0.5, 0.95, 10)


def scenes(count: int, side: int) -> Iterator[tuple[UInt8Array, Rles]]:
    """Pictures that no training has seen, (side, side, 3), with their regions."""
    source, generator = Fresh(side * 5 // 4, HELD_OUT, "cpu"), torch.Generator().manual_seed(0)
    for _ in range(count):
        image, top = augment(*source.take(1, generator), side, generator)
        yield image[0].permute(1, 2, 0).round().to(torch.uint8).numpy(), regions(top[0])


def regions(top_SS: Tensor) -> Rles:
    """Of all three levels, without those that another level has as well."""
    kept: Rles = []
    for ids in levels()[:, top_SS.long()]:
        labels = components(ids[None])[0].view_as(ids)
        names, areas = labels.unique(return_counts=True)
        masks = [np.asfortranarray((labels == one).byte()) for one in names[areas >= LEAST_AREA]]
        found = [coco.encode(one) for one in masks]
        kept += [one for one in found if not kept or overlaps([one], kept).max() < SAME]
    return kept


def overlaps(some: Rles, others: Rles) -> np.ndarray:
    """(some, others) IoUs."""
    return np.asarray(coco.iou(some, others, [False] * len(others)))


def average_recall(found: Rles, truth: Rles) -> float:
    """Of one picture, in points."""
    best = overlaps(truth, found).max(axis=1) if found else np.zeros(len(truth))
    return 100 * float((best[:, None] >= THRESHOLDS).mean())


def measure(
    sam: Sam, generator: GeneratorConfig, precisions: list[str], device: str, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Average recalls and numbers of masks, each (scenes, precisions)."""
    engines = [EngineConfig(device=device, precision=one) for one in precisions]
    choices = [resolve(one, has_gpus=torch.cuda.is_available()) for one in engines]
    set_up_process(choices[0].device)
    systems = [Ours(sam, generator, choice) for choice in choices]
    recalls, masks = np.zeros((2, count, len(precisions)))
    for row, (picture, truth) in enumerate(scenes(count, sam.image_encoder.img_size)):
        for column, system in enumerate(systems):
            found = system.rles(system.label(picture))
            recalls[row, column], masks[row, column] = average_recall(found, truth), len(found)
    return recalls, masks


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--points-per-side", type=int, default=32)
    parser.add_argument("--precisions", nargs="+", choices=list(DTYPES), default=["fp32", "fp16"])
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    given = parse(argv)
    sample, _ = next(scenes(1, 64))
    sam, _, generator = load_model("demo", None, sample, given.points_per_side)
    recalls, masks = measure(sam, generator, given.precisions, given.device, given.scenes)
    away = recalls - recalls[:, :1]
    print(f"| precision | average recall (points) | against {given.precisions[0]} | masks a scene |")
    print("|---|---:|---:|---:|")
    figures = {}
    for name, recall, change, found in zip(given.precisions, recalls.T, away.T, masks.T, strict=True):
        error = change.std(ddof=1) / len(change) ** 0.5 if len(change) > 1 else 0.0
        print(f"| {name} | {recall.mean():.2f} | {change.mean():+.2f} ± {error:.2f} | {found.mean():.1f} |")
        figures |= {f"recall_{name}": round(recall.mean(), 3), f"change_{name}": round(change.mean(), 3)}
    device = resolve(EngineConfig(device=given.device), has_gpus=torch.cuda.is_available()).device
    header = {"benchmark": "recall", "device": describe(device), **environment(device)}
    print(json.dumps(header | {"scenes": given.scenes, "points_per_side": given.points_per_side} | figures))


if __name__ == "__main__":
    main()
