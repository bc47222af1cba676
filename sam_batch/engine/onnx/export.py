"""A model's graphs as ONNX files in a folder, and the file beside them that says what they are.

The graphs are checked as they are written: by ONNX's own checker, and for what would make a compiler's life hard
(`FORBIDDEN`, sizes computed at run time). Whether their numbers are right is another module's question.

A folder is whole or refused: graphs come into it only when all of them are written, and `graphs.json`, which holds
their hashes, comes last.
"""

import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn

from sam_batch.engine.onnx.graph_set import (
    GRAPHS,
    MANIFEST,
    VERSION,
    GraphSet,
    graph_files,
    sha256_of_graph,
    write_manifest,
)
from sam_batch.errors import ConfigError, EngineError, OutputError
from sam_batch.model.family import Family, Graph, Positions

if TYPE_CHECKING:
    import onnx
    from torch.onnx import ONNXProgram

PRECISIONS = ("fp32", "fp16")
OPSETS = range(20, 24)  # Gelu came with 20; torch exports no more than 23
ATTENTION_OPSET = 23  # the first with the Attention operator
FORBIDDEN = frozenset({"NonZero", "ScatterND", "ScatterElements", "GatherND", "Einsum", "Loop", "If"})

_EXAMPLES = 3  # neither 1, which the exporter would make a constant, nor any other size of the graphs
_TEMPORARY = ".export-"
_LARGEST_FILE = 1 << 30  # bytes of weights in the .onnx file itself; protobuf's limit is twice that


def export(
    module: nn.Module,
    family: Family,
    *,
    model: str,
    checkpoint_sha256: str,
    precision: str,
    folder: Path,
    opset: int = 20,
    attention: bool = False,
    positions: Positions = "written",
    max_tokens: int | None = None,
) -> GraphSet:
    """Write a model's graphs and `graphs.json` into a folder; what it held of an earlier set is replaced.

    Args:
        module: float32, on the CPU, in eval mode; not changed.
        family: Its family.
        model: Its name.
        checkpoint_sha256: Of its file of weights.
        precision: fp32 or fp16.
        folder: Made if it is missing; nobody else may export into it meanwhile.
        opset: ONNX's version of operators, 20 to 23.
        attention: Use the Attention operator in the encoder; needs opset 23 and fp16.
        positions: How the encoder's attention over the whole image takes relative positions; see `GraphSet`.
        max_tokens: Also write the graph for prompts of any parts, of up to so many tokens each.

    Raises:
        ConfigError: A package is missing, the precision, the opset or the operator cannot be, or the family has no
            graphs.
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
    if attention and precision == "fp32":
        raise ConfigError(
            "engine.precision: TensorRT has no kernel for the Attention operator in fp32 and does not take it apart; "
            "set fp16, or leave --attention out"
        )
    graphs = family.graphs(module, precision, attention=attention, positions=positions, max_tokens=max_tokens)
    try:
        _write(graphs, folder, opset)
        written = GraphSet(
            version=VERSION,
            model=model,
            precision=precision,
            checkpoint_sha256=checkpoint_sha256,
            opset=opset,
            attention=attention,
            positions=positions,
            traits=family.traits(module),
            inputs={
                name: {given: shape for given, (shape, _) in graph.inputs.items()} for name, graph in graphs.items()
            },
            sha256={name: sha256_of_graph(folder, name) for name in graphs},
            scratch_bytes={name: graph.scratch_bytes for name, graph in graphs.items()},
        )
        write_manifest(written, folder)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written: {error.strerror or error}; check its disk and rights"
        ) from error
    return written


def _require_packages() -> None:
    """Only who exports needs them."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed; pip install 'sam-batch[tensorrt]'") from None


def _write(graphs: Mapping[str, Graph], folder: Path, opset: int) -> None:
    """Put the files of all graphs into the folder once all are made, in the place of those of an earlier set."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_TEMPORARY}*"):  # by an export that was killed
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=folder) as temporary:
        for name, graph in graphs.items():
            program = _program(graph, opset)
            _save(program, Path(temporary) / f"{name}.onnx")
            del program
        (folder / MANIFEST).unlink(missing_ok=True)  # first: it says that the others are whole
        for earlier in (path for name in GRAPHS for path in graph_files(folder, name)):
            earlier.unlink(missing_ok=True)
        for path in sorted(Path(temporary).iterdir()):
            path.replace(folder / path.name)


def _program(graph: Graph, opset: int) -> "ONNXProgram":
    """Trace one graph, on examples of its inputs."""
    shapes = [shape for shape, _ in graph.inputs.values()]
    free = {size: torch.export.Dim(size, min=1) for shape in shapes for size in shape if isinstance(size, str)}
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            graph.build().eval(),
            tuple(
                torch.zeros([_EXAMPLES if size in free else int(size) for size in shape], dtype=dtype)
                for shape, dtype in graph.inputs.values()
            ),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            opset_version=opset,
            dynamo=True,
            dynamic_shapes=tuple(
                {axis: free[size] for axis, size in enumerate(shape) if isinstance(size, str)} or None
                for shape in shapes
            ),
            verbose=False,
        )
    exported = cast("ONNXProgram", program)  # without dynamo there would be none
    _infer_free_sizes(exported)
    _forget_the_source(exported)
    return exported


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says of itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)  # in its own code
        # Several inputs are of one number of prompts, and only one of them can name it.
        warnings.filterwarnings("ignore", message=".*The axis name: prompts will not be used", category=UserWarning)
        yield


def _infer_free_sizes(program: "ONNXProgram") -> None:
    """Let each Reshape infer its one free size (-1), which torch before 2.14 reads from an input and concatenates."""
    import onnx_ir
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    for node in program.model.graph:
        shape = node.inputs[1].producer() if node.op_type == "Reshape" and node.inputs[1] else None
        if shape is None or shape.op_type != "Concat":
            continue
        sizes = [onnx_ir.convenience.get_const_tensor(size) if size else None for size in shape.inputs]
        if [size for size in sizes if size is None] == [None]:
            inferred = np.concatenate([[-1] if size is None else size.numpy() for size in sizes])
            constant = onnx_ir.val(f"{node.name}_shape", const_value=onnx_ir.tensor(inferred.astype(np.int64)))
            program.model.graph.register_initializer(constant)
            node.replace_input_with(1, constant)
    RemoveUnusedNodesPass()(program.model)


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
