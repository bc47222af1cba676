"""Ray's processes on this machine, told by their titles, to be killed or stopped at what they do.

They are looked for among the descendants of one process: another Ray may run beside.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

_ACTOR = "ray::MapWorker(MapBatches(SegmentActor))"
STAGES = {
    "loader": "ray::MapBatches(_load_row)",
    "actor at work": f"{_ACTOR}.submit",
    "actor starting": f"{_ACTOR}.__init__",
    "writer": "ray::MapBatches(_write_row)",
}


def strike(root: int, stage: str, sent: signal.Signals, ended: Callable[[], bool]) -> None:
    """Wait until a process below `root` is in a stage, and send it a signal there; `ended` says that none will be."""
    while not any(_struck(pid, STAGES[stage], sent) for pid in descendants(root)):
        assert not ended(), f"no {stage} was met"
        time.sleep(0.01)


def lose_node(root: int) -> None:
    """Kill the raylet that was started last below `root`, and its workers."""
    raylet = max(services(root, "raylet"), key=lambda pid: int(_stat(pid)[19]))  # when it was started
    for pid in (raylet, *descendants(raylet)):
        with contextlib.suppress(ProcessLookupError):  # it went with its raylet
            os.kill(pid, signal.SIGKILL)


def services(root: int, name: str) -> list[int]:
    """Ray's own programs of that name below `root`."""
    found = {pid for pid in descendants(root) if title(pid).endswith(f"/{name}")}
    return [pid for pid in found if int(_stat(pid)[1]) not in found]  # not what one forks to make a worker of it


def descendants(root: int) -> set[int]:
    """What a process has started, and what these have."""
    parents = {pid: int(_stat(pid)[1]) for pid in (int(path.name) for path in Path("/proc").glob("[0-9]*"))}
    found, known = set[int](), {root}
    while known:
        known = {pid for pid, parent in parents.items() if parent in known}
        found |= known
    return found


def title(pid: int) -> str:
    """What a process calls itself; empty, once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode()
    except OSError:
        return ""


def _struck(pid: int, wanted: str, sent: signal.Signals) -> bool:
    """Whether the process was in that stage as the signal came: stopped, it cannot leave it meanwhile."""
    if title(pid) != wanted:
        return False
    try:
        os.kill(pid, signal.SIGSTOP)
        is_there = title(pid) == wanted
        os.kill(pid, sent if is_there else signal.SIGCONT)
    except ProcessLookupError:
        return False
    return is_there


def _stat(pid: int) -> list[str]:
    """The fields of proc(5) behind a process's name, zeros once it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return ["0"] * 20
