import numpy as np
import pytest

from sam_batch.data.pixels import turned as turn_pixels
from sam_batch.masks import rle
from sam_batch.masks.patch import Patch
from sam_batch.prompts.frame import Annotated, Shot, place
from sam_batch.records import Prompt
from sam_batch.records import PromptFailureKind as Kind

STORED_HW = (5, 7)
TURNED = range(2, 9)


def shot_of(orientation, marked):
    """The image of STORED_HW, turned, and where its marked pixels are then: the frame as `pixels.decode` makes it."""
    stored = np.zeros((*STORED_HW, 1), np.uint8)
    stored[marked] = 1
    turned = turn_pixels(stored, orientation)[..., 0]
    return Shot(*turned.shape, orientation), np.nonzero(turned)


@pytest.mark.parametrize("orientation", [0, 1, *TURNED, 9])
def test_boxes_and_points_of_stored_pixels_lie_on_the_same_pixels_of_the_shown_image(orientation):
    shot, (rows, columns) = shot_of(orientation, np.s_[1:3, 2:6])
    asked = Prompt(box=(2.0, 1.0, 6.0, 3.0), points=((2.5, 1.5), (5.5, 2.5)), labels=(1, 0))
    (placed,) = place([asked], Annotated(7, 5), shot, "stored")
    assert placed.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    corners = {(columns.min() + 0.5, rows.min() + 0.5), (columns.max() + 0.5, rows.max() + 0.5)}
    others = {(columns.min() + 0.5, rows.max() + 0.5), (columns.max() + 0.5, rows.min() + 0.5)}
    assert set(placed.points) in (corners, others)
    (x, y) = placed.points[0]
    one, _ = shot_of(orientation, np.s_[1, 2])
    ((row,), (column,)) = shot_of(orientation, np.s_[1, 2])[1]
    assert (one, (x, y)) == (shot, (column + 0.5, row + 0.5))


@pytest.mark.parametrize("orientation", TURNED)
def test_a_box_with_reversed_corners_stays_one(orientation):
    shot, _ = shot_of(orientation, np.s_[0, 0])
    (placed,) = place([Prompt(box=(6.0, 1.0, 2.0, 3.0))], Annotated(), shot, "stored")
    assert placed.box[2] < placed.box[0] or placed.box[3] < placed.box[1]


@pytest.mark.parametrize(("frame", "box"), [("stored", (0.0, 0.0, 2.5, 3.5)), ("oriented", (2.5, 0.0, 5.0, 3.5))])
def test_shares_of_the_sides_are_of_the_frame_that_is_said(frame, box):
    """Orientation 6: what is right in the shown image is up in the stored pixels."""
    given = Prompt(box=(0.0, 0.5, 0.5, 1.0) if frame == "stored" else (0.5, 0.0, 1.0, 0.5))
    (placed,) = place([given], Annotated(normalised=True), Shot(7, 5, 6), frame)
    assert placed.box == box


@pytest.mark.parametrize(
    ("annotated", "orientation", "frame", "kind"),
    [
        (Annotated(5, 7), 6, "auto", None),
        (Annotated(7, 5), 6, "auto", None),
        (Annotated(7, 5), 1, "auto", Kind.WRONG_SIZE),
        (Annotated(10, 14), 1, "auto", Kind.WRONG_SIZE),
        (Annotated(10, 14), 6, "stored", Kind.WRONG_SIZE),
        (Annotated(7, 5), 6, "oriented", Kind.WRONG_SIZE),
        (Annotated(), 1, "auto", None),
        (Annotated(), 6, "auto", Kind.UNKNOWN_FRAME),
        (Annotated(5, 7), 3, "auto", Kind.UNKNOWN_FRAME),
        (Annotated(), 6, "stored", None),
    ],
    ids=str,
)
def test_a_frame_is_said_or_recognised_by_its_size_and_nothing_is_scaled(annotated, orientation, frame, kind):
    (placed,) = place([Prompt(box=(1.0, 1.0, 2.0, 2.0))], annotated, Shot(7, 5, orientation), frame)
    assert (placed.fault and placed.fault.kind) == kind


def test_an_upright_image_leaves_pixels_as_they_are():
    given = Prompt(box=(1.1, 1.2, 2.3, 2.4), points=((0.1, 0.7),), labels=(1,))
    assert place([given], Annotated(5, 7), Shot(7, 5), "auto") == (given,)


@pytest.mark.parametrize("orientation", TURNED)
def test_a_mask_of_stored_pixels_is_turned_with_them(orientation):
    shot, expected = shot_of(orientation, np.s_[1:3, 2:6])
    stored = np.zeros(STORED_HW, bool)
    stored[1:3, 2:6] = True
    (placed,) = place([Prompt(mask=rle.encode_patch(Patch.of(stored), *STORED_HW))], Annotated(), shot, "stored")
    np.testing.assert_array_equal(np.nonzero(rle.decode(placed.mask, shot.height, shot.width)), expected)


def test_what_is_no_mask_of_the_image_stays_as_it_is():
    (placed,) = place([Prompt(mask="01")], Annotated(), Shot(7, 5, 6), "stored")
    assert placed.mask == "01"
