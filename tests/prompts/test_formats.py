import pytest
from support.prompts import settings

from sam_batch.errors import ConfigError
from sam_batch.prompts.formats import FORMATS, format_of, open_reader, require_known


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("a/instances.json", "coco"),
        ("a/instances.JSON.gz", "coco"),
        ("s3://b/data.yaml", "yolo"),
        ("folder.of/labels", "yolo"),
        ("folder/", "yolo"),
        ("a.csv", "table"),
        ("a/*.parquet", "table"),
    ],
)
def test_a_format_is_known_by_the_name(uri, name):
    assert format_of(uri, "auto") == name


def test_a_format_that_is_asked_for_is_taken_whatever_the_name():
    assert format_of("a.data", "coco") == "coco"


def test_a_name_that_tells_nothing_is_refused_with_what_to_set():
    with pytest.raises(ConfigError, match=r"a\.xml: is not known by its name .* set prompts\.format to one of coco"):
        format_of("a.xml", "auto")


def test_an_unknown_format_is_refused_by_its_key():
    with pytest.raises(ConfigError, match=r"prompts\.format: 'voc' is no format; there are auto, coco, yolo, table"):
        require_known("voc")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_a_reader(name):
    assert callable(open_reader(name, settings()).read)
