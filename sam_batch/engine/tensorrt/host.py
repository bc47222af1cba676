"""What TensorRT engines need of this machine: a library and a GPU. The one place that imports the library.

Everything else gets a `Host` and asks it for the module, for streams and for memory; so it runs as well where tests
put something else in their place. To build for a GPU that is not there, a `Target` is enough.
"""

import importlib
import importlib.util
import logging
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from sam_batch.engine.tensorrt.flavour import CLASSIC, FLAVOURS, RTX, Flavour
from sam_batch.engine.tensorrt.plan_key import Machine
from sam_batch.errors import ConfigError, EngineError

log = logging.getLogger(__name__)

Work = Callable[[int], None]  # enqueues something on the stream of that handle


class Gpu(Protocol):
    """A device that engines run on.

    Attributes:
        device: Where tensors go.
        name: As the driver tells.
        compute_capability: Such as 9.0.
        driver: Its version.
        memory_bytes: All that it has.
    """

    device: torch.device
    name: str
    compute_capability: str
    driver: str
    memory_bytes: int

    def record(self, work: Work, can_be_recorded: Callable[[int], bool]) -> Callable[[], None]:
        """Do work once, and return what repeats it with the same addresses and shapes: a CUDA graph.

        Each time it comes after what torch has enqueued so far and before what it enqueues next. The stream is never
        the default one, on which TensorRT would synchronise the whole device at each call. `can_be_recorded` is asked
        after the first time, with the stream's handle.
        """
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """What plans are built with, and for.

    Attributes:
        flavour: Which library.
        trt: Its module.
        machine: What plans are bound to; all of it, of which `flavour` says what counts.
    """

    flavour: Flavour
    trt: Any
    machine: Machine

    @property
    def memory_bytes(self) -> int:
        """Of the GPU; 0 where it is not known."""
        return 0


@dataclass(frozen=True, slots=True)
class Host(Target):
    """A machine that builds and runs engines.

    Attributes:
        gpu: The GPU.
    """

    gpu: Gpu

    @property
    def memory_bytes(self) -> int:
        """Of the GPU."""
        return self.gpu.memory_bytes


def find_host(flavour: str) -> Host:
    """This machine, with the first GPU that this process sees.

    Args:
        flavour: auto, classic or rtx.

    Raises:
        ConfigError: TensorRT is not installed or does not serve the GPU, there is none, or its driver is too old.
    """
    found, trt = _import(flavour)
    if not torch.cuda.is_available():
        raise ConfigError(
            "engine.kind: tensorrt needs a GPU, and this process sees none; "
            "set engine.kind=torch, or run it where nvidia-smi lists one"
        )
    cuda = _cuda_major(found, trt)
    driver, newest = _driver()
    if newest and newest < int(cuda):  # asked all the same, classic ends the process
        raise ConfigError(
            f"engine.kind: {found.title} {trt.__version__} is for CUDA {cuda}, and the driver ({driver}) knows CUDA up "
            f"to {newest}; bring the driver up to date, or install the library's package for CUDA {newest}"
        )
    gpu = CudaGpu(torch.device("cuda", torch.cuda.current_device()), driver)
    found.require_served(gpu.compute_capability)
    return host_of(found, trt, gpu, cuda)


def find_target(flavour: str, capability: str) -> Target:
    """GPUs of a compute capability, of which there need be none here.

    Args:
        flavour: auto, classic or rtx.
        capability: Such as 8.9.

    Raises:
        ConfigError: TensorRT for RTX, which alone can do that, is not installed or not wanted, or does not serve them.
    """
    if flavour == CLASSIC.name:
        raise ConfigError(
            "engine.tensorrt.flavour: classic builds on the GPU that runs its engines, and --for needs rtx; "
            "leave --for out, or set rtx or auto"
        )
    found, trt = _import(RTX.name)
    found.require_served(capability)
    machine = Machine(trt.__version__, _cuda_major(found, trt), "", "", capability, found.name)
    return Target(found, trt, machine)


def host_of(flavour: Flavour, trt: Any, gpu: Gpu, cuda: str) -> Host:
    """Put a host together."""
    where = f"{platform.system()}-{platform.machine()}".lower()
    machine = Machine(trt.__version__, cuda, where, gpu.name, gpu.compute_capability, flavour.name, gpu.driver)
    return Host(flavour, trt, machine, gpu)


def installed(name: str) -> Flavour:
    """The flavour of that name; of `auto`, the first that is installed, or else classic."""
    wanted = _wanted(name)
    return next((flavour for flavour in wanted if importlib.util.find_spec(flavour.module)), wanted[0])


def _wanted(name: str) -> list[Flavour]:
    return [flavour for flavour in FLAVOURS if name in ("auto", flavour.name)]


def _import(name: str) -> tuple[Flavour, Any]:
    """The library of that name; of `auto`, the first that is installed."""
    wanted, reasons = _wanted(name), []
    for flavour in wanted:
        try:
            return flavour, importlib.import_module(flavour.module)
        except ImportError as error:
            reasons.append(str(error))
    extras = " or ".join(f"'sam-batch[{flavour.extra}]'" for flavour in wanted)
    raise ConfigError(
        f"engine.kind: tensorrt needs a library that is not installed ({'; '.join(reasons)}); pip install {extras}, "
        "or set engine.kind=torch"
    )


def _cuda_major(flavour: Flavour, trt: Any) -> str:
    return flavour.cuda_major(trt.__version__) or str(torch.version.cuda).partition(".")[0]


def _driver() -> tuple[str, int]:
    """The driver's version, and the newest major version of CUDA that it knows; 0 where it does not tell."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion()), pynvml.nvmlSystemGetCudaDriverVersion_v2() // 1000
    except pynvml.NVMLError:
        return "unknown", 0


class CudaGpu:
    """A GPU as torch sees it; `Gpu` says what its methods promise."""

    def __init__(self, device: torch.device, driver: str) -> None:
        self.device, self.driver = device, driver
        self.name = torch.cuda.get_device_name(device)
        self.compute_capability = ".".join(map(str, torch.cuda.get_device_capability(device)))
        self.memory_bytes = torch.cuda.get_device_properties(device).total_memory
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call, unused-ignore]

    def record(self, work: Work, can_be_recorded: Callable[[int], bool]) -> Callable[[], None]:
        """Where it cannot be recorded, the work is enqueued anew each time."""
        self._enqueue(work)  # TensorRT allocates, initialises and compiles at the first call, which is not recorded
        torch.cuda.synchronize(self.device)
        if not can_be_recorded(self._stream.cuda_stream):
            log.warning("TensorRT lets no CUDA graph be recorded, engines are enqueued one by one")
            return lambda: self._enqueue(work)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                work(self._stream.cuda_stream)
        except (RuntimeError, EngineError) as error:  # torch's refusal, or TensorRT's
            # A torch without pytorch/pytorch#180395 may go on counting the failed capture as under way, and then fail
            # an assertion of its own when memory runs short.
            log.warning("no CUDA graph could be recorded, engines are enqueued one by one: %s", error)
            return lambda: self._enqueue(work)
        return graph.replay

    def _enqueue(self, work: Work) -> None:
        """Let two streams wait for each other; memory that torch frees meanwhile is thus not reused too early."""
        current = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(current)
        work(self._stream.cuda_stream)
        current.wait_stream(self._stream)
