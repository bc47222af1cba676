from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from segment_anything.utils.onnx import SamOnnxModel
from support.pictures import picture
from support.small_sam import small_sam

from sam_batch.engine.fake import FakeEngine
from sam_batch.errors import EngineError, NonFiniteError
from sam_batch.records import ImageRef, LoadedImage, Prompt, Status
from sam_batch.records import PromptFailureKind as Kind
from sam_batch.segment.embeddings import Embedder
from sam_batch.segment.prompted import Prompted
from sam_batch.segment.views import cut_views, whole_view

IMAGE = picture(90, 120)
POINT = Prompt(points=((40.0, 30.0),), labels=(1,), prompt_id="point")
BOX = Prompt(box=(20.0, 20.0, 70.0, 60.0), prompt_id="box")
BAD = Prompt(points=((999.0, 5.0),), labels=(1,), prompt_id="bad")


def loaded(prompts, image=IMAGE):
    views = cut_views(image, whole_view(image.shape[:2]), FakeEngine.spec.image_side)
    return LoadedImage(ImageRef(0, "a", "a"), *image.shape[:2], "", b"", views, prompts=tuple(prompts))


def answers(prompts, engine=None, image=IMAGE, **options):
    engine = engine or FakeEngine()
    shown = loaded(prompts, image)
    (embeddings,) = Embedder(engine).embed([shown.views])
    return Prompted(engine, **options).find(shown, embeddings)


def told(answer):
    return (answer.prompt, answer.candidates, answer.failure)


points = st.tuples(st.floats(-10, 130), st.floats(-10, 100))
boxes = st.tuples(*[st.floats(0, 130)] * 4)


@st.composite
def any_prompt(draw):
    given = draw(st.lists(points, max_size=3))
    labels = [draw(st.sampled_from([1, 1, 0, -1, 2])) for _ in given]
    logits = np.zeros(FakeEngine.spec.mask_side**2, np.float32).tobytes()
    return Prompt(tuple(given), tuple(labels), draw(st.none() | boxes), None, draw(st.sampled_from([None, logits])))


@given(st.lists(any_prompt(), max_size=8), st.sampled_from(["single", "best", "auto", "all"]), st.integers(1, 3))
def test_every_prompt_is_answered_as_if_it_were_alone(prompts, choose, batch):
    together = answers(prompts, choose=choose, batch=batch)
    assert [told(one) for one in together] == [told(answers([prompt], choose=choose)[0]) for prompt in prompts]
    assert all(len(one.candidates) == (0 if one.failure else 3 if choose == "all" else 1) for one in together)


def test_a_prompt_that_cannot_be_answered_leaves_its_reason_and_its_neighbours():
    image = loaded([POINT, BAD, BOX])
    engine = FakeEngine()
    (embeddings,) = Embedder(engine).embed([image.views])
    algorithm = Prompted(engine)
    result = algorithm.conclude(image, algorithm.find(image, embeddings))
    assert [(one.prompt.prompt_id, one.status) for one in result.prompts] == [
        ("point", "ok"),
        ("bad", "failed"),
        ("box", "ok"),
    ]
    assert result.prompts[1].failure.kind is Kind.OUTSIDE
    assert [mask.prompt.prompt_id for mask in result.annotations] == ["point", "box"]
    assert [mask.mask_id for mask in result.annotations] == [0, 1]


def test_an_image_of_bad_prompts_is_not_embedded():
    def none():
        raise AssertionError("asked for")
        yield

    (answer,) = Prompted(FakeEngine()).find(loaded([BAD]), none())
    assert answer.status is Status.FAILED


class EmptyEngine(FakeEngine):
    """Its masks have no pixel."""

    def finish(self, scored, index_K2):
        return torch.full_like(super().finish(scored, index_K2), -9.0)


def test_a_prompt_whose_mask_has_no_pixel_is_empty():
    image = loaded([POINT])
    found = answers([POINT], EmptyEngine())
    result = Prompted(EmptyEngine()).conclude(image, found)
    assert (result.status, result.annotations, result.prompts[0].status) == (Status.EMPTY, (), Status.EMPTY)


class PickyEngine(FakeEngine):
    """Overflows on points at the left."""

    def score(self, embedding, prompts):
        if (prompts.points[:, 0, 0] < 20).any():
            raise NonFiniteError("overflow")
        return super().score(embedding, prompts)


def test_a_prompt_on_which_the_engine_overflows_fails_alone():
    left = replace(POINT, points=((5.0, 30.0),))
    found = answers([POINT, left, POINT], PickyEngine())
    assert [one.status for one in found] == [Status.OK, Status.FAILED, Status.OK]
    assert found[1].failure.kind is Kind.NON_FINITE_OUTPUT


class OnePointEngine(FakeEngine):
    """Takes one point or one box, as TensorRT engines do."""

    spec = replace(FakeEngine.spec, token_range=(2, 2))

    def score(self, embedding, prompts):
        if not self.spec.takes(prompts):
            raise EngineError("too many tokens")
        return super().score(embedding, prompts)


def test_what_the_engine_does_not_take_fails_and_breaks_no_worker():
    both = replace(BOX, points=POINT.points, labels=POINT.labels)
    found = answers([POINT, both, BOX], OnePointEngine())
    assert [one.status for one in found] == [Status.OK, Status.FAILED, Status.OK]
    assert found[1].failure.kind is Kind.NOT_SUPPORTED
    assert "set engine.kind=torch" in found[1].failure.message


class CountingEngine(FakeEngine):
    def __init__(self):
        self.scored = []

    def score(self, embedding, prompts):
        self.scored.append((len(prompts), prompts.masks is not None, prompts.multimask))
        return super().score(embedding, prompts)


def test_refining_gives_the_best_mask_back():
    engine = CountingEngine()
    refined = answers([POINT, POINT], engine, refine=2)
    assert engine.scored == [(2, False, True), (2, True, True), (2, True, True)]
    assert told(refined[0]) != told(answers([POINT])[0])


@pytest.mark.parametrize(("count", "boxed"), [(0, False), (1, False), (2, False), (3, False), (0, True), (1, True)])
def test_auto_decides_as_sams_onnx_model(count, boxed):
    engine = CountingEngine()
    prompt = Prompt(((9.0, 9.0),) * count, (1,) * count, BOX.box if boxed else None)
    answers([prompt], engine, choose="auto")
    tokens = count + (2 if boxed else 1)
    model = SamOnnxModel(small_sam(), return_single_mask=True)
    masks_14hw = torch.arange(4.0)[None, :, None, None]
    (mask,), _ = model.select_masks(masks_14hw, torch.tensor([[0.9, 0.1, 0.2, 0.3]]), tokens)
    assert engine.scored == [(1, False, mask.item() > 0)]


def test_logits_are_kept_on_demand():
    (answer,) = answers([POINT], choose="all", keep_logits=True)
    assert answer.logits_Mhw.shape == (3, 64, 64)
    assert answers([POINT])[0].logits_Mhw is None


def test_no_prompts_have_no_answers():
    assert answers([]) == []
