import sys
from unittest.mock import Mock

import pytest
import torch
from support import kernels

from sam_batch.masks import logits
from sam_batch.masks.kernels import choose, cpu
from sam_batch.masks.logits import Scale

CUDA = torch.device("cuda", 0)
SETTINGS = {"threshold": 0.0, "offset": 1.0, "min_stability": 0.0}


@pytest.fixture
def way(monkeypatch):
    """Looks again, whatever was found out before."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    return choose.way.__wrapped__


@pytest.fixture
def cuda(monkeypatch):
    """The Triton kernels' module with the CPU's masks, so that a trial passes."""
    pytest.importorskip("triton", reason="torch brings Triton along on Linux alone")
    from sam_batch.masks.kernels import cuda

    monkeypatch.setattr(cuda, "stable_masks", Mock(side_effect=cpu.stable_masks))
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: tensor)
    return cuda


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_on_a_cpu_it_is_the_compiled_kernel_whatever_torch_does(threads, way, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch.nn.functional, "interpolate", Mock(side_effect=AssertionError))
    assert way(torch.device("cpu")).stable_masks is cpu.stable_masks


def test_on_a_gpu_where_triton_works_it_is_the_triton_kernels(way, cuda):
    assert way(CUDA) == ("Triton kernels", "they work on a GPU", cuda.stable_masks)


def test_without_triton_a_gpu_is_left_to_torch_and_one_is_told(way, monkeypatch):
    monkeypatch.setitem(sys.modules, "sam_batch.masks.kernels.cuda", None)
    monkeypatch.delattr("sam_batch.masks.kernels.cuda", raising=False)
    with pytest.warns(UserWarning, match="step by step, which is slow: Triton cannot be imported"):
        assert way(CUDA).stable_masks is logits.stable_masks


def test_devices_without_kernels_are_left_to_torch_and_one_is_told(way):
    with pytest.warns(UserWarning, match="step by step, which is slow: there are no kernels for mps"):
        assert way(torch.device("mps")).stable_masks is logits.stable_masks


def test_kernels_that_find_other_masks_are_not_used(way, cuda):
    cuda.stable_masks.side_effect = lambda low_Khw, *settings: cpu.stable_masks(-low_Khw, *settings)
    with pytest.warns(UserWarning, match="other masks than the CPU"):
        assert way(CUDA).stable_masks is logits.stable_masks


@pytest.mark.parametrize("error", [RuntimeError("Failed to find C compiler"), OSError(), AssertionError("no driver")])
def test_kernels_that_cannot_be_built_are_not_used_and_one_is_told_why(error, way, cuda):
    cuda.stable_masks.side_effect = error
    with pytest.warns(UserWarning, match=f"Triton does not work here: {error}"):
        assert way(CUDA).why == f"Triton does not work here: {error}"


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), RuntimeError("Triton Error [CUDA]: out of memory"),
])  # fmt: skip
def test_a_full_gpu_says_nothing_about_the_kernels(error, way, cuda):
    cuda.stable_masks.side_effect = error
    with pytest.raises(RuntimeError, match="out of memory"):
        way(CUDA)


def test_the_trial_passes_where_the_kernels_work():
    pytest.importorskip("triton", reason="torch brings Triton along on Linux alone")
    with kernels.process() as call:
        assert call(kernels.trial) == ""


def test_masks_go_the_way_of_their_device(monkeypatch):
    taken = Mock(return_value=iter(["masks"]))
    monkeypatch.setattr(choose, "way", lambda device: choose.Way("", "", taken) if device.type == "meta" else None)
    low_Khw, scale = torch.zeros(2, 16, 16, device="meta"), Scale(64, (64, 64), (8, 8))
    assert list(choose.stable_masks(low_Khw, scale, **SETTINGS)) == ["masks"]
    taken.assert_called_once_with(low_Khw, scale, 0.0, 1.0, 0.0)


def test_the_way_is_said_with_what_it_depends_on(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    expected = f"compiled kernel (always on a CPU), torch {torch.__version__}, 3 CPU threads"
    assert choose.describe("cpu") == expected
