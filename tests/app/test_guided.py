"""Guided: what is asked is what was clicked, drawn and painted; each answer can be undone, refined and exported."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from support.pictures import picture

from sam_batch.app import guided as module
from sam_batch.app.guided import Guided, Step, Stroke, brush_width, to_prompts
from sam_batch.app.photograph import Photograph
from sam_batch.errors import InputError

SIZE_HW = (300, 400)
PHOTO = Photograph("<b>.jpg", "<b>.jpg", "guided", picture(*SIZE_HW))
ON_THE_CUP = (300, 200)  # of coffee.jpg


@pytest.fixture
def visitor(fake):
    state = Guided(fake)
    state.begin(PHOTO)
    return state


def test_clicks_and_a_box_are_asked_as_they_are():
    step = Step(points=((1, 2), (3, 4)), labels=(1, 0), box=(5, 6, 70, 80))
    assert to_prompts(step, SIZE_HW) == {"points": [(1, 2), (3, 4)], "labels": [1, 0], "boxes": (5, 6, 70, 80)}
    assert to_prompts(Step(), SIZE_HW) == {}


def test_a_painted_region_is_a_point_in_its_middle():
    strokes = (
        Stroke("foreground", ((50, 60), (150, 60))),
        Stroke("background", ((300, 200),)),
        Stroke("foreground", ((100, 30), (100, 90))),  # crosses the first: one region
    )
    asked = to_prompts(Step(points=((5, 5),), labels=(0,), strokes=strokes), SIZE_HW)
    assert asked["labels"] == [0, 1, 0]
    assert np.allclose(asked["points"], [(5, 5), (100, 60), (300, 200)], atol=1)


def test_a_painted_outline_is_a_box_and_counts_before_a_drawn_one():
    outline = Stroke("box", ((50, 40), (250, 40), (250, 140), (50, 140), (50, 40)))
    asked = to_prompts(Step(box=(1, 1, 5, 5), strokes=(outline,)), SIZE_HW)
    assert np.allclose(asked["boxes"], (50, 40, 250, 140), atol=brush_width(SIZE_HW))


def test_each_change_is_answered_by_three_candidates_of_which_the_best_is_chosen(visitor):
    visitor.click(30, 40, foreground=True)
    assert len(visitor.candidates) == 3
    scores = [candidate.score for candidate in visitor.candidates]
    assert visitor.step.chosen == scores.index(max(scores))
    assert len({candidate.color for candidate in visitor.candidates}) == 3


def test_a_box_may_be_drawn_from_any_corner(visitor):
    visitor.draw_box(200, 150, 20, 30)
    assert visitor.step.box == (20, 30, 200, 150)


def test_undo_goes_back_answer_by_answer_and_reset_to_the_beginning(visitor):
    visitor.click(30, 40, foreground=True)
    first = visitor.step
    visitor.paint("foreground", [(90, 90)])
    visitor.undo()
    assert visitor.step is first
    visitor.undo()
    visitor.undo()
    assert (visitor.step.points, visitor.candidates) == ((), [])
    visitor.click(30, 40, foreground=False)
    visitor.reset()
    assert (visitor.step.points, visitor.step.masks) == ((), None)


def test_an_answer_that_comes_after_a_reset_is_dropped(visitor, fake, monkeypatch):
    predict = fake.predict

    def reset_meanwhile(*asked, **how):
        visitor.reset()
        return predict(*asked, **how)

    monkeypatch.setattr(fake, "predict", reset_meanwhile)
    visitor.click(30, 40, foreground=True)
    assert (visitor.step.points, visitor.step.masks) == ((), None)


def test_steps_that_are_kept_are_bounded(visitor, monkeypatch):
    for x in range(module.MOST_STEPS + 5):
        visitor.click(x, 1, foreground=True)
    for _ in range(module.MOST_STEPS + 5):
        visitor.undo()
    assert len(visitor.step.points) == 6


def test_a_mask_is_refined_by_its_own_logits(visitor):
    visitor.click(30, 40, foreground=True)
    visitor.choose(2)
    logits = visitor.mask().logits
    visitor.refine()
    assert np.array_equal(visitor.step.previous, logits)
    visitor.click(50, 60, foreground=True)
    assert np.array_equal(visitor.step.previous, logits)


def test_logits_of_another_model_are_not_asked_with(visitor):
    visitor.click(30, 40, foreground=True)
    visitor.refine()
    visitor._steps[-1] = replace(visitor.step, origin=replace(visitor.step.origin, sha256="0"))
    with pytest.raises(InputError, match="another model was loaded since"):
        visitor.refine()
    visitor.click(50, 60, foreground=True)
    assert visitor.step.previous is None


def test_a_prompt_that_cannot_be_asked_is_a_sentence_and_no_step(visitor):
    before = visitor.step
    with pytest.raises(ValueError, match="lies outside"):
        visitor.click(9999, 5, foreground=True)
    with pytest.raises(ValueError, match="box"):
        visitor.draw_box(5, 5, 5, 90)
    assert visitor.step is before


def test_nothing_is_exported_before_there_is_a_mask(fake, visitor):
    for act in (visitor.refine, visitor.to_png, visitor.to_coco):
        with pytest.raises(InputError, match="there is no mask yet"):
            act()
    for act in (Guided(fake).picture, Guided(fake).to_png):
        with pytest.raises(InputError):
            act()


def test_visitors_do_not_meet(fake):
    one, other = Guided(fake), Guided(fake)
    one.begin(PHOTO)
    other.begin(Photograph("other", "other", "other", picture(50, 60, 3)))
    one.click(30, 40, foreground=True)
    assert (other.step.points, other.step.masks) == ((), None)
    other.click(5, 5, foreground=False)
    assert (one.step.points, one.step.masks.height, other.step.masks.height) == (((30, 40),), 300, 50)


def test_a_click_on_an_object_gives_a_mask_that_contains_it_as_picture_png_and_coco(demo, coffee):
    visitor = Guided(demo)
    visitor.begin(coffee)
    visitor.click(*ON_THE_CUP, foreground=True)
    expected, (x, y) = visitor.mask().array, ON_THE_CUP
    assert expected[y, x]

    rgba = np.asarray(Image.open(io.BytesIO(visitor.to_png())))
    assert np.array_equal(rgba[..., 3] > 0, expected)

    told = json.loads(visitor.to_coco())
    (annotation,) = told["annotations"]
    assert np.array_equal(coco_mask.decode(annotation["segmentation"]).astype(bool), expected)
    assert (told["images"][0]["file_name"], annotation["area"]) == ("coffee.jpg", expected.sum())
    assert visitor.picture(only_chosen=True) != visitor.picture() != coffee.picture()
