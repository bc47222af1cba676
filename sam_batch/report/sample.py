"""What a report shows of an output, gathered part by part in bounded memory: counts, histograms and chosen images.

The choice is a function of the rows: the same output gives the same report. It opens no file.
"""

import hashlib
import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sam_batch.records import Stage, Status

Row = dict[str, Any]

GROUP_SIZE = 12  # images a group: five groups of photographs make a page of some megabytes
BINS = 50


@dataclass(slots=True)
class Histogram:
    """Counts in equal bins from `low` to `high`; what lies outside counts in the first or last.

    Attributes:
        low: Lower end of the first bin.
        high: Upper end of the last one.
        counts: (BINS,) int64.
    """

    low: float
    high: float
    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, values: np.ndarray) -> None:
        """Count values."""
        inside = np.clip(values, self.low, self.high)
        self.counts += np.histogram(inside, BINS, (self.low, self.high))[0]


@dataclass(slots=True)
class Group:
    """The images that rank first by some measure; ties go by the hash of their key, which is as good as chance.

    Attributes:
        title: For people.
        images: Heap of (negated rank, row), so that the worst of the chosen is on top.
    """

    title: str
    images: list[tuple[tuple[float, str], int, Row]] = field(default_factory=list)

    def offer(self, rank: float, digest: str, part: pa.Table, row: int) -> None:
        """Keep a row of a part if it ranks among the first; a smaller rank is better."""
        order = (-rank, _reversed(digest))
        if len(self.images) == GROUP_SIZE and order <= self.images[0][0]:
            return
        (kept,) = part.slice(row, 1).to_pylist()
        push = heapq.heappush if len(self.images) < GROUP_SIZE else heapq.heapreplace
        push(self.images, (order, kept["image_id"], kept))

    @property
    def rows(self) -> list[Row]:
        """The chosen rows, best first."""
        return [row for _, _, row in sorted(self.images, key=lambda image: image[:2], reverse=True)]


class Sample:
    """Everything a report says of an output's rows.

    Attributes:
        statuses: Images by how they ended.
        failures: Failed images by kind.
        masks: In all images.
        histograms: By what they count.
        groups: By name.
    """

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.masks = 0
        self.histograms = {
            "masks": Histogram(0, 300),
            "area": Histogram(-6, 0),  # log10 of the share of the image
            "predicted_iou": Histogram(0, 1),
            "stability_score": Histogram(0, 1),
        }
        self.groups = {
            "random": Group("Chosen at random"),
            "most": Group("Most masks"),
            "fewest": Group("Fewest masks"),
            "slowest": Group("Slowest shards"),
            "failed": Group("Failed"),
        }

    def add(self, part: pa.Table, seconds_per_image: float = 0.0) -> None:
        """Count a part's rows and let them compete for a place.

        Args:
            part: `output.schema.ANNOTATION_SCHEMA`.
            seconds_per_image: Of the part's shard, as its metrics say; 0 where they are gone.
        """
        statuses = part["status"].to_pylist()
        numbers = pc.list_value_length(part["masks"]).to_numpy()
        self.statuses.update(statuses)
        self.failures.update(error["kind"] for error in part["error"].to_pylist() if error)
        self.masks += int(numbers.sum())
        self._measure(part, numbers, np.array([status != Status.FAILED for status in statuses], bool))
        for row, (key, status, number) in enumerate(zip(part["key"].to_pylist(), statuses, numbers, strict=True)):
            digest = hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()
            self._compete(part, row, digest, status, int(number), seconds_per_image)

    def _compete(self, part: pa.Table, row: int, digest: str, status: str, number: int, seconds: float) -> None:
        if status == Status.FAILED:
            kind = part["error"][row]["kind"].as_py()
            # The first of each kind before the second of any.
            rank = sum(image[2]["error"]["kind"] == kind for image in self.groups["failed"].images)
            self.groups["failed"].offer(float(rank), digest, part, row)
            return
        self.groups["random"].offer(0.0, digest, part, row)
        self.groups["most"].offer(-number, digest, part, row)
        self.groups["fewest"].offer(number, digest, part, row)
        if seconds:
            self.groups["slowest"].offer(-seconds, digest, part, row)

    def _measure(self, part: pa.Table, numbers: np.ndarray, labelled: np.ndarray) -> None:
        self.histograms["masks"].add(numbers[labelled])
        masks = pc.list_flatten(part["masks"]).combine_chunks()
        if not len(masks):
            return
        sizes = part["height"].to_numpy().astype(np.float64) * part["width"].to_numpy()
        share = masks.field("area").to_numpy() / np.repeat(sizes, numbers)
        self.histograms["area"].add(np.log10(share))
        for name in ("predicted_iou", "stability_score"):
            self.histograms[name].add(masks.field(name).to_numpy())


def seconds_per_image(metrics: Mapping[str, Any]) -> float:
    """Worker time an image of a shard's metrics; 0 where they are gone."""
    images = sum(metrics.get(status, 0) for status in Status)
    seconds: float = sum(metrics.get(f"{stage}_seconds", 0.0) for stage in Stage)
    return seconds / images if images else 0.0


def _reversed(digest: str) -> str:
    """Hexadecimal digits in the opposite order of rank."""
    return digest.translate(_OPPOSITE)


_OPPOSITE = str.maketrans("0123456789abcdef", "fedcba9876543210")
