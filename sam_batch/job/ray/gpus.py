"""Work that is done once on each node of a cluster that has a GPU, such as building engines."""

from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console

from sam_batch.errors import JobError
from sam_batch.job.executor import Answer
from sam_batch.job.ray.errors import cause

SOON = 30  # seconds in which a free GPU is ours; after that somebody is told what is waited for


def call_on_gpus(
    work: Callable[..., Any], arguments: tuple[Any, ...], console: Console, wait_seconds: float
) -> list[Answer]:
    """Call a function on each living node with a GPU; see `executor.Executor.on_gpus`."""
    return [
        answer
        for nodes in waves(ray.nodes())
        for answer in _answers([_Asked(node, work, arguments) for node in nodes], console, wait_seconds)
    ]


def waves(nodes: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Living nodes with a GPU: one of each kind, and the others, which find its work where they share a folder.

    Args:
        nodes: As `ray.nodes()` describes them.
    """
    able = [node for node in nodes if node["Alive"] and node["Resources"].get("GPU", 0) >= 1]
    first = list({_gpu_kind(node): node for node in reversed(able)}.values())
    return first, [node for node in able if node not in first]


def _gpu_kind(node: dict[str, Any]) -> str:
    """As Ray names it, such as accelerator_type:H100."""
    return next((name for name in node["Resources"] if name.startswith("accelerator_type:")), "")


class _Asked:
    """A node that is asked, through an actor: one starts when it has its GPU, and unlike a task's that can be seen."""

    def __init__(self, node: dict[str, Any], work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.name: str = node["NodeManagerHostname"]
        here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        self._actor = ray.remote(num_gpus=1, num_cpus=0)(GpuHolder).options(scheduling_strategy=here).remote()
        self.started = self._actor.__ray_ready__.remote()
        self._answer = self._actor.call.remote(work, arguments)

    def answer(self) -> Answer:
        """When the work is done."""
        try:
            return Answer(self.name, ray.get(self._answer))
        except RayError as error:
            raise JobError(f"{self.name}: {cause(error)}") from error


class GpuHolder:
    """Holds a GPU of a node."""

    def call(self, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Do the work in this process, which has no console."""
        return work(*arguments, console=None)


def _answers(asked: list[_Asked], console: Console, wait_seconds: float) -> list[Answer]:
    if waiting := _without_gpu(asked, min(SOON, wait_seconds)):
        told = f"waiting for a GPU, which another job may hold: {', '.join(waiting)}"
        console.print(told, highlight=False, soft_wrap=True)
        if waiting := _without_gpu(asked, wait_seconds - SOON):
            raise JobError(
                f"no GPU came free within {wait_seconds:g} s on {', '.join(waiting)}; end what holds it, "
                "or raise run.stall_timeout_seconds"
            )
    return [one.answer() for one in asked]


def _without_gpu(asked: list[_Asked], seconds: float) -> list[str]:
    """The names of nodes that got none within this time."""
    names = {one.started: one.name for one in asked}
    _, waiting = ray.wait(list(names), num_returns=len(names), timeout=max(0, seconds))
    return [names[one] for one in waiting]
