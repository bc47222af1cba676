import weakref
from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.blobs import BlobEngine

from sam_batch.errors import EngineError
from sam_batch.segment.memory import BatchSize

CPU, CUDA = BlobEngine.spec, replace(BlobEngine.spec, device="cuda:0")
NO_ROOM = torch.OutOfMemoryError("no room")


class Device:
    """Has room for so many items at once, and notes what it did."""

    def __init__(self, room, error=NO_ROOM):
        self.room, self.error, self.done = room, error, []

    def work(self, some):
        if some.stop - some.start > self.room:
            raise self.error
        self.done.append(range(some.start, some.stop))
        return self.done[-1]


@given(count=st.integers(0, 70), size=st.integers(1, 64), room=st.integers(1, 64))
def test_every_item_is_done_once_and_in_order_whatever_fits(count, size, room):
    device = Device(room)
    results = list(BatchSize("items", size, CPU).over(count, device.work))
    assert [item for batch in results for item in batch] == list(range(count))
    assert results == device.done


def test_the_smaller_size_is_kept_and_said_once(caplog):
    size, device = BatchSize("prompts at once", 64, CPU), Device(15)
    for _ in range(3):
        list(size.over(40, device.work))
    assert {len(batch) for batch in device.done} == {10}
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory: from now on 10 instead of 64 prompts at once"
    ]


def test_an_item_that_does_not_fit_alone_is_an_engine_error():
    with pytest.raises(EngineError, match="too little memory for one of the prompts alone"):
        list(BatchSize("prompts", 4, CPU).over(8, Device(0).work))


@pytest.fixture
def cuda(monkeypatch):
    """A GPU that answers, as long as nobody sets what it answers with."""
    answer = Mock()
    monkeypatch.setattr(torch.cuda, "synchronize", answer)
    monkeypatch.setattr(torch.cuda, "empty_cache", Mock())
    return answer


def test_a_passing_shortage_changes_no_size():
    shortages = [torch.OutOfMemoryError("no room")]

    def work(some):
        if shortages:
            raise shortages.pop()
        return some.stop - some.start

    assert list(BatchSize("items", 64, CPU).over(128, work)) == [64, 64]


def test_a_remainder_that_does_not_fit_is_halved_alone():
    size, device = BatchSize("items", 64, CPU), Device(64)
    for _ in size.over(66, device.work):
        device.room = 1  # while the last two are at work
    device.room = 64
    list(size.over(64, device.work))
    assert [len(batch) for batch in device.done] == [64, 1, 1, 64]


@pytest.mark.parametrize("error", [
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    torch.AcceleratorError("CUDA error: out of memory"),
])  # fmt: skip
def test_memory_that_runs_out_beside_torchs_allocator_is_a_shortage_too(cuda, error):
    device = Device(15, error)
    list(BatchSize("items", 64, CUDA).over(40, device.work))
    assert {len(batch) for batch in device.done} == {10}
    with pytest.raises(EngineError, match="too little memory"):
        list(BatchSize("items", 64, CUDA).over(40, Device(0, error).work))


@pytest.mark.parametrize("error", [
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`"),
    RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
])  # fmt: skip
def test_a_device_that_fails_is_an_engine_error(cuda, error):
    """After an illegal access or an assertion on the device every later call fails too, whatever the image."""
    cuda.side_effect = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(EngineError, match="cuda:0 failed: ") as raised:
        list(BatchSize("prompts", 4, CUDA).over(8, Device(0, error).work))
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("spec", [CPU, CUDA], ids=["cpu", "cuda"])
def test_any_other_error_is_the_items_own(cuda, spec):
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        list(BatchSize("prompts", 4, spec).over(8, Device(0, RuntimeError("shapes cannot be multiplied")).work))


def test_the_devices_cache_is_emptied_when_the_failed_works_tensors_are_gone(monkeypatch):
    held, gone = [], []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: gone.append(held[-1]() is None))

    def work(some):
        tensor = torch.zeros(some.stop - some.start)
        held.append(weakref.ref(tensor))
        if len(tensor) > 1:
            raise torch.OutOfMemoryError("no room")
        return some

    list(BatchSize("items", 4, CUDA).over(2, work))
    assert gone == [True, True]
