"""What TensorRT engines need of this machine: the `tensorrt` package and a GPU. The one place that imports the package.

Everything else gets a `Host` and asks it for the module, for streams and for memory; so it runs as well where tests
put something else in their place.
"""

import importlib.metadata
import logging
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from sam_batch.engine.tensorrt.plans import Machine
from sam_batch.errors import ConfigError, EngineError

log = logging.getLogger(__name__)

Work = Callable[[int], None]  # enqueues something on the stream of that handle


class Gpu(Protocol):
    """A device that engines run on.

    Attributes:
        device: Where tensors go.
        name: As the driver tells.
        compute_capability: Such as 9.0.
    """

    device: torch.device
    name: str
    compute_capability: str

    def record(self, work: Work) -> Callable[[], None]:
        """Do work once, and return what repeats it with the same addresses and shapes: a CUDA graph.

        Each time it comes after what torch has enqueued so far and before what it enqueues next. The stream is never
        the default one, on which TensorRT would synchronise the whole device at each call.
        """
        ...


@dataclass(frozen=True, slots=True)
class Host:
    """A machine that builds and runs engines.

    Attributes:
        trt: The module `tensorrt`.
        gpu: The GPU.
        machine: What the plans of this machine are bound to.
    """

    trt: Any
    gpu: Gpu
    machine: Machine


def find_host() -> Host:
    """This machine, with the first GPU that this process sees.

    Raises:
        ConfigError: TensorRT is not installed, or there is no GPU.
    """
    trt = _import()
    if not torch.cuda.is_available():
        raise ConfigError(
            "engine.kind: tensorrt needs a GPU, and this process sees none; "
            "set engine.kind=torch, or run it where nvidia-smi lists one"
        )
    return host_of(trt, CudaGpu(torch.device("cuda", torch.cuda.current_device())), _cuda_major(trt.__version__))


def host_of(trt: Any, gpu: Gpu, cuda: str) -> Host:
    """Put a host together."""
    where = f"{platform.system()}-{platform.machine()}".lower()
    return Host(trt, gpu, Machine(trt.__version__, cuda, where, gpu.name, gpu.compute_capability))


def _import() -> Any:
    try:
        import tensorrt  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise ConfigError(
            f"engine.kind: tensorrt needs the package of that name ({error}); "
            "pip install 'sam-batch[tensorrt]', or set engine.kind=torch"
        ) from error
    return tensorrt


def _cuda_major(tensorrt: str) -> str:
    """TensorRT comes in one package for each major version of CUDA; of several, the version tells which is imported."""
    installed = {major: _version(f"tensorrt-cu{major}-bindings") for major in ("12", "13", "14")}
    found = [major for major, version in installed.items() if version == tensorrt]
    found = found or [major for major, version in installed.items() if version]
    return found[0] if len(found) == 1 else str(torch.version.cuda).partition(".")[0]


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


class CudaGpu:
    """A GPU as torch sees it; `Gpu` says what its methods promise."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.name = torch.cuda.get_device_name(device)
        self.compute_capability = ".".join(map(str, torch.cuda.get_device_capability(device)))
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call, unused-ignore]

    def record(self, work: Work) -> Callable[[], None]:
        """Where the driver will not record, the work is enqueued anew each time."""
        self._enqueue(work)  # TensorRT allocates and initialises at the first call, which cannot be recorded
        torch.cuda.synchronize(self.device)
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
