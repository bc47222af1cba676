"""Work on the nodes that have a GPU."""

import io
import platform

import pytest
from rich.console import Console

from sam_batch.errors import EngineError, JobError

# Ray leaves sockets and log files to its processes' end.
pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("ray_here"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
QUIET = Console(quiet=True)


@pytest.fixture
def ray(ray_here):
    """Imported when its environment is set."""
    import ray

    return ray


@pytest.fixture
def call_on_gpus(ray_here):
    from sam_batch.job.ray.gpus import call_on_gpus

    return call_on_gpus


def test_work_on_gpus_runs_once_on_each_node_that_has_one(ray, call_on_gpus):
    def place(greeting, console):
        assert console is None
        return f"{greeting} {ray.get_runtime_context().get_node_id()} {len(ray.get_gpu_ids())}"

    (node,) = ray.nodes()
    found = call_on_gpus(place, ("on",), QUIET, 60)
    assert found == [(node["NodeManagerHostname"], f"on {node['NodeID']} 1")]


def test_work_on_gpus_that_raises_names_the_node(call_on_gpus):
    def fail(console):
        raise EngineError("it is broken")

    with pytest.raises(JobError, match=f"^{platform.node()}: it is broken$"):
        call_on_gpus(fail, (), QUIET, 60)


def test_a_gpu_that_another_job_holds_is_waited_for_and_not_for_ever(ray, call_on_gpus, monkeypatch):
    from sam_batch.job.ray import gpus

    monkeypatch.setattr(gpus, "SOON", 0.1)
    console = Console(file=io.StringIO(), width=500)
    other = ray.remote(num_gpus=1, num_cpus=0)(gpus.GpuHolder).remote()
    ray.get(other.__ray_ready__.remote())
    with pytest.raises(JobError, match=f"no GPU came free within 1 s on {platform.node()}; .*stall_timeout_seconds"):
        call_on_gpus(lambda console: "", (), console, 1)
    assert f"waiting for a GPU, which another job may hold: {platform.node()}" in console.file.getvalue()
    ray.kill(other)
    (answer,) = call_on_gpus(lambda console: "it is ours", (), console, 60)
    assert answer.value == "it is ours"


def test_one_node_of_each_kind_of_gpu_goes_first():
    from sam_batch.job.ray.gpus import waves

    def node(name, alive=True, **resources):
        return {"NodeID": name, "Alive": alive, "Resources": resources}

    h100, a100 = {"GPU": 8.0, "accelerator_type:H100": 1.0}, {"GPU": 1.0, "accelerator_type:A100": 1.0}
    nodes = [node("a", **h100), node("b", CPU=4.0), node("c", **h100), node("d", **a100), node("e", False, **h100)]
    assert [sorted(node["NodeID"] for node in wave) for wave in waves(nodes)] == [["a", "d"], ["c"]]
