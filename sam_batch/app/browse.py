"""The results of an output, finished or not, page by page: each reads the parts it needs, and keeps nothing.

Pictures are drawn anew from rows and photographs, as the job drew them; where a photograph is gone, on black.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from sam_batch.config import InputConfig, StorageConfig
from sam_batch.output.fingerprint import decoding_of
from sam_batch.output.output import Output
from sam_batch.output.palette import Colors, colors_of
from sam_batch.output.plan import Plan
from sam_batch.output.render import Style, color_mask
from sam_batch.output.schema import table_to_results
from sam_batch.report.make import photograph_of
from sam_batch.report.pictures import thumbnail
from sam_batch.wording import counted

PAGE: Final = 12  # images
THREADS: Final = 4  # photographs read and drawn at once


@dataclass(frozen=True, slots=True)
class Shown:
    """One image of a page.

    Attributes:
        key: Its name, any text.
        told: How it ended.
        picture: Its colour mask as a `data:` address; None where it failed.
    """

    key: str
    told: str
    picture: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of an output's images, in the order of its plan.

    Attributes:
        number: From 0.
        pages: How many there are, at least one.
        images: With a row.
        shown: Those of this page.
    """

    number: int
    pages: int
    images: int
    shown: list[Shown]


def read_page(output: str, config: StorageConfig, number: int = 0) -> Page:
    """Read a page of an output's results.

    Args:
        output: URI of the output.
        config: How object stores are reached, for the output and for the photographs.
        number: Of the page; one past the last is the last.

    Raises:
        OutputError: There is no job.
        SamBatchError: The output cannot be read, or holds another job's part.
    """
    place = Output.at(output, config)
    plan = place.require_plan()
    ids, shards = _done_images(plan, place.done())
    pages = max(1, -(-len(ids) // PAGE))
    number = max(0, min(number, pages - 1))
    here = slice(number * PAGE, (number + 1) * PAGE)
    parts = list(place.parts(plan, set(shards[here].tolist())))
    if not parts:
        return Page(number, pages, 0, [])
    part = pa.concat_tables(parts)
    rows = part.filter(pc.is_in(part["image_id"], value_set=pa.array(ids[here], part["image_id"].type)))
    decoding, colors = decoding_of(plan.fingerprint), colors_of(plan.fingerprint)
    with ThreadPoolExecutor(THREADS) as pool:
        singles = [rows.slice(place, 1) for place in range(rows.num_rows)]
        shown = list(pool.map(lambda single: _shown(single, config, decoding, colors), singles))
    return Page(number, pages, len(ids), shown)


def _done_images(plan: Plan, done: set[int]) -> tuple[np.ndarray, np.ndarray]:
    """The images that have rows, and the shard of each, in the plan's order."""
    ids, shards = plan.rows["image_id"].to_numpy(), plan.rows["shard"].to_numpy()
    counts = np.isin(shards, list(done)) & ~np.isin(ids, plan.retired)
    return ids[counts], shards[counts]


def _shown(single: pa.Table, config: StorageConfig, decoding: InputConfig, colors: Colors) -> Shown:
    (row,), (result,) = single.to_pylist(), table_to_results(single)
    if row["error"]:
        return Shown(row["key"], f"failed, {row['error']['kind']}: {row['error']['message']}", None)
    photograph = photograph_of(row, config, decoding)
    jpeg = color_mask(photograph, result.annotations, result.height, result.width, Style(colors=colors), "jpeg")
    told = counted(len(result.annotations), "mask") + (", the photograph is gone" if photograph is None else "")
    return Shown(row["key"], told, thumbnail(np.asarray(Image.open(BytesIO(jpeg)))))
