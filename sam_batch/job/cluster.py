"""Ray itself: a quiet local one, or the cluster this driver was submitted to."""

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass

OBJECT_STORE_BYTES = 2 << 30  # a shard of 32 views of 3 MB is 100 MB; some are in flight between the stages


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
    """Start Ray on this machine, or join the cluster that RAY_ADDRESS names; leave it at the end."""
    _set_environment(verbose)
    import ray

    is_local = "RAY_ADDRESS" not in os.environ
    quiet = {"log_to_driver": verbose, "logging_level": logging.INFO if verbose else logging.ERROR}
    if is_local:
        # Two CPUs at least: actors take none here, and with one the first stage could starve the last.
        cpus = max(2, os.cpu_count() or 1)
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


def _object_store_bytes() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    shared = OBJECT_STORE_BYTES
    with contextlib.suppress(OSError):
        stat = os.statvfs("/dev/shm")  # noqa: S108 - where Ray keeps its objects on Linux
        shared = stat.f_bavail * stat.f_frsize * 8 // 10
    return max(100 << 20, min(OBJECT_STORE_BYTES, memory // 5, shared))
