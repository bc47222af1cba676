"""Makes the report of an output, finished or not: rows in, `report.html` out. Needs neither a model nor Ray."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sam_batch.config import InputConfig, StorageConfig
from sam_batch.data import pixels
from sam_batch.data.storage import read_uri
from sam_batch.errors import ImageError, OutputError, StorageError
from sam_batch.output import layout, ownership
from sam_batch.output.fingerprint import decoding_of, value_of
from sam_batch.output.output import Output
from sam_batch.output.palette import Colors, colors_of
from sam_batch.records import UInt8Array
from sam_batch.report.html import page
from sam_batch.report.pictures import drawn_masks, thumbnail
from sam_batch.report.sample import Row, Sample, seconds_per_image

THRESHOLDS = ("pred_iou_thresh", "stability_score_thresh")  # of the rows, whatever the configuration says by now
THREADS = 8  # photographs read again at once


def make_report(output: str, config: StorageConfig) -> str:
    """Write the report of an output into it.

    Args:
        output: URI of the output.
        config: How object stores are reached, for the output and for the photographs.

    Returns:
        Where the report is.

    Raises:
        OutputError: There is no job, or somebody else's file has the report's name.
        StorageError: The output cannot be read or written.
    """
    place = Output.at(output, config)
    storage, plan = place.storage, place.require_plan()
    sample = Sample()
    done = sorted(place.done())
    for shard, part in zip(done, place.parts(plan, done), strict=True):
        sample.add(part, seconds_per_image(place.metrics(shard)))
    about = {
        "output": storage.root,
        "planned": len(plan),
        "summary": place.summary(),
        "config": place.config(),
        "thresholds": {key: value_of(plan.fingerprint, f"generator.{key}") for key in THRESHOLDS},
    }
    chosen = {row["image_id"]: row for group in sample.groups.values() for row in group.rows}
    decoding, colors = decoding_of(plan.fingerprint), colors_of(plan.fingerprint)
    with ThreadPoolExecutor(THREADS) as pool:
        entries = pool.map(lambda row: _shown(row, config, decoding, colors), chosen.values())
        shown = dict(zip(chosen, entries, strict=True))
    if not ownership.put_over_own(storage, layout.REPORT, page(sample, shown, about), ownership.is_report):
        raise OutputError(f"output.uri: {storage.root}/{layout.REPORT} is not this program's; move it away")
    return f"{storage.root}/{layout.REPORT}"


def photograph_of(row: Row, config: StorageConfig, decoding: InputConfig) -> UInt8Array | None:
    """(H, W, 3) RGB of a row's photograph, read again; None where it is gone, cannot be read, or is another by now."""
    if row["error"]:
        return None
    with contextlib.suppress(ImageError, StorageError):
        pixels_HW3 = pixels.decode(read_uri(row["uri"], config, decoding.max_bytes), decoding).rgb_HW3
        if pixels_HW3.shape[:2] == (row["height"], row["width"]):
            return pixels_HW3
    return None


def _shown(row: Row, config: StorageConfig, decoding: InputConfig, colors: Colors) -> dict[str, Any]:
    """What the page shows of a row; without a photograph where there is none any more."""
    error, pixels_HW3 = row["error"], photograph_of(row, config, decoding)
    return {
        "key": row["key"],
        "status": row["status"],
        "error": f"{error['kind']}: {error['message']}" if error else "",
        "height": row["height"],
        "width": row["width"],
        "count": len(row["masks"]),
        "photo": None if pixels_HW3 is None else thumbnail(pixels_HW3),
        "masks": drawn_masks(row, colors),
    }
