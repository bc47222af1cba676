"""The fingerprint: what shapes a result is in it, what only moves work around is not."""

import dataclasses
import pickle

import pytest
from support.jobs import job_config

from sam_batch.engine.choice import FakeChoice, TensorRTChoice, TorchChoice
from sam_batch.engine.fake import WEIGHTS as FAKE
from sam_batch.job.spec import JobSpec
from sam_batch.output.fingerprint import digest


def spec(**sections):
    return JobSpec(job_config("photos", "out", **sections), FAKE, FakeChoice())


@pytest.mark.parametrize(
    "change",
    [
        {"generator": {"points_per_side": 4}},
        {"generator": {"min_mask_region_area": 5}},
        {"output": {"segments": {"frame": "full"}}},
        {"output": {"color_masks": {"over_image": False}}},
        {"input": {"uri": "elsewhere"}},
        {"input": {"max_pixels": 100}},
    ],
    ids=str,
)
def test_settings_that_shape_a_result_change_it(change):
    assert spec(**change).fingerprint() != spec().fingerprint()


@pytest.mark.parametrize(
    "change",
    [
        {"generator": {"points_per_batch": 7}},
        {"run": {"executor": "ray", "actors": 3, "shard_size": 9}},
        {"output": {"uri": "moved", "coco": {"enabled": False}}},
        {"input": {"limit": 5, "extensions": ["png"]}},
        {"storage": {"attempts": 2}},
        {"engine": {"device": "cpu"}},
    ],
    ids=str,
)
def test_settings_that_only_move_work_around_do_not(change):
    assert spec(**change).fingerprint() == spec().fingerprint()


def test_other_weights_and_another_precision_change_it():
    weights = dataclasses.replace(FAKE, sha256="1" * 64)
    half = TorchChoice("fp16", "cpu")
    assert dataclasses.replace(spec(), checkpoint=weights).fingerprint() != spec().fingerprint()
    assert dataclasses.replace(spec(), engine=half).fingerprint() != spec().fingerprint()


def test_a_later_run_marks_its_parts_as_the_plan_is_marked():
    job = dataclasses.replace(spec(), adopted={"a": "1"})
    assert job.metadata()["sam_batch.fingerprint"] == digest({"a": "1"})


def test_it_reaches_the_workers_and_the_parts():
    job = spec()
    assert pickle.loads(pickle.dumps(job)) == job
    assert job.metadata()["sam_batch.fingerprint"] == digest(job.fingerprint())


def test_the_same_folder_written_otherwise_is_the_same_input(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = ["photos", "photos/", "./photos", str(tmp_path / "photos")]
    assert len({digest(spec(input={"uri": one}).fingerprint()) for one in written}) == 1


def test_the_summary_says_what_the_verification_of_engines_found(tmp_path):
    config = job_config(tmp_path, tmp_path)
    tensorrt = TensorRTChoice("fp16", config.engine.tensorrt, verified="2 photographs: embedding cosine 1")
    assert JobSpec(config, FAKE, tensorrt).used()["verified"] == "2 photographs: embedding cosine 1"
    assert "verified" not in JobSpec(config, FAKE, FakeChoice()).used()
