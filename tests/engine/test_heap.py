"""Memory that was freed, in a process of its own: the limits stay for the rest of a process."""

import platform
import subprocess
import sys

import pytest

BLOCKS = """
import ctypes, torch
from sam_batch.engine.heap import keep_freed_memory

FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"  # mallinfo(3)

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS.split()]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info

keep_freed_memory()
before = mallinfo().hblks
block = torch.empty(1 << 19)
print(mallinfo().hblks - before)
"""
LIMITS = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "LD_PRELOAD")

NAME, VERSION = platform.libc_ver()
ASKABLE = NAME == "glibc" and tuple(map(int, VERSION.split("."))) >= (2, 33)

pytestmark = pytest.mark.skipif(not ASKABLE, reason="the limits are glibc's, which tells of them since 2.33")


def blocks_from_the_system(monkeypatch, **limits: str) -> int:
    """Of one block of 2 MB: none if it lies in the heap. Others glibc gives back as soon as they are freed."""
    for limit in LIMITS:
        monkeypatch.delenv(limit, raising=False)
    for limit, value in limits.items():
        monkeypatch.setenv(limit, value)
    return int(subprocess.run([sys.executable, "-c", BLOCKS], check=True, capture_output=True, text=True).stdout)


def test_large_blocks_come_from_the_heap(monkeypatch):
    assert blocks_from_the_system(monkeypatch) == 0


def test_a_limit_in_the_environment_goes_before(monkeypatch):
    assert blocks_from_the_system(monkeypatch, MALLOC_MMAP_THRESHOLD_="131072") == 1
