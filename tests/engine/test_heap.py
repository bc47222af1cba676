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

IN_A_THREAD = """
import ctypes, threading, torch
from sam_batch.engine.heap import keep_freed_memory

sbrk = ctypes.CDLL(None).sbrk
sbrk.restype = ctypes.c_size_t

def megabytes():
    return sbrk(0) >> 20  # where the heap ends that is the process's own

kept = []
keep_freed_memory()
before = megabytes()
thread = threading.Thread(target=lambda: kept.append(torch.empty(24 << 20, dtype=torch.uint8)))
thread.start()
thread.join()
print(megabytes() - before)
"""

NAME, VERSION = platform.libc_ver()
ASKABLE = NAME == "glibc" and tuple(map(int, VERSION.split("."))) >= (2, 33)

pytestmark = pytest.mark.skipif(not ASKABLE, reason="the limits are glibc's, which tells of them since 2.33")


@pytest.fixture(autouse=True)
def _no_limits(monkeypatch):
    for limit in ("LD_PRELOAD", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES", *IN_ENVIRONMENT):
        monkeypatch.delenv(limit, raising=False)


def printed(program: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return [int(number) for number in done.stdout.split()]


def test_large_blocks_come_from_the_heap_and_stay_there():
    from_system, kept_megabytes = printed(BLOCKS)
    assert from_system == 0
    assert kept_megabytes >= 120


@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_MMAP_THRESHOLD_", "131072"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=131072")]
)
def test_limits_in_the_environment_go_before(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    from_system, kept_megabytes = printed(BLOCKS)
    assert from_system == 64
    assert kept_megabytes < 8


def test_threads_share_the_heap():
    (megabytes,) = printed(IN_A_THREAD)
    assert megabytes >= 24


def test_other_c_libraries_take_no_notice(monkeypatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: object())
    heap.keep_freed_memory()
