"""Work on all nodes of a cluster."""

import platform
import time

import pytest

from sam_batch.errors import ConfigError

# Ray leaves sockets and log files to its processes' end.
pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def call(ray_here):
    from sam_batch.job.ray.nodes import call_on_nodes

    return call_on_nodes


def test_each_node_answers_once_in_a_worker_of_its_own_or_says_why_it_cannot(call):
    def work(argument, gpus):
        if argument == "raise":
            raise ConfigError("there is nothing here")
        return f"{argument} {gpus}"

    assert call(work, "here", str) == [(platform.node(), "here 1")]
    assert call(work, "raise", str) == [(platform.node(), "there is nothing here")]


def test_a_node_that_does_not_answer_is_not_waited_for(call):
    def sleep(argument, gpus):
        time.sleep(argument)

    assert call(sleep, 60, str, 0.5) == [(platform.node(), "does not answer within 0.5 s")]
