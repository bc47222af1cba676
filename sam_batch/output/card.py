"""`README.md` of an output: what it holds, for people; and which of its files are rows, for `datasets.load_dataset`.

Without it that would take the pictures for a data set of images. It depends on the plan and on the rows alone: no
times, no host names, and no places of images. One that somebody edited, or wrote, stays as it is.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from string import Template
from typing import Final

from sam_batch.output.fingerprint import FILTER, shaping_defaults
from sam_batch.output.plan import Plan
from sam_batch.output.summary import Summary
from sam_batch.records import Status
from sam_batch.wording import counted

_SAID_ANYWAY: Final = ("pred_iou_thresh", "points_per_side", "stability_score_thresh")  # of generator
_SEAL: Final = b"<!-- Written by sam-batch after each run, unless somebody edited it. sha256 %s -->\n"
_CARD: Final = Template("""---
configs:
- config_name: default
  data_files: annotations/*.parquet
task_categories:
- mask-generation
---

# Masks of $images

$done

Each row of `annotations/*.parquet` is an image: its key, status and size, and its masks as COCO's run lengths with
boxes, areas and scores.

```python
from datasets import load_dataset
from pycocotools import mask as coco_mask

rows = load_dataset("FOLDER", split="train")  # this folder, or the repository that it was uploaded to
row = next(row for row in rows if row["status"] == "ok")
size = [row["height"], row["width"]]
pixels = coco_mask.decode({"size": size, "counts": row["masks"][0]["counts"]})  # (height, width) uint8
```

Boxes are `x, y, width, height` in pixels of the image as it is shown, turned by its EXIF orientation. Masks may
overlap. An image that has failed says so in `error`.

## Made with

$settings
""")


def card(summary: Summary, plan: Plan) -> bytes:
    """The file.

    Args:
        summary: With all rows counted, unless its job is not finished.
        plan: Of the output.
    """
    text = _CARD.substitute(
        images=counted(summary.planned, "image"),
        done=_done(summary),
        settings="\n".join(told_settings(plan.fingerprint)),
    ).encode()
    return text + _seal(text)


def is_card(data: bytes) -> bool:
    """Whether this is what `card` returned, to the byte."""
    text, last = data[: -len(_seal(b""))], data[-len(_seal(b"")) :]
    return last == _seal(text)


def _seal(text: bytes) -> bytes:
    return _SEAL % hashlib.sha256(text).hexdigest().encode()


def _done(summary: Summary) -> str:
    if summary.status.total() != summary.planned:
        return f"Not finished: {summary.done} of {counted(summary.planned, 'image')} done."
    status = summary.status
    return (
        f"{counted(status[Status.OK], 'image')} with {counted(summary.masks, 'mask')}, {status[Status.EMPTY]} without, "
        f"{status[Status.FAILED]} failed."
    )


def told_settings(fingerprint: Mapping[str, str]) -> Iterator[str]:
    """What shaped the masks, as lines of a list: the model, and of the settings those that are not the default."""
    defaults = shaping_defaults()
    for key, value in sorted(fingerprint.items()):
        section, _, name = key.partition(".")
        is_default = defaults.get(key) == value and name not in _SAID_ANYWAY
        if section in ("model", "engine", "generator", "prompts") and not is_default:
            yield f"- `{key}`: `{json.loads(value)}`"
    for step in json.loads(fingerprint.get(FILTER, "[]")):
        by = ", ".join(f"`{name}`: `{value}`" for name, value in step.items() if name != "from")
        yield f"- filtered by {by}"
