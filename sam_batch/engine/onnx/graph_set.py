"""What a folder of exported graphs holds: the file that says so, and whether the graphs are still those.

`engine.export` writes such folders. Nothing here needs ONNX or torch.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from sam_batch.errors import ConfigError, EngineError

GRAPHS = ("encoder", "score", "score_masked", "finish")
MANIFEST = "graphs.json"


@dataclass(frozen=True, slots=True)
class GraphSet:
    """What the four graphs of a folder are.

    Tensors, where h is the type that `precision` names and s = `cells`:

    - encoder: images float32 (N, 3, S, S) -> embeddings h (N, C, s, s)
    - score: embedding h (1, C, s, s), tokens float32 (P, 2, C) -> iou float32 (P, 4), mask_tokens float32 (P, 4, C),
      cells h (P, s x s, C)
    - score_masked: the same, and masks float32 (P, 1, h, w), logits of an earlier round
    - finish: mask_tokens, cells -> logits float32 (P, 4, h, w)

    N and P are free. All of SAM's four masks are there; the first is the single one.

    Attributes:
        version: Of the graphs' arithmetic and of this file; another is refused, and exported anew by a build. A change
            to what the same weights and precision export to raises it.
        model: demo, vit_b, vit_l or vit_h.
        precision: fp32 or fp16; `model.sam.encoder_graph` and `model.sam.decoder_graphs` say what stays float32.
        checkpoint_sha256: Of the file of weights.
        opset: ONNX's version of operators.
        attention: Whether the encoder has the Attention operator.
        image_side: S, in pixels.
        mask_side: h = w, in pixels.
        channels: C.
        cells: Side of the embedding, S / 16.
        tokens: Prompt tokens of each prompt.
        pixel_mean: Per RGB channel, in the 0 to 255 range.
        pixel_std: Likewise.
        mask_threshold: Logits above it are mask.
        sha256: Of each graph, over its .onnx file and its external data.
    """

    version: Literal[1]
    model: str
    precision: str
    checkpoint_sha256: str
    opset: int
    attention: bool
    image_side: int
    mask_side: int
    channels: int
    cells: int
    tokens: int
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    mask_threshold: float
    sha256: dict[str, str]


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
    for name in GRAPHS:
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
