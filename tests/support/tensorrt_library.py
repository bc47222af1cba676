"""TensorRT for RTX itself: its parser and builder need no GPU, so here nothing is imitated."""

import importlib
import importlib.util
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from sam_batch.engine.tensorrt.build import BuiltPlan, build_plan, options
from sam_batch.engine.tensorrt.flavour import RTX
from sam_batch.engine.tensorrt.host import Target
from sam_batch.engine.tensorrt.plan_key import Machine, Profile

needs_library = pytest.mark.skipif(
    importlib.util.find_spec(RTX.module) is None, reason="there is no wheel of TensorRT for RTX for this machine"
)


def target(capability: str = "8.9") -> Target:
    """GPUs of a compute capability."""
    trt = importlib.import_module(RTX.module)
    return Target(RTX, trt, Machine(trt.__version__, "13", "", "", capability, RTX.name))


def build(
    onnx: Path,
    profiles: dict[str, Profile],
    *,
    capability: str = "8.9",
    workspace_bytes: int | None = None,
    max_aux_streams: int | None = None,
) -> BuiltPlan:
    """A plan, as the package builds it."""
    quiet = Progress(console=Console(quiet=True))
    how = options(workspace_bytes, max_aux_streams)
    return build_plan(target(capability), onnx, profiles, how, b"", quiet)


def attention_profiles(largest: int, cells: int = 64) -> dict[str, Profile]:
    shape = (largest, 2, cells, 64)
    return dict.fromkeys("qkv", ((1, *shape[1:]), shape, shape))
