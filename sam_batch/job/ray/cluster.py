"""Ray itself: a quiet local one, or the cluster that RAY_ADDRESS names, and one sentence where neither can be had.

What this changes in the process, its environment and Ray's log level, is put back at the end.
"""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from sam_batch.config import Config
from sam_batch.data.storage import locate
from sam_batch.data.storage_kinds import is_local as is_local_path
from sam_batch.errors import ConfigError, JobError
from sam_batch.job.machine import usable_cpus, usable_memory

OBJECT_STORE_BYTES = 2 << 30  # a shard is 100 MB or more; some are in flight between the stages
LEAST_SHARED_BYTES = 512 << 20  # a few shards

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - where Ray keeps its objects on Linux
_SOCKET_PATH_BYTES = 107  # what a socket's path may have
_LONGEST_SOCKET = "/session_2026-11-28_18-02-13_300517_4194304/sockets/plasma_store"  # below Ray's folder
_OTHER_PLACES = ("/tmp", "/var/tmp", _SHARED_MEMORY)  # noqa: S108 - for a folder that belongs to this user
_ROOM_BYTES = 1 << 20
_WORKING_COPY = "/runtime_resources/working_dir_files/"  # in the path of such a copy
_INLINE = "or do without Ray: run.executor=inline"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Resources:
    """What Ray has to offer.

    Attributes:
        cpus: Logical CPUs, at least 2.
        gpus: GPUs.
        nodes: Living nodes.
        is_local: It is of this machine alone.
        task_memory: Bytes that a loader or writer asks of its node; 0 where no node says what it has.
    """

    cpus: int
    gpus: int
    nodes: int
    is_local: bool
    task_memory: int = 0


def is_local() -> bool:
    """Whether Ray is of this machine alone: RAY_ADDRESS names no cluster, nor did this process join one before."""
    if os.environ.get("RAY_ADDRESS", "") not in ("", "local"):
        return False
    ray: Any = sys.modules.get("ray")
    is_connected = ray is not None and ray.is_initialized()  # as in a notebook, which may have joined a cluster
    return not is_connected or len([node for node in ray.nodes() if node["Alive"]]) == 1


def refuse_working_copy(config: Config) -> None:
    """Refuse places in the copy of the working directory that Ray makes for a submitted job, and deletes.

    Raises:
        ConfigError: The output would be lost, or the input could not be found by the next run.
    """
    places = [("output.uri", config.output.uri), *(("input.uri", uri) for uri in config.input.uris)]
    for key, uri in places:
        if is_local_path(uri) and _WORKING_COPY in locate(uri, config.storage).uri:
            raise ConfigError(
                f"{key}: {uri} lies in the copy of the working directory that Ray makes for this job and throws away; "
                "name an absolute path that all nodes share, or a bucket"
            )


@contextlib.contextmanager
def connected(verbose: bool = False, console: Console | None = None) -> Iterator[Resources]:
    """Start Ray on this machine, or join the cluster that RAY_ADDRESS names; leave it at the end.

    Where this process is connected to Ray already, as in a notebook, that is used, and stays.

    Args:
        verbose: Show Ray's own log.
        console: Is told which cluster is joined.

    Raises:
        ConfigError: RAY_ADDRESS names no cluster that can be joined, or none that answers within a minute.
        JobError: Ray cannot be started on this machine.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    with environment(verbose, is_local()):
        import ray
        import ray.data

        context = vars(ray.data.DataContext.get_current())  # of the whole process; executors change it
        before = dict(context)
        options = {"log_to_driver": verbose, "logging_level": logging.INFO if verbose else logging.ERROR}
        was_connected = ray.is_initialized()
        try:
            if not was_connected and is_local():
                _start(ray, options)
            elif not was_connected:
                _join(ray, address, options, console)
            total = ray.cluster_resources()
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            cpus, gpus = int(total.get("CPU", 0)), int(total.get("GPU", 0))
            yield Resources(cpus, gpus, len(nodes), is_local(), _task_memory(nodes))
        finally:
            if not was_connected:
                ray.shutdown()
            context.update(before)


def _start(ray: Any, options: dict[str, Any]) -> None:
    folder = _temporary_folder()
    try:
        ray.init(
            address="local",
            # Two CPUs at least: actors take none here, and with one the first stage could starve the last.
            num_cpus=max(2, usable_cpus()),
            include_dashboard=False,
            object_store_memory=_object_store_bytes(),
            _temp_dir=folder,
            **options,
        )
    except Exception as error:  # Ray raises `Exception` itself where a node is slow
        if "timed out during startup" in str(error):
            reason = "Ray did not start in time, the machine may be busy: try again"
        else:
            reason = f"Ray cannot be started on this machine: {_words(error)}; mend that"
        raise JobError(f"{reason}, {_INLINE}") from error


def _join(ray: Any, address: str, options: dict[str, Any], console: Console | None) -> None:
    named = f"RAY_ADDRESS={address}"
    instead = "unset it to run on this machine, or name a cluster's own address, such as head-node:6379"
    if "://" in address:
        raise ConfigError(f"{named}: is an address for clients and for submitting jobs; {instead}")
    if console is not None:
        console.print(f"joining the Ray cluster at {address} (RAY_ADDRESS)", markup=False, highlight=False)
    try:
        ray.init(**options)
    except ConnectionError as error:
        raise ConfigError(f"{named}: no Ray cluster answers there; {instead}") from error
    except Exception as error:  # as above; another version of Ray or Python, a token that is missing
        raise ConfigError(f"{named}: cannot be joined: {_words(error)}; mend that, or {instead}") from error


def _task_memory(nodes: list[dict[str, float]]) -> int:
    """The part of one CPU of half of a node's memory, as of `job.room.pixel_room`; of the node where that is least."""
    shares = [node.get("memory", 0) / (2 * node["CPU"]) for node in nodes if node.get("CPU")]
    return int(min(shares, default=0))


def _words(error: Exception) -> str:
    """What Ray says, on one line."""
    words = " ".join(str(error).split()) or type(error).__name__
    return (words if len(words) <= 400 else f"{words[:400]}...").rstrip(".")


@contextlib.contextmanager
def environment(verbose: bool, is_local: bool) -> Iterator[None]:
    """What Ray reads from the environment, as far as the user did not set it."""
    wanted = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_task_oom_retries": "2",  # endless by default
        "RAY_DATA_DISABLE_PROGRESS_BARS": "0" if verbose else "1",
    }
    if is_local:
        wanted["RAY_AUTH_MODE"] = "token"  # what Ray does anyway; said aloud, it prints no warning
    else:
        wanted["RAY_gcs_server_port_wait_time_s"] = "1"  # one try, which takes 40 s, instead of 20
    if not verbose:
        wanted["RAY_BACKEND_LOG_LEVEL"] = "fatal"
    log = logging.getLogger("ray.data")
    level, added = log.level, wanted.keys() - os.environ.keys()
    os.environ.update({name: wanted[name] for name in added})
    if not verbose:
        log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
        for name in added:
            os.environ.pop(name, None)


def _temporary_folder() -> str:
    """Where Ray keeps sockets and logs: its usual place, or another where it cannot use that.

    Raises:
        JobError: There is no such place.
    """
    usual = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or _OTHER_PLACES[0], "ray").absolute()
    fault = _fault(usual)
    if not fault:
        return str(usual)
    for parent in filter(os.path.isdir, _OTHER_PLACES):
        folder = Path(parent, f"ray-of-{os.getuid()}")
        if not _fault(folder) and folder.stat().st_uid == os.getuid():
            _log.warning("Ray cannot use %s (%s): its sockets and logs go to %s", usual, fault, folder)
            return str(folder)
    raise JobError(f"Ray cannot use {usual} ({fault}): name a short folder with room in RAY_TMPDIR, {_INLINE}")


def _fault(folder: Path) -> str:
    """Why Ray cannot use a folder, or nothing."""
    if len(os.fsencode(folder)) + len(_LONGEST_SOCKET) > _SOCKET_PATH_BYTES:
        return "its path is too long for sockets"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_ROOM_BYTES))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _object_store_bytes() -> int:
    """What Ray's object store may take; it lies in the shared memory, or in files where that is too small."""
    wanted = max(100 << 20, min(OBJECT_STORE_BYTES, usable_memory() // 5))
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
