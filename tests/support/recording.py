"""What records work as a CUDA graph does, and repeats it on the CPU."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree


def imitated_graph(work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
    """As `benchmarks.harness.recorded.cuda_graph`: each repetition writes into the tensors of the first."""
    results = work()

    def repeat() -> None:
        for held, made in zip(pytree.tree_leaves(results), pytree.tree_leaves(work()), strict=True):
            if isinstance(held, Tensor):
                held.copy_(made)

    return results, repeat
