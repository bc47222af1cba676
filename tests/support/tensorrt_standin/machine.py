"""A strict stand-in for `tensorrt`: its real bindings where they work without the library, imitations elsewhere.

Loggers, enumerations and dimensions are NVIDIA's own. Builder, parser, runtime and what they return are imitated, as
strictly as `imitation` says. It parses with onnx.checker and runs with ONNX Runtime on raw CPU pointers. So it shows
that the API is used as it is; of fusion, numerics, memory and speed on a GPU it shows nothing. What it shares with the
real library is held to that by tests/engine/tensorrt/test_standin.py.
"""

from types import ModuleType, SimpleNamespace
from typing import Any

from sam_batch.engine.tensorrt.host import Host, host_of
from support.tensorrt_standin.builder import Builder, OnnxParser
from support.tensorrt_standin.gpu import CpuGpu
from support.tensorrt_standin.imitation import Imitation, flavour_of
from support.tensorrt_standin.runtime import Runtime

IMITATED = {imitation.of: imitation for imitation in (Builder, OnnxParser, Runtime)}


def stand_in(real: ModuleType) -> Any:
    """The module that takes the place of `tensorrt`."""
    Imitation.real = real
    names = {name: getattr(real, name) for name in dir(real) if not name.startswith("_")}
    return SimpleNamespace(**(names | IMITATED), __version__=real.__version__)


def host(real: ModuleType, gpu: CpuGpu | None = None) -> Host:
    """A machine with the stand-in."""
    return host_of(flavour_of(real), stand_in(real), gpu or CpuGpu(), cuda="13")
