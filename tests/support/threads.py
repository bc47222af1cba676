"""A fixture for folders whose tests run small models."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    """The models are too small to share among threads; waiting for each other costs more than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
