from dataclasses import replace

import pytest
import torch
from engine.contract import EngineContract, all_pairs, box_prompts, pictures, point_prompts
from support.small_sam import torch_engine
from support.tensorrt_engines import built_demo, built_engine

from sam_batch.engine.protocol import Embeddings, Prompts
from sam_batch.errors import EngineError, NonFiniteError


def key_points(engine):
    """17 points and a box each, as COCO has them of a person."""
    points = torch.rand(11, 17, 2, generator=torch.Generator().manual_seed(1)) * engine.spec.image_side
    labels = torch.tensor([1, 0, -1]).repeat(6)[:17].expand(11, -1)
    return Prompts(points, labels.int(), box_prompts(engine, 11).boxes)


class TensorRTContract(EngineContract):
    """Prompts may have up to 19 tokens."""

    def test_more_tokens_than_it_was_built_for_are_refused(self, engine, embeddings):
        points = Prompts(torch.ones(1, 19, 2), torch.ones(1, 19, dtype=torch.int32))
        with pytest.raises(EngineError, match=r"takes prompts of 0 to 19 tokens .* not of 20; set engine\.kind=torch"):
            engine.score(embeddings[0], points)


class TestFloat32(TensorRTContract):
    atol = 1e-4

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, bindings, exports, tmp_path_factory):
        return built_engine(bindings, exports, tmp_path_factory.mktemp("built"))

    def test_numbers_are_those_of_torch(self, engine):
        reference = torch_engine()
        images = pictures(engine, 3)
        embeddings = [one.embed(images) for one in (engine, reference)]
        torch.testing.assert_close(*(one.features for one in embeddings), rtol=0, atol=1e-4)
        for made in (point_prompts(engine, 11), box_prompts(engine, 11), key_points(engine), Prompts(count=11)):
            for multimask in (True, False):
                prompts = replace(made, multimask=multimask)
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
    """The demo model, whose graphs in half precision other tests need as well."""

    atol = 0.2  # its logits go to hundreds

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, bindings, export_once, tmp_path_factory):
        return built_demo(bindings, export_once, tmp_path_factory.mktemp("built"))
