"""supervision gets the masks of a record as run lengths, pixel by pixel."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from support.results import annotation_of, failed, random_masks, result_of

from sam_batch.library.stored import ImageRecord
from sam_batch.records import Prompt, PromptResult, Status

pytestmark = [
    pytest.mark.readers,
    pytest.mark.filterwarnings("ignore"),  # of what it imports
    pytest.mark.skipif(find_spec("supervision") is None, reason="`make test-readers` installs the package"),
]
CORNER_HW = np.zeros((30, 40), bool)
CORNER_HW[29, 39] = True
MASKS = [*random_masks(30, 40, 8), CORNER_HW, np.ones((30, 40), bool)]


def test_every_mask_comes_back_with_box_and_scores():
    record = ImageRecord.of(result_of("a.jpg", MASKS))
    detections = record.detections()
    assert np.array_equal(np.asarray(detections.mask), np.stack(MASKS))
    assert type(detections.mask).__name__ == "CompactMask"
    assert detections.xyxy.tolist() == record.masks.boxes.tolist()
    assert detections.confidence.tolist() == [0.5] * len(MASKS)
    assert detections.data["mask_id"].tolist() == list(range(len(MASKS)))
    assert detections.class_id is None


def test_categories_of_prompts_become_classes():
    result = result_of("a.jpg", MASKS[:2])
    asked = [PromptResult(Prompt(prompt_id=name, category_id=7, category="cup"), Status.OK) for name in "ab"]
    masks = tuple(annotation_of(mask, place, "ab"[place]) for place, mask in enumerate(MASKS[:2]))
    detections = ImageRecord.of(replace(result, annotations=masks, prompts=tuple(asked))).detections()
    assert detections.class_id.tolist() == [7, 7]
    assert detections["class_name"].tolist() == ["cup", "cup"]


def test_an_image_without_masks_has_no_detections():
    assert len(ImageRecord.of(failed("a.jpg")).detections()) == 0
