"""A CUDA device that is not there, to see which device every tensor of a computation is on."""

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten


class ImaginedCuda(TorchDispatchMode):
    """What is on cuda:0 has a shape and a type but no numbers; what is on the CPU keeps its numbers.

    Operators that mix devices raise as they do on a real one. `torch.cuda._lazy_init` must be replaced where there
    is no driver.
    """

    def __init__(self):
        super().__init__()
        self.fakes = FakeTensorMode()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        leaves, tree = tree_flatten((args, kwargs or {}))
        if not any(isinstance(leaf, FakeTensor) or _is_cuda(leaf) for leaf in leaves):
            return function(*args, **(kwargs or {}))
        args, kwargs = tree_unflatten([self._imagine(leaf) for leaf in leaves], tree)
        with self.fakes:
            return function(*args, **kwargs)

    def _imagine(self, leaf):
        real = isinstance(leaf, torch.Tensor) and not isinstance(leaf, FakeTensor)
        return self.fakes.from_tensor(leaf) if real else leaf


def _is_cuda(leaf):
    return isinstance(leaf, torch.device) and leaf.type == "cuda"
