"""CPUs and memory that this process may use, of its machine or its container."""

import contextlib
import os
from pathlib import Path

_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_MEMORY_LIMITS = (  # of version 2 and 1
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def usable_cpus() -> int:
    """CPUs that this process may use: not those that its affinity or its container's quota keeps from it."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max": no quota
        quota, period = map(int, _CPU_QUOTA.read_text().split())
        cpus = min(cpus, quota // period)
    return max(1, cpus)


def usable_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or what its container's limit leaves of them."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in _MEMORY_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max": no limit
            memory = min(memory, int(limit.read_text()))
    return memory
