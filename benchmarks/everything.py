"""Everything mode against segment-anything's and Hugging Face's: time by stage, images a second, memory, masks.

All run in one process, on the same weights, images and thresholds. First comes what this device can do, and what the
published model asks of it: a ceiling for segment-anything, not for what does less work. Then the measurement; at the
end one JSON line. Real weights are used where they are given; random ones are tuned to let as many masks through as
real ones might. On a GPU the segment stage of a job is measured too, with all images as one shard. It measures neither
Ray nor storage, and says nothing about the quality of masks.

    python benchmarks/everything.py --model vit_b --checkpoint sam_vit_b_01ec64.pth --points-per-side 32
"""

import argparse
import json
import math
import sys
from functools import partial

import torch
import yaml

from benchmarks.harness import arguments as shared
from benchmarks.harness import ceiling
from benchmarks.harness.agreement import CLOSE, SAME, Agreement, compare
from benchmarks.harness.environment import describe, environment
from benchmarks.harness.job import measure_job
from benchmarks.harness.measure import Measured, load, measure
from benchmarks.harness.systems import STAGES, SYSTEMS, Compiled, LeftOutError, TensorRT
from benchmarks.harness.weights import BUILDERS, load_model
from sam_batch.config import EngineConfig, GeneratorConfig
from sam_batch.engine.choice import EngineChoice
from sam_batch.engine.factory import resolve
from sam_batch.engine.torch_engine import set_up_process
from sam_batch.model.precision import DTYPES

MEASUREMENTS = {name: partial(measure, system) for name, system in SYSTEMS.items()} | {"job": measure_job}


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = shared.parser(__doc__, precision="auto", whose="ours; the others use fp32")
    parser.add_argument("--points-per-side", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=3, help="passes; 0: one, timed by stage, not warmed up")
    parser.add_argument(
        "--skip", choices=MEASUREMENTS, action="append", default=[], metavar="NAME", help=", ".join(MEASUREMENTS)
    )
    parser.add_argument("--trace-on-cpu", action="store_true", help="trace what compile compiles there, no more")
    parser.add_argument(
        "--tensorrt", nargs="+", default=[], metavar="KEY=VALUE", help="settings of engine.tensorrt, as positions=tiled"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    arguments = parse(argv)
    choice = resolve(
        EngineConfig(device=arguments.device, precision=arguments.precision), has_gpus=torch.cuda.is_available()
    )
    images = [partial(load, path, arguments.long_side) for path in arguments.images]
    sam, weights, generator = load_model(arguments.model, arguments.checkpoint, images[0](), arguments.points_per_side)
    device = describe(choice.device)
    print(
        f"{arguments.model} with {weights}, {choice.precision}, on {device}; torch {torch.__version__}\n"
        f"{len(arguments.images)} images, {arguments.points_per_side} x {arguments.points_per_side} points, "
        f"predicted IoU > {generator.pred_iou_thresh:.3f}, stability >= {generator.stability_score_thresh:.3f}\n"
    )
    published = state_ceiling(arguments.model, generator, choice)
    set_up_process(choice.device)  # as our engine would: it holds for every system, whichever comes first
    own = {name: yaml.safe_load(value) for name, value in (one.split("=", 1) for one in arguments.tensorrt)}
    measurements = MEASUREMENTS | {
        "compile": partial(measure, partial(Compiled, trace_on_cpu=arguments.trace_on_cpu)),
        "tensorrt": partial(measure, partial(TensorRT, **own)),
    }
    measured: dict[str, Measured] = {}
    for name in [one for one in measurements if one not in arguments.skip]:
        try:
            measured[name] = measurements[name](sam, generator, choice, images, arguments.repeat)
            print(f"{name} is done: {measured[name].images_per_second:.3g} images/s", flush=True)
        except LeftOutError as error:
            print(f"{name} is left out: {error}", flush=True)
    print()
    print_stages(measured)
    agreements = {
        name: compare(measured["reference"].rles, one.rles) for name, one in measured.items() if "reference" in measured
    }
    print_agreement(agreements)
    print(json.dumps(summary(arguments, choice, published, measured, agreements)))


def state_ceiling(model: str, generator: GeneratorConfig, choice: EngineChoice) -> float:
    """Print what the device can do and what the published model asks; the images a second that one allows the other."""
    device, points, batch = torch.device(choice.device), generator.points_per_side or 0, generator.points_per_batch
    rate, bandwidth = ceiling.matrix_rate(device, DTYPES[choice.precision]), ceiling.bandwidth(device)
    with torch.device("meta"):
        skeleton = BUILDERS[model]()
    encoder, decoder = ceiling.work_of_encoder(skeleton), ceiling.work_of_decoder(skeleton, batch)
    batches = points**2 / batch
    flops = encoder.flops + batches * decoder.flops
    traffic = encoder.bytes + batches * decoder.bytes
    print(
        f"ceiling: {rate / 1e12:.3g} TFLOP/s in {choice.precision} products, {bandwidth / 1e9:.3g} GB/s\n"
        f"  the model as published, an image: {encoder.flops / 1e12:.3g} TFLOP to embed, "
        f"{batches * decoder.flops / 1e12:.3g} TFLOP for {points**2} prompts\n"
        f"  at that rate {flops / rate:.3g} s: {rate / flops:.3g} images/s, if memory cost nothing\n"
        f"  its operators one by one in float32 move {traffic / 1e9:.3g} GB: {traffic / bandwidth:.3g} s more\n",
        flush=True,
    )
    return rate / flops


def print_stages(measured: dict[str, Measured]) -> None:
    print(f"{'ms an image':<16}" + "".join(f"{name:>14}" for name in measured))
    for stage in STAGES:
        times = [one.milliseconds.get(stage) for one in measured.values()]
        print(f"{stage:<16}" + "".join(f"{'-':>14}" if one is None else f"{one:>14.1f}" for one in times))
    print(f"{'sum':<16}" + "".join(f"{sum(one.milliseconds.values()):>14.1f}" for one in measured.values()))
    print(f"{'images/s':<16}" + "".join(f"{one.images_per_second:>14.3g}" for one in measured.values()))
    print(f"{'peak MiB':<16}" + "".join(f"{one.peak_bytes / 2**20:>14.0f}" for one in measured.values()) + "\n")


def print_agreement(agreements: dict[str, Agreement]) -> None:
    for name, one in agreements.items():
        if name != "reference":
            print(
                f"{name}: {one.count_ours} masks, {one.count_ours - one.count_reference:+} to the reference's; "
                f"{one.matched_fraction:.1%} have a twin (IoU >= {SAME}), {one.fraction(CLOSE):.1%} one of at least "
                f"{CLOSE}, mean IoU of pairs {one.mean_matched_iou:.4f}"
            )


def summary(
    arguments: argparse.Namespace,
    choice: EngineChoice,
    published: float,
    measured: dict[str, Measured],
    agreements: dict[str, Agreement],
) -> dict[str, object]:
    """What the last line says; null for what was not measured."""
    rates = {name: measured[name].images_per_second if name in measured else None for name in MEASUREMENTS}
    ours, reference, agreement = rates["ours"], rates["reference"], agreements.get("ours")
    return {
        "benchmark": "everything",
        "model": arguments.model,
        "device": describe(choice.device),
        **environment(choice.device),
        "precision": choice.precision,
        "tensorrt": arguments.tensorrt,
        "points_per_side": arguments.points_per_side,
        "images": len(arguments.images),
        "speedup_vs_reference": ours / reference if ours and reference else None,
        "images_per_second": ours,
        "reference_images_per_second": reference,
        "huggingface_images_per_second": rates["huggingface"],
        "graphs_images_per_second": rates["graphs"],
        "compile_images_per_second": rates["compile"],
        "tensorrt_images_per_second": rates["tensorrt"],
        "job_images_per_second": rates["job"],
        "published_flops_images_per_second": published,
        "peak_memory_bytes": measured["ours"].peak_bytes if "ours" in measured else None,
        "count_reference": agreement.count_reference if agreement else None,
        "count_ours": agreement.count_ours if agreement else None,
        "matched_fraction": agreement.matched_fraction if agreement else None,
        "close_fraction": agreement.fraction(CLOSE) if agreement else None,
        "mean_matched_iou": finite(agreement.mean_matched_iou) if agreement else None,
    }


def finite(value: float) -> float | None:
    return None if math.isnan(value) else value


if __name__ == "__main__":
    sys.exit(main())
