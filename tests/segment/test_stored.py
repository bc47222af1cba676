import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.masks import masks

from sam_batch.masks.patch import Patch
from sam_batch.records import Prompt
from sam_batch.segment.candidates import Candidate
from sam_batch.segment.stored import from_stored, to_stored


def candidate(mask_HW, x, y):
    """A mask of a crop whose origin is (x, y); it may have no pixel."""
    height, width = mask_HW.shape
    prompt = Prompt(points=((x + 0.5, y + 0.5),), labels=(1,))
    return Candidate(Patch.of(mask_HW).shift(x, y), 0.5, 0.75, prompt, (x, y, x + width, y + height), layer=1)


@given(st.lists(st.tuples(masks(), st.integers(0, 9), st.integers(0, 9)), max_size=4))
def test_candidates_come_back_as_they_were(given_masks):
    candidates, size = [candidate(*one) for one in given_masks], (60, 60)
    stored = to_stored(candidates, size)
    assert [one.mask.mask_id for one in stored] == list(range(len(candidates)))
    for before, after in zip(candidates, from_stored(stored, size), strict=True):
        assert (after.mask.box, after.mask.bits) == (before.mask.box, before.mask.bits)
        assert np.array_equal(after.mask.unpack(*size), before.mask.unpack(*size))
        names = ("predicted_iou", "stability", "prompt", "crop", "layer")
        assert [getattr(after, name) for name in names] == [getattr(before, name) for name in names]
