"""Randomness of the scenes: numbers that are a hash of what they are for, and tiles of natural-looking noise.

A hash needs no state: scene 7 has the same colours alone, in a batch, on a CPU and on a GPU. Nothing here knows what
the numbers mean.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

TILES = 24
TILE_SIDE = 256
_MASK = 0xFFFFFFFF


def uniform(seeds_N: Tensor, slots: int, features: int) -> Tensor:
    """Uniform numbers in [0, 1), float32 (N, slots, features); each a hash of (seed, slot, feature)."""
    slot = torch.arange(slots, device=seeds_N.device)[:, None]
    feature = torch.arange(features, device=seeds_N.device)
    key = _mix(seeds_N.long()[:, None, None] * 0x9E3779B1 + 0x85EBCA6B)
    key = _mix(key + _mix(slot * 0x27D4EB2F + feature * 0x165667B1 + 1))
    return (key >> 8).float() / float(1 << 24)


def _mix(x: Tensor) -> Tensor:
    """A 32-bit integer hash in int64 tensors."""
    x = x & _MASK
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK
    x = ((x ^ (x >> 15)) * 0x4C1B1A5B) & _MASK
    return x ^ (x >> 16)


@cache
def tiles(device: str) -> Tensor:
    """Noise tiles, float32 (TILES, 2, side, side), each channel with mean 0 and deviation 1.

    Channel 0 is a texture: 1/f noise, cells, grain or fibres. Channel 1 is smooth and independent of it.
    """
    made = [np.stack((_texture(kind), _spectrum(1000 + kind, 2.4))) for kind in range(TILES)]
    return torch.from_numpy(np.stack(made).astype(np.float32)).to(device)


def _texture(kind: int) -> np.ndarray:
    exponent = 0.4 + 1.8 * (kind // 4) / (TILES // 4 - 1)
    noise = _spectrum(kind, exponent, stretch=4.0 if kind % 4 == 1 else 1.0)
    if kind % 4 == 2:
        noise = _standard(np.abs(noise))  # creases, as in cloth and stone
    if kind % 4 == 3:
        noise = _standard(np.tanh(3 * noise))  # blotches, as in leaves and fur
    return noise


def _spectrum(seed: int, exponent: float, stretch: float = 1.0) -> np.ndarray:
    """Noise whose amplitude falls as 1 / frequency^exponent, as in photographs; stretched along x into fibres."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.fft.fftfreq(TILE_SIDE), np.fft.fftfreq(TILE_SIDE), indexing="ij")
    frequency = np.hypot(y, x * stretch)
    frequency[0, 0] = np.inf
    spectrum = np.fft.fft2(rng.standard_normal((TILE_SIDE, TILE_SIDE))) / frequency**exponent
    return _standard(np.fft.ifft2(spectrum).real)


def _standard(noise: np.ndarray) -> np.ndarray:
    return (noise - noise.mean()) / noise.std()
