"""Which engine a job uses: decided once on the driver, built in every worker. Values only; imports no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine that is not built yet; picklable.

    Attributes:
        kind: torch or fake.
        precision: fp32, bf16 or fp16.
        device: cpu or cuda; a worker sees only the GPUs that are its own, so cuda is enough.
    """

    kind: str
    precision: str
    device: str
