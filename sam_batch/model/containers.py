"""Where in a file the tensors of a model may be: trainers wrap them, in containers and behind prefixes.

The names are those of the trainers that people use for Segment Anything. What a tensor belongs to, and whether a place
holds a model at all, is not known here.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor

# The weights as they are trained come before averages of them.
CONTAINERS = (
    "state_dict",  # Lightning, MMEngine
    "model", "model_state_dict", "checkpoint",  # PyTorch's tutorials, MedSAM, detectron2
    "model_state",  # torch_em, and so micro-sam
    "module",  # DeepSpeed
    "net", "network", "network_weights", "weights", "params", "sam", "sam_model",
    "ema", "model_ema", "ema_model", "ema_state_dict", "state_dict_ema", "params_ema", "average", "teacher", "student",
)  # fmt: skip
PREFIXES = (
    "module", "_orig_mod", "_forward_module",  # DistributedDataParallel, torch.compile, Lightning's Fabric
    "model", "net", "network", "sam", "sam_model",  # attributes that people give a SAM
    "ema", "model_ema", "ema_model", "teacher", "student",
)  # fmt: skip
DEEPEST = 5  # such as state_dict, model., module., _orig_mod., sam.


class Place(NamedTuple):
    """A part of a file that may hold a model.

    Attributes:
        steps: The containers, and the prefixes with their dots, on the way there.
        state: The tensors in it, by name.
    """

    steps: tuple[str, ...]
    state: dict[str, Tensor]

    def __str__(self) -> str:
        return " / ".join(f"{step}*" if step.endswith(".") else step for step in self.steps)


def places(tree: Mapping[Any, Any], steps: tuple[str, ...] = ()) -> Iterator[Place]:
    """Every place, those that are likelier first: the whole of a mapping before its parts.

    Args:
        tree: What a file of weights holds.
        steps: On the way to it.
    """
    yield Place(steps, {name: one for name, one in tree.items() if isinstance(name, str) and isinstance(one, Tensor)})
    if len(steps) == DEEPEST:
        return
    for name in CONTAINERS:
        if isinstance(tree.get(name), Mapping):
            yield from places(tree[name], (*steps, name))
    for prefix in PREFIXES:
        start = f"{prefix}."
        behind = {name[len(start) :]: one for name, one in tree.items() if str(name).startswith(start)}
        if behind:
            yield from places(behind, (*steps, start))
