"""What Ray raises, in the words of whoever raised it first."""

import pytest

from sam_batch.errors import JobError

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_here")]  # imported as Ray is by the job


def test_a_stream_in_which_nothing_moves_ends_the_job_in_one_sentence():
    from ray.data.exceptions import ExecutionTimeoutError

    from sam_batch.job.ray.errors import explained

    with pytest.raises(JobError, match=r"no shard moved within run\.stall_timeout_seconds"), explained():
        raise ExecutionTimeoutError("no progress")


def test_a_node_that_cannot_make_the_job_s_environment_ends_it_with_the_reason():
    from ray.exceptions import RuntimeEnvSetupError

    from sam_batch.job.ray.errors import explained

    with pytest.raises(JobError, match="no such package"), explained():
        raise RuntimeEnvSetupError("no such package")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ray::f() (pid=1)\n  File x\nsam_batch.errors.EngineError: it is broken\n\n  more", "it is broken"),
        ("a task failed\n  the reason \n", "the reason"),
        ("", "RuntimeError"),
    ],
)
def test_the_cause_is_the_innermost_reason(text, words):
    from sam_batch.job.ray.errors import cause

    assert cause(RuntimeError(text)) == words
