"""What a job has cost so far and what it still will, at a price of an engine's hour, by the times of its shards."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sam_batch.output.plan import Plan


@dataclass(frozen=True, slots=True)
class Cost:
    """Of an engine at work: that it waits, or starts, no shard tells.

    Attributes:
        hours: That engines have worked so far.
        price: Of these.
        hours_to_come: If the images that are left take as long; None before any is done.
        price_to_come: Of these.
    """

    hours: float
    price: float
    hours_to_come: float | None
    price_to_come: float | None

    def to_text(self) -> str:
        """For a person."""
        to_come = ""
        if self.hours_to_come is not None:
            to_come = f"; to come: about {self.hours_to_come:.2f} hours, price {self.price_to_come:,.2f}"
        return f"so far: {self.hours:.2f} hours of engines at work, price {self.price:,.2f}{to_come}"

    def to_dict(self) -> dict[str, Any]:
        """The attributes."""
        return asdict(self)


def cost(plan: Plan, metrics: Mapping[int, Mapping[str, Any]], price: float, *, inline: bool) -> Cost:
    """Sum up what shards took.

    Args:
        plan: Of the job.
        metrics: Of all shards that are done.
        price: Of an hour of an engine, in any currency.
        inline: One process does everything, so that its engine waits while images are loaded and written.
    """
    stages = ("load_seconds", "segment_seconds", "write_seconds") if inline else ("segment_seconds",)
    hours = sum(shard.get(stage, 0.0) for shard in metrics.values() for stage in stages) / 3600
    images = plan.image_count({*metrics})
    to_come = hours * (len(plan) - images) / images if images else None
    return Cost(hours, price * hours, to_come, None if to_come is None else price * to_come)
