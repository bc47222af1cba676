"""What is handed to a Ray cluster."""

import json
import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from support.jobs import draw_photographs, job_config

from sam_batch import __version__, configfile

ROOT = Path(__file__).parents[1]
JOBS = ROOT / "jobs"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


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


@pytest.fixture(scope="module")
def rayjob():
    return yaml.safe_load((JOBS / "rayjob.yaml").read_text())["spec"]


def groups(rayjob):
    cluster = rayjob["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def test_all_nodes_run_the_image_of_this_version(rayjob):
    images = [box["image"] for group in groups(rayjob) for box in group["template"]["spec"]["containers"]]
    assert {image.partition("/")[2] for image in images} == {f"sam-batch:{__version__}"}
    assert len(images) == 2


def test_its_ray_is_one_that_the_package_takes(rayjob):
    (ray,) = PROJECT["optional-dependencies"]["cluster"]
    assert Requirement(ray).specifier.contains(rayjob["rayClusterSpec"]["rayVersion"])


def test_gpus_come_when_they_are_asked_for_and_no_more_than_the_job_wants(rayjob):
    *_, job = shlex.split(rayjob["entrypoint"])
    config = configfile.load([str(ROOT / "configs/cluster.yaml")], [job])
    (workers,) = rayjob["rayClusterSpec"]["workerGroupSpecs"]
    assert (workers["minReplicas"], workers["maxReplicas"]) == (0, config.run.max_actors)
    assert (config.engine.device, rayjob["rayClusterSpec"]["enableInTreeAutoscaling"]) == ("cuda", True)
    (worker,) = workers["template"]["spec"]["containers"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_its_driver_has_committed_what_it_has_when_kubernetes_kills_it(rayjob):
    *_, job = shlex.split(rayjob["entrypoint"])
    grace = configfile.load([str(ROOT / "configs/cluster.yaml")], [job]).run.grace_seconds
    assert 2 < grace < groups(rayjob)[0]["template"]["spec"].get("terminationGracePeriodSeconds", 30)
    assert rayjob["backoffLimit"] > 0  # and goes on in another cluster


def test_each_volume_that_is_mounted_is_there(rayjob):
    for group in groups(rayjob):
        pod = group["template"]["spec"]
        mounted = {mount["name"] for box in pod["containers"] for mount in box.get("volumeMounts", ())}
        assert mounted == {volume["name"] for volume in pod.get("volumes", ())}


def test_the_manifest_for_kubernetes_is_a_rayjob_that_starts_the_entry_point():
    manifest = yaml.safe_load((JOBS / "rayjob.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    program, entry, job, *_ = manifest["spec"]["entrypoint"].split()
    assert (program, (JOBS / Path(entry).name).is_file()) == ("python", True)
    head = manifest["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert Path(job).parent == Path(head["containers"][0]["volumeMounts"][0]["mountPath"])
