"""Local files: crashes, full disks, links, pipes, and names that are not text."""

import ctypes
import errno
import os
import socket
import stat
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from sam_batch.config import StorageConfig
from sam_batch.data.naming import Naming
from sam_batch.data.storage import Storage, open_storage, read_uri
from sam_batch.errors import AlreadyExistsError, ImageError, NotFoundError, PermissionDeniedError, StorageError

CONFIG = StorageConfig()


class Crash(BaseException):
    """The process dies here."""


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "root"), CONFIG)


def never(key: str) -> bool:
    return False


def files(root: str) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in Path(root).rglob("*") if path.is_file())


def failing(function: Callable[..., object], error: BaseException, after: bool) -> Callable[..., object]:
    def wrapper(*args: object, **kwargs: object) -> object:
        if after:
            function(*args, **kwargs)
        raise error

    return wrapper


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


def test_all_names_are_given_also_of_links_and_hidden_files(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("a/b/c", ".hidden", ".tmp/d", "empty/x"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    (root / "empty/x").unlink()
    (root / "out").symlink_to(tmp_path)
    (root / "broken").symlink_to("nothing")
    storage = open_storage(str(root), CONFIG)
    assert sorted(storage.names()) == [".hidden", ".tmp/d", "a/b/c", "broken", "out"]
    assert list(open_storage(str(tmp_path / "none"), CONFIG).names()) == []


def test_a_file_in_the_place_of_a_folder_is_no_taken_name(storage: Storage) -> None:
    storage.write("a", b"x")
    for verb in (storage.write, storage.create):
        with pytest.raises(StorageError, match="a file stands where a folder is needed") as caught:
            verb("a/b", b"y")
        assert not isinstance(caught.value, AlreadyExistsError)


def test_a_folder_in_the_place_of_a_file_is_an_error(storage: Storage) -> None:
    storage.write("a/b", b"x")
    for act in (lambda: storage.write("a", b"y"), lambda: storage.read("a"), lambda: storage.delete("a")):
        with pytest.raises(StorageError):
            act()
    assert files(storage.root) == ["a/b"]


def test_refused_access_is_its_own_error(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", failing(os.open, PermissionError(errno.EACCES, "Permission denied"), after=False))
    for act in (lambda: storage.write("a", b"x"), lambda: storage.create("a", b"x"), lambda: storage.read("a")):
        with pytest.raises(PermissionDeniedError, match="Permission denied"):
            act()


def test_new_files_have_the_usual_rights(storage: Storage) -> None:
    storage.write("a", b"x")
    mask = os.umask(0)
    os.umask(mask)
    assert Path(storage.root, "a").stat().st_mode & 0o777 == 0o666 & ~mask


def test_roots_are_absolute_and_without_dots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    spellings = ("root", "./root/", "x/../root", str(tmp_path / "root"), f"file://{tmp_path}/root")
    assert {open_storage(one, CONFIG).root for one in spellings} == {str(tmp_path / "root")}
    assert open_storage("~/data", CONFIG).root == "/home/someone/data"


def test_file_uris_are_percent_decoded(tmp_path: Path) -> None:
    (tmp_path / "a b%.jpg").write_bytes(b"x")
    assert read_uri(f"file://{tmp_path}/a%20b%25.jpg", CONFIG) == b"x"


@pytest.mark.parametrize(
    "name", [b"x::y.jpg", b"new\nline.jpg", b"L" * 251 + b".jpg", b"p%FF.jpg", b"~x.jpg", b"s*.jpg"]
)
def test_names_only_local_files_have(storage: Storage, name: bytes) -> None:
    storage.write(name.decode(), name)
    (entry,) = storage.list()
    assert (entry.key, entry.uri) == (name.decode(), f"{storage.root}/{name.decode()}")
    assert storage.read(entry.key) == read_uri(entry.uri, CONFIG) == name


def test_names_that_are_not_utf8_are_listed_escaped_and_read_by_their_uri(tmp_path: Path) -> None:
    for name in (b"bad\xff\xfe.jpg", "caf\u00e9 %41\udc80.jpg".encode("utf-8", "surrogateescape")):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    entries = sorted(open_storage(str(tmp_path), CONFIG).list(), key=lambda entry: entry.key)
    assert [entry.key for entry in entries] == ["bad%FF%FE.jpg", "caf\u00e9 %41%80.jpg"]
    for entry in entries:
        entry.uri.encode("utf-8")
        assert read_uri(entry.uri, CONFIG).startswith(entry.key[:3].encode())


def test_links_are_listed_inside_the_root_and_never_followed_to_folders(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "sub" / "a").write_bytes(b"a")
    for name, target in {
        "inside": "sub/a", "outside": "../secret", "up": "..", "folder": "sub", "sub/loop": ".",
        "broken": "nothing", "itself": "itself",
    }.items():  # fmt: skip
        (root / name).symlink_to(target)
    storage = open_storage(str(root), CONFIG)
    listed = {entry.key: entry.size for entry in storage.list()}
    assert listed == {"inside": 1, "sub/a": 1, "broken": None, "itself": None}
    assert sorted(record.message.split(":")[0] for record in caplog.records) == ["folder", "outside", "sub/loop", "up"]


def test_a_root_that_is_a_link_is_listed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"x")
    (tmp_path / "real" / "b").symlink_to("a")
    (tmp_path / "link").symlink_to("real")
    listed = sorted(open_storage(str(tmp_path / "link"), CONFIG).list(), key=lambda entry: entry.key)
    assert [entry.uri for entry in listed] == [f"{tmp_path}/link/a", f"{tmp_path}/link/b"]


def test_a_folder_that_may_not_be_listed_is_an_error(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "scandir", failing(os.scandir, PermissionError(errno.EACCES, "Permission denied"), False))
    with pytest.raises(PermissionDeniedError):
        list(storage.list())


def test_pipes_sockets_devices_and_folders_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "zero").symlink_to("/dev/zero")
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for name in ("pipe", "socket", "loop", "zero", "."):
            with pytest.raises(ImageError) as caught:
                read_uri(str(tmp_path / name), CONFIG)
            assert caught.value.kind == "not_regular_file"


def test_broken_links_and_paths_through_files_are_not_found(tmp_path: Path) -> None:
    (tmp_path / "broken").symlink_to("nothing")
    (tmp_path / "file").write_bytes(b"")
    for name in ("broken", "file/below"):
        with pytest.raises(NotFoundError):
            read_uri(str(tmp_path / name), CONFIG)


def test_a_huge_file_is_refused_by_its_size_alone(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(20 << 30)
    with pytest.raises(ImageError, match="at most"):
        read_uri(str(tmp_path / "sparse"), CONFIG, max_bytes=1 << 20)


def test_a_file_that_shrinks_while_it_is_read_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    real = os.fstat

    def shrinking(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        path.write_bytes(b"0123")
        return status

    monkeypatch.setattr(os, "fstat", shrinking)
    with pytest.raises(StorageError, match="changed while it was read"):
        read_uri(str(path), CONFIG)


def test_a_name_that_is_too_long_is_a_storage_error(storage: Storage) -> None:
    with pytest.raises(StorageError, match="too long"):
        storage.write("L" * 256, b"x")
    assert files(storage.root) == []


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


class Shouting:
    """A file system that ignores case and accents' form, refuses `:` and `?`, and loses dots at the end of names."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module, name in ((os, "open"), (os, "unlink"), (os.path, "lexists")):
            monkeypatch.setattr(module, name, self._bent(getattr(module, name)))

    @staticmethod
    def _bent(call: Callable) -> Callable:
        def bent(path: str, *args: object) -> object:
            if set(":?") & set(path):
                raise OSError(errno.EINVAL, "Invalid argument")
            folder, name = os.path.split(path)
            return call(f"{folder}/{unicodedata.normalize('NFC', name).lower().rstrip('.')}", *args)

        return bent


def test_what_a_file_system_makes_of_names_is_found_out(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write("a", b"")
    assert storage.naming() == Naming()
    with monkeypatch.context() as patch:
        Shouting(patch)
        naming = storage.naming()
    assert naming == Naming(ignores_case=True, ignores_form=True, refused=":?", trims=True)
    assert not list(Path(storage.root, ".tmp").iterdir())


def test_names_are_tried_without_a_folder_for_them(tmp_path: Path) -> None:
    below = Storage(str(tmp_path / "not/there"), StorageConfig())
    assert below.naming() == Naming()
    assert not list(tmp_path.iterdir())


def test_whether_a_folder_may_be_written_the_nearest_one_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = Storage(str(tmp_path / "not/there"), StorageConfig())
    assert below.may_be_written()
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(tmp_path))
    assert not below.may_be_written()


def test_a_full_disk_is_not_taken_for_a_file_system_without_names(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", failing(os.open, OSError(errno.ENOSPC, "No space left on device"), after=False))
    with pytest.raises(StorageError, match="No space left"):
        storage.naming()


def test_a_link_is_the_same_file_under_a_second_name(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"photo")
    for _ in range(2):  # the second time in place of the first
        storage.link("images/a.jpg", str(tmp_path / "photo.jpg"))
    assert (tmp_path / "root/images/a.jpg").samefile(tmp_path / "photo.jpg")
    assert files(storage.root) == ["images/a.jpg"]
    storage.delete("images/a.jpg")
    assert (tmp_path / "photo.jpg").read_bytes() == b"photo"


def test_what_is_no_file_of_this_disk_is_not_linked(storage: Storage) -> None:
    with pytest.raises(StorageError, match="only files of one disk can be linked"):
        storage.link("a.jpg", "memory://bucket/a.jpg")
