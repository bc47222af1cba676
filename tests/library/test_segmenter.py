import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from segment_anything import SamPredictor
from support.reference import reference_annotations

import sam_batch
from sam_batch import Embedding, Segmenter
from sam_batch.config import GeneratorConfig
from sam_batch.errors import CheckpointError
from sam_batch.library.segmenter import read_picture
from sam_batch.model.load import load_model

COFFEE = Path(__file__).parents[2] / "examples" / "coffee.jpg"
LENIENT = {"points_per_side": 4, "pred_iou_thresh": 0.3, "stability_score_thresh": 0.5}
BOX, POINT = (100, 60, 420, 330), (300, 200)


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter("demo", device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def embedding(segmenter):
    return segmenter.embed(COFFEE)


def test_everything_is_what_segment_anything_finds(segmenter):
    found = segmenter.everything(COFFEE, **LENIENT)
    theirs = reference_annotations(load_model("demo"), read_picture(COFFEE), GeneratorConfig(**LENIENT))
    assert len(found) > 3
    assert [mask.prompt for mask in found] == [mask.prompt for mask in theirs]


def test_a_prompt_gets_the_mask_of_sam_predictor(segmenter, embedding):
    predictor = SamPredictor(load_model("demo"))
    predictor.set_image(read_picture(COFFEE))
    masks, scores, logits = predictor.predict(box=np.array(BOX))
    found = segmenter.predict(embedding, boxes=BOX)
    assert (found.arrays[0] != masks[scores.argmax()]).sum() < 5
    np.testing.assert_allclose(found.logits[0], logits[scores.argmax()], atol=1e-3)


def test_an_image_and_its_embedding_give_the_same_also_from_a_file(segmenter, embedding, tmp_path):
    embedding.save(tmp_path / "coffee.safetensors")
    kept = (embedding, Embedding.load(tmp_path / "coffee.safetensors"), pickle.loads(pickle.dumps(embedding)))
    expected = segmenter.predict(COFFEE, points=POINT)
    for one in kept:
        assert segmenter.predict(one, points=POINT).counts == expected.counts


def test_earlier_masks_are_prompts(segmenter, embedding):
    first = segmenter.predict(embedding, boxes=[BOX, BOX])
    again = segmenter.predict(embedding, boxes=[BOX, BOX], masks=first)
    refined = segmenter.predict(embedding, boxes=[BOX, BOX], refine=1)
    assert again.counts == refined.counts
    assert len(segmenter.predict(embedding, masks=first.arrays)) == 2


def test_each_prompt_has_its_place_and_all_gives_three_each(segmenter, embedding):
    points = [np.array([POINT]), np.array([POINT, (50, 50)])]
    assert len(segmenter.predict(embedding, points=points)) == 2
    assert len(segmenter.predict(embedding, points=points, choose="all")) == 6
    assert segmenter.predict(embedding, points=points, choose="all").logits.shape == (6, 64, 64)


def test_a_prompt_that_cannot_be_asked_is_an_error_that_names_it(segmenter, embedding):
    with pytest.raises(ValueError, match=r"prompt 1: the point \(9999, 5\) lies outside"):
        segmenter.predict(embedding, points=[[POINT], [(9999, 5)]])


def test_an_embedding_of_other_weights_is_refused(segmenter, embedding):
    other = replace(embedding, origin=replace(embedding.origin, sha256="0" * 64))
    with pytest.raises(CheckpointError, match="the embedding is of"):
        segmenter.predict(other, points=POINT)


def test_a_call_returns_what_hugging_faces_pipeline_does(segmenter):
    names = {"points_per_crop": 4, "pred_iou_thresh": 0.3, "stability_score_thresh": 0.5}
    (labelled,) = segmenter([COFFEE], **names, output_rle_mask=True, output_bboxes_mask=True)
    found = segmenter.everything(COFFEE, **LENIENT)
    assert np.array_equal(np.stack(labelled["masks"]), found.arrays)
    assert torch.equal(labelled["scores"], torch.from_numpy(found.scores))
    assert labelled["bounding_boxes"].shape == (len(found), 4)
    assert [rle["counts"] for rle in labelled["rle_mask"]] == found.counts


def test_a_sam_at_hand_is_a_model_too_and_stays_as_it_is(segmenter, embedding):
    sam = load_model("demo")
    own = Segmenter(sam, device="cpu", precision="bf16")
    assert {weight.dtype for weight in sam.parameters()} == {torch.float32}
    assert (own.origin.model, own.origin.precision) == ("demo", "bf16")
    exact = Segmenter(sam, device="cpu", precision="fp32")
    assert exact.predict(COFFEE, boxes=BOX).counts == segmenter.predict(embedding, boxes=BOX).counts
    with pytest.raises(CheckpointError, match="the embedding is of"):
        exact.predict(embedding, boxes=BOX)


def test_an_unknown_setting_is_refused(segmenter):
    with pytest.raises(ValueError, match="points_per_sied"):
        segmenter.everything(COFFEE, points_per_sied=4)


def test_pictures_are_paths_arrays_or_of_pillow():
    pixels = read_picture(str(COFFEE))
    assert np.array_equal(read_picture(Image.open(COFFEE)), pixels)
    assert read_picture(pixels) is pixels
    with pytest.raises(ValueError, match=r"should be \(H, W, 3\) uint8 RGB"):
        read_picture(pixels[..., 0])


def test_the_package_names_its_face():
    names = ["Embedding", "ImageRecord", "Mask", "Masks", "Records", "Segmenter", "__version__", "read"]
    assert sam_batch.__all__ == names
    assert all(hasattr(sam_batch, name) for name in sam_batch.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Segmentor'"):
        sam_batch.Segmentor  # noqa: B018
