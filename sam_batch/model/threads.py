"""Many small pieces of work on the cores of a CPU: each core has pieces of its own.

torch shares every single operation among its threads. Where operations are small, threads then wait for each other
most of the time, twice as long if waiting threads sleep. It says nothing about GPUs, whose work one thread starts.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def on_each_core(work: Callable[[T], R], items: Sequence[T], device: str) -> list[R]:
    """Do the work of each item, on a CPU in as many threads as torch has, each without help from the others.

    Gradients are on or off as they are for the caller.

    Args:
        work: Must not depend on the order.
        items: Handed out in order.
        device: The type of the device that does the work; anything but cpu does it here, item by item.

    Returns:
        The results, in the order of the items.
    """
    threads = torch.get_num_threads()
    if device != "cpu" or min(threads, len(items)) < 2:
        return [work(item) for item in items]
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def alone(item: T) -> R:
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            return work(item)

    try:
        # The number of threads belongs to the thread that sets it, but is also what new threads begin with.
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(alone, items))
    finally:
        torch.set_num_threads(threads)
