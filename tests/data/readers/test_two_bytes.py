"""16-bit colours come out of Pillow with both of their bytes."""

import io
from functools import partial

import numpy as np
import pytest
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from support.corpus import encode, picture, png
from support.tiffs import geotiff, tiff

from sam_batch.data.readers import two_bytes

SAMPLES = np.random.default_rng(0).integers(0, 65536, (32, 48, 4)).astype(np.uint16)
COLOUR_TYPES = {2: 4, 3: 2, 4: 6}  # PNG's, by number of bands


def load(reader, data):
    opener = partial(lambda: reader(io.BytesIO(data)))
    image = opener()
    assert two_bytes.holds(image)
    return two_bytes.load(image, opener)


@pytest.mark.parametrize("bands", COLOUR_TYPES)
def test_a_png_gives_both_bytes(bands):
    samples = SAMPLES[..., :bands]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    np.testing.assert_array_equal(load(PngImageFile, png(48, 32, 16, COLOUR_TYPES[bands], rows)), samples)


@pytest.mark.parametrize("order", ["LITTLE", "BIG"])
@pytest.mark.parametrize("compress", ["none", "lzw", "deflate", "zstd"])
@pytest.mark.parametrize("alpha", ["yes", "no"])
def test_a_tiff_gives_both_bytes(alpha, compress, order):
    data = geotiff(np.moveaxis(SAMPLES, 2, 0), photometric="RGB", alpha=alpha, compress=compress, ENDIANNESS=order)
    loaded = load(TiffImageFile, data)
    np.testing.assert_array_equal(loaded, SAMPLES[..., : loaded.shape[2]])
    assert loaded.shape[2] == (4 if alpha == "yes" else 3)


@pytest.mark.parametrize(
    ("reader", "data"),
    [
        (PngImageFile, encode(picture(), "PNG")),
        (TiffImageFile, tiff(picture())),
        (TiffImageFile, tiff(SAMPLES[..., 0])),
    ],
)
def test_other_images_are_left_alone(reader, data):
    assert not two_bytes.holds(reader(io.BytesIO(data)))
