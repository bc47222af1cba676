import pytest
from rich.console import Console
from rich.progress import Progress
from support.tensorrt_standin import write_onnx

from sam_batch.engine.tensorrt.build import build_plan, options
from sam_batch.engine.tensorrt.inspect import inspect, summarise
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
    found = summarise("encoder", told, 3 << 20)
    assert (found.layers, found.precisions) == (4, {"fp16": 3, "fp32": 1})
    assert (found.fused_attention, found.softmax) == (1, 1)
    text = "encoder: 4 layers (3 fp16, 1 fp32); attention fused in 1 layers, not fused in 1; 3 MiB scratch"
    assert found.to_text() == text


def test_layers_that_are_only_named_are_still_counted():
    assert summarise("encoder", {"Layers": ["conv", "softmax"]}, 0).layers == 2


def test_a_plan_is_asked_through_the_library(host, tmp_path):
    onnx = write_onnx(tmp_path / "little.onnx")
    profiles = {"x": ((1, 4), (8, 4), (8, 4))}
    built = build_plan(host, onnx, profiles, options(1 << 30), b"", Progress(console=Console(quiet=True)))
    assert inspect(host, built.plan, "little").layers == 1
    with pytest.raises(EngineError, match="does not load"):
        inspect(host, b"junk", "little")


def test_a_machine_without_a_driver_is_an_error(host, monkeypatch):
    def nothing(logger):
        raise TypeError("factory function returned nullptr")

    monkeypatch.setattr(host.trt, "Runtime", nothing)
    with pytest.raises(EngineError, match="starts no runtime"):
        inspect(host, b"plan", "little")
