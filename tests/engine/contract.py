"""What every engine promises, as tests: a test class for an engine inherits `EngineContract` and makes the engine."""

import pickle
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from sam_batch.engine.protocol import Embeddings, Engine, Prompts
from sam_batch.errors import EngineError

P = 5


def pictures(engine: Engine, count: int = 2) -> Tensor:
    """(N, 3, S, S) normalised pictures of coloured cells, each another one, with padding below."""
    spec = engine.spec
    generator = torch.Generator().manual_seed(7)
    cells = torch.randint(30, 255, (count, 3, spec.image_side // 16, spec.image_side // 16), generator=generator)
    pixels = cells.float().repeat_interleave(16, dim=2).repeat_interleave(16, dim=3)
    mean, std = torch.tensor(spec.pixel_mean), torch.tensor(spec.pixel_std)
    images = (pixels - mean[:, None, None]) / std[:, None, None]
    images[:, :, 3 * spec.image_side // 4 :] = 0
    return images


def point_prompts(engine: Engine, count: int = P) -> Prompts:
    """One foreground point a prompt, none of them in the padding."""
    generator = torch.Generator().manual_seed(count)
    points = torch.rand(count, 1, 2, generator=generator) * 0.7 * engine.spec.image_side
    return Prompts(points=points, labels=torch.ones(count, 1, dtype=torch.int32))


def box_prompts(engine: Engine, count: int = P) -> Prompts:
    """One box a prompt, as big as a quarter of the view."""
    low = point_prompts(engine, count).points[:, 0] / 2
    return Prompts(boxes=torch.cat([low, low + engine.spec.image_side / 4], dim=1))


def all_pairs(prompts: int, masks: int) -> Tensor:
    return torch.tensor(list(product(range(prompts), range(masks)))).reshape(-1, 2)


def assert_equal(found: Embeddings, expected: Embeddings) -> None:
    assert all(torch.equal(*pair) for pair in zip(found.features, expected.features, strict=True))


def require(engine: Engine, prompts: Prompts) -> None:
    """Skip the test for an engine that does not take prompts of as many tokens, and says so."""
    if not engine.spec.takes(prompts):
        pytest.skip(f"it takes {engine.spec.token_range} tokens, these are {prompts.tokens}")


class EngineContract:
    """Inherit, and give a fixture `engine`.

    Attributes:
        atol: How far logits and IoUs may differ when only the company of a prompt differs.
    """

    atol = 1e-4

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls):
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def embeddings(cls, engine):
        return engine.embed(pictures(engine))

    def close_to(self, found: Tensor, expected: Tensor) -> None:
        torch.testing.assert_close(found, expected, rtol=0, atol=self.atol)

    def test_spec_says_what_callers_need(self, engine):
        spec = engine.spec
        assert spec.image_side == 4 * spec.mask_side
        assert len(spec.pixel_mean) == len(spec.pixel_std) == 3
        assert spec.precision in {"fp32", "bf16", "fp16"}
        assert torch.device(spec.device).type in {"cpu", "cuda"}
        assert pickle.loads(pickle.dumps(spec)) == spec

    def test_embeddings_are_on_the_engines_device_and_in_its_precision(self, engine, embeddings):
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[engine.spec.precision]
        assert {(one.dtype, str(one.device)) for one in embeddings.features} == {(dtype, engine.spec.device)}
        assert not any(one.requires_grad for one in embeddings.features)

    def test_embeddings_are_counted_and_picked_image_by_image(self, engine, embeddings):
        assert [len(embeddings), len(embeddings[0]), len(list(embeddings))] == [2, 1, 2]
        assert_equal(embeddings[-1], embeddings[1])
        with pytest.raises(IndexError):
            embeddings[2]

    def test_an_embedding_does_not_depend_on_the_other_images(self, engine, embeddings):
        (alone,) = engine.embed(pictures(engine)[1:])
        for found, expected in zip(alone.features, embeddings[1].features, strict=True):
            self.close_to(found, expected)
        assert not torch.allclose(embeddings[0].features[0], embeddings[1].features[0])

    def test_same_input_gives_same_bits(self, engine, embeddings):
        again = engine.embed(pictures(engine))
        assert_equal(again, embeddings)
        scored, scored_again = (engine.score(one, point_prompts(engine)) for one in (embeddings[0], again[0]))
        pairs = all_pairs(P, 3)
        assert torch.equal(scored.iou, scored_again.iou)
        assert torch.equal(engine.finish(scored, pairs), engine.finish(scored_again, pairs))

    @pytest.mark.parametrize(("multimask", "masks"), [(True, 3), (False, 1)])
    @pytest.mark.parametrize("make", [point_prompts, box_prompts])
    def test_multimask_gives_three_masks_and_its_absence_one(self, engine, embeddings, make, multimask, masks):
        scored = engine.score(embeddings[0], replace(make(engine), multimask=multimask))
        logits = engine.finish(scored, all_pairs(P, masks))
        assert scored.iou.shape == (P, masks)
        assert scored.iou.dtype == torch.float32
        assert str(scored.iou.device) == engine.spec.device
        assert logits.shape == (P * masks, engine.spec.mask_side, engine.spec.mask_side)
        assert logits.dtype == torch.float32
        assert not logits.requires_grad

    def test_the_single_mask_is_none_of_the_three(self, engine, embeddings):
        prompts = point_prompts(engine)
        three = engine.finish(engine.score(embeddings[0], prompts), all_pairs(P, 3))
        one = engine.finish(engine.score(embeddings[0], replace(prompts, multimask=False)), all_pairs(P, 1))
        assert not any(torch.equal(one[0], three[mask]) for mask in range(3))

    def test_points_with_boxes_and_masks_of_an_earlier_round_are_taken(self, engine, embeddings):
        points, boxes = point_prompts(engine), box_prompts(engine)
        both = replace(points, boxes=boxes.boxes)
        earlier = engine.finish(engine.score(embeddings[0], both), all_pairs(P, 3)[::3])[:, None]
        without, refined = (engine.score(embeddings[0], replace(both, masks=masks)) for masks in (None, earlier))
        pairs = all_pairs(P, 3)
        assert not torch.equal(engine.finish(without, pairs), engine.finish(refined, pairs))

    def test_the_place_of_a_padding_point_counts_for_nothing(self, engine, embeddings):
        real = point_prompts(engine)
        labels = torch.cat([real.labels, torch.full((P, 1), -1, dtype=torch.int32)], dim=1)
        scored = [
            engine.score(embeddings[0], Prompts(torch.cat([real.points, padding], dim=1), labels))
            for padding in (torch.zeros(P, 1, 2), torch.full((P, 1, 2), 50.0))
        ]
        assert torch.equal(scored[0].iou, scored[1].iou)

    def test_a_mask_alone_is_a_prompt(self, engine, embeddings):
        require(engine, Prompts(masks=torch.zeros(1, 1, 1, 1)))
        side, pairs = engine.spec.mask_side, all_pairs(2, 3)
        masks = torch.full((2, 1, side, side), -9.0)
        masks[0, :, : side // 2], masks[1, :, side // 2 :] = 9.0, 9.0
        scored = engine.score(embeddings[0], Prompts(masks=masks))
        logits = engine.finish(scored, pairs).unflatten(0, (2, 3))
        assert scored.iou.shape == (2, 3)
        assert not torch.allclose(logits[0], logits[1])

    def test_nothing_at_all_is_a_prompt(self, engine, embeddings):
        require(engine, Prompts(count=1))
        scored = engine.score(embeddings[0], Prompts(count=2, multimask=False))
        logits = engine.finish(scored, all_pairs(2, 1))
        assert scored.iou.shape == (2, 1)
        self.close_to(logits[0], logits[1])

    def test_prompts_of_tokens_that_it_does_not_take_are_an_error(self, engine, embeddings):
        if engine.spec.takes(Prompts(count=1)):
            pytest.skip("it takes any number of tokens")
        with pytest.raises(EngineError, match=r"set engine\.kind=torch"):
            engine.score(embeddings[0], Prompts(count=1))

    def test_a_prompt_does_not_depend_on_its_company(self, engine, embeddings):
        prompts = point_prompts(engine)
        alone = Prompts(prompts.points[3:4], prompts.labels[3:4])
        together = engine.score(embeddings[0], prompts)
        scored = engine.score(embeddings[0], alone)
        self.close_to(scored.iou[0], together.iou[3])
        pair = torch.tensor([[0, 1]])
        self.close_to(engine.finish(scored, pair), engine.finish(together, pair + torch.tensor([[3, 0]])))

    def test_logits_come_in_the_order_of_the_index(self, engine, embeddings):
        scored = engine.score(embeddings[0], point_prompts(engine))
        pairs = all_pairs(P, 3)
        every = engine.finish(scored, pairs)
        order = torch.tensor([13, 0, 7, 7, 2, 14])
        self.close_to(engine.finish(scored, pairs[order]), every[order])

    def test_nothing_chosen_gives_nothing(self, engine, embeddings):
        side = engine.spec.mask_side
        scored = engine.score(embeddings[0], point_prompts(engine))
        assert engine.finish(scored, torch.empty(0, 2, dtype=torch.int64)).shape == (0, side, side)

    def test_what_was_scored_does_not_change_with_later_calls(self, engine, embeddings):
        first = engine.score(embeddings[0], point_prompts(engine))
        before = engine.finish(first, all_pairs(P, 3))
        other = engine.score(embeddings[1], box_prompts(engine))
        engine.finish(other, all_pairs(P, 3))
        assert torch.equal(engine.finish(first, all_pairs(P, 3)), before)

    def test_masks_follow_the_picture(self, engine, embeddings):
        prompts, pairs = point_prompts(engine), all_pairs(P, 3)
        one, other = (engine.finish(engine.score(embedding, prompts), pairs) for embedding in embeddings)
        assert not torch.allclose(one, other)
