import threading

import pytest
import torch
from support.threads import threads_of_torch

from sam_batch.model.threads import on_each_core


def test_items_are_worked_on_side_by_side_each_on_one_thread():
    meeting = threading.Barrier(2, timeout=30)  # nobody passes it alone

    def work(item):
        meeting.wait()
        return item, torch.get_num_threads()

    with threads_of_torch(2):
        assert on_each_core(work, range(4), "cpu") == [(item, 1) for item in range(4)]
        assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("device", "threads", "count"), [("cuda", 2, 4), ("cpu", 1, 4), ("cpu", 2, 1), ("cpu", 2, 0)])
def test_where_threads_help_nobody_the_caller_works(device, threads, count):
    with threads_of_torch(threads):
        assert on_each_core(lambda _: threading.get_ident(), range(count), device) == [threading.get_ident()] * count


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_gradients_are_as_for_the_caller(mode):
    def modes(_=None):
        return torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    with threads_of_torch(2), mode():
        assert on_each_core(modes, range(3), "cpu") == [modes()] * 3


def test_an_error_reaches_the_caller_who_keeps_his_threads():
    def work(item):
        raise ValueError(item)

    with threads_of_torch(2):
        with pytest.raises(ValueError, match="0"):
            on_each_core(work, range(3), "cpu")
        assert torch.get_num_threads() == 2
        seen = []
        newcomer = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        newcomer.start()
        newcomer.join()
        assert seen == [2]
