import pytest
from rich.console import Console
from rich.progress import Progress
from support.little_graphs import write_onnx

from sam_batch.engine.tensorrt.build import build_plan, options
from sam_batch.engine.tensorrt.inspect import inspect, read_log, summarise
from sam_batch.errors import EngineError

TEN = {
    "Layers": [
        {"Name": "conv", "LayerType": "Convolution", "Outputs": [{"Format/Datatype": "Row major linear FP16"}]},
        {"Name": "_gemm_mha_v2", "LayerType": "kgen", "Outputs": [{"Format/Datatype": "Row major linear FP16"}]},
        {"Name": "norm", "LayerType": "Normalization", "Outputs": [{"Format/Datatype": "Row major linear FP32"}]},
        {"Name": "softmax_3", "LayerType": "SoftMax", "Outputs": [{"Format/Datatype": "Row major linear FP16"}]},
    ],
    "Bindings": ["images"],
}
ELEVEN = {
    "Layers": [
        {"Name": "conv", "LayerType": "Convolution", "Outputs": [{"Format": "Linear", "DataType": "Half"}]},
        {"Name": "block", "LayerType": "kgen", "TacticName": "sm90_fmha", "Outputs": [{"DataType": "Half"}]},
        {"Name": "norm", "LayerType": "Normalization", "Outputs": [{"Format": "Linear", "DataType": "Float"}]},
        {"Name": "softmax_3", "LayerType": "SoftMax", "Outputs": [{"Format": "Linear", "DataType": "Half"}]},
    ],
    "I/O Tensors": ["images"],
}


@pytest.mark.parametrize("told", [TEN, ELEVEN], ids=["TensorRT 10", "TensorRT 11"])
def test_layers_precisions_and_fusion_are_counted(told):
    found = summarise("encoder", told["Layers"], 3 << 20)
    assert (found.layers, found.precisions) == (4, {"fp16": 3, "fp32": 1})
    assert (found.fused_attention, found.softmax) == (1, 1)
    text = "encoder: 4 layers (3 fp16, 1 fp32); attention fused in 1 layers, not fused in 1; 3 MiB scratch"
    assert found.to_text() == text


def test_a_plan_is_asked_through_the_library(host, tmp_path):
    onnx = write_onnx(tmp_path / "little.onnx")
    profiles = {"x": ((1, 4), (8, 4), (8, 4))}
    built = build_plan(host, onnx, profiles, options(1 << 30), b"", Progress(console=Console(quiet=True)))
    assert inspect(host, bytes(built.plan), "little").layers == 1
    with pytest.raises(EngineError, match="does not load"):
        inspect(host, b"junk", "little")


def test_what_generated_kernels_do_and_what_computes_nothing_is_told_apart():
    """As TensorRT for RTX ends its log of a build."""
    lines = [
        "Name: __mye308, LayerType: shape_call, Inputs: [], Constants: [], Outputs: [], TacticName: , StreamId: 0, "
        "Metadata: ",
        "Name: sig, LayerType: signal, Inputs: [], Constants: [], Outputs: [], TacticName: , StreamId: 1, Metadata: ",
        *(
            f"Name: {name}, LayerType: kgen, Inputs: [ {{ Name: q, Dimensions: [-1,64] }}], Constants: [], "
            f"Outputs: [ {{ Name: y, Datatype: {kind}, Format: (Linear) }}], TacticName: {name}_0x1, StreamId: 0, "
            f"Metadata: [ONNX Layer: node_mm]\x1f[ONNX Layer: {node}]"
            for name, kind, node in (
                ("_gemm_mha_v2_myl0_4", "Half", "node_softmax_1"),
                ("__myl_ReshMaxrSubExpSumDivMul_myl0_7", "Float", "node_softmax_2"),
                ("__myl_Move_myl0_5", "Half", "node_matmul"),
            )
        ),
    ]
    found = summarise("score", list(read_log("\n".join(["Layers:", *lines]))), 1 << 20)
    assert (found.layers, found.precisions) == (3, {"fp16": 2, "fp32": 1})
    assert (found.fused_attention, found.softmax) == (1, 1)


def test_the_log_of_a_build_and_the_engine_tell_of_the_same_layers(host, tmp_path):
    onnx = write_onnx(tmp_path / "little.onnx")
    profiles = {"x": ((1, 4), (8, 4), (8, 4))}
    built = build_plan(host, onnx, profiles, options(None), b"", Progress(console=Console(quiet=True)))
    assert (built.inside.graph, built.inside.layers) == ("little", inspect(host, bytes(built.plan), "little").layers)
