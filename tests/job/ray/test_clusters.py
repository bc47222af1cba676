"""Jobs on a Ray cluster of several nodes, all of them processes of this machine."""

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pytest
from support import drivers
from support.jobs import RESULTS, draw_photographs, job_config, result_files, run
from support.ray_processes import lose_node, strike

from sam_batch import configfile
from sam_batch.job.ray.metrics import METRICS

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,  # each starts a cluster of its own, and a program that joins it
]
TESTS = Path(__file__).parents[2]
QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


class Cluster(NamedTuple):
    """A cluster's address, and the process that its nodes descend from."""

    address: str
    pid: int


@pytest.fixture
def start_cluster(tmp_path):
    """Starts a cluster of a head and of nodes whose Python runs some code before all else."""
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
            env=os.environ | QUIET,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        programs.append(program)
        address = program.stdout.readline().strip()
        assert address, "no cluster has started"
        return Cluster(address, program.pid)

    yield start
    for program in programs:
        program.communicate(timeout=drivers.PATIENCE)


@pytest.fixture
def start(tmp_path):
    """Starts `sam-batch run` of a job, on a cluster."""

    def start(cluster, config):
        (tmp_path / "job.yaml").write_text(configfile.to_yaml(config))
        command = [sys.executable, "-m", "sam_batch", "run", str(tmp_path / "job.yaml")]
        environment = os.environ | QUIET | {"RAY_ADDRESS": cluster.address}
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    return start


def end_of(process, seconds=2 * drivers.PATIENCE):
    """Its exit code, and what it said."""
    _, told = process.communicate(timeout=seconds)
    return process.returncode, told


def lacking(folder):
    """Code of a node on which another folder is mounted under a name, or none."""
    return f"""
from sam_batch.data.storage_local import LocalFiles
uri = LocalFiles.uri
LocalFiles.uri = lambda files, name: uri(files, name).replace({str(folder)!r}, {str(folder)!r} + "-of-this-node")
"""


def test_nodes_that_lack_the_output_the_input_or_the_package_are_named_before_any_work(start_cluster, start, tmp_path):
    draw_photographs(tmp_path / "photos", 10)
    cluster = start_cluster(
        lacking(tmp_path / "out"),
        lacking(tmp_path / "photos"),
        "import sys\nsys.modules['sam_batch'] = None",
        "from sam_batch.job import preflight\npreflight.package_digest = lambda: 'of another checkout'",
    )
    code, told = end_of(start(cluster, job_config(tmp_path / "photos", tmp_path / "out", run={"executor": "ray"})))
    assert (code, "4 of 5 nodes cannot work on this job" in told) == (2, True)
    assert "does not see what the driver writes" in told
    assert "000.jpg: No such file" in told
    assert "No module named 'sam_batch" in told
    assert "has another sam-batch than the driver" in told
    assert not list((tmp_path / "out").glob("[!.]*"))


def test_two_nodes_of_one_cpu_each_do_the_whole_job(start_cluster, start, tmp_path):
    draw_photographs(tmp_path / "photos", 10)
    job = {"run": {"executor": "ray", "actors": 1, "max_actors": 2, "stall_timeout_seconds": 60}}
    code, told = end_of(start(start_cluster(""), job_config(tmp_path / "photos", tmp_path / "out", **job)))
    assert (code, "2 nodes can read, write and load what this job needs" in told) == (0, True)
    run(job_config(tmp_path / "photos", tmp_path / "clean"))
    assert result_files(tmp_path / "out") == result_files(tmp_path / "clean")


QUOTA = 5  # kills in each stage; writers, which are quick, would hardly be met by chance
STORE_FAULTS = (500, 503, "reset", "truncate", "lost_ack", "slow")
EVERY_MASK = {"points_per_side": 2, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
DEMO = {"engine": {"kind": "auto"}, "generator": EVERY_MASK}


@pytest.mark.parametrize("how", [{}, DEMO], ids=["fake engine", "demo model"])
def test_twenty_kills_a_lost_node_and_an_unsteady_store_at_once_change_no_byte(
    start_cluster, start, s3_bucket, tmp_path, how
):
    from support.s3 import UnsteadyProxy  # imports boto3
    from support.threads import threads_of_torch

    draw_photographs(tmp_path / "photos", 300)
    for photo in (tmp_path / "photos").iterdir():
        s3_bucket.client.upload_file(str(photo), s3_bucket.name, f"photos/{photo.name}")
    source = f"{s3_bucket.uri}/photos"
    with threads_of_torch(1):  # as each of two engines has that share three CPUs
        clean = run(job_config(source, f"{s3_bucket.uri}/clean", storage=s3_bucket.config.model_dump(), **how))
    assert (clean.exit_code, clean.done) == (0, 300)
    assert clean.masks > 300

    with UnsteadyProxy(s3_bucket.endpoint_url, 20, STORE_FAULTS) as proxy:
        storage = s3_bucket.config.model_dump() | {"endpoint_url": proxy.endpoint_url}
        how = how | {"storage": storage, "run": {"executor": "ray", "actors": 2, "stall_timeout_seconds": 300}}
        cluster = start_cluster("", "")
        process = start(cluster, job_config(source, f"{s3_bucket.uri}/out", **how))
        kill_by_quota(cluster, process, lambda: objects(s3_bucket, "out/annotations/"))
        code, told = end_of(process, 1800)
    assert code == 0, told
    assert results(s3_bucket, "out") == results(s3_bucket, "clean")
    met = proxy.met()
    assert all(met[str(fault)] >= QUOTA for fault in STORE_FAULTS), met


def kill_by_quota(cluster, process, committed):
    """Five kills in each stage and a lost node, at random over the first half of the job.

    A shard whose workers are killed too often is left for the second pass. There an image of which two workers died
    alone is rightly held to be bad, so nothing may be killed then: after the last kill shards are still to do.
    """

    def ended():
        return process.poll() is not None

    for _ in range(QUOTA):  # at once: loaders run ahead of the engines, which take long to start
        strike(cluster.pid, "loader", signal.SIGKILL, ended)
    moments = random.Random(0)
    orders = [["writer"], ["actor at work", "actor starting"]] * QUOTA + [["node"]]  # one starts where another died
    moments.shuffle(orders)
    for number, order in enumerate(itertools.chain(*orders)):
        while len(committed()) < 2 * number and not ended():
            time.sleep(moments.uniform(0, 0.5))
        if order == "node":
            lose_node(cluster.pid)
        else:
            strike(cluster.pid, order, signal.SIGKILL, ended)
    assert len(committed()) < 60


def objects(bucket, prefix):
    """The content's hash of each object, by name."""
    pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name, Prefix=prefix)
    return {found["Key"].removeprefix(prefix): found["ETag"] for page in pages for found in page.get("Contents", [])}


def results(bucket, name):
    return {f"{folder}/{key}": tag for folder in RESULTS for key, tag in objects(bucket, f"{name}/{folder}/").items()}


@pytest.fixture
def head():
    """The environment and the addresses of a cluster of this machine: of its dashboard and of what it exports."""
    with contextlib.ExitStack() as sockets:
        free = [sockets.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(4)]
    names = ("port", "dashboard-port", "dashboard-agent-listen-port", "metrics-export-port")
    ports = [f"--{name}={port}" for name, port in zip(names, free, strict=True)]
    folder = tempfile.mkdtemp(prefix="ray-")  # sockets need a short path
    environment = os.environ | QUIET
    environment |= {
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
