from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw
from support.pictures import picture

from sam_batch.library.painted import CANDIDATE_COLORS, paint_candidates, painted_box, painted_points
from sam_batch.library.segmenter import read_picture

GREY = np.full((120, 160, 3), 120, np.uint8)
RED, GREEN = (255, 0, 0), (0, 255, 0)
CHELSEA = read_picture(Path(__file__).parents[2] / "examples" / "chelsea.jpg")
BOX = (40, 60, 300, 220)


def drawn(image, draw, scale=1):
    """What a function draws with Pillow; on a canvas of several times the size, brushes get smooth edges."""
    height, width = image.shape[:2]
    canvas = Image.fromarray(image).resize((width * scale, height * scale), Image.Resampling.NEAREST)
    draw(ImageDraw.Draw(canvas))
    return np.asarray(canvas.resize((width, height), Image.Resampling.BOX))


def outline(box, color=RED, width=3, scale=1):
    """Drawn from the inside of a box."""
    x0, y0, x1, y1 = (scale * edge for edge in box)
    return lambda canvas: canvas.rectangle((x0, y0, x1 - 1, y1 - 1), outline=color, width=width * scale)


def dots(centres, radius=4, color=RED, scale=1):
    def draw(canvas):
        for x, y in centres:
            canvas.circle(((x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5), radius * scale, fill=color)

    return draw


def as_jpeg(image, quality):
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


colors = st.tuples(*[st.integers(0, 255)] * 3)
places = st.sets(st.tuples(st.integers(0, 9), st.integers(0, 6)), max_size=8)


class TestPoints:
    @given(places, colors)
    def test_the_centres_of_dots_come_back_from_the_top_down(self, places, color):
        assume(max(np.abs(np.subtract(color, 120))) > 32)
        centres = [(8 + 16 * x, 8 + 16 * y) for x, y in places]
        found = painted_points(GREY, drawn(GREY, dots(centres, color=color)))
        assert sorted(map(tuple, found.tolist())) == sorted(centres)
        assert list(found[:, 1]) == sorted(found[:, 1])

    @given(st.integers(0, 99))
    def test_an_unchanged_picture_has_none(self, seed):
        image = picture(40, 50, seed)
        assert painted_points(image, image, tolerance=0).shape == (0, 2)
        assert painted_box(image, image, tolerance=0) is None

    def test_smooth_edges_move_no_centre(self):
        centres = [(30, 20), (100, 20), (60, 90)]
        found = painted_points(GREY, drawn(GREY, dots(centres, scale=8), scale=8), tolerance=0)
        np.testing.assert_allclose(found, centres, atol=0.1)

    def test_what_touches_by_a_corner_is_one_region_and_a_speck_none(self):
        after = GREY.copy()
        after[10:12, 10:12] = after[12:14, 12:14] = 0
        after[50, 50] = 0
        assert painted_points(GREY, after).tolist() == [[11.5, 11.5]]
        assert len(painted_points(GREY, after, min_area=1)) == 2

    def test_jpeg_adds_no_points(self):
        centres = [(60, 50), (200, 120), (300, 240)]
        found = painted_points(CHELSEA, as_jpeg(drawn(CHELSEA, dots(centres, radius=6)), 90), min_area=20)
        np.testing.assert_allclose(found, centres, atol=1.5)

    def test_a_layer_with_transparency_is_a_picture_too(self):
        empty = np.zeros((120, 160, 4), np.uint8)
        layer = empty.copy()
        layer[20:25, 30:35] = (0, 0, 0, 255)  # black: only its opacity shows
        assert painted_points(empty, layer).tolist() == [[32, 22]]
        assert painted_box(empty, layer) == (30, 20, 35, 25)


class TestBox:
    @given(st.integers(0, 99), st.integers(0, 140), st.integers(0, 100), st.integers(8, 40), st.integers(8, 40), colors)
    def test_an_outline_gives_its_outer_edges(self, seed, x0, y0, width, height, color):
        image = picture(120, 160, seed)
        box = (x0, y0, min(x0 + width, 160), min(y0 + height, 120))
        after = drawn(image, outline(box, color))
        brushed = drawn(0 * image, outline(box)).any(axis=2)
        assume((after != image).any(axis=2)[brushed].all())  # or a pixel was of that colour before
        assert painted_box(image, after, tolerance=0) == box

    @given(st.floats(5, 60), st.floats(5, 40), st.floats(20, 90), st.floats(20, 70))
    def test_a_smooth_brush_gives_the_box_to_the_pixel(self, x0, y0, width, height):
        box = tuple(round(8 * edge) / 8 for edge in (x0, y0, x0 + width, y0 + height))
        after = drawn(GREY, outline(box, scale=8), scale=8)
        np.testing.assert_allclose(painted_box(GREY, after), box, atol=0.5)

    @pytest.mark.parametrize("quality", [80, 90, 95])
    def test_jpeg_moves_it_by_a_pixel_or_two(self, quality):
        after = as_jpeg(drawn(CHELSEA, outline(BOX, width=5)), quality)
        np.testing.assert_allclose(painted_box(CHELSEA, after), BOX, atol=2)

    @pytest.mark.parametrize(
        "image", [GREY, 255 - 255 * (GREY > 200).astype(np.uint8), 0 * GREY], ids=["grey", "white", "black"]
    )
    def test_dots_in_another_colour_do_not_widen_it(self, image):
        def both(canvas):
            outline((30, 30, 90, 100))(canvas)
            dots([(10, 10), (150, 110)], radius=3, color=GREEN)(canvas)

        assert painted_box(image, drawn(image, both)) == (30, 30, 90, 100)

    def test_of_two_outlines_the_longer_one_counts(self):
        def both(canvas):
            outline((5, 5, 30, 30), GREEN)(canvas)
            outline((20, 20, 150, 110), RED)(canvas)

        assert painted_box(GREY, drawn(GREY, both)) == (20, 20, 150, 110)

    def test_a_line_by_hand_has_a_box(self):
        after = cv2.polylines(
            GREY.copy(), [np.array([[20, 30], [60, 15], [90, 80], [25, 70]])], True, RED, 2, cv2.LINE_AA
        )
        np.testing.assert_allclose(painted_box(GREY, after), (19, 14, 92, 82), atol=1)


class TestCandidates:
    def test_smaller_masks_lie_on_top_each_in_its_colour(self):
        masks = np.zeros((3, 120, 160), dtype=bool)
        masks[0, 10:30, 10:30] = masks[1, 10:110, 10:150] = masks[2, 10:60, 10:60] = True
        painted = paint_candidates(GREY, masks, opacity=1)
        at = [tuple(painted[place]) for place in ((20, 20), (100, 100), (50, 50))]
        assert at == [CANDIDATE_COLORS[0], CANDIDATE_COLORS[1], CANDIDATE_COLORS[2]]
        assert tuple(painted[5, 5]) == (120, 120, 120)

    @given(arrays.arrays(bool, st.tuples(st.integers(0, 3), st.just(6), st.just(7))), st.integers(0, 99))
    def test_what_no_mask_covers_stays_and_the_image_too(self, masks, seed):
        image = picture(6, 7, seed)
        before = image.copy()
        painted = paint_candidates(image, masks)
        covered = masks.any(axis=0)
        assert np.array_equal(painted[~covered], image[~covered])
        assert np.array_equal(image, before)
        assert np.array_equal(paint_candidates(image, masks, opacity=0), image)

    @pytest.mark.parametrize("shape", [(4, 120, 160), (3, 160, 120), (120, 160)])
    def test_other_masks_are_refused(self, shape):
        with pytest.raises(ValueError, match=r"masks should be \(at most 3, 120, 160\)"):
            paint_candidates(GREY, np.zeros(shape, dtype=bool))


@pytest.mark.parametrize("other", [GREY[:-1], GREY[..., 0], GREY.astype(float), GREY[..., :2]])
@pytest.mark.parametrize("read", [painted_points, painted_box])
def test_pictures_of_other_shapes_are_refused(read, other):
    with pytest.raises(ValueError, match="of one shape"):
        read(GREY, other)
