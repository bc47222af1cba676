"""A cluster that is gone ends the job with a word, where Ray alone would end the process without one."""

import json
import os
import signal
import subprocess
import sys
import time
from threading import Event

import pytest
from support import drivers
from support.jobs import draw_photographs, job_config, rows
from support.ray_processes import services

from sam_batch import configfile

pytestmark = pytest.mark.ray


@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize(("gone", "words"), [(0, "the head node of the Ray cluster"), (1, "Ray's raylet on this node")])
def test_what_no_longer_answers_is_named(monkeypatch, gone, words):
    from sam_batch.job.ray import head

    asked, told, ended = [], [], Event()

    def answers(place):
        asked.append(place)
        return asked.index(place) != gone

    def end(cause):
        told.append(cause)
        ended.set()

    monkeypatch.setattr(head, "INTERVAL_S", 0.001)
    monkeypatch.setattr(head, "_answers", answers)
    with head.head_watched(end):
        assert ended.wait(10)
    assert words in told[0]
    assert asked[gone] in told[0]
    assert len(asked) >= 2 * (head.HEAD_FAILURES, head.RAYLET_FAILURES)[gone]


@pytest.mark.usefixtures("ray_here")
def test_a_cluster_that_answers_is_left_alone(monkeypatch):
    from sam_batch.job.ray import head

    monkeypatch.setattr(head, "INTERVAL_S", 0.01)
    with head.head_watched(pytest.fail):
        time.sleep(0.5)


@pytest.mark.slow  # the head may be away for half a minute
@pytest.mark.parametrize(("service", "words"), [("gcs_server", "head node"), ("raylet", "raylet")])
def test_a_job_whose_cluster_dies_says_so(tmp_path, service, words):
    draw_photographs(tmp_path / "photos", 300)
    config = job_config(
        tmp_path / "photos", tmp_path / "out", generator={"points_per_side": 24}, run={"executor": "ray"}
    )
    (tmp_path / "job.yaml").write_text(configfile.to_yaml(config))
    command = [sys.executable, "-m", "sam_batch", "run", str(tmp_path / "job.yaml")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    parts = tmp_path / "out/annotations"
    drivers.wait_until(lambda: len(list(parts.glob("*.parquet"))) >= 3, lambda: process.poll() is not None)
    (victim,) = services(process.pid, service)
    os.kill(victim, signal.SIGKILL)
    _, told = process.communicate(timeout=drivers.PATIENCE)
    assert process.returncode == 1
    assert words in told.splitlines()[-1]
    assert words in json.loads((tmp_path / "out/summary.json").read_text())["error"]
    assert not (tmp_path / "out/lease.json").exists()
    assert 12 <= len(rows(tmp_path / "out")) < 300
