"""What a folder of exported graphs holds: the file that says so, and whether the graphs are still those.

`engine.export` writes such folders. Nothing here needs ONNX or torch.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from sam_batch.errors import ConfigError, EngineError
from sam_batch.model.family import Positions, Traits

MANIFEST = "graphs.json"
VERSION: Literal[4] = 4
GRAPHS = ("encoder", "score", "finish", "prompted")  # that there can be
PROMPTED = "prompted"


@dataclass(frozen=True, slots=True)
class GraphSet:
    """What the graphs of a folder are: `encoder`, `score`, `finish`, and `prompted` where prompts may have any parts.

    `encoder` makes feature maps of images. `score` takes them first, then tokens of prompts, and makes predicted IoUs
    of all of the model's masks, the single one first, and what `finish` makes logits of. `prompted` does the
    same for prompts that are not one point or one box: it takes more tokens, what of them is filling, masks of an
    earlier round, and where there are none. Names and shapes of the inputs are the family's; `model.sam.graphs` has
    those of SAM.

    Attributes:
        version: Of the graphs' arithmetic and of this file; another is refused, and exported anew by a build. A change
            to what the same weights and precision export to raises it.
        model: Its name.
        precision: fp32 or fp16; the family says what stays float32.
        checkpoint_sha256: Of the file of weights.
        opset: ONNX's version of operators.
        attention: Whether the encoder has the Attention operator.
        positions: How its attention over the whole image takes relative positions: `written` as a matrix of biases as
            large as the logits; `tiled`, rows as further channels of queries and keys and columns repeated, which a
            compiler does inside a fused attention where images come one by one; `folded`, both as further channels.
        traits: Of the model.
        inputs: Of each graph, by name and in order: their shapes. The sizes `images` and `prompts` are free.
        sha256: Of each graph, over its .onnx file and its external data.
        scratch_bytes: Of each graph, about how much memory its plan needs while it runs, for each image or prompt.
    """

    version: Literal[4]
    model: str
    precision: str
    checkpoint_sha256: str
    opset: int
    attention: bool
    positions: Positions
    traits: Traits
    inputs: dict[str, dict[str, tuple[int | str, ...]]]
    sha256: dict[str, str]
    scratch_bytes: dict[str, int]

    @property
    def tokens(self) -> int:
        """How many each prompt has."""
        return int(self.inputs["score"]["tokens"][1])

    @property
    def max_tokens(self) -> int | None:
        """The most that a prompt of any parts may have; None where there is no graph for such."""
        return int(self.inputs[PROMPTED]["tokens"][1]) if PROMPTED in self.inputs else None


_JSON = TypeAdapter(GraphSet)


def read_graphs(folder: Path) -> GraphSet:
    """What `export` left in a folder, after all of it was read and compared with its hashes.

    Raises:
        ConfigError: There is no such folder, or no finished export in it.
        EngineError: The files are not those that were exported.
    """
    path = folder / MANIFEST
    try:
        graphs = _JSON.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise ConfigError(
            f"{folder}: holds no {MANIFEST}, so no finished export; run `sam-batch engine export`"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; check its permissions") from None
    except ValidationError:
        raise EngineError(f"{path}: is damaged or of another version; run `sam-batch engine export` again") from None
    for name in graphs.inputs:
        _require_hash(folder, name, graphs.sha256.get(name))
    return graphs


def graph_files(folder: Path, name: str) -> list[Path]:
    """The .onnx file of a graph, and its external data where it has some."""
    return [folder / f"{name}.onnx", *folder.glob(f"{name}.onnx.data")]


def _require_hash(folder: Path, name: str, expected: str | None) -> None:
    again = "run `sam-batch engine export` again"
    try:
        found = sha256_of_graph(folder, name)
    except FileNotFoundError:
        raise EngineError(f"{folder / name}.onnx: is missing; {again}") from None
    except OSError as error:
        raise ConfigError(f"{folder / name}.onnx: cannot be read: {error.strerror}; check its permissions") from None
    if found != expected:
        raise EngineError(f"{folder / name}.onnx: is damaged or not the one that was exported; {again}")


def write_manifest(graphs: GraphSet, folder: Path) -> None:
    """Say that the folder's graphs are whole; by one rename, so that half a manifest is never seen."""
    temporary = folder / f".{MANIFEST}"
    temporary.write_bytes(_JSON.dump_json(graphs, indent=2) + b"\n")
    temporary.replace(folder / MANIFEST)


def sha256_of_graph(folder: Path, name: str) -> str:
    """Over its .onnx file and its external data, hexadecimal."""
    digest = hashlib.sha256()
    for path in graph_files(folder, name):
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()
