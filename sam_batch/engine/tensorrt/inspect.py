"""What TensorRT made of a graph: layers, precisions, whether attention was fused, memory. For `engine inspect`."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sam_batch.engine.tensorrt.host import Host
from sam_batch.engine.tensorrt.run import load_plan

PRECISIONS = {"half": "fp16", "fp16": "fp16", "float": "fp32", "fp32": "fp32", "bf16": "bf16", "bfloat16": "bf16"}


@dataclass(frozen=True, slots=True)
class Inspection:
    """A plan from inside.

    Attributes:
        graph: Its name.
        layers: How many, after fusion.
        precisions: Layers by the precision of their first output.
        fused_attention: Layers that hold a whole attention.
        softmax: Layers that do nothing but a softmax: attention that was not fused.
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
        host: The machine it was built on.
        plan: From `PlanStore.read`.
        graph: Its name.

    Raises:
        EngineError: TensorRT refuses it.
    """
    engine = load_plan(host, plan, graph)
    inspector = engine.create_engine_inspector()
    told = json.loads(inspector.get_engine_information(host.trt.LayerInformationFormat.JSON))
    return summarise(graph, told, engine.device_memory_size_v2)


def summarise(graph: str, told: Mapping[str, Any], scratch_bytes: int) -> Inspection:
    """The inspector's answer in numbers; its form differs between TensorRT 10 and 11."""
    layers = [one if isinstance(one, dict) else {"Name": one} for one in told.get("Layers", [])]
    fused = [_is_fused_attention(layer) for layer in layers]
    softmax = ["softmax" in str(layer.get("LayerType", layer.get("Name"))).lower() for layer in layers]
    return Inspection(
        graph=graph,
        layers=len(layers),
        precisions=dict(Counter(map(_precision, layers)).most_common()),
        fused_attention=sum(fused),
        softmax=sum(one and not whole for one, whole in zip(softmax, fused, strict=True)),
        scratch_bytes=scratch_bytes,
    )


def _is_fused_attention(layer: Mapping[str, Any]) -> bool:
    """By the names that TensorRT gives such kernels: `_gemm_mha_v2`, `fmha`, `Attention`."""
    told = [str(layer.get(key, "")).lower() for key in ("Name", "LayerType", "TacticName")]
    return any("mha" in one for one in told) or "attention" in told[1]


def _precision(layer: Mapping[str, Any]) -> str:
    outputs = layer.get("Outputs") or [{}]
    first = outputs[0] if isinstance(outputs[0], dict) else {}
    text = str(first.get("DataType", first.get("Datatype", first.get("Format/Datatype", "")))).lower()
    return next((name for word, name in PRECISIONS.items() if word in text.split()), "other")
