"""Call the kernels for CUDA: on a GPU if there is one, otherwise in Triton's interpreter.

The interpreter is chosen for a whole process before Triton is imported, so this happens in a process of its own.
"""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from sam_batch.masks.kernels import choose


@contextmanager
def process():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _choose) as pool:
        yield lambda work, *arguments: pool.submit(work, *arguments).result()


def _choose():
    torch.set_num_threads(1)
    if not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"
        from triton.runtime import interpreter

        # Before release 3.9 it rounds the product, as a GPU does not.
        interpreter.InterpreterBuilder.create_fma = lambda _, x, y, z: interpreter.TensorHandle(
            (x.data.astype(np.float64) * y.data + z.data).astype(z.data.dtype), z.dtype.scalar
        )


def on_device(low_Khw):
    return torch.from_numpy(low_Khw).to("cuda" if torch.cuda.is_available() else "cpu")


def stable_masks(low_Khw, scale, threshold, offset, min_stability):
    from sam_batch.masks.kernels import cuda

    return list(cuda.stable_masks(on_device(low_Khw), scale, threshold, offset, min_stability))


def geometry(low_hw, steps):
    from sam_batch.masks.kernels import cuda

    return cuda.geometry(tuple(low_hw), steps, on_device(np.zeros(0)).device)


def measure(low_Khw, steps, levels, limits):
    from sam_batch.masks.kernels import cuda

    with limited(cuda, limits):
        return cuda.measure(on_device(low_Khw), geometry(low_Khw.shape[1:], steps), levels)


def cut(low_Khw, steps, threshold, indices, boxes, limits):
    from sam_batch.masks.kernels import cuda

    with limited(cuda, limits):
        where = geometry(low_Khw.shape[1:], steps)
        return list(cuda.cut(on_device(low_Khw), where, threshold, indices, boxes))


@contextmanager
def limited(module, limits):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in limits.items():
            patch.setattr(module, name, value)
        yield


def measure_strided(low_whK, steps, levels):
    """Of logits that lie in memory the other way round."""
    from sam_batch.masks.kernels import cuda

    where = geometry(low_whK.shape[1::-1], steps)
    return cuda.measure(on_device(low_whK).permute(2, 1, 0), where, levels)


def trial():
    """On the smaller sample; the interpreter is slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "TRIAL_SCALES", choose.TRIAL_SCALES[1:])
        return choose.trial(on_device(np.zeros(0)).device)
