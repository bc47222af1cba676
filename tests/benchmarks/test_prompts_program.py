"""The whole program, on a model that is done in a blink."""

import json

import pytest
from PIL import Image
from pycocotools import mask as coco
from support.pictures import picture
from support.small_sam import small_sam

from benchmarks import prompts
from benchmarks.harness import ceiling
from benchmarks.prompts import Answer, Comparison, draw_boxes
from sam_batch.config import GeneratorConfig


@pytest.fixture
def image(tmp_path, monkeypatch):
    monkeypatch.setattr(
        prompts, "load_model", lambda *_: (small_sam(lively=False), "random weights", GeneratorConfig())
    )
    monkeypatch.setattr(ceiling, "matrix_rate", lambda *_: 1e12)
    path = tmp_path / "picture.png"
    Image.fromarray(picture(90, 130, 0)).save(path)
    return path


def run(image, capsys, *more):
    prompts.main(["--device", "cpu", "--boxes", "20", "--long-side", "128", "--images", str(image), *more])
    *lines, last = capsys.readouterr().out.splitlines()
    return lines, json.loads(last)


def test_all_systems_find_the_same_masks_and_the_last_line_is_json(image, capsys):
    lines, summary = run(image, capsys)
    assert summary["scenes"].keys() == {"one_image_single", "images_single", "one_image_best", "images_best"}
    for name, scene in summary["scenes"].items():
        assert scene.keys() == {"reference", "compat", "ours"}
        assert scene["ours"]["masks"] == scene["compat"]["masks"] == (20 if "one" in name else 7)
        assert min(scene["ours"]["mean_iou"], scene["compat"]["mean_iou"]) >= 0.9999
        assert min(scene["ours"]["speedup"], scene["ours"]["cpu_speedup"]) > 0
    assert any(line.startswith("ceiling: ") for line in lines)


def test_other_masks_end_the_program(image, capsys, monkeypatch):
    segment = prompts.Ours.segment
    monkeypatch.setattr(prompts.Ours, "segment", lambda self, boxes: segment(self, boxes[::-1]))
    with pytest.raises(SystemExit, match="the masks are not the reference's"):
        run(image, capsys, "--choose", "single", "--boxes", "9")


def test_of_half_precision_no_masks_are_asked(image, capsys):
    _, summary = run(image, capsys, "--choose", "best", "--precision", "bf16", "--boxes", "2")
    assert summary["precision"] == "bf16"


def answer(columns, score=0.5):
    mask = picture(20, 30)[..., 0] < 0
    mask[:, :columns] = True
    rle = coco.encode(mask.astype("uint8", order="F"))
    return Answer({"size": rle["size"], "counts": rle["counts"].decode()}, score)


@pytest.mark.parametrize(
    ("ours", "reference", "expected"),
    [
        (answer(9), answer(9), Comparison(1, 1, 0, 1.0, 1.0)),
        (answer(19), answer(20), Comparison(1, 0, 0, 0.95, 0.95)),
        (answer(5), answer(10), Comparison(1, 0, 1, 1.0, 1.0)),
        (answer(5, 0.6), answer(10), Comparison(1, 0, 0, 0.5, 0.5)),
    ],
    ids=["identical", "nearly", "of equal scores", "another"],
)
def test_masks_are_compared_by_pixels_and_scores(ours, reference, expected):
    compared = Comparison()
    compared.add(ours, reference)
    assert compared == expected


def test_boxes_lie_in_the_image_and_have_all_sizes():
    boxes = draw_boxes(picture(90, 130), 500, seed=0)
    assert (boxes >= 0).all()
    assert (boxes[:, 2:] <= (130, 90)).all()
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) / (90 * 130)
    assert areas.min() < 0.02
    assert areas.max() > 0.4
