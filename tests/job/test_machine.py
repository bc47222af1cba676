import os

import pytest

from sam_batch.job import machine


@pytest.fixture
def quota(tmp_path, monkeypatch):
    """Eight CPUs by affinity, and the file in which a container's quota is written."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(machine, "_CPU_QUOTA", tmp_path / "cpu.max")
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("max 100000", 8), ("400000 100000", 4), ("250000 100000", 2), ("50000 100000", 1), ("9600000 100000", 8)],
)
def test_a_containers_quota_limits_the_cpus(quota, text, cpus):
    quota.write_text(text)
    assert machine.usable_cpus() == cpus


def test_without_a_quota_affinity_limits_the_cpus(quota):
    assert machine.usable_cpus() == 8


def test_a_containers_limit_is_the_memory_that_may_be_used(tmp_path, monkeypatch):
    limits = tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"
    monkeypatch.setattr(machine, "_MEMORY_LIMITS", limits)
    all_of_it = machine.usable_memory()
    limits[0].write_text("max\n")
    assert machine.usable_memory() == all_of_it > 1 << 28
    limits[1].write_text(f"{1 << 28}\n")
    assert machine.usable_memory() == 1 << 28
