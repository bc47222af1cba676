"""What a Ray of this machine is given: CPUs it may use, memory it can share."""

import os
from types import SimpleNamespace

import pytest

from sam_batch.job import cluster


@pytest.fixture
def quota(tmp_path, monkeypatch):
    """Eight CPUs by affinity, and the file in which a container's quota is written."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(cluster, "_CPU_QUOTA", tmp_path / "cpu.max")
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("max 100000", 8), ("400000 100000", 4), ("250000 100000", 2), ("50000 100000", 1), ("9600000 100000", 8)],
)
def test_a_containers_quota_limits_the_cpus(quota, text, cpus):
    quota.write_text(text)
    assert cluster.usable_cpus() == cpus


def test_without_a_quota_affinity_limits_the_cpus(quota):
    assert cluster.usable_cpus() == 8


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
