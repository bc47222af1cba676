"""Jobs on a Ray cluster of several nodes, all of them processes of this machine."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

import pytest
from support import drivers
from support.jobs import draw_photographs, job_config, result_files, run

from sam_batch import configfile
from sam_batch.job.ray.metrics import METRICS

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,  # each starts a cluster of its own, and a program that joins it
]
TESTS = Path(__file__).parents[2]
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


@pytest.fixture
def head():
    """The environment and the addresses of a cluster of this machine: of its dashboard and of what it exports."""
    with contextlib.ExitStack() as sockets:
        free = [sockets.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(4)]
    names = ("port", "dashboard-port", "dashboard-agent-listen-port", "metrics-export-port")
    ports = [f"--{name}={port}" for name, port in zip(names, free, strict=True)]
    folder = tempfile.mkdtemp(prefix="ray-")  # sockets need a short path
    environment = ENVIRONMENT | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS.parent), os.environ.get("PYTHONPATH")])),
    }
    fixed = ["--num-cpus=2", "--object-store-memory=200000000", f"--temp-dir={folder}", "--node-ip-address=127.0.0.1"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *fixed, *ports]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
        yield environment, f"http://127.0.0.1:{free[1]}", f"http://127.0.0.1:{free[3]}/metrics"
        process.terminate()
        process.wait(60)
    shutil.rmtree(folder, ignore_errors=True)


def answer_of(url):
    """Waits until somebody answers."""
    for _ in range(120):
        with contextlib.suppress(OSError), urlopen(url, timeout=5) as answer:
            return answer.read().decode()
        time.sleep(1)
    raise AssertionError(f"{url} does not answer")


@pytest.mark.skipif(find_spec("aiohttp_cors") is None, reason="a dashboard needs the extra cluster")
def test_a_real_cluster_runs_the_job_and_counts_its_images(head, tmp_path):
    environment, dashboard, metrics = head
    draw_photographs(tmp_path / "photos", 5)
    (tmp_path / "photos/bad.jpg").write_bytes(b"no image")
    config = job_config(tmp_path / "photos", tmp_path / "out", run={"executor": "ray", "grace_seconds": 0})
    (tmp_path / "job.yaml").write_text(configfile.to_yaml(config))
    answer_of(f"{dashboard}/api/version")
    command = [sys.executable, "-m", "sam_batch", "submit", str(tmp_path / "job.yaml"), "--address", dashboard]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=500)
    assert (ended.returncode, "6 of 6 images done: 5 with" in ended.stderr) == (3, True), ended.stderr
    assert json.loads((tmp_path / "out/summary.json").read_text())["failures"] == {"not_an_image": 1}
    exported = answer_of(metrics)
    assert {name for name in METRICS if f"ray_{name}_total{{" in exported} == {*METRICS}
