"""What ONNX export makes of the models: sizes, nodes, time, memory, and how far the graphs are from segment-anything.

Each model and precision has a process of its own, so that peaks of memory are theirs. Weights are random but for the
demo's; positions, which start as zeros, get values. ONNX Runtime on the CPU runs the graphs against segment-anything
in float32: one image, and 64 points, boxes, and boxes with masks. An error is the largest difference, where the
reference has a root mean square of one. ONNX Runtime computes half precision in float32 between the operators' results,
so what a GPU makes of the same graph may differ more. At the end one JSON line.

    python benchmarks/export.py --models demo vit_b --precisions fp32 fp16
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from segment_anything.modeling import Sam
from torch import Tensor

from benchmarks.harness.environment import environment
from benchmarks.harness.memory import peak_bytes
from benchmarks.harness.weights import BUILDERS
from sam_batch.engine.onnx.export import export
from sam_batch.engine.onnx.graph_set import GRAPHS, graph_files
from sam_batch.model.load import load_model
from sam_batch.model.sam.family import SAM

PROMPTS, MAX_TOKENS = 64, 19


def build(model: str) -> Sam:
    if model == "demo":
        return load_model("demo")
    sam = BUILDERS[model]().eval()
    with torch.no_grad():
        for name, weight in sam.image_encoder.named_parameters():
            if name.endswith(("pos_embed", "rel_pos_h", "rel_pos_w")):
                weight.normal_(std=0.05)
    return sam


def measure(model: str, precision: str, opset: int, attention: bool, parity: bool) -> dict[str, Any]:
    """One row of the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sam = build(model)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        started, started_cpu = time.perf_counter(), time.process_time()
        options = {"precision": precision, "opset": opset, "attention": attention}
        export(sam, SAM, model=model, checkpoint_sha256="", folder=folder, max_tokens=MAX_TOKENS, **options)
        spent = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - started_cpu}
        row = {"model": model, **options, "peak_bytes": peak_bytes()}
        row |= {name: round(value, 1) for name, value in spent.items()}
        row |= {"bytes": {name: size(folder, name) for name in GRAPHS}}
        row |= {"nodes": {name: nodes(folder, name) for name in GRAPHS}}
        return row | ({"errors": errors(sam, folder)} if parity else {})


def size(folder: Path, name: str) -> int:
    return sum(path.stat().st_size for path in graph_files(folder, name))


def nodes(folder: Path, name: str) -> int:
    return len(onnx.load(folder / f"{name}.onnx", load_external_data=False).graph.node)


@torch.no_grad()
def errors(sam: Sam, folder: Path) -> dict[str, float]:
    """Of the embedding, and of the decoder's halves in a row, the worst of all kinds of prompts."""
    side = sam.image_encoder.img_size
    images = torch.randn(1, 3, side, side)
    embedding = sam.image_encoder(images)
    del sam.image_encoder  # the memory is ONNX Runtime's now
    (found,) = run(folder, "encoder", images)
    of_decoder = [decoder_errors(sam, folder, embedding, *prompts) for prompts in every_kind(sam, side)]
    iou, logits = (max(pair) for pair in zip(*of_decoder, strict=True))
    return {"embeddings": error(found, embedding), "iou": iou, "logits": logits}


def every_kind(sam: Sam, side: int) -> list[tuple[Tensor, Tensor, Tensor | None]]:
    """Sparse, dense, and masks of points, boxes, and boxes with masks."""
    points = side * torch.rand(PROMPTS, 1, 2), torch.ones(PROMPTS, 1)
    boxes = (side * torch.rand(PROMPTS, 2, 2)).sort(dim=1).values.flatten(1)
    masks = 4 * torch.randn(PROMPTS, 1, *sam.prompt_encoder.mask_input_size)
    encode = sam.prompt_encoder
    return [
        (*encode(points, None, None), None),
        (*encode(None, boxes, None), None),
        (*encode(None, boxes, masks), masks),
    ]


def decoder_errors(
    sam: Sam, folder: Path, embedding: Tensor, sparse: Tensor, dense: Tensor, masks: Tensor | None
) -> tuple[float, float]:
    wanted_logits, wanted_iou = sam.mask_decoder.predict_masks(
        embedding, sam.prompt_encoder.get_dense_pe(), sparse, dense
    )
    given = (embedding, sparse) if masks is None else (embedding, *filled(sparse, masks))
    iou, tokens, cells = run(folder, "score" if masks is None else "prompted", *given)
    (logits,) = run(folder, "finish", tokens, cells)
    return error(iou, wanted_iou), error(logits, wanted_logits)


def filled(sparse: Tensor, masks: Tensor) -> tuple[Tensor, ...]:
    """Two tokens of each prompt among as many as the graph takes."""
    filling = torch.ones(len(sparse), MAX_TOKENS)
    filling[:, : sparse.shape[1]] = 0
    tokens = torch.nn.functional.pad(sparse, (0, 0, 0, MAX_TOKENS - sparse.shape[1]))
    return tokens, filling, masks, torch.zeros(len(sparse), 1, 1, 1)


def error(found: Tensor, wanted: Tensor) -> float:
    return float(f"{(found.float() - wanted).abs().max() / wanted.square().mean().sqrt():.2g}")


def run(folder: Path, name: str, *inputs: Tensor) -> list[Tensor]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_prepacking", "1")
    session = onnxruntime.InferenceSession(folder / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
    types = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}
    arrays = {
        one.name: value.to(types[one.type]).numpy() for one, value in zip(session.get_inputs(), inputs, strict=True)
    }
    return [torch.from_numpy(output) for output in session.run(None, arrays)]


def show(row: dict[str, Any]) -> str:
    """A row of a Markdown table."""
    decoder = sum(row["bytes"][name] for name in GRAPHS[1:])
    cells = [row["model"], row["precision"], str(row["opset"]) + (", Attention" if row["attention"] else "")]
    cells += [f"{row['bytes']['encoder'] / 1e6:.1f}", f"{decoder / 1e6:.1f}"]
    cells += [" / ".join(str(row["nodes"][name]) for name in GRAPHS)]
    cells += [f"{row['cpu_seconds']:.0f}", f"{row['peak_bytes'] / 1e9:.1f}"]
    cells += [f"{value:.1e}" for value in row.get("errors", {}).values()]
    return f"| {' | '.join(cells)} |"


HEADING = (
    "| model | precision | opset | encoder MB | decoder MB | nodes: encoder / score / finish / prompted "
    "| CPU s | peak GB | embedding error | IoU error | logit error |\n" + "|---" * 11 + "|"
)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["demo"], choices=list(BUILDERS))
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16"], choices=["fp32", "fp16"])
    parser.add_argument("--opset", type=int, default=20)
    parser.add_argument("--attention", action="store_true", help="the Attention operator in the encoder; opset 23")
    parser.add_argument("--no-parity", dest="parity", action="store_false", help="run nothing, compare nothing")
    given = parser.parse_args(arguments)
    print(HEADING)
    rows = []
    for model in given.models:
        for precision in given.precisions:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                one = pool.submit(measure, model, precision, given.opset, given.attention, given.parity).result()
            rows.append(one)
            print(show(one), flush=True)
    print(json.dumps({"benchmark": "export", **environment(None), "rows": rows}))


if __name__ == "__main__":
    main()
