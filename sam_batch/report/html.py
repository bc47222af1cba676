"""One page that shows an output: opens from a disk, without a server, with its thumbnails inside.

What it shows of many images is a sample, chosen by `report.sample`. It reads rows and photographs and writes one file,
`report.html`; it draws no mask anew and needs no model.
"""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from sam_batch.report.sample import Histogram, Sample

TITLES = {
    "masks": ("Masks an image", "0", "300 or more", None),
    "area": ("Area, share of the image", "0.000001", "all", None),
    "predicted_iou": ("Predicted IoU", "0", "1", "pred_iou_thresh"),
    "stability_score": ("Stability", "0", "1", "stability_score_thresh"),
}


def page(sample: Sample, images: Mapping[int, Mapping[str, Any]], about: Mapping[str, Any]) -> bytes:
    """Put the page together.

    Args:
        sample: Of all rows.
        images: By image_id, what the page shows of each chosen row: key, status, error, height, width, count, and
            what `report.pictures` makes of it, photo and masks.
        about: output, planned images, config (YAML, to show), thresholds (by their keys in generator), summary (of
            the last run, may be empty).

    Returns:
        UTF-8 HTML.
    """
    text = resources.files("sam_batch.report").joinpath("page.html").read_text(encoding="utf-8")
    # The only characters that could end the element the data stand in, or start a comment there.
    data = json.dumps(_content(sample, images, about)).replace("<", "\\u003c")
    return text.replace("{{data}}", data).encode()


def _content(sample: Sample, images: Mapping[int, Mapping[str, Any]], about: Mapping[str, Any]) -> dict[str, Any]:
    summary = about["summary"]
    done = sample.statuses.total()
    return {
        "output": about["output"],
        "numbers": [
            [f"of {about['planned']:,} images", done],
            ["with masks", sample.statuses["ok"]],
            ["without", sample.statuses["empty"]],
            ["failed", sample.statuses["failed"]],
            ["masks", sample.masks],
            ["masks an image", f"{sample.masks / done:.1f}" if done else "0"],
        ],
        "error": summary.get("error"),
        "notes": summary.get("notes", []),
        "images": images,
        "groups": [
            {"title": group.title, "images": [row["image_id"] for row in group.rows]}
            for group in sample.groups.values()
        ],
        "sampling": _sampling(sample, len(images)),
        "histograms": _histograms(sample.histograms, about["thresholds"]),
        "made": _made(sample, summary),
        "config": about["config"],
    }


def _sampling(sample: Sample, shown: int) -> str:
    return (
        f"{shown:,} of {sample.statuses.total():,} images are shown: the first of each group, and a random choice that "
        "is the same each time. Counts and charts are of all images."
    )


def _histograms(histograms: Mapping[str, Histogram], thresholds: Mapping[str, float]) -> list[dict[str, Any]]:
    charts = []
    for name, histogram in histograms.items():
        title, low, high, key = TITLES[name]
        threshold = thresholds.get(key) if key else None
        line = None if threshold is None else {"place": threshold, "text": f"{key} {threshold:g}"}
        chart = {"title": title, "low": low, "high": high, "counts": histogram.counts.tolist(), "threshold": line}
        charts.append(chart)
    return charts


def _made(sample: Sample, summary: Mapping[str, Any]) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = [(f"failed, {kind}", count) for kind, count in sample.failures.most_common()]
    run = summary.get("run") or {}
    if run.get("images"):
        rows.append(("last run", f"{run['images']:,} images in {run['seconds']:,.0f} s"))
        rows += [(f"worker time, {stage}", f"{seconds:,.1f} s") for stage, seconds in run["stage_seconds"].items()]
    return [*rows, *(summary.get("versions") or {}).items()]
