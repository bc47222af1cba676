"""ONNX files of a few nodes."""

from pathlib import Path

import numpy as np
import onnx


def write_onnx(path: Path, operator: str = "MatMul") -> Path:
    """A little graph: `x` (rows, 4) times random weights is `y` (rows, 3)."""
    info, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    weights = onnx.numpy_helper.from_array(np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32), "w")
    node = onnx.helper.make_node(operator, ["x", "w"], ["y"], name=f"node_{operator}")
    graph = onnx.helper.make_graph(
        [node], "little", [info("x", kind, ["rows", 4])], [info("y", kind, ["rows", 3])], [weights]
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def write_attention(path: Path, *, half: bool, cells: int = 64, operator: bool = False) -> Path:
    """q, k and v of (n, 2, cells, 64) to an attention that a compiler may fuse, in parts or as ONNX's operator."""
    kind = onnx.TensorProto.FLOAT16 if half else onnx.TensorProto.FLOAT
    node, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        node("Transpose", ["k"], ["turned"], perm=[0, 1, 3, 2], name="node_transpose"),
        node("MatMul", ["q", "turned"], ["logits"], name="node_matmul"),
        node("Softmax", ["logits"], ["weights"], axis=-1, name="node_softmax"),
        node("MatMul", ["weights", "v"], ["y"], name="node_matmul_1"),
    ]
    if operator:
        nodes = [node("Attention", ["q", "k", "v"], ["y"], name="node_attention")]
    inputs, outputs = ([info(name, kind, ["n", 2, cells, 64]) for name in names] for names in ("qkv", "y"))
    graph = onnx.helper.make_graph(nodes, "attention", inputs, outputs)
    opset = onnx.helper.make_opsetid("", 23 if operator else 20)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=11 if operator else 10), path)
    return path
