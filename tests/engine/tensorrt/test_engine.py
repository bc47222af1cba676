from dataclasses import replace

import pytest
import torch
from engine.contract import EngineContract, all_pairs, box_prompts, pictures, point_prompts
from support.small_sam import torch_engine
from support.tensorrt_engines import built_engine

from sam_batch.engine.protocol import Embeddings, Prompts
from sam_batch.errors import EngineError, NonFiniteError


class TensorRTContract(EngineContract):
    """Two promises differ: a prompt is one point or one box, which is what the graphs were exported for."""

    precision = "fp32"

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, bindings, exports, tmp_path_factory):
        return built_engine(bindings, exports, tmp_path_factory.mktemp("built"), cls.precision)

    @pytest.mark.parametrize("make", [point_prompts, box_prompts])
    def test_points_with_boxes_and_masks_of_an_earlier_round_are_taken(self, engine, embeddings, make):
        prompts, pairs = make(engine), all_pairs(5, 3)
        earlier = engine.finish(engine.score(embeddings[0], prompts), pairs[::3])[:, None]
        without, refined = (engine.score(embeddings[0], replace(prompts, masks=masks)) for masks in (None, earlier))
        assert not torch.equal(engine.finish(without, pairs), engine.finish(refined, pairs))

    def test_the_place_of_a_padding_point_counts_for_nothing(self, engine, embeddings):
        real = point_prompts(engine)
        labels = torch.cat([real.labels, torch.full((5, 1), -1, dtype=torch.int32)], dim=1)
        with pytest.raises(EngineError, match=r"one point or one box .* these make 3; set engine\.kind=torch"):
            engine.score(embeddings[0], Prompts(real.points.expand(-1, 2, -1), labels))


class TestFloat32(TensorRTContract):
    atol = 1e-4

    def test_numbers_are_those_of_torch(self, engine):
        reference = torch_engine()
        images = pictures(engine, 3)
        embeddings = [one.embed(images) for one in (engine, reference)]
        torch.testing.assert_close(*(one.features for one in embeddings), rtol=0, atol=1e-4)
        for make in (point_prompts, box_prompts):
            for multimask in (True, False):
                prompts = replace(make(engine, 11), multimask=multimask)
                scored = [one.score(embeddings[1][2], prompts) for one in (engine, reference)]
                pairs = all_pairs(11, 3 if multimask else 1).flip(0)
                torch.testing.assert_close(scored[0].iou, scored[1].iou, rtol=0, atol=1e-5)
                found, expected = engine.finish(scored[0], pairs), reference.finish(scored[1], pairs)
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)

    def test_no_prompts_give_no_scores(self, engine, embeddings):
        none = Prompts(points=torch.zeros(0, 1, 2), labels=torch.zeros(0, 1, dtype=torch.int32))
        assert engine.score(embeddings[0], none).iou.shape == (0, 3)

    def test_what_is_no_number_is_an_engine_error(self, engine, embeddings):
        with pytest.raises(NonFiniteError, match="predicted IoU"):
            engine.score(Embeddings((torch.full_like(embeddings[0].features[0], torch.nan),)), point_prompts(engine))


class TestFloat16(TensorRTContract):
    atol = 0.01
    precision = "fp16"
