"""What a Ray of this machine is given: CPUs, memory, a folder; and what is said where none starts."""

import io
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from support.jobs import job_config

from sam_batch.errors import ConfigError, JobError
from sam_batch.job.ray import cluster


@pytest.mark.parametrize(
    ("nodes", "memory"),
    [
        ([{"CPU": 4, "memory": 16e9}, {"CPU": 8, "memory": 16e9}], 1e9),
        ([{"CPU": 4, "memory": 16e9}, {"CPU": 0, "memory": 1e9}, {"memory": 1e9}], 2e9),
        ([{"CPU": 4, "memory": 16e9}, {"CPU": 4}], 0),
        ([], 0),
    ],
)
def test_a_task_asks_for_half_the_memory_of_a_cpu_where_that_is_least(nodes, memory):
    assert cluster._task_memory(nodes) == memory


def shared_memory(monkeypatch, size):
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=size, f_frsize=1))
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": (20 << 30) // 4096}[name])


def test_objects_fit_into_the_shared_memory(monkeypatch, caplog):
    shared_memory(monkeypatch, 1 << 30)
    assert cluster._object_store_bytes() == (1 << 30) * 8 // 10
    shared_memory(monkeypatch, 10 << 30)
    assert cluster._object_store_bytes() == 2 << 30
    assert not caplog.messages


def test_a_container_without_shared_memory_is_told_how_to_get_some(monkeypatch, caplog):
    shared_memory(monkeypatch, 64 << 20)
    assert cluster._object_store_bytes() > 1 << 30
    assert "--shm-size" in caplog.messages[0]


@pytest.fixture
def fake_ray(monkeypatch):
    """A Ray that does as it is told when it is started, and keeps how it was."""

    class FakeRay(SimpleNamespace):
        def init(self, **options):
            self.started = options
            if self.fault:
                raise self.fault

    context = SimpleNamespace(bound=1)
    data = SimpleNamespace(DataContext=SimpleNamespace(get_current=lambda: context))
    ray = FakeRay(
        fault=None, data=data, context=context, was_connected=False, ended=[], nodes=list, cluster_resources=dict
    )
    ray.is_initialized = lambda: ray.was_connected
    ray.shutdown = lambda: ray.ended.append(True)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", data)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return ray


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Exception("The current node timed out during startup. This"), "machine may be busy: try again, or do without"),
        (
            OSError(28, "No space left on device"),
            "cannot be started on this machine: .*No space left.*run.executor=inl",
        ),
        (RuntimeError("Failed to start GCS. \n  Last 2 lines"), "Failed to start GCS. Last 2 lines; mend that"),
    ],
)
def test_a_ray_that_does_not_start_is_one_sentence_with_a_way_out(fake_ray, fault, words):
    fake_ray.fault = fault
    with pytest.raises(JobError, match=words) as caught, cluster.connected():
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "fault", "words"),
    [
        (
            "nowhere:1",
            ConnectionError("Failed to connect"),
            "RAY_ADDRESS=nowhere:1: no Ray cluster answers there; unset",
        ),
        ("http://head:8265", None, "RAY_ADDRESS=http://head:8265: is an address for clients and for submitting jobs"),
        ("head:1", RuntimeError("Version mismatch:\n Ray: 2.9"), "cannot be joined: Version mismatch: Ray: 2.9; mend"),
    ],
)
def test_a_cluster_that_cannot_be_joined_is_one_sentence_that_names_it(fake_ray, monkeypatch, address, fault, words):
    monkeypatch.setenv("RAY_ADDRESS", address)
    fake_ray.fault = fault
    with pytest.raises(ConfigError, match=words) as caught, cluster.connected():
        pass
    assert "\n" not in str(caught.value)


def test_it_is_said_which_cluster_is_joined_and_waited_for_a_minute_at_most(fake_ray, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    console = Console(file=io.StringIO())
    with cluster.connected(console=console):
        assert dict(os.environ)["RAY_gcs_server_port_wait_time_s"] == "1"
    assert console.file.getvalue() == "joining the Ray cluster at head:6379 (RAY_ADDRESS)\n"


@pytest.mark.parametrize("address", ["", "local"])
def test_an_address_of_this_machine_starts_a_ray_of_its_own(fake_ray, monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with cluster.connected() as resources:
        assert resources.is_local
    assert fake_ray.started["address"] == "local"


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_ray_that_this_process_is_connected_to_is_used_and_stays(fake_ray, monkeypatch, nodes):
    monkeypatch.setattr(fake_ray, "nodes", lambda: [{"Alive": True, "Resources": {}}] * nodes)
    fake_ray.was_connected = True
    with cluster.connected() as resources:
        assert not hasattr(fake_ray, "started")
        assert resources.is_local is (nodes == 1)
    assert not fake_ray.ended


def test_environment_and_context_are_put_back(fake_ray):
    before = dict(os.environ)
    with cluster.connected():
        assert dict(os.environ)["RAY_task_oom_retries"] == "2"
        fake_ray.context.bound = 2
    assert dict(os.environ) == before
    assert fake_ray.context.bound == 1


@pytest.mark.parametrize(("source", "output"), [("/data/in", "labels"), ("photos", "s3://bucket/labels")])
def test_what_lies_in_rays_copy_of_the_working_directory_is_refused(tmp_path, monkeypatch, source, output):
    copy = tmp_path / "session/runtime_resources/working_dir_files/_ray_pkg_1"
    copy.mkdir(parents=True)
    cluster.refuse_working_copy(job_config(source, output))
    monkeypatch.chdir(copy)
    with pytest.raises(ConfigError, match=r"(labels|photos) lies in the copy of the working directory"):
        cluster.refuse_working_copy(job_config(source, output))


@pytest.fixture
def short(monkeypatch):
    """A folder with a short path, the only other place there is."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="s") as folder:
        monkeypatch.setattr(cluster, "_OTHER_PLACES", ("/nowhere/at/all", folder))
        yield Path(folder)


def test_ray_keeps_its_usual_folder_where_it_can(monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/tmp")
    assert cluster._temporary_folder() == "/tmp/ray"


@pytest.mark.parametrize(
    ("name", "fault"), [("file", "Not a directory"), ("d" * 90, "its path is too long for sockets")]
)
def test_a_folder_that_ray_cannot_use_is_replaced_and_said(short, monkeypatch, caplog, name, fault):
    (short / "file").write_text("in the way")
    monkeypatch.setenv("RAY_TMPDIR", str(short / name))
    assert cluster._temporary_folder() == f"{short}/ray-of-{os.getuid()}"
    assert fault in caplog.messages[0]


def test_without_any_folder_the_job_says_what_to_do(short, monkeypatch):
    (short / f"ray-of-{os.getuid()}").write_text("in the way")
    monkeypatch.setenv("RAY_TMPDIR", str(short / ("d" * 90)))
    with pytest.raises(JobError, match="name a short folder with room in RAY_TMPDIR, or do without Ray"):
        cluster._temporary_folder()
