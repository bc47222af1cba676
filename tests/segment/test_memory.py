import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sam_batch.errors import EngineError
from sam_batch.segment.memory import BatchSize


class Device:
    """Has room for so many items at once, and notes what it did."""

    def __init__(self, room):
        self.room, self.done = room, []

    def work(self, some):
        if some.stop - some.start > self.room:
            raise torch.OutOfMemoryError("no room")
        self.done.append(range(some.start, some.stop))
        return self.done[-1]


@given(count=st.integers(0, 70), size=st.integers(1, 64), room=st.integers(1, 64))
def test_every_item_is_done_once_and_in_order_whatever_fits(count, size, room):
    device = Device(room)
    results = list(BatchSize("items", size, "cpu").over(count, device.work))
    assert [item for batch in results for item in batch] == list(range(count))
    assert results == device.done


def test_the_smaller_size_is_kept_and_said_once(caplog):
    size, device = BatchSize("prompts at once", 64, "cpu"), Device(15)
    for _ in range(3):
        list(size.over(40, device.work))
    assert {len(batch) for batch in device.done} == {10}
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory: from now on 10 instead of 64 prompts at once"
    ]


def test_an_item_that_does_not_fit_alone_is_an_engine_error():
    with pytest.raises(EngineError, match="too little memory for one of the prompts alone"):
        list(BatchSize("prompts", 4, "cpu").over(8, Device(0).work))


def test_a_device_that_fails_is_an_engine_error():
    """After an illegal access or an assertion on the device every later call fails too, whatever the image."""

    def work(_):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(EngineError, match="cuda:0 failed: CUDA error"):
        list(BatchSize("prompts", 4, "cuda:0").over(8, work))


def test_the_devices_cache_is_emptied_when_the_failed_works_tensors_are_gone(monkeypatch):
    held, gone = [], []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: gone.append(held[-1]() is None))

    def work(some):
        tensor = torch.zeros(some.stop - some.start)
        held.append(weakref.ref(tensor))
        if len(tensor) > 1:
            raise torch.OutOfMemoryError("no room")
        return some

    list(BatchSize("items", 4, "cuda:0").over(2, work))
    assert gone == [True]
