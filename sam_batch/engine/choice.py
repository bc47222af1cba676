"""Which engine a job uses: decided once on the driver, built in every worker. Values only; imports no torch.

Each kind also says which prompts its engines take: `token_range` as in `engine.protocol.EngineSpec`, and whether masks
may be among them.
"""

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
    token_range: ClassVar[tuple[int, int] | None] = None
    takes_masks: ClassVar[bool] = True

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
    token_range: ClassVar[tuple[int, int] | None] = (2, 2)  # one point or one box: what the graphs are exported for
    takes_masks: ClassVar[bool] = False  # the graph for them is not built for jobs
    device: ClassVar[str] = "cuda"
    on_gpu: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class FakeChoice:
    """The engine of tests, which has no weights."""

    kind: ClassVar[str] = "fake"
    token_range: ClassVar[tuple[int, int] | None] = None
    takes_masks: ClassVar[bool] = True
    precision: ClassVar[str] = "fp32"
    device: ClassVar[str] = "cpu"
    on_gpu: ClassVar[bool] = False


EngineChoice: TypeAlias = TorchChoice | TensorRTChoice | FakeChoice
