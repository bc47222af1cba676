"""Where everything lies in an output. Names depend only on shard numbers and image keys."""

import re

CONFIG = "config.yaml"
SUMMARY = "summary.json"
REPORT = "report.html"
LEASE = "lease.json"
PLAN = "plan"
ANNOTATIONS = "annotations"
METRICS = "metrics"
COLOR_MASKS = "color_masks"
LABEL_MASKS = "label_masks"
SEGMENTS = "segments"
COCO = "coco"

FOLDERS = (ANNOTATIONS, METRICS, COLOR_MASKS, LABEL_MASKS, SEGMENTS, COCO, PLAN)
FILES = (CONFIG, SUMMARY)

_PART = re.compile(r"part-(\d+)\.parquet")


def part_key(folder: str, number: int) -> str:
    """The Parquet part of a shard (under annotations/) or of the plan."""
    return f"{folder}/part-{number:05d}.parquet"


def metrics_key(shard: int) -> str:
    """Counts and times of a shard; not part of the result."""
    return f"{METRICS}/part-{shard:05d}.json"


def part_number(key: str) -> int | None:
    """The number in a part's key, or None for any other key."""
    match = _PART.fullmatch(key.rpartition("/")[2])
    return int(match[1]) if match else None
