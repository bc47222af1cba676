"""Numbers to bytes: whatever the type, the range is the stated one, and what has no data takes no part in it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from sam_batch.data import scaling
from sam_batch.data.scaling import Kind, to_bytes
from sam_batch.records import PixelNote

TYPES = ["u1", "i1", "<u2", ">u2", "i2", "u4", "i4", "u8", "f2", "f4", "<f8", ">f8"]


PLAIN = Kind()


def scaled(values, kind=PLAIN, scale="auto"):
    """One row of values, and the notes."""
    samples = np.asarray(values)[np.newaxis, :, np.newaxis]
    bytes_HWC, notes = to_bytes(samples, kind, scale)
    return bytes_HWC.ravel(), {str(note) for note in notes}


def any_samples(types=TYPES):
    shape = nps.array_shapes(min_dims=3, max_dims=3, max_side=5)
    return st.sampled_from(types).flatmap(lambda dtype: nps.arrays(dtype, shape))


SCALES = st.sampled_from(["auto", "full", "min_max", "percentile", (-3.0, 400.0)])


@given(any_samples(), SCALES, st.booleans(), st.none() | st.floats(allow_nan=False))
def test_any_samples_become_bytes_of_their_shape(samples, scale, white, nodata):
    bytes_HWC, notes = to_bytes(samples, Kind(nodata=nodata, min_is_white=white), scale)
    assert (bytes_HWC.dtype, bytes_HWC.shape) == (np.uint8, samples.shape)
    assert (PixelNote.DEPTH_REDUCED in notes) == (samples.dtype.itemsize > 1)


@given(any_samples(["u1"]), st.sampled_from(["auto", "full"]))
def test_8_bit_samples_are_not_even_copied(samples, scale):
    bytes_HWC, notes = to_bytes(samples, Kind(nodata=0), scale)
    assert bytes_HWC is samples
    assert not notes


@pytest.mark.parametrize("depth", [8, 10, 12, 14, 16])
def test_16_bit_samples_are_as_deep_as_the_largest_needs(depth):
    top = 2**depth - 1
    values, notes = scaled(np.array([0, top // 2 + 1, top], np.uint16))
    np.testing.assert_array_equal(values, [0, 128, 255])
    assert notes == ({"depth_reduced"} if depth == 16 else {"depth_reduced", "range_stretched"})


@pytest.mark.parametrize("largest", [2048, 4095])
def test_images_of_one_camera_have_one_scale(largest):
    assert scaled(np.array([1000, largest], np.uint16))[0][0] == round(1000 / 4095 * 255)


def test_a_depth_that_the_file_gives_counts():
    values, notes = scaled(np.array([0, 100, 1023], np.uint16), Kind(bits=12))
    np.testing.assert_array_equal(values, [0, 6, 64])
    assert notes == {"depth_reduced"}
    np.testing.assert_array_equal(scaled(np.array([0, 7, 15], np.uint8), Kind(bits=4))[0], [0, 119, 255])


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "u4", "f2", "f4", "f8"])
def test_types_without_an_agreed_range_are_stretched_from_end_to_end(dtype):
    values, notes = scaled(np.array([10, 35, 110], dtype))
    np.testing.assert_array_equal(values, [0, 64, 255])
    assert "range_stretched" in notes


@pytest.mark.parametrize("scale", ["auto", "min_max", "percentile"])
@pytest.mark.parametrize(
    ("values", "nodata"),
    [
        (np.array([-9999, 100, 150, 200], np.int16), -9999),
        (np.array([-3.4028234663852886e38, 100, 150, 200], np.float32), -3.4028234663852886e38),
        (np.array([np.nan, 100, 150, 200], np.float32), None),
        (np.array([-np.inf, 100, 150, 200], np.float64), np.nan),
        (np.array([4_000_000_000, 100, 150, 200], np.uint32), 4_000_000_000),
    ],
)
def test_what_is_no_data_takes_no_part_in_the_range(values, nodata, scale):
    land, notes = scaled(values, Kind(nodata=nodata), scale)
    np.testing.assert_array_equal(land, [0, 0, 128, 255])
    assert "nodata_filled" in notes


def test_no_data_of_16_bits_does_not_decide_about_the_depth():
    values, notes = scaled(np.array([65535, 0, 4095], np.uint16), Kind(nodata=65535))
    np.testing.assert_array_equal(values, [0, 0, 255])
    assert notes == {"depth_reduced", "range_stretched", "nodata_filled"}


@pytest.mark.parametrize("nodata", [-1, 0.5, 1e39, 70000, np.inf])
def test_no_data_that_the_type_cannot_hold_is_nowhere(nodata):
    assert "nodata_filled" not in scaled(np.array([0, 1, 65535], np.uint16), Kind(nodata=nodata))[1]


@pytest.mark.parametrize("value", [np.float32(7), np.int16(-7), np.uint32(7)])
def test_a_constant_image_is_mid_grey_and_one_without_data_black(value):
    np.testing.assert_array_equal(scaled(np.array([value, value]))[0], [128, 128])
    np.testing.assert_array_equal(scaled(np.array([value, value]), Kind(nodata=float(value)))[0], [0, 0])


def test_a_range_of_the_users_is_clipped_to():
    values, notes = scaled(np.array([0, 100, 200, 300, 400], np.uint16), scale=(100, 300))
    np.testing.assert_array_equal(values, [0, 0, 128, 255, 255])
    assert "range_stretched" in notes


def test_percentiles_leave_out_two_of_a_hundred_at_either_end():
    samples = np.arange(101, dtype=np.float32)
    samples[-1] = 1e9
    np.testing.assert_array_equal(scaled(samples, scale="percentile")[0][[2, 50, 98]], [0, 128, 255])


def test_full_is_the_types_range_and_0_to_1_of_floats():
    np.testing.assert_array_equal(scaled(np.array([-32768, 0, 32767], np.int16), scale="full")[0], [0, 128, 255])
    np.testing.assert_array_equal(
        scaled(np.array([-1, 0, 0.5, 1, 2], np.float32), scale="full")[0], [0, 0, 128, 255, 255]
    )


@given(any_samples(["u2", "i2", "f4"]))
def test_white_is_lowest_where_the_file_says_so(samples):
    dark, _ = to_bytes(samples, Kind(), "full")
    light, _ = to_bytes(samples, Kind(min_is_white=True), "full")
    finite = np.isfinite(samples)
    assert np.abs(255 - dark.astype(int) - light)[finite].max(initial=0) <= 1  # a half is rounded to even


def test_large_images_are_scaled_block_by_block_as_small_ones(monkeypatch):
    samples = np.random.default_rng(0).normal(size=(40, 7, 2))
    samples[3, 4] = np.nan
    whole = to_bytes(samples, Kind(nodata=samples[5, 5, 1]), "auto")
    monkeypatch.setattr(scaling, "_BLOCK", 30)
    in_blocks = to_bytes(samples, Kind(nodata=samples[5, 5, 1]), "auto")
    np.testing.assert_array_equal(in_blocks[0], whole[0])
    assert in_blocks[1] == whole[1]


def test_percentiles_of_a_large_image_are_of_an_even_share(monkeypatch):
    samples = np.random.default_rng(0).normal(size=(300, 300, 1))
    exact = np.percentile(samples, (2, 98))
    monkeypatch.setattr(scaling, "_MOST_SAMPLES", 10_000)
    np.testing.assert_allclose(scaling._percentiles(samples, None), exact, atol=0.1)
