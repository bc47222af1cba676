"""Counters of a job on Ray, as Ray exports them to Prometheus; configs/grafana.json shows them.

The driver counts what is committed, so that nothing is counted twice, whatever is tried again. Prometheus sees them
under `ray_`, the name, `_total`; without the extra `cluster` Ray exports nothing, and counting costs nothing. Seconds
and images give means: Ray's histograms are built of the middles of their buckets.
"""

from typing import Any, Final

from sam_batch.output.parts import Receipt
from sam_batch.records import Stage, Status

METRICS: Final = {  # name: its own label beside `output`, and what it counts
    "sam_batch_images": ("status", "Images that were committed, by how they ended."),
    "sam_batch_masks": (None, "Masks of these images."),
    "sam_batch_failures": ("kind", "Images that failed, by kind."),
    "sam_batch_seconds": ("stage", "Time that workers took for these images, by stage."),
}


class RayMetrics:
    """Counts the receipts of a job.

    Args:
        output: Its URI, the label by which jobs of one cluster are told apart.
    """

    def __init__(self, output: str) -> None:
        from ray.util.metrics import Counter

        self._output = output
        self._counters = {
            name: Counter(name, about, ("output", *filter(None, [label]))) for name, (label, about) in METRICS.items()
        }

    def add(self, receipt: Receipt) -> None:
        """Count a committed shard."""
        for status, images in ((Status.OK, receipt.ok), (Status.EMPTY, receipt.empty), (Status.FAILED, receipt.failed)):
            self._count("sam_batch_images", images, status.value)
        self._count("sam_batch_masks", receipt.masks)
        for row in receipt.rows:
            if row["kind"]:
                self._count("sam_batch_failures", 1, row["kind"])
        self._count("sam_batch_seconds", receipt.load_seconds, Stage.LOAD.value)
        self._count("sam_batch_seconds", receipt.segment_seconds, Stage.SEGMENT.value)
        self._count("sam_batch_seconds", receipt.write_seconds, Stage.WRITE.value)

    def _count(self, name: str, amount: float, of: str | None = None) -> None:
        label, _ = METRICS[name]
        tags: dict[str, Any] = {"output": self._output} | ({label: of} if label else {})
        if amount > 0:  # what Ray takes
            self._counters[name].inc(amount, tags)
