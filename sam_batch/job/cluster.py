"""Ray itself: a quiet local one, or the cluster this driver was submitted to."""

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OBJECT_STORE_BYTES = 2 << 30  # a shard is 100 MB or more; some are in flight between the stages
LEAST_SHARED_BYTES = 512 << 20  # a few shards

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - where Ray keeps its objects on Linux
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Resources:
    """What Ray has to offer.

    Attributes:
        cpus: Logical CPUs, at least 2.
        gpus: GPUs.
        nodes: Living nodes.
        is_local: Ray was started here, for this job alone.
    """

    cpus: int
    gpus: int
    nodes: int
    is_local: bool


@contextlib.contextmanager
def connected(verbose: bool = False) -> Iterator[Resources]:
    """Start Ray on this machine, or join the cluster that RAY_ADDRESS names; leave it at the end.

    Args:
        verbose: Show Ray's own log.
    """
    _set_environment(verbose)
    import ray

    is_local = "RAY_ADDRESS" not in os.environ
    quiet = {"log_to_driver": verbose, "logging_level": logging.INFO if verbose else logging.ERROR}
    if is_local:
        # Two CPUs at least: actors take none here, and with one the first stage could starve the last.
        cpus = max(2, usable_cpus())
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            object_store_memory=_object_store_bytes(),
            **quiet,
        )
    else:
        ray.init(**quiet)
    try:
        total = ray.cluster_resources()
        nodes = sum(node["Alive"] for node in ray.nodes())
        yield Resources(int(total.get("CPU", 0)), int(total.get("GPU", 0)), nodes, is_local)
    finally:
        ray.shutdown()


def _set_environment(verbose: bool) -> None:
    defaults = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",  # what Ray does anyway; said aloud, it prints no warning
        "RAY_task_oom_retries": "2",  # endless by default
        "RAY_DATA_DISABLE_PROGRESS_BARS": "0" if verbose else "1",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    if not verbose:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        logging.getLogger("ray.data").setLevel(logging.ERROR)


def usable_cpus() -> int:
    """CPUs that this process may use: not those that its affinity or its container's quota keeps from it."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max": no quota
        quota, period = map(int, _CPU_QUOTA.read_text().split())
        cpus = min(cpus, quota // period)
    return max(1, cpus)


def _object_store_bytes() -> int:
    """What Ray's object store may take; it lies in the shared memory, or in files where that is too small."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    wanted = max(100 << 20, min(OBJECT_STORE_BYTES, memory // 5))
    shared = _shared_bytes()
    if shared < min(wanted, LEAST_SHARED_BYTES):
        _log.warning(
            "%s has room for %d MiB only; shards travel through files in /tmp, which is slower: "
            "start the container with --shm-size=3g (Kubernetes: mount an emptyDir of medium Memory there)",
            _SHARED_MEMORY,
            shared >> 20,
        )
        return wanted
    return min(wanted, shared)


def _shared_bytes() -> int:
    """Shared memory that is free, less a margin."""
    try:
        stat = os.statvfs(_SHARED_MEMORY)
    except OSError:  # not Linux: Ray uses files there and needs none
        return OBJECT_STORE_BYTES
    return stat.f_bavail * stat.f_frsize * 8 // 10
