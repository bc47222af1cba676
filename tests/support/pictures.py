"""Pictures with structure, drawn from a seed."""

import cv2
import numpy as np

from sam_batch.records import UInt8Array


def picture(height: int, width: int, seed: int = 0) -> UInt8Array:
    """(height, width, 3) uint8: soft patches of colour, and a little noise."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 60 + 2, width // 60 + 2, 3), dtype=np.uint8)
    soft = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return np.clip(soft + random.integers(-8, 9, soft.shape), 0, 255).astype(np.uint8)
