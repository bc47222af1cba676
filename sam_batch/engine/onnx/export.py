"""SAM as four ONNX graphs in a folder, and the file beside them that says what they are.

The graphs are checked as they are written: by ONNX's own checker, and for what would make a compiler's life hard
(`FORBIDDEN`, sizes computed at run time). Whether their numbers are right is another module's question.

A folder is whole or refused: graphs come into it only when all of them are written, and `graphs.json`, which holds
their hashes, comes last.
"""

import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn

from sam_batch.engine.onnx.graph_set import (
    GRAPHS,
    MANIFEST,
    GraphSet,
    graph_files,
    sha256_of_graph,
    write_manifest,
)
from sam_batch.errors import ConfigError, EngineError, OutputError
from sam_batch.model.precision import DTYPES
from sam_batch.model.sam.decoder_graphs import FinishGraph, ScoreGraph
from sam_batch.model.sam.encoder_graph import EncoderGraph

if TYPE_CHECKING:
    import onnx
    from torch.onnx import ONNXProgram

PRECISIONS = ("fp32", "fp16")
TOKENS = 2  # of a point with the padding that segment-anything gives it, or of a box
OPSETS = range(20, 24)  # Gelu came with 20; torch exports no more than 23
ATTENTION_OPSET = 23  # the first with the Attention operator
FORBIDDEN = frozenset({"NonZero", "ScatterND", "ScatterElements", "GatherND", "Einsum", "Loop", "If"})

_EXAMPLES = 3  # neither 1, which the exporter would make a constant, nor any other size of the graphs
_TEMPORARY = ".export-"
_LARGEST_FILE = 1 << 30  # bytes of weights in the .onnx file itself; protobuf's limit is twice that
_NAMES = {
    "encoder": (("images",), ("embeddings",)),
    "score": (("embedding", "tokens"), ("iou", "mask_tokens", "cells")),
    "score_masked": (("embedding", "tokens", "masks"), ("iou", "mask_tokens", "cells")),
    "finish": (("mask_tokens", "cells"), ("logits",)),
}


def export(
    sam: Sam,
    *,
    model: str,
    checkpoint_sha256: str,
    precision: str,
    folder: Path,
    opset: int = 20,
    attention: bool = False,
) -> GraphSet:
    """Write the four graphs of a model and `graphs.json` into a folder; what it held of an earlier set is replaced.

    Args:
        sam: float32, on the CPU, in eval mode; not changed.
        model: Its name.
        checkpoint_sha256: Of its file of weights.
        precision: fp32 or fp16.
        folder: Made if it is missing; nobody else may export into it meanwhile.
        opset: ONNX's version of operators, 20 to 23.
        attention: Use the Attention operator in the encoder; needs opset 23.

    Raises:
        ConfigError: A package is missing, or the precision or the opset cannot be.
        OutputError: The folder cannot be written.
        EngineError: This version of torch exports what an engine could not be built from.
    """
    _require_packages()
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision} is unknown; use {' or '.join(PRECISIONS)}")
    if opset not in OPSETS:
        raise ConfigError(f"opset {opset} is not supported; use {OPSETS.start} to {OPSETS.stop - 1}")
    if attention and opset < ATTENTION_OPSET:
        raise ConfigError(f"opset {opset} has no Attention operator; use opset {ATTENTION_OPSET} or leave it out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{_TEMPORARY}*"):  # by an export that was killed
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=folder) as temporary:
            for name in GRAPHS:
                program = _program(sam, name, DTYPES[precision], opset, attention)
                _save(program, Path(temporary) / f"{name}.onnx")
                del program
            _remove_graphs(folder)
            for path in sorted(Path(temporary).iterdir()):
                path.replace(folder / path.name)
        graphs = _describe(sam, model, checkpoint_sha256, precision, opset, attention, folder)
        write_manifest(graphs, folder)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written: {error.strerror or error}; check its disk and rights"
        ) from error
    return graphs


def _require_packages() -> None:
    """Only who exports needs them."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed; pip install 'sam-batch[tensorrt]'") from None


def _program(sam: Sam, name: str, dtype: torch.dtype, opset: int, attention: bool) -> "ONNXProgram":
    """Trace one graph, on examples whose first sizes are free."""
    inputs, outputs = _NAMES[name]
    examples = _examples(sam, dtype)
    many = torch.export.Dim("images" if name == "encoder" else "prompts", min=1)
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            _module(sam, name, dtype, attention).eval(),
            tuple(examples[one] for one in inputs),
            input_names=inputs,
            output_names=outputs,
            opset_version=opset,
            dynamo=True,
            dynamic_shapes=tuple(None if one == "embedding" else {0: many} for one in inputs),
            verbose=False,
        )
    exported = cast("ONNXProgram", program)  # without dynamo there would be none
    _forget_the_source(exported)
    return exported


def _module(sam: Sam, name: str, dtype: torch.dtype, attention: bool) -> nn.Module:
    builders: dict[str, Callable[[], nn.Module]] = {
        "encoder": lambda: EncoderGraph(sam, dtype, operator=attention),
        "score": lambda: ScoreGraph(sam, dtype, tokens=TOKENS, masked=False),
        "score_masked": lambda: ScoreGraph(sam, dtype, tokens=TOKENS, masked=True),
        "finish": lambda: FinishGraph(sam, dtype),
    }
    return builders[name]()


def _examples(sam: Sam, dtype: torch.dtype) -> dict[str, Tensor]:
    """Every input, by its name."""
    side, channels = sam.prompt_encoder.image_embedding_size[0], sam.prompt_encoder.embed_dim
    image_side = sam.image_encoder.img_size
    masks = sam.mask_decoder.num_mask_tokens
    return {
        "images": torch.zeros(_EXAMPLES, 3, image_side, image_side),
        "embedding": torch.zeros(1, channels, side, side, dtype=dtype),
        "tokens": torch.zeros(_EXAMPLES, TOKENS, channels),
        "masks": torch.zeros(_EXAMPLES, 1, 4 * side, 4 * side),
        "mask_tokens": torch.zeros(_EXAMPLES, masks, channels),
        "cells": torch.zeros(_EXAMPLES, side * side, channels, dtype=dtype),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says of itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)  # in its own code
        # Several inputs are of one number of prompts, and only one of them can name it.
        warnings.filterwarnings("ignore", message=".*The axis name: prompts will not be used", category=UserWarning)
        yield


def _forget_the_source(program: "ONNXProgram") -> None:
    """Drop the lines of code each node came from: names of this machine's folders, and different on another."""
    program.model.metadata_props.clear()
    program.model.graph.metadata_props.clear()
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*program.model.graph.inputs, *program.model.graph.initializers.values()):
        value.metadata_props.clear()


def _save(program: "ONNXProgram", path: Path) -> None:
    weights = (value.const_value for value in program.model.graph.initializers.values())
    program.save(path, external_data=sum(one.nbytes for one in weights if one is not None) > _LARGEST_FILE)
    _check(path)


def _check(path: Path) -> None:
    """Refuse a graph that ONNX does not accept, or that an engine could not be built from."""
    import onnx

    onnx.checker.check_model(str(path), full_check=False)
    faults = list(graph_faults(onnx.load(str(path), load_external_data=False)))
    if faults:
        raise EngineError(
            f"torch {torch.__version__} exports {path.stem} with {', '.join(faults)}; use another version"
        )


def graph_faults(model: "onnx.ModelProto") -> Iterator[str]:
    """What in a graph has sizes that depend on data, or are computed as it runs."""
    constant = {one.name for one in model.graph.initializer}
    constant |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    for node in model.graph.node:
        if node.op_type in FORBIDDEN:
            yield f"{node.op_type} ({node.name})"
        elif node.op_type in {"Reshape", "Expand"} and node.input[1] not in constant:
            yield f"{node.op_type} to a computed shape ({node.name})"


def _describe(
    sam: Sam, model: str, checkpoint_sha256: str, precision: str, opset: int, attention: bool, folder: Path
) -> GraphSet:
    red, green, blue = sam.pixel_mean.flatten().tolist()
    red_std, green_std, blue_std = sam.pixel_std.flatten().tolist()
    return GraphSet(
        version=1,
        model=model,
        precision=precision,
        checkpoint_sha256=checkpoint_sha256,
        opset=opset,
        attention=attention,
        image_side=sam.image_encoder.img_size,
        mask_side=sam.prompt_encoder.mask_input_size[0],
        channels=sam.prompt_encoder.embed_dim,
        cells=sam.prompt_encoder.image_embedding_size[0],
        tokens=TOKENS,
        pixel_mean=(red, green, blue),
        pixel_std=(red_std, green_std, blue_std),
        mask_threshold=sam.mask_threshold,
        sha256={name: sha256_of_graph(folder, name) for name in GRAPHS},
    )


def _remove_graphs(folder: Path) -> None:
    """What there is of an earlier set; first the file that says that it is whole."""
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in GRAPHS:
        for path in graph_files(folder, name):
            path.unlink(missing_ok=True)
