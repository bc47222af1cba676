"""One driver an output."""

import dataclasses
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from sam_batch.config import StorageConfig
from sam_batch.data.storage import Storage
from sam_batch.errors import LeaseError, LeaseLostError, OutputError
from sam_batch.output import layout, lease


@pytest.fixture
def storage(tmp_path):
    return Storage(str(tmp_path), StorageConfig())


def holder(**changes):
    return dataclasses.replace(lease.Holder.this_process(), **changes)


def test_a_second_driver_is_refused_and_told_who_holds_the_output(storage):
    held = lease.acquire(storage)
    with pytest.raises(LeaseError, match=f"in use by process {os.getpid()}"):
        lease.acquire(storage)
    held.release()
    lease.acquire(storage).release()


def test_release_removes_the_lease(storage):
    lease.acquire(storage).release()
    assert not storage.exists(layout.LEASE)


def test_a_dead_process_of_this_machine_holds_nothing(storage):
    storage.create(layout.LEASE, holder(born="0").to_bytes())  # the same number, another process
    lease.acquire(storage).release()


def without_proc(monkeypatch, *pids):
    """The kernel does not tell of these processes, or of none."""
    real = Path.read_text

    def hidden(path, *args):
        if not pids or str(path) in [f"/proc/{pid}/stat" for pid in pids]:
            raise FileNotFoundError
        return real(path, *args)

    monkeypatch.setattr(Path, "read_text", hidden)


def test_without_proc_a_process_holds_while_it_lives_and_renews(storage, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.01)
    without_proc(monkeypatch)
    held = lease.acquire(storage)
    with pytest.raises(LeaseError, match=f"in use by process {os.getpid()}"):
        lease.acquire(storage)
    held.release()
    storage.create(layout.LEASE, holder(renewed=time.time() - 61).to_bytes())  # the number was given again
    lease.acquire(storage).release()


def test_without_proc_a_dead_process_holds_nothing(storage, monkeypatch):
    without_proc(monkeypatch)
    ended = subprocess.Popen(["true"])
    ended.wait()
    storage.create(layout.LEASE, holder(pid=ended.pid).to_bytes())
    lease.acquire(storage).release()


def test_a_process_that_proc_hides_is_not_taken_for_another(storage, monkeypatch):
    other = subprocess.Popen(["sleep", "60"])
    storage.create(layout.LEASE, holder(pid=other.pid, born=lease._born(other.pid)).to_bytes())
    without_proc(monkeypatch, other.pid)
    with pytest.raises(LeaseError, match=f"in use by process {other.pid}"):
        lease.acquire(storage)
    other.kill()
    other.wait()
    lease.acquire(storage).release()


@pytest.mark.parametrize(
    "other",
    [
        {"host": "elsewhere", "processes": "another boot pid:[4026531836]", "born": "0"},
        {"processes": "another boot pid:[4026531836]", "born": "0"},  # machines of a cluster that share a name
        {"processes": lease._processes().rpartition(" ")[0] + " pid:[1]", "born": "0"},  # containers that do
        {"processes": "", "born": "0"},  # as releases before wrote it
    ],
)
def test_another_machine_or_container_holds_as_long_as_it_renews(storage, monkeypatch, other):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.01)
    storage.create(layout.LEASE, holder(**other).to_bytes())
    with pytest.raises(LeaseError, match="in use"):
        lease.acquire(storage)
    storage.write(layout.LEASE, holder(**other, renewed=time.time() - 61).to_bytes())
    lease.acquire(storage).release()


ELSEWHERE = {"host": "elsewhere", "processes": "another boot pid:[4026531836]", "born": "0"}
DAY = 86400.0


@pytest.mark.parametrize("skew", [-DAY, DAY])
def test_a_clock_that_is_days_off_neither_holds_for_days_nor_loses_what_lives(storage, monkeypatch, caplog, skew):
    def until_renewed(seconds):
        storage.replace(layout.LEASE, holder(**ELSEWHERE, renewed=time.time() + skew + 15).to_bytes())

    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.01)
    storage.create(layout.LEASE, holder(**ELSEWHERE, renewed=time.time() + skew).to_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", until_renewed)
        with pytest.raises(LeaseError, match="in use by process"):
            lease.acquire(storage)
    lease.acquire(storage).release()
    assert "whether the driver whose lease lies there lives" in caplog.text


def test_a_lease_of_a_release_before_is_a_lease(storage):
    before = {name: value for name, value in dataclasses.asdict(holder()).items() if name != "processes"}
    storage.create(layout.LEASE, json.dumps(before).encode())
    assert lease.read_holder(storage).host == before["host"]


def test_a_lease_that_somebody_else_took_over_is_noticed_and_left_alone(storage, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.5)  # the first renewal comes after the other's
    held = lease.acquire(storage)
    storage.write(layout.LEASE, holder(token="other").to_bytes())
    held._thread.join(timeout=10)  # it ends when it notices
    assert not held._thread.is_alive()
    with pytest.raises(LeaseLostError, match="taken this output over"):
        held.check()
    held.release()
    assert lease.read_holder(storage).token == "other"


def test_a_look_finds_out_at_once(storage):
    held = lease.acquire(storage)
    held.confirm()
    storage.write(layout.LEASE, holder(token="other").to_bytes())
    held.check()
    with pytest.raises(LeaseLostError, match="taken this output over"):
        held.confirm()
    held.release()


def test_a_held_lease_is_renewed(storage, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.01)
    held = lease.acquire(storage)
    before = lease.read_holder(storage).renewed
    deadline = time.monotonic() + 10
    while lease.read_holder(storage).renewed == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    held.release()


@pytest.mark.parametrize("content", [b"", b"{", b"\0\0\0", b'{"token": "01', b'{"token": "01", "host": "\0\0\0'])
def test_a_damaged_lease_holds_nothing(storage, content, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.01)
    storage.write(layout.LEASE, content)
    assert lease.read_holder(storage).is_gone()
    held = lease.acquire(storage)
    assert lease.read_holder(storage).token == held._holder.token
    held.release()
    assert not storage.exists(layout.LEASE)


@pytest.mark.parametrize("content", [b"{}", b"[]", b"\xff", b"mine", json.dumps({"token": "a"}).encode()])
def test_a_file_that_is_no_lease_is_refused_and_stays(storage, content):
    storage.write(layout.LEASE, content)
    with pytest.raises(OutputError, match=r"lease.json is not this program's; move it away"):
        lease.acquire(storage)
    assert storage.read(layout.LEASE) == content


def test_a_holder_that_lives_mends_its_damaged_lease_and_keeps_it(storage, monkeypatch):
    def until_renewed(seconds):
        assert seconds > lease.RENEW_SECONDS
        deadline = time.monotonic() + 10
        while lease.read_holder(storage) is lease.UNREADABLE:
            assert time.monotonic() < deadline

    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(time, "sleep", until_renewed)
    held = lease.acquire(storage)
    storage.write(layout.LEASE, b"{")
    with pytest.raises(LeaseError, match=f"in use by process {os.getpid()}"):
        lease.acquire(storage)
    held.check()
    held.release()


def test_who_only_looks_does_not_wait_for_a_driver_elsewhere(storage, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waits"))
    storage.create(layout.LEASE, holder(processes="elsewhere", renewed=0.0).to_bytes())
    assert lease.refuse_held(storage).processes == "elsewhere"
