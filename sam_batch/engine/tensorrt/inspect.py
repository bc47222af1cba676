"""What TensorRT made of a graph: layers, precisions, whether attention was fused, memory. For `engine build | inspect`.

A loaded engine is asked for it. Without a GPU there is none, but the builder's own log tells the same at the end of a
build.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sam_batch.engine.tensorrt.host import Host
from sam_batch.engine.tensorrt.run import load_plan

PRECISIONS = {"half": "fp16", "fp16": "fp16", "float": "fp32", "fp32": "fp32", "bf16": "bf16", "bfloat16": "bf16"}
BOOKKEEPING = frozenset({"signal", "wait", "shape_call"})  # types of layers that compute nothing

_LAYER = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<type>[^,]*), Inputs: .*?, Outputs: \[(?P<outputs>.*?)\], "
    r"TacticName: (?P<tactic>[^,]*), StreamId: .*?, Metadata: (?P<metadata>.*)$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Inspection:
    """A plan from inside.

    Attributes:
        graph: Its name.
        layers: That compute something, after fusion.
        precisions: Layers by the precision of their first output.
        fused_attention: Layers that hold a whole attention.
        softmax: Layers with the softmax of an attention that was not fused.
        scratch_bytes: Device memory while it runs.
    """

    graph: str
    layers: int
    precisions: Mapping[str, int]
    fused_attention: int
    softmax: int
    scratch_bytes: int

    def to_text(self) -> str:
        """For a person."""
        precisions = ", ".join(f"{count} {name}" for name, count in self.precisions.items())
        fused = f"attention fused in {self.fused_attention} layers, not fused in {self.softmax}"
        return (
            f"{self.graph}: {self.layers} layers ({precisions}); {fused}; {self.scratch_bytes / 2**20:.0f} MiB scratch"
        )


def inspect(host: Host, plan: bytes, graph: str) -> Inspection:
    """Load a plan and ask TensorRT about it.

    Args:
        host: The machine it was built for.
        plan: From `PlanStore.read`.
        graph: Its name.

    Raises:
        EngineError: TensorRT refuses it.
    """
    engine = load_plan(host, plan, graph)
    inspector = engine.create_engine_inspector()
    told = json.loads(inspector.get_engine_information(host.trt.LayerInformationFormat.JSON))
    layers = [layer if isinstance(layer, dict) else {"Name": layer} for layer in told.get("Layers", [])]
    return summarise(graph, layers, engine.device_memory_size_v2)


def read_log(message: str) -> Iterator[dict[str, Any]]:
    """The layers of the message that ends a builder's log, in the inspector's form."""
    for found in _LAYER.finditer(message):
        kind = re.search(r"Datatype: (\w+)", found["outputs"])
        yield {
            "Name": found["name"],
            "LayerType": found["type"],
            "TacticName": found["tactic"],
            "Metadata": found["metadata"],
            "Outputs": [{"Datatype": kind[1]}] if kind else [],
        }


def summarise(graph: str, layers: Sequence[Mapping[str, Any]], scratch_bytes: int) -> Inspection:
    """Layers in numbers; their form differs between TensorRT 10, 11 and RTX."""
    computing = [layer for layer in layers if layer.get("LayerType") not in BOOKKEEPING]
    fused = [_is_fused_attention(layer) for layer in computing]
    return Inspection(
        graph=graph,
        layers=len(computing),
        precisions=dict(Counter(map(_precision, computing)).most_common()),
        fused_attention=sum(fused),
        softmax=sum(_has_softmax(layer) and not whole for layer, whole in zip(computing, fused, strict=True)),
        scratch_bytes=scratch_bytes,
    )


def _is_fused_attention(layer: Mapping[str, Any]) -> bool:
    """By the names that TensorRT gives such kernels: `_gemm_mha_v2`, `fmha`, `Attention`."""
    told = [str(layer.get(key, "")).lower() for key in ("Name", "LayerType", "TacticName")]
    return any("mha" in one for one in told) or "attention" in told[1]


def _has_softmax(layer: Mapping[str, Any]) -> bool:
    """By its type, or by the operators of ONNX that it was made of: the name of a generated kernel does not tell."""
    return any("softmax" in str(layer.get(key, "")).lower() for key in ("LayerType", "Metadata"))


def _precision(layer: Mapping[str, Any]) -> str:
    outputs = layer.get("Outputs") or [{}]
    first = outputs[0] if isinstance(outputs[0], dict) else {}
    text = str(first.get("DataType", first.get("Datatype", first.get("Format/Datatype", "")))).lower()
    return next((name for word, name in PRECISIONS.items() if word in text.split()), "other")
