"""Jobs on a Ray cluster of several nodes, all of them processes of this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import drivers
from support.jobs import draw_photographs, job_config, result_files, run

from sam_batch import configfile

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,  # each starts a cluster of its own, and a program that joins it
]
TESTS = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture
def start_cluster(tmp_path):
    """Starts a cluster of a head and of nodes whose Python runs some code before all else; returns its address."""
    programs = []

    def start(*codes):
        nodes = []
        for number, code in enumerate(codes):
            folder = tmp_path / f"node-{number}"
            folder.mkdir()
            (folder / "sitecustomize.py").write_text(code)
            path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
            nodes.append({"PYTHONPATH": path})
        command = [sys.executable, "-m", "support.ray_cluster", json.dumps(nodes)]
        program = subprocess.Popen(
            command,
            cwd=TESTS,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        programs.append(program)
        address = program.stdout.readline().strip()
        assert address, "no cluster has started"
        return address

    yield start
    for program in programs:
        program.communicate(timeout=drivers.PATIENCE)


def start(address, config):
    """`sam-batch run` of a job, on the cluster."""
    path = Path(f"{config.output.uri}.yaml")
    path.write_text(configfile.to_yaml(config))
    command = [sys.executable, "-m", "sam_batch", "run", str(path)]
    return subprocess.Popen(command, env=ENVIRONMENT | {"RAY_ADDRESS": address}, stderr=subprocess.PIPE, text=True)


def end_of(process):
    """Its exit code, and what it said."""
    _, told = process.communicate(timeout=2 * drivers.PATIENCE)
    return process.returncode, told


def lacking(folder):
    """Code of a node on which another folder is mounted under a name, or none."""
    return f"""
from sam_batch.data.storage_local import LocalFiles
uri = LocalFiles.uri
LocalFiles.uri = lambda files, name: uri(files, name).replace({str(folder)!r}, {str(folder)!r} + "-of-this-node")
"""


def test_nodes_that_lack_the_output_the_input_or_the_package_are_named_before_any_work(start_cluster, tmp_path):
    draw_photographs(tmp_path / "photos", 10)
    address = start_cluster(
        lacking(tmp_path / "out"),
        lacking(tmp_path / "photos"),
        "import sys\nsys.modules['sam_batch'] = None",
        "from sam_batch.job import preflight\npreflight.package_digest = lambda: 'of another checkout'",
    )
    code, told = end_of(start(address, job_config(tmp_path / "photos", tmp_path / "out", run={"executor": "ray"})))
    assert (code, "4 of 5 nodes cannot work on this job" in told) == (2, True)
    assert "does not see what the driver writes" in told
    assert "000.jpg: No such file" in told
    assert "No module named 'sam_batch" in told
    assert "has another sam-batch than the driver" in told
    assert not list((tmp_path / "out").glob("[!.]*"))


def test_two_nodes_of_one_cpu_each_do_the_whole_job(start_cluster, tmp_path):
    draw_photographs(tmp_path / "photos", 10)
    job = {"run": {"executor": "ray", "actors": 1, "max_actors": 2, "stall_timeout_seconds": 60}}
    code, told = end_of(start(start_cluster(""), job_config(tmp_path / "photos", tmp_path / "out", **job)))
    assert (code, "2 nodes can read, write and load what this job needs" in told) == (0, True)
    run(job_config(tmp_path / "photos", tmp_path / "clean"))
    assert result_files(tmp_path / "out") == result_files(tmp_path / "clean")
