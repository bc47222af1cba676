from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from engine.contract import EngineContract, all_pairs, pictures, point_prompts
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything import SamPredictor
from segment_anything.modeling.common import LayerNorm2d
from support.imagined_cuda import ImaginedCuda
from support.small_sam import small_sam, torch_engine
from torch._subclasses.fake_tensor import FakeTensor

from sam_batch.config import InputConfig
from sam_batch.data import pixels
from sam_batch.engine import torch_engine as torch_engine_module
from sam_batch.engine.preprocess import preprocess
from sam_batch.engine.protocol import Prompts
from sam_batch.errors import NonFiniteError
from sam_batch.masks.geometry import resize_longest
from sam_batch.model.load import load_model

SIDE = 128
EXAMPLES = Path(__file__).parents[2] / "examples"


def engine_of(sam=None, precision="fp32", device="cpu"):
    return torch_engine(sam or small_sam(), precision, device)


class TestFloat32(EngineContract):
    atol = 1e-5

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls):
        return engine_of(small_sam(lively=False))


class TestBfloat16(EngineContract):
    atol = 0.05

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls):
        return engine_of(small_sam(lively=False), "bf16")


class TestFloat16(EngineContract):
    atol = 0.005

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls):
        return engine_of(small_sam(lively=False), "fp16")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
class TestCudaFloat16(EngineContract):
    atol = 0.01

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls):
        return engine_of(small_sam(lively=False), "fp16", "cuda")


@st.composite
def prompts(draw):
    """Points with any labels, boxes, masks of an earlier round, in every combination SAM knows."""
    count, n = draw(st.integers(1, 20)), draw(st.integers(1, 3))
    kinds = draw(st.sampled_from(["points", "boxes", "points+boxes", "neither"]))
    masked = draw(st.booleans())
    torch.manual_seed(draw(st.integers(0, 2**20)))
    return Prompts(
        points=torch.rand(count, n, 2) * SIDE if "points" in kinds else None,
        labels=torch.randint(-1, 2, (count, n), dtype=torch.int32) if "points" in kinds else None,
        boxes=torch.rand(count, 4) * SIDE if "boxes" in kinds else None,
        masks=torch.randn(count, 1, SIDE // 4, SIDE // 4) if masked else None,
        multimask=draw(st.booleans()),
        count=1,  # of nothing at all SAM makes one prompt
    )


class TestAgainstSegmentAnything:
    """With calm weights: with lively ones segment-anything's own logits are 0.02 from its float64 ones."""

    sam = small_sam(lively=False)
    engine = engine_of(small_sam(lively=False))

    @settings(max_examples=40)
    @given(prompts())
    def test_float32_gives_the_numbers_of_sam_forward(self, prompts):
        image = torch.rand(3, 96, SIDE, generator=torch.Generator().manual_seed(0)) * 255
        record = {"image": image, "original_size": (96, SIDE)}
        named = {
            "point_coords": prompts.points,
            "point_labels": prompts.labels,
            "boxes": prompts.boxes,
            "mask_inputs": prompts.masks,
        }
        record |= {name: value for name, value in named.items() if value is not None}
        expected = self.sam([record], prompts.multimask)[0]

        embedding = self.engine.embed(self.sam.preprocess(image)[None])[0]
        scored = self.engine.score(embedding, prompts)
        count, masks = scored.iou.shape
        logits = self.engine.finish(scored, all_pairs(count, masks)).unflatten(0, (count, masks))

        torch.testing.assert_close(scored.iou, expected["iou_predictions"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(logits, expected["low_res_logits"], rtol=1e-5, atol=1e-5)

    def test_float32_gives_the_numbers_of_sam_predictor(self):
        predictor = SamPredictor(self.sam)
        image = pictures(self.engine, 1)
        predictor.set_torch_image(predictor.model.pixel_mean + image * predictor.model.pixel_std, (SIDE, SIDE))
        prompts = point_prompts(self.engine, 11)
        _, iou, logits = predictor.predict_torch(prompts.points, prompts.labels)

        scored = self.engine.score(self.engine.embed(image)[0], prompts)
        torch.testing.assert_close(scored.iou, iou, rtol=1e-5, atol=1e-5)
        found = self.engine.finish(scored, all_pairs(11, 3)).unflatten(0, (11, 3))
        torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-4)


class TestFinish:
    @pytest.fixture
    def scored(self):
        engine = engine_of()
        return engine, engine.score(engine.embed(pictures(engine, 1))[0], point_prompts(engine, 20))

    def test_each_needed_prompt_is_upscaled_once_in_bounded_chunks(self, scored, monkeypatch):
        engine, scores = scored
        pairs = torch.tensor([[19, 0], [2, 1], [2, 0], [7, 2], [2, 2], [11, 1], [0, 0], [19, 2]])
        whole = engine.finish(scores, pairs)
        sizes = []
        decoder = engine._model.decoder
        decoder.upscaler.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
        monkeypatch.setattr(decoder, "finish_chunk", 2)
        torch.testing.assert_close(engine.finish(scores, pairs), whole, rtol=1e-5, atol=1e-5)
        assert sizes == [2, 2, 1]  # prompts 0, 2, 7, 11, 19

    @pytest.mark.parametrize("pair", [[20, 0], [-1, 0], [0, 3], [0, -1]])
    def test_a_pair_that_was_not_scored_is_an_error(self, scored, pair):
        engine, scores = scored
        with pytest.raises(IndexError, match=r"outside of the \(20, 3\)"):
            engine.finish(scores, torch.tensor([pair]))

    def test_no_prompts_give_no_scores(self, scored):
        engine, _ = scored
        none = Prompts(points=torch.zeros(0, 1, 2), labels=torch.zeros(0, 1, dtype=torch.int32))
        assert engine.score(engine.embed(pictures(engine, 1))[0], none).iou.shape == (0, 3)


def iou_and_logits(engine, images, prompts):
    """(P, M) predicted IoUs, and the (P M, h, w) logits of all masks."""
    scored = engine.score(engine.embed(images)[0], prompts)
    return scored.iou, engine.finish(scored, all_pairs(*scored.iou.shape))


class TestReducedPrecision:
    @pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.04), ("fp16", 0.005)])
    def test_stays_near_float32(self, precision, tolerance):
        """Within `tolerance` of the spread of what is compared."""
        full, reduced = engine_of(small_sam(lively=False)), engine_of(small_sam(lively=False), precision)
        image, prompts = pictures(full, 1), point_prompts(full, 16)
        outputs = [
            (engine.embed(image).features[0].float(), *iou_and_logits(engine, image, prompts))
            for engine in (full, reduced)
        ]
        for expected, found in zip(*outputs, strict=True):
            assert (found - expected).abs().max() < tolerance * (expected.max() - expected.min())

    @pytest.mark.parametrize("photograph", ["coffee", "rocket"])
    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    def test_the_demo_models_masks_stay_the_same(self, precision, photograph):
        """Each prompt's, of those that the demo's thresholds keep: 99 % at an IoU of 0.95, and 0.99 on average.

        In pixels of the image, roughly, not of the logits.
        """
        full, reduced = engine_of(load_model("demo")), engine_of(load_model("demo"), precision)
        image = pixels.decode((EXAMPLES / f"{photograph}.jpg").read_bytes(), InputConfig(uri="-")).rgb_HW3
        view = resize_longest(image, full.spec.image_side)
        height, width = view.shape[:2]
        points = torch.cartesian_prod(torch.arange(8, width, 16), torch.arange(8, height, 16))[:, None].float()
        prompts = Prompts(points, torch.ones(points.shape[:2], dtype=torch.int32))
        images = preprocess(view, full.spec)
        (iou, logits), (_, low) = (iou_and_logits(engine, images, prompts) for engine in (full, reduced))
        stability = (logits > 1).sum(dim=(1, 2)) / (logits > -1).sum(dim=(1, 2))
        kept = (iou.flatten() > 0.4) & (stability > 0.7)
        assert kept.sum() > 30
        ours, theirs = (
            F.interpolate(one[kept][None], scale_factor=4.0, mode="bilinear")[0] > 0 for one in (low, logits)
        )
        agreement = (ours & theirs).sum(dim=(1, 2)) / (ours | theirs).sum(dim=(1, 2))
        assert (agreement >= 0.95).float().mean() >= 0.99
        assert agreement.mean() >= 0.99

    def test_float16_survives_what_would_overflow_in_the_square_of_a_norm(self):
        """LayerNorm2d does not see the scale of its input; 1000 squared is beyond float16."""
        plain, large = small_sam(lively=False), small_sam(lively=False)
        norms = [module for module in large.image_encoder.neck if isinstance(module, LayerNorm2d)]
        with torch.no_grad():
            large.image_encoder.neck[0].weight.mul_(1000)
        assert len(norms) == 2
        expected, found = (engine_of(sam, "fp16") for sam in (plain, large))
        image = pictures(expected, 1)
        torch.testing.assert_close(found.embed(image).features, expected.embed(image).features, rtol=0, atol=0.02)

    def test_predicted_iou_is_not_rounded_to_half(self):
        engine = engine_of(precision="bf16")
        iou = engine.score(engine.embed(pictures(engine, 1))[0], point_prompts(engine, 16)).iou
        assert not torch.equal(iou, iou.bfloat16().float())

    def test_matrices_are_stored_in_half_and_scores_in_full(self):
        sam = small_sam()
        engine_of(sam, "fp16")
        assert sam.image_encoder.blocks[0].attn.qkv.weight.dtype == torch.float16
        assert sam.image_encoder.blocks[0].norm1.weight.dtype == torch.float32
        assert {one.dtype for one in sam.prompt_encoder.parameters()} == {torch.float32}
        assert {one.dtype for one in sam.mask_decoder.iou_prediction_head.parameters()} == {torch.float32}


class TestNonFinite:
    @pytest.mark.parametrize("value", [torch.nan, torch.inf])
    def test_predicted_iou_is_an_engine_error(self, value):
        sam = small_sam()
        sam.mask_decoder.iou_prediction_head.layers[-1].bias.data[2] = value
        engine = engine_of(sam)
        with pytest.raises(NonFiniteError, match="predicted IoU"):
            engine.score(engine.embed(pictures(engine, 1))[0], point_prompts(engine))

    def test_logits_are_an_engine_error(self):
        sam = small_sam()
        sam.mask_decoder.output_upscaling[3].bias.data[0] = torch.nan
        engine = engine_of(sam)
        scored = engine.score(engine.embed(pictures(engine, 1))[0], point_prompts(engine))
        with pytest.raises(NonFiniteError, match="mask logit"):
            engine.finish(scored, all_pairs(5, 3))


@pytest.mark.parametrize("prompts", [
    Prompts(torch.zeros(5, 2, 2), torch.tensor([[-1, 0]] * 5)), Prompts(boxes=torch.zeros(5, 4)),
    Prompts(boxes=torch.zeros(5, 4), masks=torch.zeros(5, 1, SIDE // 4, SIDE // 4)),
])  # fmt: skip
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_tensor_stays_on_the_engines_device(precision, prompts, monkeypatch):
    """On an imagined device; what would read numbers from it is replaced."""
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch_engine_module, "require_finite", lambda *_: None)
    monkeypatch.setattr(FakeTensor, "tolist", lambda mean: [0.0] * len(mean))
    sam = small_sam()
    with ImaginedCuda():
        engine = engine_of(sam, precision, "cuda:0")
        embeddings = engine.embed(torch.zeros(2, 3, SIDE, SIDE))
        scored = engine.score(embeddings[0], prompts)
        logits = engine.finish(scored, torch.tensor([[4, 2], [0, 0], [4, 1]]))
    assert {str(one.device) for one in (*embeddings.features, scored.iou, logits)} == {"cuda:0"}


@pytest.fixture
def shortcuts():
    """What torch may do on CUDA to be fast: all of it, as some environments have it; put back in the end."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    names = "allow_fp16_reduced_precision_reduction", "allow_bf16_reduced_precision_reduction"

    def state():
        return torch.get_float32_matmul_precision(), cudnn.allow_tf32, *(getattr(matmul, name) for name in names)

    def put(products, *allowed):
        torch.set_float32_matmul_precision(products)
        for owner, name, value in zip((cudnn, matmul, matmul), ("allow_tf32", *names), allowed, strict=True):
            setattr(owner, name, value)

    before = state()
    put("high", True, True, True)
    yield state
    put(*before)


def test_cuda_computes_in_the_precision_that_was_asked_for(shortcuts, monkeypatch):
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(FakeTensor, "tolist", lambda mean: [0.0] * len(mean))
    with ImaginedCuda():
        engine_of(device="cuda:0")
    assert shortcuts() == ("highest", False, False, False)


def test_a_closed_engine_holds_no_weights():
    engine = engine_of()
    engine.close()
    assert vars(engine).keys() == {"spec"}
