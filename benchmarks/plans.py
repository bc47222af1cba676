"""What TensorRT for RTX makes of the models' graphs, on a machine without a GPU: time, size, memory, fused attention.

Each model and precision has a process of its own, so that its peak of memory is its own: the graphs are exported, as
this package exports them for that library, and each is built for each compute capability. Weights are random but for
the demo's. Scratch is what the builder says that a plan needs while it runs. At the end one JSON line.

    python -m benchmarks.plans --models demo vit_b vit_l vit_h
"""

import argparse
import importlib
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from benchmarks.export import MAX_TOKENS, build, size
from benchmarks.harness.environment import environment
from benchmarks.harness.memory import peak_bytes
from benchmarks.harness.weights import BUILDERS
from sam_batch.config_engine import TensorRTConfig
from sam_batch.engine.onnx.export import PRECISIONS, export
from sam_batch.engine.onnx.graph_set import GraphSet
from sam_batch.engine.tensorrt.build import build_plan, options
from sam_batch.engine.tensorrt.flavour import RTX
from sam_batch.engine.tensorrt.host import find_target
from sam_batch.engine.tensorrt.plan_set import positions_for, profiles
from sam_batch.model.sam.family import SAM

Row = dict[str, Any]
CAPABILITIES = ("8.6", "8.9", "12.0")
HEADING = (
    "| model | precision | graph | ONNX MB | compute capability | build CPU s | plan MB | scratch MiB "
    "| attention fused / not |\n|---|---|---|---:|---|---:|---:|---:|---:|"
)


def measure(model: str, precision: str, capabilities: list[str], settings: TensorRTConfig) -> tuple[list[Row], Row]:
    """Rows of the table, one a graph and capability; and what exporting took, and all of it at most."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    positions = positions_for(settings, precision, RTX)
    about = {"model": model, "checkpoint_sha256": "", "precision": precision, "positions": positions}
    with tempfile.TemporaryDirectory() as temporary:
        folder, started = Path(temporary), time.process_time()
        graphs = export(build(model), SAM, **about, folder=folder, max_tokens=MAX_TOKENS)
        seconds = round(time.process_time() - started, 1)
        rows = list(built(graphs, folder, capabilities, settings))
    return rows, {"model": model, "precision": precision, "export_cpu_seconds": seconds, "peak_bytes": peak_bytes()}


def built(graphs: GraphSet, folder: Path, capabilities: list[str], settings: TensorRTConfig) -> Iterator[Row]:
    for name, shapes in profiles(graphs, settings).items():
        for capability in capabilities:
            started, quiet = time.process_time(), Progress(console=Console(quiet=True))
            target = find_target(RTX.name, capability)
            plan = build_plan(target, folder / f"{name}.onnx", shapes, options(settings.workspace_bytes), b"", quiet)
            assert plan.inside is not None
            yield {
                "model": graphs.model,
                "precision": graphs.precision,
                "graph": f"{name}, {graphs.positions}" if name == "encoder" else name,
                "onnx_bytes": size(folder, name),
                "capability": capability,
                "cpu_seconds": round(time.process_time() - started, 1),
                "bytes": plan.plan.nbytes,
                "scratch_bytes": plan.inside.scratch_bytes,
                "fused": plan.inside.fused_attention,
                "apart": plan.inside.softmax,
            }


def show(rows: list[Row]) -> Iterator[str]:
    """Lines of a Markdown table; capabilities for which a graph came out alike share one."""
    alike: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        plan = f"{row['bytes'] / 1e6:.1f}", f"{row['scratch_bytes'] / 2**20:.0f}", f"{row['fused']} / {row['apart']}"
        graph = row["model"], row["precision"], row["graph"], f"{row['onnx_bytes'] / 1e6:.1f}"
        alike.setdefault((*graph, *plan), []).append(row)
    for (*graph, megabytes, scratch, attention), some in alike.items():
        capabilities = ", ".join(row["capability"] for row in some)
        seconds = f"{max(row['cpu_seconds'] for row in some):.1f}"
        yield f"| {' | '.join((*graph, capabilities, seconds, megabytes, scratch, attention))} |"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["demo"], choices=list(BUILDERS))
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--for", nargs="+", dest="capabilities", default=list(CAPABILITIES), metavar="CAPABILITY")
    parser.add_argument("--max-images", type=int, default=1)
    parser.add_argument("--max-prompts", type=int, default=64)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    given = parse(argv)
    settings = TensorRTConfig(max_images=given.max_images, max_prompts=given.max_prompts)
    print(HEADING)
    plans: list[Row] = []
    processes: list[Row] = []
    for model in given.models:
        for precision in given.precisions:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                rows, process = pool.submit(measure, model, precision, given.capabilities, settings).result()
            print(*show(rows), sep="\n", flush=True)
            plans += rows
            processes.append(process)
    library = importlib.import_module(RTX.module).__version__
    header = {"benchmark": "plans", "library": f"{RTX.title} {library}", **environment(None)}
    print(json.dumps(header | {"processes": processes, "plans": plans}))


if __name__ == "__main__":
    main()
