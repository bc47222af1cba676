"""Uploads and places are read under a job's limits, and what is wrong with them is said in a job's words."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.jobs import job_config
from support.pictures import picture

from sam_batch.app.photograph import SIDE, Photograph, read_place, read_upload
from sam_batch.errors import ConfigError, InputError

CONFIG = job_config("photos", "out", input={"max_pixels": 2000, "max_bytes": 10_000})
HOSTILE = "<script>alert(1)</script>\n.png"


def png(height, width):
    file = io.BytesIO()
    Image.fromarray(picture(height, width)).save(file, "png")
    return file.getvalue()


def test_an_upload_is_decoded_and_keeps_its_name():
    photograph = read_upload(HOSTILE, png(20, 30), CONFIG)
    assert (photograph.name, photograph.size_hw, photograph.was_uploaded) == (HOSTILE, (20, 30), True)
    assert np.array_equal(photograph.rgb_HW3, picture(20, 30))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"x" * 10_001, "10001 bytes; at most 10000 are allowed"),
        (png(50, 50), "50 x 50 pixels; at most 2000"),
        (b"no picture", "not an image"),
        (b"", "no bytes"),
    ],
    ids=["bytes", "pixels", "text", "nothing"],
)
def test_an_upload_is_refused_in_a_sentence_that_names_it(data, reason):
    with pytest.raises(InputError, match=reason) as error:
        read_upload(HOSTILE, data, CONFIG)
    assert str(error.value).startswith(repr(HOSTILE))


def test_a_place_is_where_a_job_finds_it(tmp_path):
    path = tmp_path / "a b.png"
    path.write_bytes(png(20, 30))
    photograph = read_place(str(path), CONFIG)
    assert (photograph.name, photograph.uri, photograph.was_uploaded) == ("a b.png", str(path), False)
    assert photograph.sha256 == read_upload("other.png", png(20, 30), CONFIG).sha256


def test_a_place_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "large.png").write_bytes(bytes(10_001))
    for name in ("missing.png", "large.png", "."):
        with pytest.raises(InputError, match=str(tmp_path)):
            read_place(str(tmp_path / name), CONFIG)
    with pytest.raises(ConfigError, match="not a place"):
        read_place("https://example.com/a.png", CONFIG)


@pytest.mark.parametrize(("longer", "scale"), [(30, 1.0), (2 * SIDE, 2.0)])
def test_large_pictures_are_sent_small(longer, scale):
    photograph = Photograph("a", "a", "", np.zeros((10, longer, 3), np.uint8))
    assert photograph.scale == scale
    assert photograph.picture().startswith("data:image/jpeg;base64,")
    assert replace(photograph, uri="/a").was_uploaded is False
