"""Write the averaged weights of a run as the package carries them: `python -m training.export runs/demo`.

Float16, under the names of `Sam.state_dict()`; a run interrupted before its last stage is grown to the full side.
`--sharpen` changes the unit of the mask logits: the masks stay the same, their stability scores rise.
Prints the sha256 that `sam_batch.model.sam.models` must hold.
"""

import argparse
import hashlib
import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from sam_batch.model.sam.demo import SIDE
from training.model import grow

_LAST_OF_HYPERNETWORK = re.compile(r"mask_decoder\.output_hypernetworks_mlps\.\d\.layers\.2\.(weight|bias)")


def sharpen(state: dict[str, Tensor], factor: float) -> dict[str, Tensor]:
    """The state of a model whose mask logits are `factor` times as large, as are those that it takes as a prompt.

    Focal loss keeps logits small, while everything mode compares a mask at logits of -1 and +1.
    """
    scales = {name: factor for name in state if _LAST_OF_HYPERNETWORK.fullmatch(name)}
    scales["prompt_encoder.mask_downscaling.0.weight"] = 1 / factor
    return {name: value * scales.get(name, 1) for name, value in state.items()}


def export(checkpoint: Path, target: Path, factor: float = 1.0) -> str:
    """Write `target` from a training checkpoint; returns its sha256, hexadecimal."""
    average = torch.load(checkpoint, map_location="cpu", weights_only=True)["average"]
    state = sharpen(grow(average, SIDE), factor)
    state = {name: value.to(torch.float16).contiguous() for name, value in state.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, target)
    return hashlib.sha256(target.read_bytes()).hexdigest()


def main() -> None:
    """Read the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the checkpoint")
    parser.add_argument("target", type=Path, nargs="?", default=Path("sam_batch/model/weights/demo.safetensors"))
    parser.add_argument("--sharpen", type=float, default=1.0, help="factor of the mask logits")
    given = parser.parse_args()
    print(export(given.run / "checkpoint.pt", given.target, given.sharpen))


if __name__ == "__main__":
    main()
