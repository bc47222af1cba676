"""What the C library does with memory that a CPU engine has freed. It frees and takes nothing itself.

glibc gives freed memory back to the system as soon as 128 kB lie free at the end of a heap, takes large blocks from the
system one by one, and has a heap for each thread. A page of 4 kB that comes back costs a fault, and is filled with
zeros first: at SAM's size 500 to 700 of them a prompt, a tenth of the time that the prompt takes.
"""

import ctypes
import os

# Options of mallopt(3), and what they become: the largest block that a heap may hold, what stays free at its end, and
# how many heaps there may be. Heaps of threads end at 64 MB, whatever the other two say.
M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_ARENA_MAX = -3, -1, -8
OPTIONS = {M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 1 << 30, M_ARENA_MAX: 1}
IN_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX"}


def keep_freed_memory() -> None:
    """Let glibc keep up to 1 GiB of freed memory for this process, unless its environment says otherwise.

    It is in one heap if threads have none yet: those that exist are kept, and given to new threads. Other C libraries
    take no notice.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    said = IN_ENVIRONMENT & os.environ.keys() or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if mallopt is None or said:
        return
    for option, value in OPTIONS.items():
        mallopt(option, value)
