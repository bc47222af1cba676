"""Memory that was freed, in a process of its own: the limits stay for the rest of a process."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from sam_batch.engine.heap import keep_freed_memory
keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(1 << 19) for _ in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for _ in range(5):
    faults()
print(faults())
"""
LIMITS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "LD_PRELOAD")

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the limits are glibc's")


def faults(monkeypatch, **limits: str) -> int:
    """Page faults of eight blocks of 2 MB, taken and freed five times before."""
    for limit in LIMITS:
        monkeypatch.delenv(limit, raising=False)
    for limit, value in limits.items():
        monkeypatch.setenv(limit, value)
    return int(subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True).stdout)


def test_memory_is_used_again_without_page_faults(monkeypatch):
    assert faults(monkeypatch) < 8


def test_a_limit_in_the_environment_goes_before(monkeypatch):
    """Then glibc takes each block from the system: a fault a page, or a block where pages are huge."""
    assert faults(monkeypatch, MALLOC_MMAP_THRESHOLD_="131072") >= 8
