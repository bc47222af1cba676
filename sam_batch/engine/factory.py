"""Which engine and which weights, decided on the driver without building; and the engine, built in its worker."""

import torch
from torch import nn

from sam_batch.config import Config, EngineConfig
from sam_batch.engine.choice import EngineChoice, FakeChoice, TensorRTChoice, TorchChoice
from sam_batch.engine.fake import WEIGHTS, FakeEngine
from sam_batch.engine.protocol import Engine
from sam_batch.engine.tensorrt import host as tensorrt_host
from sam_batch.engine.torch_engine import TorchEngine
from sam_batch.errors import ConfigError, EngineError
from sam_batch.model.checkpoints import ResolvedCheckpoint, resolve_checkpoint
from sam_batch.model.families import family_of
from sam_batch.model.load import load_resolved


def resolve_weights(config: Config) -> ResolvedCheckpoint:
    """The weights that a job's engine needs; see `resolve_checkpoint`.

    Raises:
        CheckpointError: They cannot be used.
    """
    if config.engine.kind == "fake":
        return WEIGHTS
    return resolve_checkpoint(config.model.name, config.model.checkpoint, config.model.sha256)


def resolve(engine: EngineConfig, has_gpus: bool) -> EngineChoice:
    """Replace every `auto` by what it means here; the result is part of the job's fingerprint.

    Whether TensorRT engines can be used only a machine with the GPU can tell: `kind: auto` is torch here, and
    `kind: tensorrt` is taken at its word.

    Args:
        engine: The job's section.
        has_gpus: Whether workers will find a GPU; the driver itself may have none.

    Raises:
        ConfigError: A GPU is asked for, and there is none.
    """
    if engine.kind == "fake":
        return FakeChoice()
    if engine.kind == "tensorrt":
        return tensorrt_choice(engine)
    if engine.device == "cuda" and not has_gpus:
        raise ConfigError(
            "engine.device: cuda is asked for, but no GPU was found; use auto or cpu, or a CUDA build of torch"
        )
    device = engine.device
    if device == "auto":
        device = "cuda" if has_gpus else "cpu"
    automatic = "fp16" if device == "cuda" else "fp32"
    return TorchChoice(automatic if engine.precision == "auto" else engine.precision, device)


def tensorrt_choice(engine: EngineConfig, *, prompts: bool = False) -> TensorRTChoice:
    """TensorRT engines with these settings; for prompts of any parts, or for points and boxes alone.

    Raises:
        ConfigError: A precision that they do not have; or the fake engine was asked for, which has no weights.
    """
    if engine.kind == "fake":
        raise ConfigError("engine.kind: the fake engine has no TensorRT engines; set auto, tensorrt or torch")
    if engine.precision == "bf16":
        raise ConfigError("engine.precision: TensorRT engines are fp16 or fp32, not bf16; set one of them, or auto")
    precision = "fp16" if engine.precision == "auto" else engine.precision
    return TensorRTChoice(precision, engine.tensorrt, prompts)


def build(choice: EngineChoice, checkpoint: ResolvedCheckpoint, threads: int | None = None) -> Engine:
    """Load the weights and build the engine in this process.

    Args:
        choice: What `resolve` returned.
        checkpoint: What `resolve_weights` returned.
        threads: CPU threads of torch in this process; None leaves them alone.

    Raises:
        CheckpointError: The weights are not what was resolved.
        EngineFileError: The TensorRT engines may not be used here.
        EngineError: This worker sees no GPU.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    match choice:
        case FakeChoice():
            return FakeEngine()
        case TensorRTChoice():
            from sam_batch.engine.tensorrt.engine_set import EngineSet  # with ONNX's exporter, which jobs do without

            host = tensorrt_host.find_host(choice.settings.flavour)
            return EngineSet(host, choice.settings, checkpoint, choice.precision, prompts=choice.prompts).load()
        case TorchChoice():
            if choice.on_gpu and not torch.cuda.is_available():
                raise EngineError("this worker sees no GPU; it was promised one (CUDA_VISIBLE_DEVICES, driver)")
            return build_torch(choice, load_resolved(checkpoint), checkpoint.name)


def build_torch(choice: EngineChoice, module: nn.Module, name: str) -> Engine:
    """The torch engine of modules that are at hand; it takes them over.

    Args:
        choice: What `resolve` returned.
        module: float32, in eval mode.
        name: Of the model.
    """
    return TorchEngine(module, family_of(name), model=name, precision=choice.precision, device=choice.device)
