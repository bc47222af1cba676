"""Notices that the cluster which a driver belongs to is gone: Ray (2.60) then ends the process without a word.

It does so a minute after the head's control service, or a quarter of one after the raylet of the driver's own node,
stopped answering. Here both are asked for a connection more often than that.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import ray

INTERVAL_S = 2.0
ANSWER_S = 5.0
HEAD_FAILURES = 15  # half a minute: a head with a store of its own may come back
RAYLET_FAILURES = 3

_AGAIN = "what is committed stays, and the same command goes on from there"


@contextlib.contextmanager
def head_watched(end: Callable[[str], None]) -> Iterator[None]:
    """Meanwhile call `end` with the cause, from another thread, when the cluster no longer answers.

    Args:
        end: Ends the process.
    """
    done = threading.Event()
    head = ray.get_runtime_context().gcs_address
    here = next(node for node in ray.nodes() if node["NodeID"] == ray.get_runtime_context().get_node_id())
    raylet = f"{here['NodeManagerAddress']}:{here['NodeManagerPort']}"

    def watch() -> None:
        failures = dict.fromkeys((head, raylet), 0)
        while not done.wait(INTERVAL_S):
            failures = {place: 0 if _answers(place) else count + 1 for place, count in failures.items()}
            if failures[head] >= HEAD_FAILURES:
                end(f"the head node of the Ray cluster, {head}, no longer answers; {_AGAIN}")
            if failures[raylet] >= RAYLET_FAILURES:
                end(f"Ray's raylet on this node, {raylet}, has ended, as when the node is stopped; {_AGAIN}")

    thread = threading.Thread(target=watch, name="ray head", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()


def _answers(place: str) -> bool:
    """Whether somebody listens at host:port."""
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except OSError:
        return False
    return True
