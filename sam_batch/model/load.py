"""Files of weights, or modules that hold them, to modules of our own, in float32 on the CPU.

Nothing here chooses a device or a precision.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from sam_batch.model import families
from sam_batch.model.checkpoints import ResolvedCheckpoint, find_here, resolve_checkpoint
from sam_batch.model.recognise import Weights, read_weights, require_finite, skeleton, weights_in


def load_model(name_or_path: str | Path, sha256: str | None = None) -> nn.Module:
    """A model by its name, or from a file or URL.

    Args:
        name_or_path: A name that `model.families` knows, a path (.pth, .safetensors), or a URL.
        sha256: Refuse the file unless it has this hash, hexadecimal.

    Returns:
        The family's own modules; segment-anything's `Sam` for its models. float32, on the CPU, in eval mode.

    Raises:
        CheckpointError: The weights are missing, damaged, unsafe or of no model known here.
    """
    source = str(name_or_path)
    if source in families.names():
        return load_resolved(resolve_checkpoint(source, sha256=sha256))
    return load_resolved(resolve_checkpoint("auto", source, sha256))


def load_resolved(checkpoint: ResolvedCheckpoint) -> nn.Module:
    """The model of a resolved checkpoint; that its numbers are finite was seen when it was resolved.

    Returns:
        As `load_model`.

    Raises:
        CheckpointError: The file is missing, or no longer what was resolved.
    """
    return _filled(read_weights(find_here(checkpoint)))


class Copied(NamedTuple):
    """A model with the weights of another module.

    Attributes:
        module: The family's own modules, as `load_model` returns them.
        name: Which model it is.
        sha256: Of the weights in float32, hexadecimal; no file has it.
    """

    module: nn.Module
    name: str
    sha256: str


def copy_model(module: nn.Module) -> Copied:
    """Copy the weights of a module that is its user's: a `Sam`, or what else its tensors say it is.

    What a module knows beside its tensors, such as a threshold, is not copied.

    Raises:
        CheckpointError: It is no model known here, has others' tensors beside, or NaN in them.
    """
    called = Path(f"the {type(module).__name__} given")
    weights = weights_in(module.state_dict(), called)
    require_finite(weights.state, called)
    filled, digest = _filled(weights), hashlib.sha256()
    for name, tensor in sorted(filled.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().data)
    return Copied(filled, weights.model.name, digest.hexdigest())


def _filled(weights: Weights) -> nn.Module:
    module = skeleton(weights.family, weights.model.name)
    state = {name: tensor.detach().to("cpu", torch.float32, copy=True) for name, tensor in weights.state.items()}
    module.load_state_dict(state, assign=True)
    return module.eval()
