import pytest
import torch
from support.recording import imitated_graph

from benchmarks.harness.recorded import Recorded


def scaled(pair, offset, by):
    """Of tensors in a tuple, one that may be missing, and a value."""
    first, second = pair
    return first * by + (0 if offset is None else offset), [second * by]


@pytest.fixture
def recorded():
    """With the number of recordings."""
    calls = []

    def capture(work):
        calls.append(work)
        return imitated_graph(work)

    made = Recorded(scaled, capture)
    made.calls = calls
    return made


def test_each_form_of_arguments_is_recorded_once_and_gives_what_the_function_gives(recorded):
    for size, by, recordings in ((2, 3, 1), (2, 3, 1), (5, 3, 2), (2, 4, 3), (2, 3, 3)):
        pair, offset = (torch.randn(size), torch.randn(2, size)), torch.randn(size)
        torch.testing.assert_close(recorded(pair, offset, by), scaled(pair, offset, by))
        assert len(recorded.calls) == recordings
    pair = torch.randn(2), torch.randn(2, 2)
    torch.testing.assert_close(recorded(pair, None, 3), scaled(pair, None, 3))
    assert len(recorded.calls) == 4


def test_results_are_the_callers_own(recorded):
    first, _ = recorded((torch.ones(2), torch.ones(2)), None, 3)
    recorded((torch.zeros(2), torch.zeros(2)), None, 3)
    assert first.tolist() == [3, 3]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_cuda_graph_gives_what_the_function_gives():
    recorded = Recorded(scaled)
    for _ in range(3):
        pair = torch.randn(64, device="cuda"), torch.randn(2, 64, device="cuda")
        torch.testing.assert_close(recorded(pair, None, 3), scaled(pair, None, 3))
