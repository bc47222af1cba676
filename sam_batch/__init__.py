"""Label image datasets with the Segment Anything Model: distributed, restartable, exact.

The library's face is `Segmenter`, with what it returns, and `read`, which opens what a job has written. Names are
imported when they are first used: `import sam_batch` needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sam_batch.library.embedding import Embedding
    from sam_batch.library.results import Mask, Masks
    from sam_batch.library.segmenter import Segmenter
    from sam_batch.library.stored import ImageRecord, Records, read

__all__ = ["Embedding", "ImageRecord", "Mask", "Masks", "Records", "Segmenter", "__version__", "read"]
__version__ = "0.1.0"

_MODULES = {
    "Embedding": "embedding",
    "ImageRecord": "stored",
    "Mask": "results",
    "Masks": "results",
    "Records": "stored",
    "Segmenter": "segmenter",
    "read": "stored",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.library.{_MODULES[name]}"), name)
