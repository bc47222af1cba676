"""Jobs on a Ray cluster of several nodes, all of them processes of this machine."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support import drivers
from support.jobs import draw_photographs, job_config, result_files, run

from sam_batch import configfile

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,  # each starts a cluster of its own, and a program that joins it
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def cluster():
    """A cluster whose only node has one CPU; its sockets need a short path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        from ray.cluster_utils import Cluster

        folder = tempfile.mkdtemp(prefix="ray-")
        head = {"num_cpus": 1, "include_dashboard": False, "temp_dir": folder}
        cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
        yield cluster
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def start(cluster, config):
    """`sam-batch run` of a job, on the cluster."""
    path = Path(f"{config.output.uri}.yaml")
    path.write_text(configfile.to_yaml(config))
    environment = os.environ | {"RAY_ADDRESS": cluster.address, "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, "-m", "sam_batch", "run", str(path)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def end_of(process):
    """Its exit code, and what it said."""
    _, told = process.communicate(timeout=2 * drivers.PATIENCE)
    return process.returncode, told


@pytest.fixture
def add_odd_node(cluster, tmp_path):
    """Adds a node whose Python runs some code before all else."""

    def add(code):
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        (folder / "sitecustomize.py").write_text(code)
        path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
        return cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": path})

    return add


def lacking(folder):
    """Code of a node on which another folder is mounted under a name, or none."""
    return f"""
from sam_batch.data.storage_local import LocalFiles
uri = LocalFiles.uri
LocalFiles.uri = lambda files, name: uri(files, name).replace({str(folder)!r}, {str(folder)!r} + "-of-this-node")
"""


def test_nodes_that_lack_the_output_the_input_or_the_package_are_named_before_any_work(cluster, add_odd_node, tmp_path):
    draw_photographs(tmp_path / "photos", 10)
    add_odd_node(lacking(tmp_path / "out"))
    add_odd_node(lacking(tmp_path / "photos"))
    add_odd_node("import sys\nsys.modules['sam_batch'] = None")
    add_odd_node("from sam_batch.job import preflight\npreflight.package_digest = lambda: 'of another checkout'")
    code, told = end_of(start(cluster, job_config(tmp_path / "photos", tmp_path / "out", run={"executor": "ray"})))
    assert (code, "4 of 5 nodes cannot work on this job" in told) == (2, True)
    assert "does not see what the driver writes" in told
    assert "000.jpg: No such file" in told
    assert "No module named 'sam_batch" in told
    assert "has another sam-batch than the driver" in told
    assert not list((tmp_path / "out").glob("[!.]*"))


def test_two_nodes_of_one_cpu_each_do_the_whole_job(cluster, tmp_path):
    cluster.add_node(num_cpus=1)
    draw_photographs(tmp_path / "photos", 10)
    job = {"run": {"executor": "ray", "actors": 1, "max_actors": 2, "stall_timeout_seconds": 60}}
    code, told = end_of(start(cluster, job_config(tmp_path / "photos", tmp_path / "out", **job)))
    assert (code, "2 nodes can read, write and load what this job needs" in told) == (0, True)
    run(job_config(tmp_path / "photos", tmp_path / "clean"))
    assert result_files(tmp_path / "out") == result_files(tmp_path / "clean")
