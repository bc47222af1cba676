"""An image's embedding as a value: kept, pickled, saved, and used for any number of prompts."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from sam_batch.engine.protocol import Embeddings
from sam_batch.errors import CheckpointError

_ABOUT = "sam_batch.embedding"


@dataclass(frozen=True, slots=True)
class Origin:
    """What an embedding belongs to: another one is refused where it is used.

    Attributes:
        model: The model's name.
        sha256: Of its weights.
        precision: fp32, bf16 or fp16.
        image_side: S, of the model's input.
    """

    model: str
    sha256: str
    precision: str
    image_side: int


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """What the image encoder makes of one image, on the CPU.

    Attributes:
        embeddings: Of length 1, opaque to all but the engine.
        height: Of the image, in pixels.
        width: Likewise.
        origin: The model that made it.
    """

    embeddings: Embeddings
    height: int
    width: int
    origin: Origin

    def save(self, path: str | Path) -> None:
        """Write it as safetensors; 4 MB for SAM in float32, half in half precision."""
        features = {str(number): part.contiguous() for number, part in enumerate(self.embeddings.features)}
        about = {**asdict(self.origin), "height": self.height, "width": self.width}
        save_file({name: part.clone() for name, part in features.items()}, path, {_ABOUT: json.dumps(about)})

    @classmethod
    def load(cls, path: str | Path) -> "Embedding":
        """Read what `save` wrote.

        Raises:
            CheckpointError: The file is missing, damaged or no embedding.
        """
        try:
            with safe_open(path, framework="pt") as file:
                about: dict[str, Any] = json.loads((file.metadata() or {})[_ABOUT])
            features = load_file(path)
            height, width = about.pop("height"), about.pop("width")
            parts = tuple(features[str(number)] for number in range(len(features)))
            return cls(Embeddings(parts), height, width, Origin(**about))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: is no embedding that can be read: {error}") from error
