"""Label image datasets with the Segment Anything Model: distributed, restartable, exact.

The library's face is `Segmenter`, with what it returns. Its names are imported when they are first used: `import
sam_batch` needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sam_batch.library.embedding import Embedding
    from sam_batch.library.results import Mask, Masks
    from sam_batch.library.segmenter import Segmenter

__all__ = ["Embedding", "Mask", "Masks", "Segmenter", "__version__"]
__version__ = "0.1.0"

_MODULES = {"Embedding": "embedding", "Mask": "results", "Masks": "results", "Segmenter": "segmenter"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.library.{_MODULES[name]}"), name)
