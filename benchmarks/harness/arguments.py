"""What the programs that measure a model on photographs are asked on the command line alike."""

import argparse
from pathlib import Path

from benchmarks.harness.weights import BUILDERS
from sam_batch.model.precision import DTYPES

EXAMPLES = Path(__file__).parents[2] / "examples"


def parser(description: str | None, *, precision: str, whose: str | None = None) -> argparse.ArgumentParser:
    """A parser of the model, its device and precision, and the images.

    Args:
        description: Of the program.
        precision: The default.
        whose: Which system has that precision, where there are several.
    """
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", choices=BUILDERS, default="demo")
    made.add_argument("--checkpoint", help="real weights of the model, a file")
    made.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    made.add_argument("--precision", choices=("auto", *DTYPES), default=precision, help=whose)
    made.add_argument("--images", type=Path, nargs="+", default=sorted(EXAMPLES.glob("*.jpg")))
    made.add_argument("--long-side", type=int, help="resize every image to this many pixels along its longer side")
    return made
