"""The two TensorRT libraries and in what they differ: TensorRT, called classic here, and TensorRT for RTX.

One code path serves both: their names are the same, and what it must know of the one that is installed, it asks here.
Classic tunes a plan on the GPU that will run it. RTX makes a plan for a compute capability, on a machine without a GPU
if need be, and compiles it on the user's GPU when it first runs; what it has compiled can be kept. This module imports
neither, and no torch.
"""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sam_batch.engine.tensorrt.plan_key import Machine
from sam_batch.errors import ConfigError, EngineError

CUDA_MAJORS = ("12", "13", "14")  # for which there are, or may be, packages


class Contexts:
    """Makes the execution contexts of an engine, which run it on memory of the caller's."""

    def __init__(self, trt: Any, engine: Any) -> None:
        self._engine = engine
        self._strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED

    def create(self) -> Any:
        """A context, or None where TensorRT makes none."""
        return self._engine.create_execution_context(self._strategy)

    def can_be_recorded(self, context: Any, stream: int) -> bool:
        """Whether a run of a context on the stream of that handle can become a CUDA graph."""
        return True

    def compiled(self) -> bytes:
        """What was compiled for this GPU so far, for the next process; empty if there is nothing."""
        return b""


class RtxContexts(Contexts):
    """The same of TensorRT for RTX, which compiles kernels for shapes as they come.

    Args:
        trt: The module.
        engine: Of it.
        compiled: By an earlier process; what another GPU or driver compiled, TensorRT leaves aside.

    Raises:
        EngineError: It takes no cache.
    """

    def __init__(self, trt: Any, engine: Any, compiled: bytes) -> None:
        super().__init__(trt, engine)
        self._config = engine.create_runtime_config()
        self._config.set_execution_context_allocation_strategy(self._strategy)
        # Lazily, a recording would for ever hold the slow kernels that serve until the right ones are compiled.
        self._config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        self._cache = self._config.create_runtime_cache()
        if compiled:
            self._cache.deserialize(compiled)
        if not self._config.set_runtime_cache(self._cache):
            raise EngineError(f"TensorRT for RTX {trt.__version__} takes no runtime cache")

    def create(self) -> Any:
        """A context, or None where TensorRT makes none."""
        return self._engine.create_execution_context(self._config)

    def can_be_recorded(self, context: Any, stream: int) -> bool:
        """As TensorRT says."""
        return bool(context.is_stream_capturable(stream))

    def compiled(self) -> bytes:
        """What was compiled for this GPU so far."""
        return bytes(self._cache.serialize())


@dataclass(frozen=True, slots=True)
class Flavour:
    """One of the libraries; its methods are those of classic.

    Attributes:
        name: As `engine.tensorrt.flavour` has it.
        title: As NVIDIA calls it.
        module: Its Python module.
        extra: Of this package, which installs it.
        bindings: The distribution with its bindings, but for the major version of CUDA.
        builds_anywhere: Whether it builds for a GPU that is not there.
        fuses_places: Whether it is known to fuse attention whose queries and keys have places as further channels.
        capabilities: That it serves, and its names of them; empty for all.
    """

    name: str
    title: str
    module: str
    extra: str
    bindings: str
    builds_anywhere: bool = False
    fuses_places: bool = False
    capabilities: Mapping[str, str] = field(default_factory=dict)

    def require_served(self, capability: str) -> None:
        """Refuse a kind of GPU that this library does not serve.

        Raises:
            ConfigError: It does not.
        """
        if self.capabilities and capability not in self.capabilities:
            raise ConfigError(
                f"engine.tensorrt.flavour: {self.title} serves GPUs of compute capability "
                f"{', '.join(self.capabilities)}, not {capability}; pip install 'sam-batch[tensorrt]' and set classic, "
                "or set engine.kind=torch"
            )

    def cuda_major(self, version: str) -> str | None:
        """The CUDA that it was built for, of which there is a package each; of several, the version tells which."""
        installed = {major: _version(self.bindings.format(major)) for major in CUDA_MAJORS}
        found = [major for major, there in installed.items() if there == version]
        found = found or [major for major, there in installed.items() if there]
        return found[0] if len(found) == 1 else None

    def bound_to(self, machine: Machine) -> Machine:
        """What of a machine a plan depends on."""
        return replace(machine, driver="")

    def verified_on(self, machine: Machine) -> str:
        """Where a verification holds."""
        return machine.gpu

    def configure(self, trt: Any, config: Any, capability: str) -> None:
        """Tell a builder what it does not find out by itself.

        Raises:
            EngineError: It does not build for such a GPU.
        """

    def contexts(self, trt: Any, engine: Any, compiled: bytes) -> Contexts:
        """What makes the contexts of an engine."""
        return Contexts(trt, engine)


class Rtx(Flavour):
    """TensorRT for RTX."""

    __slots__ = ()

    def bound_to(self, machine: Machine) -> Machine:
        """Any GPU of a capability runs it, under any system."""
        return replace(machine, gpu="", platform="", driver="")

    def verified_on(self, machine: Machine) -> str:
        """It is compiled anew for each GPU and driver."""
        return f"{machine.gpu} with driver {machine.driver}"

    def configure(self, trt: Any, config: Any, capability: str) -> None:
        """The one capability; and that runs can be recorded."""
        config.num_compute_capabilities = 1
        known = trt.ComputeCapability.__members__.get(self.capabilities[capability])
        if known is None or not config.set_compute_capability(known, 0):
            raise EngineError(f"{self.title} {trt.__version__} does not build for compute capability {capability}")
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)

    def contexts(self, trt: Any, engine: Any, compiled: bytes) -> Contexts:
        """With what earlier processes have compiled."""
        return RtxContexts(trt, engine, compiled)


CLASSIC = Flavour(
    name="classic", title="TensorRT", module="tensorrt", extra="tensorrt", bindings="tensorrt-cu{}-bindings"
)
RTX = Rtx(
    name="rtx",
    title="TensorRT for RTX",
    module="tensorrt_rtx",
    extra="tensorrt-rtx",
    bindings="tensorrt-rtx-cu{}-bindings",
    builds_anywhere=True,
    fuses_places=True,
    # Not 7.5: it has no float32 products there, which the decoder's tokens need.
    capabilities={"8.0": "SM80", "8.6": "SM86", "8.9": "SM89", "12.0": "SM120", "12.1": "SM121"},
)
FLAVOURS = (CLASSIC, RTX)  # in the order in which `auto` looks for them


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
