"""Which engine, decided on the driver without building one; and the engine, built in the worker that uses it."""

import torch

from sam_batch.config import EngineConfig
from sam_batch.engine.choice import EngineChoice
from sam_batch.engine.fake import FakeEngine
from sam_batch.engine.protocol import Engine
from sam_batch.engine.tensorrt import host as tensorrt_host
from sam_batch.engine.torch_engine import TorchEngine
from sam_batch.errors import ConfigError, EngineError
from sam_batch.model.checkpoints import load_resolved
from sam_batch.model.names import ResolvedCheckpoint
from sam_batch.model.precision import cpu_multiplies_bfloat16


def resolve(engine: EngineConfig, has_gpus: bool) -> EngineChoice:
    """Replace every `auto` by what it means here; the result is part of the job's fingerprint.

    The driver's own CPU decides for all workers, so that all compute alike. Whether TensorRT engines can be used only
    a machine with the GPU can tell: `kind: auto` is torch here, and `kind: tensorrt` is taken at its word.

    Args:
        engine: The job's section.
        has_gpus: Whether workers will find a GPU; the driver itself may have none.

    Raises:
        ConfigError: A GPU is asked for, and there is none.
    """
    if engine.kind == "fake":
        return EngineChoice(kind="fake", precision="fp32", device="cpu")
    if engine.kind == "tensorrt":
        return tensorrt_choice(engine)
    if engine.device == "cuda" and not has_gpus:
        raise ConfigError(
            "engine.device: cuda is asked for, but no GPU was found; use auto or cpu, or a CUDA build of torch"
        )
    device = engine.device
    if device == "auto":
        device = "cuda" if has_gpus else "cpu"
    precision = _automatic_precision(device) if engine.precision == "auto" else engine.precision
    return EngineChoice(kind="torch", precision=precision, device=device)


def tensorrt_choice(engine: EngineConfig) -> EngineChoice:
    """TensorRT engines with these settings.

    Raises:
        ConfigError: A precision that they do not have.
    """
    if engine.precision == "bf16":
        raise ConfigError("engine.precision: TensorRT engines are fp16 or fp32, not bf16; set one of them, or auto")
    precision = "fp16" if engine.precision == "auto" else engine.precision
    return EngineChoice(kind="tensorrt", precision=precision, device="cuda", settings=engine)


def _automatic_precision(device: str) -> str:
    if device == "cuda":
        return "fp16"
    return "bf16" if cpu_multiplies_bfloat16() else "fp32"


def build(choice: EngineChoice, checkpoint: ResolvedCheckpoint, threads: int | None = None) -> Engine:
    """Load the weights and build the engine in this process.

    Args:
        choice: What `resolve` returned.
        checkpoint: What `resolve_checkpoint` returned.
        threads: CPU threads of torch in this process; None leaves them alone.

    Raises:
        CheckpointError: The weights are not what was resolved.
        EngineFileError: The TensorRT engines may not be used here.
        EngineError: This worker sees no GPU.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if choice.kind == "fake":
        return FakeEngine()
    if choice.kind == "tensorrt":
        return _tensorrt(choice, checkpoint)
    if choice.device == "cuda" and not torch.cuda.is_available():
        raise EngineError("this worker sees no GPU; it was promised one (CUDA_VISIBLE_DEVICES, driver)")
    sam = load_resolved(checkpoint)
    return TorchEngine(sam, model=checkpoint.name, precision=choice.precision, device=choice.device)


def _tensorrt(choice: EngineChoice, checkpoint: ResolvedCheckpoint) -> Engine:
    from sam_batch.engine.tensorrt.engine_set import EngineSet

    assert choice.settings is not None  # noqa: S101 - `tensorrt_choice` makes it so
    return EngineSet(tensorrt_host.find_host(), choice.settings, checkpoint, choice.precision).load()
