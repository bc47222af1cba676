"""Mistakes in a configuration, each with what to write instead."""

import datetime

import pytest

from sam_batch import configfile
from sam_batch.errors import ConfigError

REQUIRED = {"input": {"uri": "photos"}, "output": {"uri": "out"}}


def complaint(change) -> str:
    with pytest.raises(ConfigError) as caught:
        configfile.check(REQUIRED | change)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": {}}, "output.uri: is required. Folder or object-store prefix."),
        ({"output": None}, "output.uri: is required. Folder or object-store prefix."),
        (
            {"generator": {"points_per_sid": 3}},
            "generator.points_per_sid: unknown key; did you mean generator.points_per_side?",
        ),
        ({"points_per_side": 3}, "points_per_side: unknown key; did you mean generator.points_per_side?"),
        ({"generator": {"min_area": 9}}, "generator.min_area: unknown key; did you mean generator.min_mask_area?"),
        (
            {"min_area": 9},
            "min_area: unknown key; did you mean output.segments.min_area or generator.min_mask_area?",
        ),
        ({"model": {"device": "cpu"}}, "model.device: unknown key; did you mean engine.device?"),
        (
            {"generator": {"min_mask_area": 0.001}},
            "generator.min_mask_area = 0.001: should be pixels (400), a share of the image with its percent sign "
            "(0.1%), or null",
        ),
        ({"input.limit": 3}, "input.limit: unknown key; in a file a key stands indented below its section"),
        ({"zzz": 3}, "zzz: unknown key"),
        ({2: 3}, "2: unknown key"),
        (
            {"generator": {"pred_iou_thresh": 1.5}},
            "generator.pred_iou_thresh = 1.5: should be less than or equal to 1",
        ),
        (
            {"generator": {"points_per_side": "many"}},
            "generator.points_per_side = 'many': should be a whole number or null",
        ),
        ({"engine": {"device": "tpu"}}, "engine.device = 'tpu': should be 'auto', 'cpu' or 'cuda'"),
        (
            {"generator": {"point_grids": [[[0, 7]]]}},
            "generator.point_grids.0.0.1 = 7: should be less than or equal to 1",
        ),
        ({"input": {"uri": "a", "scale": [5]}}, "input.scale = [5]: should have more items"),
        (
            {"generator": {"points_per_side": None, "point_grids": [[[0.5]]]}},
            "generator.point_grids.0.0 = [0.5]: should have more items",
        ),
        ({"input": {"uri": "a", "scale": [9, 5]}}, "input.scale = [9, 5]: low should be less than high"),
        ({"input": {"uri": "a", "bands": [1, 2]}}, "input.bands = [1, 2]: name one band or three; the first is 1"),
        ({"input": {"uri": "a", "bands": [0]}}, "input.bands = [0]: name one band or three; the first is 1"),
        ({"run": {"actors": 3, "max_actors": 2}}, "run: max_actors is 2, fewer than actors, 3"),
        ({"run": {"actors": 0}}, "run.actors = 0: should be at least 1, or auto"),
        ({"run": {"actors": "two"}}, "run.actors = 'two': should be a whole number or 'auto'"),
        ({"run": {"verbose": "ja"}}, "run.verbose = 'ja': should be true or false"),
        ({"output": {"uri": 2026}}, "output.uri = 2026: should be text; put it in quotes"),
        ({"output": {"uri": ""}}, "output.uri = '': should be some text"),
        ({"input": {"uri": False}}, "input.uri = False: should be text or a list; put it in quotes"),
        ({"input": {"uri": ["a", 7]}}, "input.uri.1 = 7: should be text; put it in quotes"),
        ({"input": {"uri": {"a": 1}}}, "input.uri = {'a': 1}: should be text or a list"),
        ({"input": {"uri": ""}}, "input.uri = '': name at least one folder, glob, prefix or manifest"),
        ({"input": {"uri": "a", "extensions": "jpg"}}, "input.extensions = 'jpg': should be a list; write [jpg]"),
        (
            {"output": {"uri": "out", "coco": False}},
            "output.coco = False: is a section; set output.coco.enabled to false",
        ),
        (
            {"model": "vit_b"},
            "model = 'vit_b': is a section; set one of its keys: model.name, model.checkpoint, model.sha256",
        ),
        (
            {"model": {"name": "auto"}},
            "model: name and checkpoint cannot both be auto: name a model or a checkpoint",
        ),
    ],
)
def test_a_mistake_names_the_key_the_value_and_what_to_write(change, message):
    assert complaint(change) == message


def test_a_date_is_no_text_until_it_is_quoted():
    assert complaint({"output": {"uri": datetime.date(2026, 11, 28)}}).endswith("should be text; put it in quotes")


def test_long_values_are_cut():
    assert len(complaint({"engine": {"device": "x" * 1000}})) < 200
