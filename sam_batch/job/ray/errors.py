"""Ray's errors, as errors of the job."""

import contextlib
from collections.abc import Iterator

from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import RayError

from sam_batch.errors import JobError


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Ray's errors while a stream is made and worked through, as errors of the job."""
    try:
        yield
    except ExecutionTimeoutError as error:
        raise JobError(
            "no shard moved within run.stall_timeout_seconds: a worker hangs, or no CPU or GPU is free for one"
        ) from error
    except RayError as error:
        raise JobError(cause(error)) from error


def cause(error: BaseException) -> str:
    """The innermost reason in the words of whoever raised it, without Ray's boiler-plate."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("sam_batch.errors.")]
    return ours[-1].partition(": ")[2] if ours else lines[-1] if lines else type(error).__name__
