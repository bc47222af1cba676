import json

import pytest
import yaml
from support.jobs import run

from sam_batch import configfile
from sam_batch.config import StorageConfig
from sam_batch.errors import ConfigError
from sam_batch.evaluate.compare import compare_outputs
from sam_batch.evaluate.tune import Trial, Tuning, tune_output
from sam_batch.job.filtered import filter_output
from sam_batch.output.output import Output
from sam_batch.segment.thinning import Thinning

SWEEP = {"pred_iou_thresh": [0.1, 0.9, 0.97], "stability_score_thresh": [0.5, 0.95]}


def at(folder):
    return Output.at(str(folder), StorageConfig())


def tuned(root, sweep=SWEEP, **how):
    return tune_output(at(root / "low"), str(root / "high/coco/annotations.json"), StorageConfig(), sweep, **how)


@pytest.fixture(scope="module")
def tuning(jobs):
    return tuned(jobs)


def test_a_trial_says_what_a_filter_with_its_settings_leaves(jobs, tuning, tmp_path):
    trial = tuning.trials[5]
    assert trial.settings == {"pred_iou_thresh": 0.97, "stability_score_thresh": 0.95}
    filter_output(at(jobs / "low"), str(tmp_path / "filtered"), Thinning(**trial.settings))
    truth = str(jobs / "high/coco/annotations.json")
    compared = compare_outputs(at(tmp_path / "filtered"), truth, StorageConfig())
    assert (trial.masks, trial.recall) == (compared.masks[0], compared.recall["all"][1000])
    assert 0 < trial.recall < 1


def test_all_combinations_are_tried_on_the_images_in_both(tuning):
    assert (len(tuning.trials), tuning.images, tuning.left_out) == (6, 4, 2)
    assert len(json.loads(tuning.to_json())["trials"]) == 6


def trial(masks, recall):
    return Trial({"pred_iou_thresh": recall}, masks, recall)


def test_the_fewest_masks_with_enough_recall_are_chosen():
    tried = [trial(90, 0.8), trial(40, 0.77), trial(60, 0.7), trial(20, 0.5)]
    tuning = Tuning("out", "truth.json", images=10, left_out=0, keep=0.95, trials=tried)
    assert tuning.chosen is tried[1]
    assert tuning.front == [tried[0], tried[1], tried[3]]  # the third finds less with more
    assert yaml.safe_load(tuning.to_yaml()) == {"generator": {"pred_iou_thresh": 0.77}}
    assert [line for line in tuning.to_text().splitlines() if "<- chosen" in line] == [
        f"{'4.0':>14}   0.770             0.77  <- chosen"
    ]


def test_where_nothing_is_asked_for_the_jobs_own_values_are_among_those_tried(jobs):
    trials = tuned(jobs, {}, limit=1).trials
    assert trials[0].settings == {"pred_iou_thresh": 0.1, "stability_score_thresh": 0.1}
    assert len(trials) == 7 * 6


def test_a_count_of_masks_can_be_swept_too(jobs):
    trials = tuned(jobs, {"max_masks_per_image": [1, 3]} | SWEEP, limit=1).trials
    assert [one.masks for one in trials if one.settings["max_masks_per_image"] == 1] == [1] * 6


def test_without_candidates_the_command_that_keeps_them_is_told(jobs):
    with pytest.raises(ConfigError, match=r"sam-batch run (\S+)/config.yaml output.uri=NEW output.candidates=true"):
        tune_output(at(jobs / "high"), str(jobs / "low"), StorageConfig(), {})


def test_that_command_keeps_them(jobs, tmp_path):
    told = [f"output.uri={tmp_path}/new", "output.candidates=true", "generator.pred_iou_thresh=0.5"]
    run(configfile.load([jobs / "high/config.yaml"], told))
    assert tune_output(at(tmp_path / "new"), str(jobs / "high"), StorageConfig(), SWEEP | {"pred_iou_thresh": [0.9]})


def test_thresholds_below_the_jobs_own_are_refused(jobs):
    with pytest.raises(ConfigError, match=r"pred_iou_thresh: the output was made with 0\.1"):
        tuned(jobs, {"pred_iou_thresh": [0.05]})


def test_a_truth_of_other_images_or_without_objects_is_refused(jobs, tmp_path):
    image = {"id": 1, "file_name": "000.jpg", "height": 48, "width": 64}
    for images, reason in ([], "has no image of"), ([image], "has no object in the images of"):
        (tmp_path / "truth.json").write_text(json.dumps({"images": images, "annotations": []}))
        with pytest.raises(ConfigError, match=reason):
            tune_output(at(jobs / "low"), str(tmp_path / "truth.json"), StorageConfig(), SWEEP)
