"""Memory that was freed, in a process of its own: the limits stay for the rest of a process."""

import platform
import subprocess
import sys

import pytest

from sam_batch.engine import heap
from sam_batch.engine.heap import IN_ENVIRONMENT

BLOCKS = """
import ctypes, torch
from sam_batch.engine.heap import keep_freed_memory

FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"  # mallinfo(3)

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS.split()]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info

def blocks():
    return mallinfo().hblks  # that came from the system one by one

def megabytes():
    return mallinfo().arena >> 20  # of the heap, with what is free

keep_freed_memory()
before = blocks(), megabytes()
taken = [torch.empty(2 << 20, dtype=torch.uint8) for _ in range(64)]
print(blocks() - before[0])
del taken
print(megabytes() - before[1])
"""

NAME, VERSION = platform.libc_ver()
ASKABLE = NAME == "glibc" and tuple(map(int, VERSION.split("."))) >= (2, 33)

pytestmark = pytest.mark.skipif(not ASKABLE, reason="the limits are glibc's, which tells of them since 2.33")


def of_64_blocks(monkeypatch, **limits: str) -> tuple[int, int]:
    """How many blocks of 2 MB come from the system, and how many MB the heap keeps when they are freed."""
    for limit in ("LD_PRELOAD", "MALLOC_TOP_PAD_", *IN_ENVIRONMENT):
        monkeypatch.delenv(limit, raising=False)
    for limit, value in limits.items():
        monkeypatch.setenv(limit, value)
    done = subprocess.run([sys.executable, "-c", BLOCKS], check=True, capture_output=True, text=True)
    from_system, kept = map(int, done.stdout.split())
    return from_system, kept


def test_large_blocks_come_from_the_heap_and_stay_there(monkeypatch):
    from_system, kept = of_64_blocks(monkeypatch)
    assert from_system == 0
    assert kept >= 120


def test_limits_in_the_environment_go_before(monkeypatch):
    from_system, kept = of_64_blocks(monkeypatch, MALLOC_MMAP_THRESHOLD_="131072")
    assert from_system == 64
    assert kept < 8


def test_other_c_libraries_take_no_notice(monkeypatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: object())
    heap.keep_freed_memory()
