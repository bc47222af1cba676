"""segment-anything's classes on this package's engine; what people do with them besides calling them, too."""

import copy
import pickle
from itertools import chain

import numpy as np
import pytest
import segment_anything
import torch
from segment_anything.utils.transforms import ResizeLongestSide
from support.pictures import picture
from support.small_sam import small_sam
from support.threads import one_thread
from torch import nn

from sam_batch import compat
from sam_batch.compat import SamAutomaticMaskGenerator, SamPredictor

__all__ = ["one_thread"]

IMAGE = picture(90, 128, 3)
POINT, BOX = np.array([[40, 30]]), np.array([20, 20, 70, 60])
BOXES = torch.tensor([[20.0, 20, 70, 60], [5, 10, 100, 80], [60, 30, 90, 70]])
SETTINGS = {"points_per_side": 3, "pred_iou_thresh": 0.6, "stability_score_thresh": 0.4, "box_nms_thresh": 1.0}
PROMPTS = {
    "nothing": {},
    "point": {"point_coords": POINT, "point_labels": np.array([1])},
    "box": {"box": BOX},
    "box (1, 4)": {"box": BOX[None]},
    "box and points": {"box": BOX, "point_coords": np.repeat(POINT, 2, 0), "point_labels": np.array([1, 0])},
    "no points beside a box": {"box": BOX, "point_coords": np.zeros((0, 2)), "point_labels": np.zeros(0)},
    "mask": {"mask_input": np.ones((1, 32, 32), np.float32)},
    "mask and box": {"box": BOX, "mask_input": np.ones((1, 32, 32), np.float32)},
    "labels of a box": {"point_coords": BOX.reshape(2, 2), "point_labels": np.array([2, 3])},
}


def predictors():
    """Theirs and ours, of equal weights, with the same embedding; they are calm, since lively ones magnify rounding."""
    theirs, ours = segment_anything.SamPredictor(small_sam(lively=False)), SamPredictor(small_sam(lively=False))
    theirs.set_image(IMAGE)
    ours.features, ours.is_image_set = theirs.features, True
    ours.original_size, ours.input_size = theirs.original_size, theirs.input_size
    return theirs, ours


def assert_alike(ours, theirs):
    """Masks, predicted IoUs and logits of `predict` or `predict_torch`; a mask may differ where its logit is a tie."""
    for one, other in zip(map(torch.as_tensor, ours), map(torch.as_tensor, theirs), strict=True):
        assert (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
    assert (torch.as_tensor(ours[0]) != torch.as_tensor(theirs[0])).sum() <= 2
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@pytest.fixture
def predictor():
    predictor = SamPredictor(small_sam(lively=False))
    predictor.set_image(IMAGE)
    return predictor


class TestPredictor:
    def test_it_is_one_of_segment_anythings(self, predictor):
        assert isinstance(predictor, segment_anything.SamPredictor)

    @pytest.mark.parametrize("multimask", [True, False])
    @pytest.mark.parametrize("prompt", PROMPTS)
    def test_every_prompt_gets_the_answer_of_the_reference(self, prompt, multimask):
        theirs, ours = predictors()
        asked = PROMPTS[prompt] | {"multimask_output": multimask}
        assert_alike(ours.predict(**asked), theirs.predict(**asked))

    def test_logits_on_demand(self):
        theirs, ours = predictors()
        logits, expected = (one.predict(box=BOX, return_logits=True)[0] for one in (ours, theirs))
        np.testing.assert_allclose(logits, expected, atol=1e-5)

    def test_an_image_set_anew_has_its_own_embedding(self, predictor):
        theirs, _ = predictors()
        torch.testing.assert_close(predictor.features, theirs.features, rtol=0, atol=1e-4)
        predictor.set_image(IMAGE[:, ::-1].copy())
        assert not torch.allclose(predictor.features, theirs.features, atol=1e-2)

    def test_blue_first_is_turned(self, predictor):
        before = predictor.features
        predictor.set_image(IMAGE[..., ::-1], image_format="BGR")
        assert torch.equal(predictor.features, before)

    @pytest.mark.parametrize("boxes", [BOXES, BOXES[:, None]])
    def test_boxes_that_the_transform_scaled_are_a_batch(self, boxes):
        theirs, ours = predictors()
        answers = []
        for one in (ours, theirs):
            scaled = one.transform.apply_boxes_torch(boxes, IMAGE.shape[:2]).reshape(boxes.shape)
            answers.append(one.predict_torch(None, None, scaled, multimask_output=False))
        assert_alike(*answers)
        assert answers[0][0].shape == (3, 1, 90, 128)

    def test_one_mask_serves_all_boxes(self):
        theirs, ours = predictors()
        mask = torch.ones((1, 1, 32, 32))
        assert_alike(*(one.predict_torch(None, None, BOXES, mask) for one in (ours, theirs)))

    def test_more_prompts_than_are_decoded_at_once(self):
        theirs, ours = predictors()
        points, labels = 128 * torch.rand((150, 1, 2)), torch.ones((150, 1))
        assert_alike(*(one.predict_torch(points, labels, multimask_output=False) for one in (ours, theirs)))

    def test_no_prompts_have_no_masks(self, predictor):
        masks, scores, logits = predictor.predict_torch(None, None, BOXES[:0])
        assert (masks.shape, scores.shape, logits.shape) == ((0, 3, 90, 128), (0, 3), (0, 3, 32, 32))

    def test_a_prompt_that_is_not_finite_spoils_no_other(self):
        theirs, ours = predictors()
        boxes = BOXES.clone()
        boxes[1] = torch.nan
        masks, scores, _ = ours.predict_torch(None, None, boxes)
        assert scores.isfinite().tolist() == [[True] * 3, [False] * 3, [True] * 3]
        assert torch.equal(masks, theirs.predict_torch(None, None, boxes)[0])

    @pytest.mark.parametrize(
        "parts", [(torch.zeros(2, 1, 2), torch.ones(2, 1), BOXES), (None, None, BOXES[None]),
                  (None, None, BOXES, torch.ones(2, 1, 32, 32))]
    )  # fmt: skip
    def test_parts_of_different_numbers_are_refused(self, predictor, parts):
        with pytest.raises(ValueError, match=r"as many prompts each|boxes should be"):
            predictor.predict_torch(*parts)

    def test_without_an_image_nothing_is_predicted(self, predictor):
        predictor.reset_image()
        with pytest.raises(RuntimeError, match="image must be set"):
            predictor.predict(box=BOX)

    def test_an_image_that_was_not_resized_is_refused(self, predictor):
        with pytest.raises(ValueError, match=r"longer side of 128; it is \(1, 3, 90, 100\)"):
            predictor.set_torch_image(torch.zeros(1, 3, 90, 100), (90, 100))


class TestWhatPeopleDo:
    def test_an_embedding_is_kept_and_restored(self, predictor):
        kept = predictor.get_image_embedding().cpu(), predictor.original_size, predictor.input_size
        expected = predictor.predict(box=BOX)
        other = SamPredictor(small_sam(lively=False))
        other.features, other.original_size, other.input_size = kept
        other.is_image_set = True
        assert all(map(np.array_equal, other.predict(box=BOX), expected))

    def test_tensors_may_be_written_to(self, predictor):
        for tensor in (predictor.features, *predictor.predict_torch(None, None, BOXES)):
            tensor.zero_()
        assert not predictor.features.any()

    def test_the_submodules_are_called_by_hand(self, predictor):
        model = predictor.model
        sparse, dense = model.prompt_encoder(points=None, boxes=BOXES, masks=None)
        low, scores = model.mask_decoder(
            image_embeddings=predictor.get_image_embedding(),
            image_pe=model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        assert low.requires_grad
        masks = model.postprocess_masks(low, predictor.input_size, predictor.original_size) > model.mask_threshold
        assert_alike(predictor.predict_torch(None, None, BOXES, multimask_output=False), (masks, scores, low.detach()))

    def test_the_model_is_trained_between_images(self, predictor):
        before = predictor.predict(box=BOX)[2]
        with torch.no_grad():
            for weight in predictor.model.parameters():
                weight.mul_(1.1)
        trained = segment_anything.SamPredictor(copy.deepcopy(predictor.model))
        trained.set_image(IMAGE)
        predictor.set_image(IMAGE)
        assert not np.allclose(predictor.predict(box=BOX)[2], before, atol=1e-3)
        np.testing.assert_allclose(predictor.predict(box=BOX)[2], trained.predict(box=BOX)[2], atol=1e-4)

    def test_an_average_written_through_data_is_noticed_at_the_next_image(self, predictor):
        engine = predictor.engines.engine_of(predictor.model)
        for weight in predictor.model.parameters():
            weight.data.mul_(1.1)
        predictor.set_image(IMAGE)
        assert predictor.engines.engine_of(predictor.model) is not engine

    def test_nothing_changed_keeps_the_engine(self, predictor):
        engine = predictor.engines.engine_of(predictor.model)
        predictor.set_image(IMAGE)
        predictor.predict(box=BOX)
        assert predictor.engines.engine_of(predictor.model) is engine

    def test_a_moved_model_has_its_engine_where_it_is(self, predictor):
        predictor.model.to(torch.float64).to(torch.float32)  # to another place, as `.to("cuda")` does
        assert next(predictor.model.parameters()).device == predictor.device == predictor.model.device
        engine = predictor.engines.engine_of(predictor.model)
        assert (engine.spec.device, predictor.predict(box=BOX)[0].shape) == ("cpu", (3, 90, 128))

    def test_the_callers_autocast_changes_nothing(self, predictor):
        expected = predictor.predict(box=BOX)
        with torch.autocast("cpu", torch.bfloat16):
            predictor.set_image(IMAGE)
            found = predictor.predict(box=BOX)
        assert all(map(np.array_equal, found, expected))

    def test_a_lower_threshold_of_the_model_counts(self, predictor):
        before = predictor.predict(box=BOX)[0].sum()
        predictor.model.mask_threshold = -1.0
        assert predictor.predict(box=BOX)[0].sum() > before

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
    def test_a_predictor_is_copied_and_pickled(self, copied):
        predictor = SamPredictor(small_sam(lively=False))
        predictor.set_image(IMAGE)
        other = copied(predictor)
        assert all(map(np.array_equal, other.predict(box=BOX), predictor.predict(box=BOX)))

    def test_prompts_may_come_as_the_transform_has_them(self, predictor):
        transform = ResizeLongestSide(predictor.model.image_encoder.img_size)
        resized = torch.as_tensor(transform.apply_image(IMAGE)).permute(2, 0, 1)[None]
        before = predictor.features
        predictor.set_torch_image(resized, IMAGE.shape[:2])
        assert torch.equal(predictor.features, before)


class Rebuilt(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.img_size = encoder, encoder.img_size

    def forward(self, images):
        return 2 * self.encoder(images)


class TestWhatTheEngineCannotDo:
    def test_a_rebuilt_model_runs_as_it_is_and_that_is_said_once(self):
        theirs, ours = (small_sam(lively=False) for _ in range(2))
        for sam in (theirs, ours):
            sam.image_encoder = Rebuilt(sam.image_encoder)
        expected, predictor = segment_anything.SamPredictor(theirs), SamPredictor(ours)
        with pytest.warns(UserWarning, match="own code is used, which is slower: image_encoder is a .*Rebuilt"):
            predictor.set_image(IMAGE)
        expected.set_image(IMAGE)
        assert all(map(np.array_equal, predictor.predict(box=BOX), expected.predict(box=BOX)))

    def test_a_generator_of_a_rebuilt_model_too(self):
        sam = small_sam(lively=False)
        sam.image_encoder = Rebuilt(sam.image_encoder)
        with pytest.warns(UserWarning, match="Rebuilt"):
            assert SamAutomaticMaskGenerator(sam, 2, pred_iou_thresh=0.0, stability_score_thresh=0.0).generate(IMAGE)

    def test_an_unknown_precision_is_refused(self):
        with pytest.raises(ValueError, match="precision is 'fp8'"):
            SamPredictor(small_sam(), precision="fp8")


def test_half_precision_leaves_the_users_model_alone():
    sam = small_sam(lively=False)
    predictor = SamPredictor(sam, precision="bf16")
    predictor.set_image(IMAGE)
    assert {weight.dtype for weight in chain(sam.parameters(), [predictor.features])} == {torch.float32}
    assert predictor.predict(box=BOX)[0].shape == (3, 90, 128)


class TestGenerator:
    @pytest.mark.parametrize("mode", ["binary_mask", "coco_rle", "uncompressed_rle"])
    @pytest.mark.parametrize(
        "more", [{}, {"crop_n_layers": 1, "crop_nms_thresh": 1.0, "min_mask_region_area": 9}], ids=["plain", "crops"]
    )
    def test_records_are_those_of_the_reference(self, mode, more):
        settings = SETTINGS | more | {"output_mode": mode}
        ours = SamAutomaticMaskGenerator(small_sam(), **settings).generate(IMAGE)
        theirs = segment_anything.SamAutomaticMaskGenerator(small_sam(), **settings).generate(IMAGE)
        assert len(ours) == len(theirs) > 2
        for one, other in zip(ours, theirs, strict=True):
            assert types_of(one | {"crop_box": None}) == types_of(other | {"crop_box": None})
            assert [one[key] for key in ("point_coords", "crop_box")] == [
                other[key] for key in ("point_coords", "crop_box")
            ]
            assert abs(one["area"] - other["area"]) <= 3
            np.testing.assert_allclose(one["bbox"], other["bbox"], atol=1)
            assert one["predicted_iou"] == pytest.approx(other["predicted_iou"], abs=1e-4)

    def test_settings_may_stand_in_order_and_change_later(self):
        generator = SamAutomaticMaskGenerator(small_sam(), 3, 64, 0.6, 0.4, box_nms_thresh=1.0)
        many = generator.generate(IMAGE)
        generator.pred_iou_thresh = 0.9
        assert 0 < len(generator.generate(IMAGE)) < len(many)
        assert isinstance(generator, segment_anything.SamAutomaticMaskGenerator)

    def test_its_predictor_is_a_fast_one(self):
        generator = SamAutomaticMaskGenerator(small_sam(), **SETTINGS)
        generator.predictor.set_image(IMAGE)
        assert isinstance(generator.predictor, SamPredictor)
        assert generator.predictor.predict(box=BOX)[0].any()

    def test_a_step_of_ones_own_is_taken(self):
        class Own(SamAutomaticMaskGenerator):
            def _process_batch(self, points, *rest):
                self.points = len(points)
                return super()._process_batch(points, *rest)

        generator = Own(small_sam(), **SETTINGS)
        with pytest.warns(UserWarning, match="Own has its own _process_batch"):
            assert generator.generate(IMAGE)
        assert generator.points == 9

    def test_a_predictor_of_ones_own_is_taken(self):
        generator = SamAutomaticMaskGenerator(small_sam(), **SETTINGS)
        generator.predictor = segment_anything.SamPredictor(small_sam())
        with pytest.warns(UserWarning, match="has its own predictor"):
            assert generator.generate(IMAGE)

    def test_settings_out_of_our_range_are_segment_anythings_business(self):
        with pytest.warns(UserWarning, match="pred_iou_thresh"):
            records = SamAutomaticMaskGenerator(
                small_sam(), 2, pred_iou_thresh=-1.0, stability_score_thresh=0.0
            ).generate(IMAGE)
        assert records

    @pytest.mark.parametrize("image", [IMAGE[..., 0], IMAGE.astype(np.float32), IMAGE[:0]])
    def test_what_is_no_image_is_refused(self, image):
        with pytest.raises(ValueError, match=r"should be \(H, W, 3\) uint8 RGB"):
            SamAutomaticMaskGenerator(small_sam(), **SETTINGS).generate(image)

    def test_a_model_of_blue_first_gets_it(self):
        red, blue = small_sam(), small_sam()
        blue.image_format = "BGR"
        expected = SamAutomaticMaskGenerator(red, **SETTINGS).generate(IMAGE)
        found = SamAutomaticMaskGenerator(blue, **SETTINGS).generate(IMAGE[..., ::-1])
        assert [one["area"] for one in found] == [one["area"] for one in expected]


def types_of(value):
    """Of a record and all that is in it."""
    if isinstance(value, dict):
        return {key: types_of(part) for key, part in value.items()}
    if isinstance(value, list):
        return list, types_of(value[0]) if value else None
    return type(value), getattr(value, "dtype", None), getattr(value, "shape", None)


def test_the_names_of_segment_anything_are_all_here():
    names = [name for name in vars(segment_anything) if name[0] != "_" and callable(vars(segment_anything)[name])]
    assert set(names) >= {"SamPredictor", "build_sam"}
    assert all(hasattr(compat, name) for name in (*names, "sam_model_registry"))
