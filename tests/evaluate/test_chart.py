from xml.etree import ElementTree

from sam_batch.evaluate.chart import to_svg
from sam_batch.evaluate.tune import Trial, Tuning

SVG = "{http://www.w3.org/2000/svg}"


def test_each_trial_is_a_dot_higher_with_recall_and_to_the_right_with_masks():
    tried = [
        Trial({"pred_iou_thresh": place}, masks, recall) for place, masks, recall in [(0.5, 90, 0.8), (0.9, 40, 0.3)]
    ]
    drawn = ElementTree.fromstring(to_svg(Tuning("out", "truth.json", 10, 0, 0.95, tried)))
    high, low = drawn.iter(f"{SVG}circle")
    assert float(high.get("cx")) > float(low.get("cx"))
    assert float(high.get("cy")) < float(low.get("cy"))
    assert [dot.get("class") for dot in (high, low)] == ["chosen", "front"]
    assert low.find(f"{SVG}title").text == "4.0 masks an image, recall 0.300: pred_iou_thresh 0.9"
    assert len(drawn.find(f"{SVG}polyline").get("points").split()) == 2


def test_it_is_drawn_also_where_nothing_was_found():
    assert to_svg(Tuning("out", "truth.json", 10, 0, 0.95, [Trial({}, 0, 0.0)])).startswith(b"<svg")
