"""Pictures hold exactly the masks, and come out the same every time."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.corpus import picture
from support.results import annotation_of, random_masks

from sam_batch.errors import ImageError
from sam_batch.output import render

HEIGHT, WIDTH = 60, 80


def box(top, left, bottom, right):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def annotated(*masks):
    return [annotation_of(mask, index) for index, mask in enumerate(masks)]


def read(png):
    """RGB, RGBA or grey as stored."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    return image if image.ndim == 2 else image[..., [2, 1, 0, 3][: image.shape[2]]]


def label_by_hand(masks):
    """Larger masks first, so that smaller ones cover them; of equal ones the first stays on top."""
    labels = np.zeros((HEIGHT, WIDTH), int)
    for index in sorted(range(len(masks)), key=lambda index: (masks[index].sum(), index), reverse=True):
        labels[masks[index]] = index + 1
    return labels


@given(st.integers(0, 2**32 - 1), st.integers(0, 12))
def test_labels_are_mask_ids_plus_one_with_small_masks_on_top(seed, count):
    masks = random_masks(HEIGHT, WIDTH, count, seed)
    labels = read(render.label_mask(annotated(*masks), HEIGHT, WIDTH))
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, label_by_hand(masks))


def test_labels_use_all_16_bits_and_no_more():
    mask = box(0, 0, 2, 2)
    labels = read(render.label_mask([annotation_of(mask, 65534)], HEIGHT, WIDTH))
    assert labels[0, 0] == 65535
    with pytest.raises(ImageError, match="does not fit"):
        render.label_mask([annotation_of(mask, 65535)], HEIGHT, WIDTH)


def test_colours_lie_on_black_exactly_where_the_masks_are():
    masks = random_masks(HEIGHT, WIDTH, 6, seed=1)
    drawn = read(render.color_mask(None, annotated(*masks), HEIGHT, WIDTH))
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(drawn.any(axis=2), np.any(masks, axis=0))
    for label in np.unique(label_by_hand(masks)):
        assert len(np.unique(drawn[label_by_hand(masks) == label], axis=0)) == 1


def test_over_an_image_the_background_stays_and_masks_are_blended():
    image = picture(WIDTH, HEIGHT)
    mask = box(10, 10, 40, 50)
    drawn = read(render.color_mask(image, annotated(mask), HEIGHT, WIDTH))
    np.testing.assert_array_equal(drawn[~mask], image[~mask])
    color = read(render.color_mask(None, annotated(mask), HEIGHT, WIDTH))[20, 20]
    np.testing.assert_allclose(drawn[mask], 0.45 * image[mask] + 0.55 * color, atol=1)


def test_an_image_without_masks_is_shown_as_it_is():
    image = picture(WIDTH, HEIGHT)
    np.testing.assert_array_equal(read(render.color_mask(image, [], HEIGHT, WIDTH)), image)
    assert not read(render.color_mask(None, [], HEIGHT, WIDTH)).any()
    assert not read(render.label_mask([], HEIGHT, WIDTH)).any()


def test_a_colour_depends_on_the_mask_id_alone():
    one, other = box(0, 0, 5, 5), box(30, 30, 50, 50)
    alone = read(render.color_mask(None, [annotation_of(other, 7)], HEIGHT, WIDTH))
    among = read(render.color_mask(None, [annotation_of(one, 2), annotation_of(other, 7)], HEIGHT, WIDTH))
    np.testing.assert_array_equal(alone[40, 40], among[40, 40])


def test_over_an_image_the_colours_are_as_opaque_as_asked():
    image, mask = picture(WIDTH, HEIGHT), box(10, 10, 40, 50)
    clear, full = (
        read(render.color_mask(image, annotated(mask), HEIGHT, WIDTH, render.Style(opacity))) for opacity in (0, 1)
    )
    np.testing.assert_array_equal(clear, image)
    assert len(np.unique(full[mask], axis=0)) == 1


def test_outlines_are_the_edges_of_what_is_seen_in_full_colour():
    style = render.Style(opacity=0, outlines=True, colors=lambda mask_id: [(255, 0, 0), (0, 255, 0)][mask_id])
    image = np.full((HEIGHT, WIDTH, 3), 9, np.uint8)
    masks = [box(10, 10, 40, 50), box(10, 10, 20, 20)]  # the second lies in a corner of the first
    drawn = read(render.color_mask(image, annotated(*masks), HEIGHT, WIDTH, style))
    assert drawn[15, 10].tolist() == [0, 255, 0]
    assert drawn[15, 20].tolist() == drawn[39, 30].tolist() == [255, 0, 0]
    np.testing.assert_array_equal(drawn[~masks[0]], image[~masks[0]])
    np.testing.assert_array_equal(drawn[22:38, 12:48], image[22:38, 12:48])


def test_a_mask_at_the_border_of_the_image_has_no_outline_there():
    style = render.Style(opacity=0, outlines=True)
    image = np.full((HEIGHT, WIDTH, 3), 9, np.uint8)
    drawn = read(render.color_mask(image, annotated(box(0, 0, HEIGHT, WIDTH)), HEIGHT, WIDTH, style))
    np.testing.assert_array_equal(drawn, image)


def test_numbers_are_written_in_white_where_the_mask_is_widest():
    style = render.Style(opacity=0, numbers=True)
    image = np.full((HEIGHT, WIDTH, 3), 99, np.uint8)
    masks = [box(2, 2, 58, 40), box(28, 40, 32, 78)]  # one more part, of a shape that a number hardly fits
    drawn = read(render.color_mask(image, [annotation_of(masks[0] | masks[1], 7)], HEIGHT, WIDTH, style))
    rows, columns = np.nonzero(drawn.min(axis=2) > 200)
    assert abs(rows.mean() - 30) < 3
    assert abs(columns.mean() - 21) < 4


def test_a_mask_that_is_covered_gets_no_number():
    style = render.Style(opacity=1, numbers=True)
    same = [annotation_of(box(10, 10, 40, 50), mask_id) for mask_id in (0, 1)]
    both, upper = (render.color_mask(None, masks, HEIGHT, WIDTH, style) for masks in (same, same[:1]))
    assert both == upper


def test_a_jpeg_is_nearly_the_png():
    image, masks = picture(WIDTH, HEIGHT), annotated(box(10, 10, 40, 50))
    jpeg = render.color_mask(image, masks, HEIGHT, WIDTH, encoding="jpeg")
    png = render.color_mask(image, masks, HEIGHT, WIDTH)
    assert jpeg.startswith(b"\xff\xd8\xff")
    assert np.abs(read(jpeg).astype(int) - read(png)).mean() < 8


@pytest.mark.parametrize("frame", ["crop", "full"])
def test_cut_outs_hold_the_pixels_of_the_mask_and_nothing_else(frame):
    image = picture(WIDTH, HEIGHT)
    masks = random_masks(HEIGHT, WIDTH, 5, seed=3)
    cutouts = dict(render.segment_cutouts(image, annotated(*masks), 0, frame))
    assert list(cutouts) == [0, 1, 2, 3, 4]
    for index, mask in enumerate(masks):
        rows, columns = (np.s_[values.min() : values.max() + 1] for values in np.nonzero(mask))
        window = (rows, columns) if frame == "crop" else np.s_[:, :]
        expected = np.dstack([image, np.full((HEIGHT, WIDTH), 255, np.uint8)]) * mask[..., None]
        np.testing.assert_array_equal(read(cutouts[index]), expected[window])


def test_masks_below_the_minimum_area_are_not_cut_out():
    masks = annotated(box(0, 0, 2, 5), box(0, 0, 3, 3), box(0, 0, 9, 9))
    cutouts = render.segment_cutouts(picture(WIDTH, HEIGHT), masks, 10, "crop")
    assert [mask_id for mask_id, _ in cutouts] == [0, 2]


def test_pictures_are_the_same_bytes_every_time():
    image, masks = picture(WIDTH, HEIGHT), annotated(*random_masks(HEIGHT, WIDTH, 5))

    def everything():
        cutouts = list(render.segment_cutouts(image, masks, 0, "crop"))
        return render.color_mask(image, masks, HEIGHT, WIDTH), cutouts

    assert everything() == everything()


def test_an_encoder_that_fails_is_an_error(monkeypatch):
    monkeypatch.setattr(cv2, "imencode", lambda *_: (False, None))
    with pytest.raises(ImageError, match="no PNG"):
        render.color_mask(None, [], HEIGHT, WIDTH)
