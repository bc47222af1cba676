"""A function that is called once on each node of a cluster, at the same time and for a bounded one."""

import os
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import NodeDiedError, RayError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sam_batch.job.executor import Answer
from sam_batch.job.ray.errors import cause

ANSWER_S = 300.0  # a node may have to fetch weights


def call_on_nodes(
    work: Callable[[Any, int], Any], argument: Any, failed: Callable[[str], Any], seconds: float = ANSWER_S
) -> list[Answer]:
    """Call a function on each node that runs tasks; see `executor.Executor.on_nodes`."""
    asked = {_start(node, work, argument): node["NodeManagerHostname"] for node in ray.nodes() if _runs_tasks(node)}
    ray.wait([*asked], num_returns=len(asked), timeout=seconds)
    answers = []
    for task, host in asked.items():
        try:
            answers.append(Answer(host, ray.get(task, timeout=0)))
        except (NodeDiedError, TaskUnschedulableError):  # it was lost meanwhile, and will do nothing
            continue
        except TimeoutError:
            ray.cancel(task, force=True)
            answers.append(Answer(host, failed(f"does not answer within {seconds:g} s")))
        except RayError as error:
            answers.append(Answer(host, failed(cause(error))))
    return answers


def _runs_tasks(node: dict[str, Any]) -> bool:
    return bool(node["Alive"] and (node["Resources"].get("CPU") or node["Resources"].get("GPU")))


def _start(node: dict[str, Any], work: Callable[[Any, int], Any], argument: Any) -> Any:
    here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    # The worker ends afterwards: what it has imported and what it sees of GPUs is of no use to others.
    task = ray.remote(num_cpus=0, max_retries=0, max_calls=1)(_call).options(scheduling_strategy=here)
    return task.remote(work, argument, int(node["Resources"].get("GPU", 0)))


def _call(work: Callable[[Any, int], Any], argument: Any, gpus: int) -> Any:
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides all GPUs from tasks that ask for none
    return work(argument, gpus)
