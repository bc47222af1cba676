import pytest
from pycocotools import mask as coco_mask

from sam_batch.prompts.segmentation import to_counts

PLAIN = {"size": [4, 6], "counts": [0, 12, 12]}
COUNTS = coco_mask.frPyObjects(PLAIN, 4, 6)["counts"].decode()


@pytest.mark.parametrize(
    "segmentation",
    [COUNTS, PLAIN, {"size": [4, 6], "counts": COUNTS}, {"size": [4, 6], "counts": COUNTS.encode()}],
    ids=["text", "plain", "compressed", "bytes"],
)
def test_every_spelling_is_the_same_mask(segmentation):
    assert to_counts(segmentation) == COUNTS


def test_polygons_are_united():
    counts = to_counts([[0, 0, 3, 0, 3, 4, 0, 4], [2, 0, 5, 0, 5, 4, 2, 4]], (4, 6))
    assert coco_mask.area({"size": [4, 6], "counts": counts}) == 20


@pytest.mark.parametrize(("polygons", "size"), [([[0, 0, 3, 0, 3, 4]], None), ([[0, 0]], (4, 6))])
def test_polygons_need_corners_and_a_size(polygons, size):
    with pytest.raises(ValueError, match="polygon"):
        to_counts(polygons, size)
