from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.results import annotations, failed, result_of

from sam_batch.data.packed import PackedTable
from sam_batch.errors import JobError
from sam_batch.export.numbers import PER_IMAGE, Numbers, decoded_rows
from sam_batch.output.changes import Change, State
from sam_batch.output.plan import Plan
from sam_batch.output.schema import PLAN_SCHEMA, results_to_table
from sam_batch.prompts.items import Category

CUP = Category(7, "cup", '{"supercategory":"thing"}')


def plan_of(*images, categories=(CUP,), fingerprint=None, changes=None):
    """Of images as (source_id, ids of their prompts), or None for one without prompts."""
    rows = [
        {
            "shard": 0,
            "image_id": number,
            "prompts": None if image is None else {"source_id": image[0], "objects": list(map(asked, image[1]))},
        }
        for number, image in enumerate(images)
    ]
    return Plan(
        PackedTable.of(pa.Table.from_pylist(rows, PLAN_SCHEMA)), fingerprint or {}, 1, changes or {}, categories
    )


def asked(prompt_id):
    return {"prompt_id": prompt_id, "category_id": 7}


def test_without_prompts_images_are_numbered_by_their_place_from_1_and_masks_by_theirs_in_them():
    for numbers in (Numbers(), Numbers(plan_of(None, None, categories=()))):
        assert (numbers.image(1), numbers.annotation(0, 0, None), numbers.annotation(2, 3, None)) == (2, 1, 2_000_004)
        assert (numbers.category(None), numbers.categories) == (
            1,
            [{"id": 1, "name": "object", "supercategory": "object"}],
        )


def test_numbers_of_the_source_are_kept_and_others_stay_clear_of_them():
    numbers = Numbers(plan_of((3, ["8", "5"]), None, (0, ["9"])))
    assert [numbers.image(image_id) for image_id in range(3)] == [3, 5, 0]
    assert [numbers.annotation(0, 0, asked(number)) for number in "85"] == [8, 5]
    assert [numbers.annotation(0, 0, None), numbers.annotation(1, 2, None)] == [10, 1_000_012]
    assert (numbers.category(asked("8")), numbers.category(None)) == (7, 8)
    assert numbers.categories == [
        {"id": 7, "name": "cup", "supercategory": "thing"},
        {"id": 8, "name": "object", "supercategory": "object"},
    ]


def test_a_category_that_nothing_has_is_not_invented():
    assert [one["id"] for one in Numbers(plan_of((3, ["8"]))).categories] == [7]


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (plan_of((3, ["8", "b"])), 1),
        (plan_of((3, ["8"]), (4, ["8"])), 1),
        (plan_of((3, ["8"]), fingerprint={"prompts.choose": '"all"'}), 1),
        (plan_of((3, ["08"])), 1),
        (plan_of((3, ["8"]), (4, ["8"]), changes={1: Change(State.REPLACED, None, None)}), 8),
    ],
    ids=["text", "twice", "three masks", "zeros", "replaced"],
)
def test_ids_that_are_no_numbers_or_not_distinct_are_counted_anew(plan, expected):
    assert Numbers(plan).annotation(0, 0, asked("8")) == expected


def test_images_whose_numbers_stand_twice_are_numbered_by_their_place():
    numbers = Numbers(plan_of((3, ["8"]), (3, ["9"])))
    assert [numbers.image(0), numbers.image(1)] == [1, 2]


def test_more_masks_than_there_are_numbers_for_are_refused():
    with pytest.raises(JobError, match="more than 1000000 masks"):
        Numbers().annotation(0, PER_IMAGE, None)


@given(st.lists(annotations, max_size=4))
def test_scores_are_printed_without_digits_that_say_nothing(masks):
    image = replace(result_of("a.jpg", [], 0, (4, 4)), annotations=tuple(masks))
    (row,) = decoded_rows(results_to_table([failed("b.jpg"), image], {}))
    for mask, recorded in zip(row["masks"], masks, strict=True):
        assert np.float32(mask["predicted_iou"]) == np.float32(recorded.predicted_iou)
        assert len(str(mask["stability_score"])) <= len(str(recorded.stability_score))
