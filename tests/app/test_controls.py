"""Controls are what the configuration says of its keys: no name, bound, default or sentence is repeated."""

import pytest

from sam_batch import configfile
from sam_batch.app.controls import as_text, generator_controls
from sam_batch.cli.app import PLACES
from sam_batch.config import GeneratorConfig
from sam_batch.library.explored import FILTERS

CONTROLS = {control.name: control for control in generator_controls()}


def test_every_setting_of_the_generator_has_one_with_its_sentence():
    assert {name: control.sentence for name, control in CONTROLS.items()} == {
        name: field.description for name, field in GeneratorConfig.model_fields.items()
    }
    assert {name for name, control in CONTROLS.items() if control.only_filters} == FILTERS


@pytest.mark.parametrize("name", CONTROLS)
def test_a_default_is_read_back_as_the_default(name):
    override = f"{CONTROLS[name].key}={CONTROLS[name].default}"
    config = configfile.load([], [override], defaults=PLACES)
    assert getattr(config.generator, name) == GeneratorConfig.model_fields[name].default


def test_kinds_follow_types_and_bounds():
    kinds = {name: control.kind for name, control in CONTROLS.items()}
    assert kinds["pred_iou_thresh"] == kinds["mask_nms_thresh"] == kinds["crop_overlap_ratio"] == "share"
    assert kinds["points_per_side"] == kinds["max_masks_per_image"] == "whole"
    assert kinds["min_mask_area"] == kinds["point_grids"] == kinds["stability_score_offset"] == "text"
    assert (CONTROLS["points_per_side"].low, CONTROLS["points_per_side"].high) == (1, 512)
    assert CONTROLS["mask_nms_thresh"].optional
    assert not CONTROLS["box_nms_thresh"].optional


def test_grids_of_points_are_said_as_overrides_say_them():
    grids = ([(0.5, 0.5), (0.25, 0.75)],)
    override = f"generator.point_grids={as_text(grids)}"
    assert configfile.load([], [override], defaults=PLACES).generator.point_grids == grids
