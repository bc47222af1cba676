import pytest
from support.threads import one_thread, threads_of_torch

from sam_batch.masks import logits

__all__ = ["one_thread"]


@pytest.fixture(scope="session")
def fused_multiply_add():
    """For tests that demand torch's bits on the CPU. Where they cannot hold masks go through torch, as others test."""
    for threads in (1, 2):
        with threads_of_torch(threads):
            if not logits.rounds_as_fused(threads):
                pytest.skip("torch has no kernels with fused multiply-add for this processor")
