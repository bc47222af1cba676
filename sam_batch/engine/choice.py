"""Which engine a job uses: decided once on the driver, built in every worker. Values only; imports no torch.

Each kind also says which prompts its engines take: `token_range` as in `engine.protocol.EngineSpec`, and whether masks
may be among them.
"""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from sam_batch.config_engine import TensorRTConfig


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
        prompts: Whether they take prompts of any parts, and not only of one point or one box.
        verified: What their verification found, in words.
    """

    precision: str
    settings: TensorRTConfig
    prompts: bool = False
    verified: str = ""
    kind: ClassVar[str] = "tensorrt"
    device: ClassVar[str] = "cuda"
    on_gpu: ClassVar[bool] = True

    @property
    def token_range(self) -> tuple[int, int] | None:
        """The fewest and the most tokens of a prompt: up to those that the graphs are exported for."""
        return (0, self.settings.max_tokens) if self.prompts else (2, 2)

    @property
    def takes_masks(self) -> bool:
        """Whether masks can be prompts."""
        return self.prompts


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
