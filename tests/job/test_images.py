import pytest
from support.jobs import draw_photographs, job_config
from support.prompts import dataset, write

from sam_batch.errors import ConfigError
from sam_batch.job.images import list_images, with_prompts


@pytest.fixture
def found(tmp_path):
    draw_photographs(tmp_path / "photos", 4)
    write(tmp_path / "boxes.json", dataset(3))

    def find(limit=None, **prompts):
        given = {"uri": str(tmp_path / "boxes.json"), **prompts}
        config = job_config(tmp_path / "photos", tmp_path / "out", input={"limit": limit}, prompts=given)
        return with_prompts(config, list_images(config), None)

    return find


def test_a_limit_counts_images_that_carry_prompts_where_others_are_left_out(found):
    images = found(limit=2, without="skip")
    assert [entry.key for entry in images.listed.images] == ["000.jpg", "001.jpg"]
    assert images.listed.left_out.beyond_limit == 1
    assert images.prompts_text() == "prompts: 6 objects in 3 images"


@pytest.mark.parametrize(("without", "last"), [("grid", None), ("fail", 0)])
def test_an_image_without_prompts_has_none_or_an_empty_list_that_fails(found, without, last):
    images = found(without=without)
    rows = images.prompts_of([entry.key for entry in images.listed.images]).to_pylist()
    assert [row and len(row["objects"]) for row in rows] == [2, 2, 2, last]


def test_without_a_source_there_is_nothing_to_read(tmp_path):
    draw_photographs(tmp_path / "photos", 1)
    config = job_config(tmp_path / "photos", tmp_path / "out")
    images = with_prompts(config, list_images(config), None)
    assert (images.prompts, images.prompts_of(["000.jpg"]), images.categories) == (None, None, ())


def test_a_source_that_is_not_there_is_refused_by_its_key(found):
    with pytest.raises(ConfigError, match=r"prompts\.uri: .*other\.json"):
        found(uri="other.json")
