"""The numbers and categories of a data set as it is exported: those of the prompts' source, where it has some.

So masks that were made from somebody's boxes can be put beside the boxes. What has no number of its own gets one that
nothing else has, and that depends on the image and the mask alone: images that are added, or that succeed after all,
move no other's numbers.
"""

import json
from functools import cached_property
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from sam_batch.errors import JobError
from sam_batch.output.fingerprint import value_of
from sam_batch.output.plan import Plan
from sam_batch.records import Status

PER_IMAGE: Final = 1_000_000  # numbers of annotations; the last six digits are mask_id, and 1 more


class Numbers:
    """Of images, annotations and categories.

    Args:
        plan: Of the output; without one nothing has a number of its own.
        category: Of masks to which no prompt gives one.
    """

    def __init__(self, plan: Plan | None = None, category: str = "object") -> None:
        self._images: dict[int, int] = {}
        self._keeps_annotations = False
        self._object: dict[str, Any] = {"id": 1, "name": category, "supercategory": category}
        self.categories = [self._object]
        self._first = self._first_image = 1  # 0 is no number for some tools
        if plan is not None:
            self._take(plan)

    def _take(self, plan: Plan) -> None:
        blocks = [_carrying(block) for block in plan.counted_blocks(["image_id", "prompts"])]
        carrying = pa.concat_tables(blocks) if blocks else plan.rows.schema.empty_table()
        if not carrying.num_rows:
            return
        source_ids, objects = pc.struct_field(carrying["prompts"], "source_id"), _objects(carrying)
        if _are_distinct(source_ids.drop_null()):
            pairs = zip(carrying["image_id"].to_pylist(), source_ids.to_pylist(), strict=True)
            self._images = {image_id: source_id for image_id, source_id in pairs if source_id is not None}
        self._first_image = max(self._images.values(), default=0) + 1
        own_ids = pc.struct_field(objects, "prompt_id")
        is_number = pc.match_substring_regex(own_ids, r"^(0|[1-9]\d{0,17})$")
        self._keeps_annotations = bool(pc.all(is_number).as_py()) and _are_distinct(own_ids)
        self._keeps_annotations &= value_of(plan.fingerprint, "prompts.choose") != "all"
        if self._keeps_annotations and len(own_ids):
            self._first = pc.max(pc.cast(own_ids, pa.int64())).as_py() + 1
        self._take_categories(plan, carrying.num_rows < len(plan), pc.struct_field(objects, "category_id"))

    def _take_categories(self, plan: Plan, has_others: bool, category_ids: pa.ChunkedArray) -> None:
        own = [
            {"id": one.category_id, "name": one.name, **json.loads(one.attributes or "{}")} for one in plan.categories
        ]
        if own:
            self._object["id"] = max(one["id"] for one in own) + 1
            self.categories = own + ([self._object] if has_others or category_ids.null_count else [])

    def image(self, image_id: int) -> int:
        """Of an image of the plan."""
        return self._images.get(image_id, self._first_image + image_id)

    def annotation(self, image_id: int, mask_id: int, prompt: dict[str, Any] | None) -> int:
        """Of a mask.

        Args:
            image_id: Of the plan.
            mask_id: Of the image's.
            prompt: A row of `prompts.arrow.RESULT`; None for a mask of the grid.

        Raises:
            JobError: An image has more than a million masks.
        """
        if prompt is not None and self._keeps_annotations:
            return int(prompt["prompt_id"])
        if mask_id >= PER_IMAGE:
            raise JobError(f"image {image_id}: has more than {PER_IMAGE} masks, and an export no numbers for them")
        return self._first + image_id * PER_IMAGE + mask_id

    def category(self, prompt: dict[str, Any] | None) -> int:
        """Of the same mask."""
        category_id = None if prompt is None else prompt["category_id"]
        return self._object["id"] if category_id is None else int(category_id)

    def label(self, prompt: dict[str, Any] | None) -> str:
        """The name of its category."""
        return self._labels[self.category(prompt)]

    @cached_property
    def _labels(self) -> dict[int, str]:
        return {category["id"]: category["name"] for category in self.categories}


def _carrying(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.is_valid(rows["prompts"]))


def _objects(rows: pa.Table) -> pa.ChunkedArray:
    return pc.list_flatten(pc.struct_field(rows["prompts"], "objects"))


def _are_distinct(values: pa.ChunkedArray) -> bool:
    return len(values) == pc.count_distinct(values, mode="all").as_py()


def decoded_rows(part: pa.Table) -> list[dict[str, Any]]:
    """The images of a part that did not fail, as `output.schema.ANNOTATION_SCHEMA`.

    Scores are those of `shortest_float64`.
    """
    decoded = part.filter(pc.not_equal(part["status"], Status.FAILED))
    rows: list[dict[str, Any]] = decoded.to_pylist()
    masks = [mask for row in rows for mask in row["masks"]]
    for name in ("predicted_iou", "stability_score"):
        scores = pc.struct_field(pc.list_flatten(decoded["masks"]), name)
        for mask, score in zip(masks, shortest_float64(scores).to_pylist(), strict=True):
            mask[name] = score
    return rows


def shortest_float64(values: pa.Array) -> pa.Array:
    """The numbers with the fewest digits that are the same in float32: 0.9, not 0.8999999761581421."""
    return pc.cast(pc.cast(values, pa.string()), pa.float64())


def masks_with_prompts(row: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    """The masks of a row, each with what was asked for it: of `prompts.arrow.RESULT`, or None for one of the grid."""
    prompts = {prompt["prompt_id"]: prompt for prompt in row["prompts"] or ()}
    return [(mask, prompts.get(mask["prompt_id"])) for mask in row["masks"]]
