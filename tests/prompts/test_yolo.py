import io

import pytest
from support.prompts import mistakes, prompts, read, settings

from sam_batch.errors import ConfigError
from sam_batch.prompts.items import Category, SourceImage
from sam_batch.prompts.yolo import YoloReader


def labels(text, **changes):
    return read("/d/labels/train/a.txt", text, **changes)


def test_a_line_is_a_box_of_shares_and_the_file_names_its_image():
    image, item = labels("3 0.5 0.5 0.25 0.5\n\n")
    assert image == SourceImage("/d/labels/train/a", "/d/images/train/a", normalised=True, is_stem=True)
    assert (item.prompt.box, item.prompt.category_id) == ((0.375, 0.25, 0.625, 0.75), 3)
    assert (item.prompt.prompt_id, str(item.place)) == ("train/a:1", "/d/labels/train/a.txt, line 1")


def test_a_sixth_number_is_a_score():
    assert [item.score for item in labels("3 0.5 0.5 0.25 0.5 0.875")[1:]] == [0.875]


def test_of_a_polygon_the_bounds_are_taken():
    assert [prompt.box for prompt in prompts(labels("0 0.1 0.2 0.5 0.25 0.3 0.75"))] == [(0.1, 0.2, 0.5, 0.75)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a/data.yaml", "names: [cat, cup]"),
        ("a/data.yaml", "names: {0: cat, 1: cup}"),
        ("a/classes.txt", "cat\ncup\n"),
    ],
)
def test_names_of_classes(name, text):
    assert read(name, text) == [Category(0, "cat"), Category(1, "cup")]


def test_key_points_are_read_where_the_description_says_their_shape():
    reader = YoloReader(settings())
    described = reader.read("a/data.yaml", io.BufferedReader(io.BytesIO(b"kpt_shape: [2, 3]\nnames: [man]")))
    assert list(described) == [Category(0, "man")]
    line = b"0 0.5 0.5 0.5 0.5 0.1 0.2 2 0.3 0.4 1"
    (prompt,) = prompts(list(reader.read("labels/a.txt", io.BufferedReader(io.BytesIO(line)))))
    assert (prompt.box, prompt.points, prompt.labels) == ((0.25, 0.25, 0.75, 0.75), ((0.1, 0.2),), (1,))


@pytest.mark.parametrize(
    "line", ["cup 0.5 0.5 0.1 0.1", "0 0.5 0.5", "0 32 24 8 8", "0 0.5 0.5 0.1 x", "0 0.1 0.1 0.1 0.1 0.1 0.1 0.1"]
)
def test_a_wrong_line_is_named_and_its_neighbours_are_read(line):
    items = labels(f"{line}\n1 0.5 0.5 0.1 0.1\n")
    assert len(prompts(items)) == 1
    assert mistakes(items)[0].startswith("/d/labels/train/a.txt, line 1: ")


@pytest.mark.parametrize(("name", "content"), [("labels/a.txt", b"0 \xff"), ("a/data.yaml", b"names: [a, {")])
def test_a_file_that_cannot_be_read_is_refused_by_name(name, content):
    with pytest.raises(ConfigError, match=f"prompts.uri: {name}: cannot be read"):
        read(name, content)
