"""Which engine a job uses: decided once on the driver, built in every worker. Values only; imports no torch."""

from dataclasses import dataclass

from sam_batch.config import EngineConfig


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine that is not built yet; picklable.

    Attributes:
        kind: torch, tensorrt or fake.
        precision: fp32, bf16 or fp16.
        device: cpu or cuda; a worker sees only the GPUs that are its own, so cuda is enough.
        settings: Where TensorRT engines lie and how they are built; the other kinds need none.
    """

    kind: str
    precision: str
    device: str
    settings: EngineConfig | None = None

    @property
    def on_gpu(self) -> bool:
        """Whether a worker needs a GPU."""
        return self.device != "cpu"
