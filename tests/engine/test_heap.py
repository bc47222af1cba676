"""Memory that was freed, in a process of its own: the limits stay for the rest of a process."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from sam_batch.engine.heap import keep_freed_memory
{first}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(1 << 19) for _ in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for _ in range(5):
    faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the limits are glibc's")
@pytest.mark.parametrize(("first", "expected"), [("keep_freed_memory()", range(100)), ("", range(2000, 10000))])
def test_memory_is_used_again_without_page_faults(first, expected, monkeypatch):
    """Eight blocks of 2 MB are 4096 pages."""
    for limit in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "LD_PRELOAD"):
        monkeypatch.delenv(limit, raising=False)
    command = [sys.executable, "-c", FAULTS.format(first=first)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(done.stdout) in expected
