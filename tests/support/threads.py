"""How many threads torch has, in a test or in all tests of a folder."""

from contextlib import contextmanager

import pytest
import torch


@contextmanager
def threads_of_torch(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    """The models are too small to share among threads; waiting for each other costs more than the work."""
    with threads_of_torch(1):
        yield
