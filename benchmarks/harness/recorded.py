"""A function of tensors as a CUDA graph: launched once as a whole, not kernel by kernel.

It knows nothing of models. What takes hold of tensors' sizes or values on the CPU cannot be recorded; CUDA says so.
"""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

Capture = Callable[[Callable[[], Any]], tuple[Any, Callable[[], None]]]


class _Recording(NamedTuple):
    """Of one form of the arguments.

    Attributes:
        held: Tensors that arguments are copied into.
        results: What the function returned; its tensors change as it is repeated.
        repeat: Do it again.
    """

    held: list[Tensor]
    results: Any
    repeat: Callable[[], None]


def cuda_graph(work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
    """Record work, after it was done once: what is compiled or allocated at the first time is no part of it.

    Returns:
        What work returned, and what repeats it into the same tensors.
    """
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call, unused-ignore]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = work()
    return results, graph.replay


class Recorded:
    """A function that is recorded for each form of its arguments, and from then on repeated.

    Args:
        function: Of tensors, alone or in tuples, and of values; the same kernels whatever the tensors hold.
        capture: As `cuda_graph`.
    """

    def __init__(self, function: Callable[..., Any], capture: Capture = cuda_graph) -> None:
        self._function, self._capture = function, capture
        self._recordings: dict[Hashable, _Recording] = {}

    def __call__(self, *arguments: Any) -> Any:
        """What the function returns; the tensors are the caller's own."""
        leaves, form = pytree.tree_flatten(arguments)
        tensors = [one for one in leaves if isinstance(one, Tensor)]
        key = str(form), *(_form(one) for one in leaves)
        if key not in self._recordings:
            self._recordings[key] = self._record(leaves, form)
        recording = self._recordings[key]
        for held, given in zip(recording.held, tensors, strict=True):
            held.copy_(given)
        recording.repeat()
        return pytree.tree_map_only(Tensor, torch.clone, recording.results)

    def _record(self, leaves: list[Any], form: pytree.TreeSpec) -> _Recording:
        own = [one.clone() if isinstance(one, Tensor) else one for one in leaves]
        arguments = pytree.tree_unflatten(own, form)
        results, repeat = self._capture(lambda: self._function(*arguments))
        return _Recording([one for one in own if isinstance(one, Tensor)], results, repeat)


def _form(leaf: Any) -> Hashable:
    return (leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else repr(leaf)
