import cv2
import numpy as np
from support.pictures import picture
from support.results import annotation_of

from sam_batch.config import GeneratorConfig
from sam_batch.config_output import ColorMasksConfig
from sam_batch.library.results import Masks
from sam_batch.library.shown import SIDE, as_overrides, drawn, side_by_side, three_thresholds


def read(data):
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def masks():
    mask = np.zeros((40, 60), bool)
    mask[10:30, 5:45] = True
    return Masks((annotation_of(mask, 0),), 40, 60, pixels=picture(40, 60))


def test_three_thresholds_lie_around_those_that_are_set():
    looser, given, stricter = three_thresholds(GeneratorConfig(pred_iou_thresh=0.7, stability_score_thresh=0.1))
    assert looser == {"pred_iou_thresh": 0.55, "stability_score_thresh": 0.0}
    assert given == {"pred_iou_thresh": 0.7, "stability_score_thresh": 0.1}
    assert stricter == {"pred_iou_thresh": 0.8, "stability_score_thresh": 0.4}
    assert as_overrides(given) == "generator.pred_iou_thresh=0.7 generator.stability_score_thresh=0.1"


def test_masks_are_drawn_as_a_job_draws_them():
    over, alone = (read(drawn(masks(), ColorMasksConfig(over_image=over), "png")) for over in (True, False))
    np.testing.assert_array_equal(over[:10], masks().pixels[:10])
    assert not alone[:10].any()
    assert alone[20, 20].tolist() == [255, 60, 60]


def test_pictures_lie_side_by_side_made_small_with_captions_below():
    black = cv2.imencode(".png", np.zeros((100, 2 * SIDE, 3), np.uint8))[1].tobytes()
    row = read(side_by_side([("first", black), ("a second, with a longer caption", black)], "png"))
    assert row.shape == (50 + 28, 2 * (SIDE + 4), 3)
    assert not row[:50].any()
    assert row[50:, :SIDE].any()
    assert row[50:, SIDE + 4 :].any()


def test_a_strip_of_pixels_has_its_place_too():
    strip = cv2.imencode(".png", np.zeros((50, 1, 3), np.uint8))[1].tobytes()
    assert read(side_by_side([("first", strip), ("second", strip)], "png")).shape == (50 + 28, 2 * 5, 3)
