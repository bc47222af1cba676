"""A job is sent to a cluster and followed; the cluster is a fake here, and a real one in test_clusters."""

import io
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from rich.console import Console
from support.jobs import job_config

from sam_batch.errors import ConfigError, JobError
from sam_batch.job.ray import submit as module
from sam_batch.job.ray.submit import submit

pytest.importorskip("aiohttp", reason="of the extra cluster")
ADDRESS = "http://head:8265"


def job_status(name):
    from ray.job_submission import JobStatus  # not before the Ray of these tests is set up: see ray_here

    return JobStatus(name)


class Cluster:
    """A job server: its log grows by a piece each time it is read, and the last piece ends the job."""

    def __init__(self, pieces=("a\n", "b\n"), status="SUCCEEDED", code=0, failing=()):
        self.pieces, self.failing = [*pieces], [*failing]
        self.end = SimpleNamespace(status=job_status(status), driver_exit_code=code, message="it is gone")
        self.read = 0
        self.stopped = []

    def submit_job(self, entrypoint, runtime_env, metadata):
        self.entrypoint, self.metadata = entrypoint, metadata
        self.sent = {path.name: path.read_text() for path in Path(runtime_env["working_dir"]).iterdir()}
        return "raysubmit_1"

    async def tail_job_logs(self, job):
        self.read += 1
        for piece in self.pieces[: self.read]:
            yield piece
        if self.failing:
            raise self.failing.pop(0)

    def get_job_info(self, job):
        has_ended = self.read >= len(self.pieces)
        return self.end if has_ended else SimpleNamespace(status=job_status("RUNNING"))

    def get_job_status(self, job):
        return job_status("STOPPED") if self.stopped else job_status("RUNNING")

    def stop_job(self, job):
        self.stopped.append(job)


@pytest.fixture
def submitted(monkeypatch):
    """Submit a job to a cluster; returns its exit code and what was shown."""

    def run(cluster, stop=lambda: False):
        monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
        monkeypatch.setattr("ray.job_submission.JobSubmissionClient", lambda address: cluster)
        console = Console(file=io.StringIO(), width=40)
        try:
            code = submit(job_config("s3://in", "s3://out"), ADDRESS, console, stop)
        finally:
            run.told = console.file.getvalue()
        return code, run.told

    return run


def test_the_cluster_is_sent_the_configuration_and_runs_it(submitted):
    cluster = Cluster()
    submitted(cluster)
    assert cluster.entrypoint == "python -m sam_batch run job.yaml"
    (job,) = cluster.sent.values()
    assert yaml.safe_load(job)["input"]["uri"] == "s3://in"
    assert cluster.metadata == {"output": "s3://out"}


@pytest.mark.parametrize("failing", [(), (RuntimeError("lost"), ConnectionError("lost"))])
def test_each_line_of_the_log_is_shown_once_also_when_the_connection_is_lost(submitted, failing):
    code, told = submitted(Cluster(["a\n", "b", "b\n", "c\n"], failing=failing))
    assert (code, told.partition("\n")[2]) == (0, "a\nbb\nc\n")


@pytest.mark.parametrize(
    ("status", "code", "expected"), [("SUCCEEDED", 0, 0), ("FAILED", 3, 3), ("FAILED", 2, 2), ("STOPPED", None, 130)]
)
def test_the_exit_code_is_the_jobs(submitted, status, code, expected):
    assert submitted(Cluster(status=status, code=code))[0] == expected


@pytest.mark.parametrize("code", [None, -9])
def test_a_job_whose_process_was_lost_has_no_exit_code(submitted, code):
    with pytest.raises(JobError, match="the job failed: it is gone"):
        submitted(Cluster(status="FAILED", code=code))


@pytest.mark.parametrize("stop", [True, False])
def test_ctrl_c_asks_whether_the_job_is_stopped_too(submitted, stop):
    cluster = Cluster(failing=[KeyboardInterrupt()])
    code, told = submitted(cluster, lambda: stop)
    assert (code, cluster.stopped) == (130, ["raysubmit_1"] if stop else [])
    assert ("ray job stop --address http://head:8265 raysubmit_1" in told) is not stop


def test_a_job_that_does_not_stop_is_not_said_to_have(submitted, monkeypatch):
    monkeypatch.setattr(module, "STOP_SECONDS", 0.0)
    with pytest.raises(JobError, match="may go on"):
        submitted(Cluster(failing=[KeyboardInterrupt()]), lambda: True)


def test_a_cluster_that_answers_no_more_ends_the_following_and_not_the_job(submitted, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 3)
    with pytest.raises(JobError, match="does not answer any more"):
        submitted(Cluster(failing=[ConnectionError("lost")] * 3))


@pytest.mark.parametrize(
    ("address", "words"),
    [("head:6379", "should be the dashboard's"), ("http://127.0.0.1:1", "no job server of Ray answers there")],
)
def test_an_address_that_is_none_is_refused(address, words):
    with pytest.raises(ConfigError, match=words):
        submit(job_config("s3://in", "s3://out"), address, Console(quiet=True), lambda: False)


def test_the_address_that_is_given_counts_and_not_the_environment_s(monkeypatch):
    def client(address):
        assert "RAY_ADDRESS" not in os.environ
        return address

    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:6379")
    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", client)
    assert module._connect(ADDRESS) == ADDRESS
    assert os.environ["RAY_ADDRESS"] == "elsewhere:6379"
