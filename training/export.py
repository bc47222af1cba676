"""Write the averaged weights of a run as the package carries them: `python -m training.export runs/demo`.

Float16, under the names of `Sam.state_dict()`; a run interrupted before its last stage is grown to the full side.
Prints the sha256 that `sam_batch.model.names` must hold.
"""

import argparse
import hashlib
from pathlib import Path

import torch
from safetensors.torch import save_file

from sam_batch.model.demo import SIDE
from training.model import grow


def export(checkpoint: Path, target: Path) -> str:
    """Write `target` from a training checkpoint; returns its sha256, hexadecimal."""
    average = torch.load(checkpoint, map_location="cpu", weights_only=True)["average"]
    state = {name: value.to(torch.float16).contiguous() for name, value in grow(average, SIDE).items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, target)
    return hashlib.sha256(target.read_bytes()).hexdigest()


def main() -> None:
    """Read the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the checkpoint")
    parser.add_argument("target", type=Path, nargs="?", default=Path("sam_batch/model/weights/demo.safetensors"))
    given = parser.parse_args()
    print(export(given.run / "checkpoint.pt", given.target))


if __name__ == "__main__":
    main()
