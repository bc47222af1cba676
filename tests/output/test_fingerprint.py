"""Unlike results are never mixed; a key that one side does not know counts as its default."""

import pytest

from sam_batch.errors import FingerprintError
from sam_batch.output.fingerprint import decoding_of, digest, generator_of, refuse_other, shaping_defaults, value_of

STORED = shaping_defaults() | {"model.sha256": '"0"', "generator.points_per_side": "8"}


def test_a_refusal_lists_every_key_that_differs_with_both_values():
    now = STORED | {"generator.points_per_side": "3", "generator.box_nms_thresh": "0.5"}
    with pytest.raises(FingerprintError) as caught:
        refuse_other(STORED, now)
    lines = str(caught.value).splitlines()[1:]
    assert [line.split(":")[0].strip() for line in lines] == ["generator.box_nms_thresh", "generator.points_per_side"]
    assert "there 8, now 3" in lines[1]


def test_equal_settings_are_not_refused():
    refuse_other(STORED, dict(STORED))


def test_a_key_that_one_side_does_not_know_counts_as_its_default():
    unset = {key: value for key, value in STORED.items() if key != "generator.containment_thresh"}
    refuse_other(unset, STORED)
    refuse_other(STORED, unset)
    with pytest.raises(FingerprintError, match=r"generator.containment_thresh: there null, now 0.5"):
        refuse_other(unset, STORED | {"generator.containment_thresh": "0.5"})


def test_a_value_is_read_back_and_is_its_default_where_it_is_not_stored():
    assert value_of(STORED, "generator.points_per_side") == 8
    assert value_of({}, "output.segments.pack") == "none"


def test_the_digest_does_not_depend_on_the_order_of_keys():
    assert digest({"a": "1", "b": "2"}) == digest({"b": "2", "a": "1"})


def test_images_are_decoded_again_with_the_settings_that_were_kept():
    decoding = decoding_of({"input.bands": "[3, 2, 1]", "generator.mode": '"everything"'})
    assert (decoding.bands, decoding.scale) == ((3, 2, 1), "auto")


def test_masks_are_chosen_again_with_the_settings_that_were_kept():
    generator = generator_of({"generator.max_mask_area": '"5%"', "input.bands": "[3, 2, 1]"})
    assert (generator.max_mask_area, generator.box_nms_thresh) == ("5%", 0.7)
