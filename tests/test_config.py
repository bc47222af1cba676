"""The configuration's own rules; how it is read from files is test_configfile's matter."""

import inspect

import pytest
from pydantic import ValidationError
from segment_anything import SamAutomaticMaskGenerator

from sam_batch.config import Config, GeneratorConfig, InputConfig


def test_generator_has_the_reference_s_names_and_defaults():
    reference = inspect.signature(SamAutomaticMaskGenerator).parameters
    ours = GeneratorConfig()
    shared = [name for name in reference if name in GeneratorConfig.model_fields]
    assert {name: getattr(ours, name) for name in shared} == {name: reference[name].default for name in shared}
    assert set(reference) - set(shared) == {"model", "output_mode"}


def test_own_filters_are_off_by_default():
    ours = GeneratorConfig()
    assert (ours.max_mask_region_area, ours.min_mask_area, ours.max_mask_area) == (0, None, None)
    assert (ours.mask_nms_thresh, ours.containment_thresh, ours.max_masks_per_image) == (None, None, None)


@pytest.mark.parametrize("area", [1, 400, "0.1%", "5%", "100%", "100.0%", None])
def test_areas_are_pixels_or_shares(area):
    assert GeneratorConfig(min_mask_area=area).min_mask_area == area


@pytest.mark.parametrize("area", [0, -1, 0.5, 1.0, True, "400", "0%", "0.0%", "101%", "%", "1 %", "1%\n", "-1%", []])
def test_areas_that_can_be_misread_are_refused(area):
    with pytest.raises(ValidationError, match="with its percent sign"):
        GeneratorConfig(max_mask_area=area)


def test_only_input_and_output_are_required():
    config = Config.model_validate({"input": {"uri": "a"}, "output": {"uri": "b"}})
    assert config.run.shard_size == "auto"


def test_a_configuration_cannot_be_changed():
    config = GeneratorConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.points_per_side = 3  # type: ignore[misc]


def test_own_grids_replace_points_per_side():
    assert GeneratorConfig(point_grids=([(0.5, 0.5)],)).points_per_side is None


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"points_per_side": 4, "point_grids": [[[0.5, 0.5]]]}, "both given"),
        ({"points_per_side": None}, "both null"),
        ({"point_grids": [[[0.5, 0.5]]], "crop_n_layers": 1}, "needs 2 non-empty grids"),
        ({"point_grids": [[]]}, "needs 1 non-empty grids"),
        ({"points_per_side": 2, "crop_n_layers": 2, "crop_n_points_downscale_factor": 2}, "without points"),
        ({"pred_iou_thresh": float("nan")}, "finite"),
        ({"box_nms_thresh": 1.1}, "less than or equal to 1"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, reason):
    with pytest.raises(ValidationError, match=reason):
        GeneratorConfig.model_validate(settings)


def test_one_input_or_several_read_the_same():
    assert InputConfig(uri="a").uris == ("a",)
    assert InputConfig(uri=("a", "b")).uris == ("a", "b")


def test_extensions_are_lower_case_without_a_dot():
    assert InputConfig(uri="a", extensions=(".JPG", "png")).extensions == ("jpg", "png")
