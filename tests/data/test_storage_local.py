"""Local files: names, links and rights; what is no file, and what file systems make of names."""

import errno
import os
import socket
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from support.local_files import failing, files

from sam_batch.config import StorageConfig
from sam_batch.data.naming import Naming
from sam_batch.data.storage import Storage, open_storage, read_uri
from sam_batch.errors import AlreadyExistsError, ImageError, NotFoundError, PermissionDeniedError, StorageError

CONFIG = StorageConfig()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "root"), CONFIG)


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
