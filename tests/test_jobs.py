"""What is handed to a Ray cluster."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.jobs import draw_photographs, job_config

from sam_batch import configfile

JOBS = Path(__file__).parents[1] / "jobs"


def test_the_entry_point_hands_its_arguments_to_run_and_its_exit_code_back(tmp_path):
    draw_photographs(tmp_path / "photos", 1)
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no image")
    path = tmp_path / "job.yaml"
    path.write_text(configfile.to_yaml(job_config(tmp_path / "photos", tmp_path / "out")))
    command = [sys.executable, str(JOBS / "segment.py"), str(path), "run.max_failure_rate=0.1"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, check=False, timeout=120)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (done.returncode, summary["images"]["ok"], summary["images"]["failed"]) == (3, 1, 1)


@pytest.mark.ray
@pytest.mark.slow
def test_building_engines_on_a_cluster_without_a_gpu_says_so(tmp_path):
    draw_photographs(tmp_path / "photos", 1)
    path = tmp_path / "job.yaml"
    path.write_text(configfile.to_yaml(job_config(tmp_path / "photos", tmp_path / "out")))
    command = [sys.executable, str(JOBS / "build_engines.py"), str(path), "engine.kind=auto"]
    without = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=tmp_path, env=without, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 2
    assert "no node of the cluster has one" in done.stderr


def test_the_manifest_for_kubernetes_is_a_rayjob_that_starts_the_entry_point():
    manifest = yaml.safe_load((JOBS / "rayjob.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    program, entry, job, *_ = manifest["spec"]["entrypoint"].split()
    assert (program, (JOBS / Path(entry).name).is_file()) == ("python", True)
    head = manifest["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert Path(job).parent == Path(head["containers"][0]["volumeMounts"][0]["mountPath"])
