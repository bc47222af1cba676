"""Files of weights to modules, in float32 on the CPU. Nothing here chooses a device or a precision."""

from pathlib import Path

import torch
from torch import nn

from sam_batch.model import families
from sam_batch.model.checkpoints import ResolvedCheckpoint, find_here, resolve_checkpoint
from sam_batch.model.recognise import read_weights, skeleton


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
    weights = read_weights(find_here(checkpoint))
    module = skeleton(weights.family, weights.model.name)
    state = {name: tensor.to(torch.float32, copy=True) for name, tensor in weights.state.items()}
    module.load_state_dict(state, assign=True)
    return module.eval()
