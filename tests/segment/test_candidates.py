import numpy as np

from sam_batch.masks import rle
from sam_batch.masks.patch import Patch
from sam_batch.records import Prompt
from sam_batch.segment.candidates import (
    Candidate,
    annotate,
    clean_regions,
    drop_cut_off,
    suppress_between_crops,
    suppress_within_crop,
)

SIZE = (100, 200)
WHOLE = (0, 0, 200, 100)
LEFT = (0, 0, 110, 100)
PROMPT = Prompt(points=((1.5, 2.5),), labels=(1,))


def candidate(box, predicted_iou=0.9, crop=WHOLE, hole=None):
    """A rectangle with a rectangular hole; boxes are xyxy, the far sides excluded."""
    mask = np.zeros(SIZE, dtype=bool)
    x0, y0, x1, y1 = box
    mask[y0:y1, x0:x1] = True
    if hole is not None:
        x0, y0, x1, y1 = hole
        mask[y0:y1, x0:x1] = False
    return Candidate(Patch.of(mask), predicted_iou, 0.97, PROMPT, crop)


def test_masks_cut_off_by_their_crop_are_dropped():
    inside, cut_off = candidate((0, 0, 50, 100), crop=LEFT), candidate((30, 30, 110, 60), crop=LEFT)
    assert drop_cut_off([inside, cut_off], SIZE) == [inside]


def test_within_a_crop_the_best_predicted_stays():
    worse, better, other = (
        candidate((0, 0, 50, 50), 0.8),
        candidate((0, 0, 50, 51), 0.9),
        candidate((90, 0, 150, 50), 0.95),
    )
    assert suppress_within_crop([worse, better, other], 0.7) == [other, better]


def test_of_equal_masks_one_pixel_wide_the_best_stays():
    """Their boxes have no area, so that boxes alone suppress none of them."""
    line, best, shorter = (
        candidate((5, 0, 6, 50), 0.8),
        candidate((5, 0, 6, 50), 0.9),
        candidate((5, 0, 6, 49), 0.7),
    )
    assert suppress_within_crop([line, shorter, best], 0.7) == [best, shorter]


def test_between_crops_the_smallest_crop_wins():
    of_whole, of_crop = candidate((0, 0, 50, 50), 0.99), candidate((0, 0, 50, 50), 0.8, crop=LEFT)
    assert suppress_between_crops([of_whole, of_crop], 0.7) == [of_crop]


def test_a_cleaned_mask_yields_to_an_untouched_one():
    holed = candidate((0, 0, 50, 50), hole=(10, 10, 12, 12))
    untouched = candidate((0, 0, 50, 50), 0.5)
    assert clean_regions([holed, untouched], SIZE, 10, 0.7) == [untouched]


def test_cleaning_changes_the_mask_alone():
    (cleaned,) = clean_regions([candidate((0, 0, 50, 50), hole=(10, 10, 12, 12))], SIZE, 10, 0.7)
    assert cleaned == candidate((0, 0, 50, 50))


def test_holes_are_filled_before_islands_are_dropped():
    """A ring of 8 pixels becomes a square of 9, which is large enough to stay."""
    square, ring = candidate((0, 0, 50, 50)), candidate((80, 80, 83, 83), hole=(81, 81, 82, 82))
    mask = square.mask.unpack(*SIZE) | ring.mask.unpack(*SIZE)
    (cleaned,) = clean_regions([Candidate(Patch.of(mask), 0.9, 0.97, PROMPT, WHOLE)], SIZE, 9, 0.7)
    assert cleaned.mask.unpack(*SIZE).sum() == 2500 + 9


def test_an_annotation_says_what_its_run_lengths_say():
    (one,) = annotate([candidate((10, 20, 60, 30), crop=LEFT)], SIZE)
    assert (one.bbox, one.area) == ((10.0, 20.0, 50.0, 10.0), 500)
    assert rle.decode(one.counts, *SIZE).sum() == 500
    assert one.crop_box == (0.0, 0.0, 110.0, 100.0)
    assert one.prompt == PROMPT


def test_masks_without_a_pixel_are_no_annotations():
    found = annotate([candidate((0, 0, 0, 0)), candidate((0, 0, 5, 5))], SIZE)
    assert [(one.mask_id, one.area) for one in found] == [(0, 25)]
