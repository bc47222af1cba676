"""Local files through crashes, full disks and failed syncs: whole or absent, and durable when they say so."""

import ctypes
import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from support.local_files import failing, files

from sam_batch.config import StorageConfig
from sam_batch.data.storage import Storage, open_storage
from sam_batch.errors import StorageError

CONFIG = StorageConfig()


class Crash(BaseException):
    """The process dies here."""


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "root"), CONFIG)


def never(key: str) -> bool:
    return False


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", ["makedirs", "open", "fsync", "link", "replace", "unlink"])
@pytest.mark.parametrize("verb", ["write", "replace", "create"])
def test_a_crash_at_any_step_leaves_all_or_nothing(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, verb: str, step: str, after: bool
) -> None:
    act = getattr(storage, verb)
    with monkeypatch.context() as patch:
        patch.setattr(os, step, failing(getattr(os, step), Crash(), after))
        with suppress(Crash):
            act("a/part", b"content")
    visible = [entry.key for entry in storage.list()]
    assert visible in ([], ["a/part"])
    if visible:
        assert storage.read("a/part") == b"content"
    else:
        act("a/part", b"content")
    storage.clear_temporary(never)
    assert files(storage.root) == ["a/part"]


@pytest.mark.parametrize("verb", ["write", "replace", "create", "put_file"])
def test_a_full_disk_leaves_no_file(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, verb: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 100_000)
    real = os.open

    def full(path: str, flags: int, *args: int) -> int:
        # /dev/full takes every open and refuses every byte, as a full disk does.
        return real("/dev/full", os.O_WRONLY) if flags & os.O_CREAT else real(path, flags, *args)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(StorageError, match="No space left"):
        getattr(storage, verb)("a", source if verb == "put_file" else source.read_bytes())
    monkeypatch.undo()
    assert files(storage.root) == []


@pytest.mark.parametrize("verb", ["replace", "create", "put_file"])
def test_a_failed_sync_is_an_error_and_leaves_no_file(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verb: str
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    monkeypatch.setattr(os, "fsync", failing(os.fsync, OSError(errno.EIO, "Input/output error"), after=False))
    with pytest.raises(StorageError, match="Input/output error"):
        getattr(storage, verb)("a", source if verb == "put_file" else b"x")
    assert files(storage.root) == []


@pytest.mark.parametrize("verb", ["replace", "create", "put_file"])
def test_a_name_shows_when_its_content_is_durable_and_is_durable_itself_on_return(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verb: str
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    synced: list[tuple[str, list[str]]] = []

    def fsync(descriptor: int) -> None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        synced.append(("file" if ".tmp" in path else path, [entry.key for entry in storage.list()]))

    monkeypatch.setattr(os, "fsync", fsync)
    getattr(storage, verb)("a/b", source if verb == "put_file" else b"x")
    assert synced == [("file", []), (f"{storage.root}/a", ["a/b"]), (storage.root, ["a/b"])]


def test_what_a_killed_run_left_is_hidden_and_cleared(storage: Storage) -> None:
    storage.write("a", b"x")
    left = Path(storage.root, ".tmp", f"sam-batch-{'0' * 32}")
    left.write_bytes(b"half")
    assert [entry.key for entry in storage.list()] == ["a"]
    assert [entry.key for entry in storage.list(recursive=False)] == ["a"]
    storage.clear_temporary(never)
    assert files(storage.root) == ["a"]


def test_what_others_keep_in_a_folder_of_that_name_is_left(storage: Storage) -> None:
    storage.write("a", b"x")
    mine = [Path(storage.root, ".tmp", name) for name in ("0" * 32, "sam-batch-mine", "note")]
    for path in mine:
        path.write_bytes(b"mine")
    storage.clear_temporary(lambda key: True)
    assert all(path.read_bytes() == b"mine" for path in mine)


def test_flush_reports_what_the_system_reports(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    storage.write("a", b"x")
    monkeypatch.setattr("sam_batch.data.storage_local._sync_file_system", broken)
    with pytest.raises(StorageError, match="Input/output error"):
        storage.flush()


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP])
def test_file_systems_that_sync_no_folders_are_written_to(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    real = os.fsync

    def files_alone(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", files_alone)
    storage.create("sub/a", b"x")
    storage.replace("sub/b", b"y")
    assert files(storage.root) == ["sub/a", "sub/b"]


def test_a_folder_that_cannot_be_synced_for_another_reason_is_an_error(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def broken(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StorageError, match="Input/output error"):
        storage.create("a", b"x")


def test_where_one_file_system_cannot_be_flushed_all_are(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        @staticmethod
        def syncfs(descriptor: int) -> int:
            ctypes.set_errno(errno.ENOSYS)
            return -1

    flushed = []
    storage.write("a", b"x")
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Library)
    monkeypatch.setattr(os, "sync", lambda: flushed.append(True))
    storage.flush()
    assert flushed
