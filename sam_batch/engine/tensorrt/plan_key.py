"""What a TensorRT plan depends on. Values only; imports neither TensorRT nor torch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TypeAlias

Shape: TypeAlias = tuple[int, ...]
Profile: TypeAlias = tuple[Shape, Shape, Shape]  # smallest, most usual, largest


@dataclass(frozen=True, slots=True)
class Machine:
    """What binds a plan to where it was built.

    Attributes:
        tensorrt: Full version.
        cuda: Major version of CUDA that this TensorRT was built for.
        platform: System and processor.
        gpu: Its name, as the driver tells.
        compute_capability: Such as 9.0.
        flavour: Which library that TensorRT is: classic or rtx.
        driver: Version of the GPU's driver.
    """

    tensorrt: str
    cuda: str
    platform: str
    gpu: str
    compute_capability: str
    flavour: str = "classic"
    driver: str = ""


@dataclass(frozen=True, slots=True)
class PlanKey:
    """Everything a plan depends on.

    Attributes:
        graph: encoder, score, finish or prompted.
        model: demo, vit_b, vit_l or vit_h.
        precision: fp32 or fp16.
        checkpoint_sha256: Of the weights.
        onnx_sha256: Of the graph with its weights.
        machine: Where it may run, as its flavour binds it; what it does not depend on is empty.
        profiles: For each input with a free size, its smallest, most usual and largest shape.
        options: Of the builder.
    """

    graph: str
    model: str
    precision: str
    checkpoint_sha256: str
    onnx_sha256: str
    machine: Machine
    profiles: Mapping[str, Profile]
    options: Mapping[str, int | None]

    @property
    def name(self) -> str:
        """Of the plan's files, without extension; no other key has it."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{self.model}-{self.precision}-{self.graph}-{digest[:16]}"
