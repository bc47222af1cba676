"""Binary masks drawn by Hypothesis, and their run lengths."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco


def run_lengths(mask: np.ndarray) -> str:
    """COCO's compressed run lengths of a boolean (H, W)."""
    counts: bytes = coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    return counts.decode("ascii")


@st.composite
def masks(draw: st.DrawFn, longest: int = 40) -> np.ndarray:
    """Boolean (H, W): empty, full, speckled, or rectangles with rectangles cut out of them."""
    height, width = draw(st.integers(1, longest)), draw(st.integers(1, longest))
    mask = np.full((height, width), draw(st.booleans()))
    if draw(st.booleans()):
        return draw(hnp.arrays(bool, (height, width)))
    for value in draw(st.lists(st.booleans(), max_size=6)):
        rows = sorted(draw(st.tuples(st.integers(0, height), st.integers(0, height))))
        columns = sorted(draw(st.tuples(st.integers(0, width), st.integers(0, width))))
        mask[slice(*rows), slice(*columns)] = value
    return mask
