"""What every engine refuses to return or to take."""

import torch
from torch import Tensor

from sam_batch.errors import NonFiniteError
from sam_batch.model.state import is_finite


def require_finite(values: Tensor, what: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        NonFiniteError: Some value is one.
    """
    if not is_finite(values):
        raise NonFiniteError(f"the engine returned {what} that is NaN or infinite")


def require_within(index_K2: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse pairs (prompt, mask) that were not scored: on CUDA they would end the process's use of the device.

    Raises:
        IndexError: Some pair lies outside.
    """
    if len(index_K2) and not ((index_K2 >= 0) & (index_K2 < torch.tensor(shape))).all():
        raise IndexError(f"a (prompt, mask) pair lies outside of the {tuple(shape)} scored")
