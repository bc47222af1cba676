"""Whatever a machine with a GPU can show of this package, in order of worth, for as many minutes as there are.

Tests that need a GPU, then agreement with segment-anything and the other benchmarks with settings for a large card.
Each is a step, a process of its own with a time limit, and ends as a JSON line in the output. Stop the program when
you like and start it again: what has succeeded on this device is not done again, what failed is. It measures nothing
itself; what the figures mean is said by the program that a step calls, whose whole output is kept beside the lines.

    python -m benchmarks.gpu --minutes 60          # on a GPU
    python -m benchmarks.gpu --tiny                # the same steps, small, on the CPU: do they run at all?
"""

import argparse
import platform
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.harness.steps import ROOT, Step, run_steps

PACKAGES = ("torch", "triton", "numpy", "segment-anything", "ray", "transformers", "tensorrt", "tensorrt-rtx-cu13")
TENSORRT = ("tensorrt", "tensorrt_rtx")
MODELS = ("vit_b", "vit_l", "vit_h")
PRECISIONS = ("fp32", "fp16")
BATCHES = ("32", "64", "128", "256", "512", "1024")
SAME = {"matched_fraction": 0.95}  # in float32; what half precision does is a figure and no fault
AS_GOOD = {"change_fp16": -0.2}  # average recall in half precision, in points, against float32
COMPILED = {"compile_images_per_second": 0.0}
DEVICE = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="for all steps together")
    parser.add_argument(
        "--output", type=Path, help="JSON lines; default runs/gpu.jsonl, runs/gpu-tiny.jsonl with --tiny"
    )
    parser.add_argument("--tiny", action="store_true", help="on the CPU, with a small model and few points")
    parser.add_argument("--list", action="store_true", help="show the steps and run none")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Return 1 where a step failed or had no time."""
    arguments = parse(argv)
    steps = tiny_steps() if arguments.tiny else gpu_steps()
    if arguments.list:
        print(
            *(f"{step.name:<22} {step.minutes:>3.0f} min  python {' '.join(step.command)}" for step in steps), sep="\n"
        )
        return 0
    output = arguments.output or ROOT / "runs" / ("gpu-tiny.jsonl" if arguments.tiny else "gpu.jsonl")
    return 0 if run_steps(steps, output, describe(on_gpu=not arguments.tiny), 60 * arguments.minutes) else 1


def gpu_steps() -> list[Step]:
    """For a card with the memory of an A100 or H100; with random weights, which make the work of real ones."""
    slow = ("--skip", "graphs", "--skip", "compile", "--skip", "tensorrt")
    cuda = ("--device", "cuda")
    full = ("--points-per-side", "32")
    own = ("tests/job/test_stages.py", "tests/benchmarks/test_recorded.py")
    tests = ("tests/masks/kernels", "tests/engine", "tests/model", *own)
    return [
        Step("tests", pytest(*tests, "-k", "kernels or cuda or gpu")),
        Step("parity-fp32", everything("demo", *cuda, "--precision", "fp32", *full, *slow), least=SAME),
        Step("parity-fp16", everything("demo", *cuda, "--precision", "fp16", *full, *slow)),
        Step("recall", program("recall", *cuda, "--scenes", "300"), least=AS_GOOD),
        Step("kernels", program("postprocess", *cuda, "--batches", "6")),
        *(Step(f"everything-{name}", everything(name, *cuda, *full, *slow)) for name in MODELS),
        Step("batches", program("batches", "--model", "vit_b", *cuda, *full, "--points-per-batch", *BATCHES)),
        Step("job", job("cuda", "inline")),
        Step("job-ray", job("cuda", "ray"), needs=("ray",)),
        *(
            Step(f"prompts-{name}", program("prompts", "--model", "vit_b", *cuda, "--precision", name))
            for name in PRECISIONS
        ),
        *(alone(f"{way}-{name}", name, way) for way in ("graphs", "compile") for name in MODELS),
        Step("engines", engines("engine.device=auto"), 20, TENSORRT),
        *(
            alone(f"tensorrt-{name}-{form}", name, "tensorrt", f"positions={form}", needs=TENSORRT)
            for form in ("written", "tiled")
            for name in MODELS
        ),
        alone("tensorrt-one-stream", "vit_b", "tensorrt", "max_aux_streams=0", needs=TENSORRT),
    ]


def tiny_steps() -> list[Step]:
    """The same programs, on the CPU, each as small as it can be."""
    cpu = ("--device", "cpu")
    few = ("--points-per-side", "4", "--images", "examples/chelsea.jpg", "--long-side", "128")
    ours = ("--repeat", "0", "--skip", "huggingface")
    return [
        Step("tests", pytest("tests/engine/test_preprocess.py", "tests/job/test_stages.py", "-k", "gpu")),
        Step("parity-fp32", everything("demo", *cpu, *few, *ours, "--trace-on-cpu"), least=SAME | COMPILED),
        Step("recall", program("recall", *cpu, "--scenes", "1", "--points-per-side", "4")),
        Step("kernels", program("postprocess", *cpu, "--prompts", "2", "--sizes", "80x60")),
        Step("batches", program("batches", *cpu, *few, "--points-per-batch", "16")),
        Step("job", job("cpu", "inline", "input.uri=examples/chelsea.jpg", "generator.points_per_side=4")),
        Step("prompts", program("prompts", *cpu, "--boxes", "4", "--choose", "single", *few[2:])),
        Step("engines", engines("--for", "8.9"), needs=("tensorrt_rtx",)),
    ]


def program(name: str, *arguments: str) -> tuple[str, ...]:
    return "-m", f"benchmarks.{name}", *arguments


def everything(model: str, *arguments: str) -> tuple[str, ...]:
    return program("everything", "--model", model, *arguments)


def alone(name: str, model: str, system: str, *tensorrt: str, needs: tuple[str, ...] = ()) -> Step:
    """One system that may take minutes to prepare, or fail, beside segment-anything and ours."""
    others = {"huggingface", "job", "graphs", "compile", "tensorrt"} - {system}
    skip = [part for other in sorted(others) for part in ("--skip", other)]
    command = everything(model, "--device", "cuda", "--precision", "fp16", "--points-per-side", "32", *skip)
    command += ("--tensorrt", *tensorrt) if tensorrt else ()
    return Step(name, command, 20, needs, {f"{system}_images_per_second": 0.0})


def pytest(*arguments: str) -> tuple[str, ...]:
    return "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, "-m", "not slow and not browser"


def job(device: str, executor: str, *settings: str) -> tuple[str, ...]:
    own = (f"engine.device={device}", f"run.executor={executor}", "output.uri={scratch}/output")
    return "-m", "sam_batch", "run", "configs/demo.yaml", *own, *settings


def engines(*arguments: str) -> tuple[str, ...]:
    return "-m", "sam_batch", "engine", "build", "configs/demo.yaml", "engine.tensorrt.folder={scratch}", *arguments


def describe(on_gpu: bool) -> dict[str, Any]:
    """What every line says of the machine. torch is asked in another process: here it would hold memory of the GPU.

    Raises:
        SystemExit: A GPU is wanted, and there is none.
    """
    device = f"{platform.machine()} CPU"
    driver = None
    if on_gpu:
        device = output_of(sys.executable, "-c", DEVICE)
        if not device:
            sys.exit("torch finds no GPU here; --tiny runs small steps on the CPU")
        driver = output_of("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    versions = {"python": platform.python_version(), "driver": driver}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {"device": device, "commit": output_of("git", "describe", "--always", "--dirty"), "versions": versions}


def output_of(*command: str) -> str | None:
    """What a program says; None where there is no such program, or it fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main())
