import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.prompts import settings

from sam_batch.data.storage import Entry
from sam_batch.errors import ConfigError
from sam_batch.prompts import collect
from sam_batch.prompts.arrow import row_to_prompt
from sam_batch.prompts.collect import Collector
from sam_batch.prompts.items import Category, Mistake, Place, SourceImage, SourceObject
from sam_batch.records import Prompt
from sam_batch.records import PromptFailureKind as Kind

LISTED = [Entry(key, f"/in/{key}") for key in ("a.jpg", "b.jpg", "c.jpg")]
BOX = (1.0, 2.0, 3.0, 4.0)


def thing(image="a.jpg", number=1, score=None, has_mask=False, **parts):
    prompt = Prompt(**{"box": BOX, "prompt_id": str(number), **parts})
    return SourceObject(Place("boxes", "row", number), image, prompt, score, has_mask)


def collected(*items, listed=LISTED, known=(), **changes):
    collector = Collector(settings(**changes), known)
    collector.add(items)
    return collector.finish(listed)


def ids_of(given_, *keys):
    return [[p["prompt_id"] for p in (row or {"objects": []})["objects"]] for row in given_.of(keys).to_pylist()]


@given(st.lists(st.sampled_from("abcd"), max_size=30), st.integers(1, 5))
def test_every_object_comes_to_its_image_in_its_order(images, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect, "CHUNK", chunk)
        items = [thing(f"{image}.jpg", number) for number, image in enumerate(images)]
        if set(images) == {"d"}:
            with pytest.raises(ConfigError, match="not in the input"):
                collected(*items)
            return
        found = collected(*items)
    expected = [[str(n) for n, image in enumerate(images) if image == name] for name in "abc"]
    assert ids_of(found, "a.jpg", "b.jpg", "c.jpg") == expected
    assert len(found) == sum(map(len, expected))


def test_what_an_image_is_in_its_source_stays_with_its_prompts():
    image = SourceImage("9", "b.jpg", source_id=9, width=64, height=48)
    (row,) = collected(thing("9", 1), image).of(["b.jpg"]).to_pylist()
    assert {name: row[name] for name in ("source_id", "width", "height", "normalised")} == {
        "source_id": 9, "width": 64, "height": 48, "normalised": False,
    }  # fmt: skip


def test_an_image_without_prompts_has_null_and_not_an_empty_list():
    assert collected(thing(), SourceImage("b.jpg", "b.jpg")).of(pa.chunked_array([["b.jpg"]])).to_pylist() == [None]


def test_objects_without_an_id_are_numbered():
    assert ids_of(collected(thing(prompt_id=None), thing("b.jpg", prompt_id=None)), "a.jpg", "b.jpg") == [["1"], ["2"]]


def test_numbers_that_are_not_finite_are_kept_as_a_fault():
    found = collected(thing(box=(1.0, float("nan"), 3.0, 4.0)))
    prompt = row_to_prompt(found.of(["a.jpg"]).to_pylist()[0]["objects"][0])
    assert (prompt.box, prompt.fault.kind, prompt.fault.message) == (
        None, Kind.NOT_FINITE, "its numbers are not finite: 1, nan, 3, 4",
    )  # fmt: skip


def test_low_scores_and_masks_that_are_not_taken_are_left_out_with_a_note():
    found = collected(thing(score=0.1), thing(number=2, score=0.6, has_mask=True), min_score=0.5)
    assert ids_of(found, "a.jpg") == [["2"]]
    assert found.notes == [
        "prompts: 1 object below prompts.min_score left out",
        "prompts: the masks of 1 object are not asked with; prompts.use takes them",
    ]


def test_ids_that_stand_twice_are_refused_with_their_places():
    with pytest.raises(ConfigError, match=r"1 id more than once: 5 \(boxes, row 5\), 5 \(boxes, row 5\)"):
        collected(thing(number=5), thing("b.jpg", number=5))


def many_mistakes():
    return [Mistake(Place("boxes", "row", number), "it is odd") for number in range(1, 13)]


def test_wrong_rows_are_refused_with_the_first_ten_and_their_count():
    with pytest.raises(ConfigError) as refused:
        collected(thing(), *many_mistakes())
    told = str(refused.value)
    assert told.startswith("prompts.uri: 12 rows cannot be understood: boxes, row 1: it is odd; boxes, row 2: ")
    assert "row 10: it is odd and 2 more; prompts.bad_rows=skip leaves them out" in told


def test_wrong_rows_are_left_out_with_a_note_where_that_is_wished():
    found = collected(thing(), *many_mistakes(), bad_rows="skip")
    assert ids_of(found, "a.jpg") == [["1"]]
    assert found.notes[0].startswith("prompts: 12 rows left out: boxes, row 1: it is odd; ")


def test_images_that_are_not_in_the_input_are_noted_or_refused():
    items = [thing(), thing("x.jpg", 2), thing("y.jpg", 3)]
    told = "2 of 3 images with prompts not in the input: x.jpg, y.jpg"
    assert collected(*items).notes == [f"prompts: {told}"]
    with pytest.raises(ConfigError, match=told):
        collected(*items, unmatched="refuse")


def test_a_file_for_other_images_altogether_is_refused_with_names_of_both_sides():
    with pytest.raises(ConfigError, match=r"1 of 1 image with prompts not in the input: x\.jpg; .*a\.jpg, b\.jpg"):
        collected(thing("x.jpg"))


def test_an_ambiguous_name_is_refused():
    listed = [Entry(key, f"/in/{key}") for key in ("t/a.jpg", "v/a.jpg")]
    with pytest.raises(ConfigError, match=r"1 name could be of several images: 'a\.jpg' may be 't/a\.jpg' or"):
        collected(thing(), listed=listed)


def test_two_names_of_one_image_are_refused_unless_one_is_plainly_another_image():
    images = [SourceImage("1", "train/a.jpg"), SourceImage("2", "val/a.jpg")]
    things = [thing("1", 1), thing("2", 2)]
    with pytest.raises(ConfigError, match=r"'a\.jpg' is meant by 'train/a\.jpg' and by 'val/a\.jpg'"):
        collected(*images, *things)
    found = collected(*images, *things, listed=[Entry("a.jpg", "/in/train/a.jpg")])
    assert ids_of(found, "a.jpg") == [["1"]]


def test_shares_that_are_taken_for_pixels_are_refused():
    with pytest.raises(ConfigError, match=r"set prompts\.normalised=true"):
        collected(thing(box=(0.1, 0.2, 0.5, 1.0)))


def test_one_reference_for_two_images_is_refused():
    with pytest.raises(ConfigError, match="'1' is two images"):
        collected(SourceImage("1", "a.jpg"), SourceImage("1", "b.jpg"))


def test_categories_are_those_of_the_source():
    found = collected(Category(3, "cup"), thing(category_id=3), known=[Category(1, "cat")])
    assert found.categories == (Category(1, "cat"), Category(3, "cup"))
