"""Train the demo model on drawn scenes, by the clock: `python -m training.train --hours 2 --out runs/demo`.

The stages share the given time: the encoder alone on pairs of pixels, then the whole model on prompts, on a GPU last at
its full side if that is larger. The same command continues an interrupted run. Exporting and measuring are elsewhere:
`training.export` and `benchmarks/demo_quality.py`.
"""

import argparse
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

# Threads that spin while they wait starve each other wherever the cores are shared; read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from segment_anything.modeling import Sam
from torch import Tensor

from sam_batch.model.sam.demo import SIDE
from training.losses import pair_loss, pairwise_iou, prompt_loss
from training.model import PairHead, box_tokens, decode, embed, grow, new_model, point_tokens
from training.samples import Prompts, ask, augment, components
from training.scenes import levels
from training.sources import Source, open_source

ANCHORS = 64  # pixels of each picture that the others are compared with in dense pre-training
PAIR_WEIGHT = 0.5  # of the same comparison later on
BOX_SHARE = 0.3  # of the prompts
REFINE_EVERY = 4  # steps between those that also train on a previous mask
MUON_FACTOR = 2.0  # its rate against AdamW's
LEAST_RATE = 0.01  # of the learning rate, at the end
SAVE_SECONDS = 180
LOG_STEPS = 20


@dataclass(frozen=True)
class Stage:
    """A part of the training; `until` is the share of the time at which it ends."""

    name: str
    until: float
    side: int
    scene_side: int
    images: int
    prompts: int
    rate: float


CPU_STAGES = (
    Stage("pairs", 0.14, 256, 320, 12, 0, 1.5e-3),
    Stage("prompts", 1.0, 256, 320, 10, 10, 1e-3),
)
CUDA_STAGES = (
    Stage("pairs", 0.10, 256, 320, 128, 0, 2e-3),
    Stage("prompts", 0.65, 256, 320, 64, 32, 1.5e-3),
    Stage("full", 1.0, SIDE, SIDE * 5 // 4, 64 if SIDE == 256 else 32, 24, 8e-4),
)


@dataclass
class Run:
    """All that changes while training; what `save` keeps and `load` brings back."""

    stage: Stage
    sam: Sam
    head: PairHead
    average: dict[str, Tensor]
    optimisers: list[torch.optim.Optimizer]
    generator: torch.Generator
    step: int = 0
    stage_step: int = 0
    seconds: float = 0.0
    next_seed: int = 0


def start(stage: Stage, device: str, seed: int = 0) -> Run:
    """A new run at its first stage."""
    torch.manual_seed(seed)
    sam, head = new_model(stage.side).to(device), PairHead().to(device)
    average = {name: value.clone() for name, value in sam.state_dict().items()}
    generator = torch.Generator(device).manual_seed(seed)
    return Run(stage, sam, head, average, _optimisers(sam, head), generator)


def _optimisers(sam: Sam, head: PairHead) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the transformers, AdamW for all else; rates are set at each step."""
    named = [*sam.named_parameters(), *head.named_parameters()]
    matrices = [p for name, p in named if p.ndim == 2 and (".blocks." in name or ".transformer." in name)]
    matrices = [p for p in matrices if min(p.shape) >= 64]  # positions relative to each other are vectors
    known = {id(p) for p in matrices}
    others = [p for _, p in named if id(p) not in known]
    groups = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [
        torch.optim.Muon(matrices, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True),
    ]


def enter(run: Run, stage: Stage) -> None:
    """Go on to the next stage, with a new optimiser and, if its side differs, grown positions."""
    device = run.sam.device
    if stage.side != run.stage.side:
        state = grow(run.sam.state_dict(), stage.side)
        run.average = grow(run.average, stage.side)
        run.sam = new_model(stage.side).to(device)
        run.sam.load_state_dict(state)
    run.stage, run.stage_step = stage, 0
    run.optimisers = _optimisers(run.sam, run.head)


def save(run: Run, path: Path) -> None:
    """Write the checkpoint in one step."""
    parts = {
        "stage": run.stage.name,
        "model": run.sam.state_dict(),
        "head": run.head.state_dict(),
        "average": run.average,
        "optimisers": [one.state_dict() for one in run.optimisers],
        "generator": run.generator.get_state(),
        **{name: getattr(run, name) for name in ("step", "stage_step", "seconds", "next_seed")},
    }
    fresh = path.with_suffix(".new")
    torch.save(parts, fresh)
    fresh.replace(path)


def load(path: Path, stages: tuple[Stage, ...], device: str) -> Run:
    """The run as it was saved."""
    parts = torch.load(path, map_location=device, weights_only=True)
    run = start(next(stage for stage in stages if stage.name == parts["stage"]), device)
    run.sam.load_state_dict(parts["model"])
    run.head.load_state_dict(parts["head"])
    run.average = parts["average"]
    for one, state in zip(run.optimisers, parts["optimisers"], strict=True):
        one.load_state_dict(state)
    run.generator.set_state(parts["generator"].cpu())
    for name in ("step", "stage_step", "seconds", "next_seed"):
        setattr(run, name, parts[name])
    return run


def rate_at(progress: float, stage: Stage, stage_step: int) -> float:
    """The learning rate: a warm-up at the start of each stage under one cosine over the whole time."""
    warm = min(1.0, (stage_step + 1) / 100)
    return stage.rate * warm * (LEAST_RATE + (1 - LEAST_RATE) * (0.5 + 0.5 * math.cos(math.pi * min(progress, 1.0))))


def train_step(run: Run, source: Source, progress: float) -> Tensor:
    """One step; returns its loss and the mean IoUs that `_report` names."""
    rate = rate_at(progress, run.stage, run.stage_step)
    for one, factor in zip(run.optimisers, (MUON_FACTOR, 1.0), strict=True):
        for group in one.param_groups:
            group["lr"] = rate * factor
    image, top = augment(*source.take(run.stage.images, run.generator), run.stage.side, run.generator)
    loss, *figures = (_pair_step if run.stage.prompts == 0 else _prompt_step)(run, image, top)
    for one in run.optimisers:
        one.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_([*run.sam.parameters(), *run.head.parameters()], 1.0)
    for one in run.optimisers:
        one.step()
    run.step, run.stage_step = run.step + 1, run.stage_step + 1
    _average(run)
    return torch.stack((loss.detach(), *figures))


def _average(run: Run) -> None:
    """Exponential moving average of the weights over at most the last thousand steps."""
    keep = min(0.999, (run.step + 1) / (run.step + 10))
    state = run.sam.state_dict()
    torch._foreach_lerp_([run.average[name] for name in state], list(state.values()), 1 - keep)


def _pair_step(run: Run, image: Tensor, top: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    ids = levels(image.device)[:, top[:, 2::4, 2::4].long()]
    with torch.autocast(image.device.type, torch.bfloat16):
        embedding = embed(run.sam, image)
    return _compare(run, embedding, (components(ids[0]), components(ids[2])), ANCHORS)


def _compare(run: Run, embedding: Tensor, regions: tuple[Tensor, Tensor], count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of pixels, in their parts and in their objects: the loss, and the mean IoU at both levels."""
    with torch.autocast(embedding.device.type, torch.bfloat16):
        features = run.head(embedding)
    anchors = torch.randint(features.shape[1], (len(features), count), device=features.device, generator=run.generator)
    found = [
        pair_loss(features[:, :, i], region, anchors, run.head.scale[i], run.head.shift[i])
        for i, region in enumerate(regions)
    ]
    return found[0][0] + found[1][0], found[0][1], found[1][1]


def _prompt_step(run: Run, image: Tensor, top: Tensor) -> tuple[Tensor, ...]:
    asked = ask(top, run.stage.prompts, run.generator)
    with torch.autocast(image.device.type, torch.bfloat16):
        embedding = embed(run.sam, image)
    loss, logits, iou, best = _answer(run, embedding, asked)
    compared = _compare(run, embedding, (asked.regions[0], asked.regions[2]), ANCHORS // 2)
    loss = loss + PAIR_WEIGHT * compared[0]
    if run.stage_step % REFINE_EVERY == REFINE_EVERY - 1:
        loss = loss + 0.5 * _refine(run, embedding, asked, logits.detach())
    with torch.no_grad():
        favoured = best[:, 1:].gather(1, iou[:, 1:].argmax(1, keepdim=True)).mean()
    return loss, best[:, 1:].amax(1).mean(), favoured, compared[2]


def _answer(run: Run, embedding: Tensor, asked: Prompts) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The first answers: to a click every level is right, to a box the one it encloses."""
    level, valid = asked.level.flatten(), asked.valid.flatten(0, 1)
    points, boxes = asked.points.flatten(0, 1)[:, None], asked.boxes.flatten(0, 1)
    boxed = torch.rand(len(level), device=level.device, generator=run.generator) < BOX_SHARE
    with torch.autocast(embedding.device.type, torch.bfloat16):
        clicks = point_tokens(run.sam, points, torch.ones_like(points[..., 0]))
        tokens = torch.where(boxed[:, None, None], box_tokens(run.sam, boxes), clicks)
        logits, iou = decode(run.sam, embedding, tokens)
    only = torch.nn.functional.one_hot(level, 3).bool()
    largest = (valid * torch.arange(1, 4, device=level.device)).argmax(1)
    loss, best = prompt_loss(
        logits,
        iou,
        asked.targets.flatten(0, 1),
        torch.where(boxed[:, None], only, valid),
        torch.where(boxed, level, largest),
    )
    return loss, logits, iou, best


def _refine(run: Run, embedding: Tensor, asked: Prompts, logits: Tensor) -> Tensor:
    """A second click where the best answer to the first is wrong, with that answer as mask: one level is right now."""
    n, k, _, s, _ = asked.targets.shape
    half = torch.arange(n * k, device=embedding.device).view(n, k)[:, : k // 2].flatten()
    level = asked.level.flatten()[half]
    targets = asked.targets.flatten(0, 1)[half]
    wanted = targets[torch.arange(len(half)), level]
    overlap = pairwise_iou(logits[half], wanted[:, None])[..., 0]
    previous = logits[half, overlap.argmax(1)].float()
    wrong = ((previous > 0) != (wanted >= 0.5)).flatten(1).float() + 1e-6
    cell = torch.multinomial(wrong, 1, generator=run.generator)
    second = torch.cat((cell % s, cell // s), 1) * 4.0 + 2
    points = torch.stack((asked.points.flatten(0, 1)[half], second), 1)
    label = (wanted.flatten(1).gather(1, cell) >= 0.5).float()
    with torch.autocast(embedding.device.type, torch.bfloat16):
        tokens = point_tokens(run.sam, points, torch.cat((torch.ones_like(label), label), 1))
        logits, iou = decode(run.sam, embedding, tokens, previous[:, None])
    only = torch.nn.functional.one_hot(level, 3).bool()
    return prompt_loss(logits, iou, targets, only, level)[0]


def train(hours: float, out: Path, device: str, stages: tuple[Stage, ...]) -> Run:
    """Train until the time is used up, from the checkpoint in `out` if there is one."""
    out.mkdir(parents=True, exist_ok=True)
    path, total = out / "checkpoint.pt", hours * 3600
    run = load(path, stages, device) if path.exists() else start(stages[0], device)
    for stage in stages[stages.index(run.stage) :]:
        if stage != run.stage:
            enter(run, stage)
        source = open_source(stage.scene_side, run.next_seed, device)
        try:
            _train_stage(run, source, path, total)
        finally:
            source.close()
    return run


def _train_stage(run: Run, source: Source, path: Path, total: float) -> None:
    last = saved = time.monotonic()
    figures = []
    while run.seconds < run.stage.until * total:
        figures.append(train_step(run, source, run.seconds / total))
        now = time.monotonic()
        run.seconds, last = run.seconds + now - last, now
        if run.stage_step % LOG_STEPS == 0:
            _report(run, figures)
            figures.clear()
        if now - saved > SAVE_SECONDS:
            run.next_seed, saved = source.next_seed, now
            save(run, path)
    run.next_seed = source.next_seed
    save(run, path)


def _report(run: Run, figures: list[Tensor]) -> None:
    loss, *found = torch.stack(figures).mean(0).tolist()
    names = ("part", "object") if run.stage.prompts == 0 else ("best", "favoured", "pairs")
    shown = " ".join(f"{name} {value:.3f}" for name, value in zip(names, found, strict=True))
    print(f"{run.seconds:6.0f} s  {run.stage.name} {run.stage_step:6d}  loss {loss:.4f}  IoU {shown}", flush=True)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2.0, help="time to train, earlier runs in the folder counted in")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the checkpoint")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    train(given.hours, given.out, given.device, CPU_STAGES if given.device == "cpu" else CUDA_STAGES)


if __name__ == "__main__":
    main()
