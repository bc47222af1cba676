"""How good the demo model is: `python benchmarks/demo_quality.py`.

On held-out drawn scenes: the IoU of its masks for a click and for a box, by object size, and how far its predicted IoU
is to be trusted. On the photographs in `examples/`: how many masks segment-anything's own everything mode keeps.
Masks are compared at the model's mask resolution, a quarter of its input side. Speed is measured elsewhere.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam
from torch import Tensor

from benchmarks.harness.environment import environment
from sam_batch.model.load import load_model
from training.losses import pairwise_iou
from training.model import box_tokens, decode, embed, point_tokens
from training.samples import Prompts, ask, augment
from training.sources import Fresh

HELD_OUT = 10**9  # seeds from here on are never trained on
PROMPTS = 8  # for each scene
SIZES = {
    "small (< 32 px)": (0, 32),
    "medium (32 to 96 px)": (32, 96),
    "large (> 96 px)": (96, 10**9),
    "all": (0, 10**9),
}
THRESHOLDS = {"default (0.88, 0.95)": (0.88, 0.95), "demo (0.40, 0.70)": (0.40, 0.70)}


@torch.no_grad()
def measure(sam: Sam, scenes: int, seed: int) -> np.ndarray:
    """One row for each prompt: is a box, side of the object in pixels, best IoU, favoured IoU, its predicted IoU."""
    side = sam.image_encoder.img_size
    source, generator = Fresh(side * 5 // 4, HELD_OUT + seed, "cpu"), torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(scenes):
        image, top = augment(*source.take(1, generator), side, generator)
        embedding = embed(sam, image)
        rows.extend(_answers(sam, embedding, ask(top, PROMPTS, generator)))
    return torch.cat(rows).numpy()


def _answers(sam: Sam, embedding: Tensor, asked: Prompts) -> Iterator[Tensor]:
    """Rows for the clicks, where any of the right answers counts, and for the boxes, where one is right."""
    points, targets, valid = asked.points[0][:, None], asked.targets[0], asked.valid[0]
    only = torch.nn.functional.one_hot(asked.level[0], 3).bool()
    for boxed, tokens, right in (
        (0.0, point_tokens(sam, points, torch.ones(PROMPTS, 1)), valid),
        (1.0, box_tokens(sam, asked.boxes[0]), only),
    ):
        logits, predicted = (out[:, 1:] for out in decode(sam, embedding, tokens))
        true, answer = pairwise_iou(logits, targets).masked_fill(~right[:, None], 0).max(-1)
        favoured = predicted.argmax(1, keepdim=True)
        best = true.argmax(1, keepdim=True)
        area = targets.sum((2, 3)).gather(1, answer.gather(1, best)) * 16
        columns = (area.sqrt(), true.amax(1, keepdim=True), true.gather(1, favoured), predicted.gather(1, favoured))
        yield torch.cat((torch.full_like(area, boxed), *columns), 1)


def print_quality(rows: np.ndarray) -> None:
    """IoU by prompt and size."""
    print("| prompt | object | prompts | best of three | highest predicted | its predicted IoU |")
    print("|---|---|---:|---:|---:|---:|")
    for boxed, prompt in enumerate(("one point", "box")):
        for name, (low, high) in SIZES.items():
            some = rows[(rows[:, 0] == boxed) & (rows[:, 1] >= low) & (rows[:, 1] < high)]
            if len(some):
                best, favoured, predicted = some[:, 2:].mean(0)
                print(f"| {prompt} | {name} | {len(some)} | {best:.3f} | {favoured:.3f} | {predicted:.3f} |")


def print_calibration(rows: np.ndarray) -> None:
    """Predicted against true IoU of the favoured masks, in ten bins of the prediction."""
    print("\n| predicted IoU | masks | mean predicted | mean true |")
    print("|---|---:|---:|---:|")
    bins = np.clip((rows[:, 4] * 10).astype(int), 0, 9)
    for i in range(10):
        some = rows[bins == i]
        if len(some):
            true, predicted = some[:, 3:].mean(0)
            print(f"| {i / 10:.1f} to {i / 10 + 0.1:.1f} | {len(some)} | {predicted:.3f} | {true:.3f} |")
    print(f"\nMean difference, predicted minus true: {(rows[:, 4] - rows[:, 3]).mean():+.3f}")
    print(f"Mean absolute difference: {np.abs(rows[:, 4] - rows[:, 3]).mean():.3f}")


def print_photographs(sam: Sam, folder: Path) -> None:
    """Masks that everything mode keeps on each photograph."""
    print(f"\n| photograph | {' | '.join(THRESHOLDS)} |")
    print(f"|---|{'---:|' * len(THRESHOLDS)}")
    for path in sorted(folder.glob("*.jpg")):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        counts = [
            len(SamAutomaticMaskGenerator(sam, pred_iou_thresh=iou, stability_score_thresh=stable).generate(pixels))
            for iou, stable in THRESHOLDS.values()
        ]
        print(f"| {path.name} | {' | '.join(map(str, counts))} |", flush=True)


def summary(rows: np.ndarray) -> dict[str, float]:
    """The figures to compare over time."""
    point, box = rows[rows[:, 0] == 0], rows[rows[:, 0] == 1]
    figures = {
        "point_best": point[:, 2].mean(),
        "point_favoured": point[:, 3].mean(),
        "box_best": box[:, 2].mean(),
        "box_favoured": box[:, 3].mean(),
        "predicted_minus_true": (rows[:, 4] - rows[:, 3]).mean(),
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo", help="demo, or a checkpoint of it")
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--photographs", type=Path, default=Path(__file__).parents[1] / "examples")
    given = parser.parse_args()
    sam = load_model(given.model)
    rows = measure(sam, given.scenes, given.seed)
    print_quality(rows)
    print_calibration(rows)
    print_photographs(sam, given.photographs)
    print(json.dumps({"benchmark": "demo_quality", **environment(None), "scenes": given.scenes, **summary(rows)}))


if __name__ == "__main__":
    main()
