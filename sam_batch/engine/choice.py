"""Which engine a job uses: decided once on the driver, built in every worker. Values only; imports no torch."""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from sam_batch.config import TensorRTConfig


@dataclass(frozen=True, slots=True)
class TorchChoice:
    """A torch engine that is not built yet; picklable.

    Attributes:
        precision: fp32, bf16 or fp16.
        device: cpu or cuda; a worker sees only the GPUs that are its own, so cuda is enough.
    """

    precision: str
    device: str
    kind: ClassVar[str] = "torch"

    @property
    def on_gpu(self) -> bool:
        """Whether a worker needs a GPU."""
        return self.device != "cpu"


@dataclass(frozen=True, slots=True)
class TensorRTChoice:
    """TensorRT engines that are not loaded yet; picklable.

    Attributes:
        precision: fp32 or fp16.
        settings: Where they lie and how they were built.
    """

    precision: str
    settings: TensorRTConfig
    kind: ClassVar[str] = "tensorrt"
    device: ClassVar[str] = "cuda"
    on_gpu: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class FakeChoice:
    """The engine of tests, which has no weights."""

    kind: ClassVar[str] = "fake"
    precision: ClassVar[str] = "fp32"
    device: ClassVar[str] = "cpu"
    on_gpu: ClassVar[bool] = False


EngineChoice: TypeAlias = TorchChoice | TensorRTChoice | FakeChoice
