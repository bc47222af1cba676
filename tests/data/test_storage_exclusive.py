"""Names that are given once, also where the file system has no hard links or no exclusive renames."""

import errno
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sam_batch.config import StorageConfig
from sam_batch.data import storage_exclusive
from sam_batch.data.storage import Storage, open_storage
from sam_batch.errors import AlreadyExistsError, PermissionDeniedError, StorageError

WITHOUT = {"link": (), "rename": ("link",), "lock": ("link", "renameat2")}  # way: what the file system lacks


def refusing(code: int) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return refuse


@pytest.fixture(params=WITHOUT)
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """An empty storage on a file system with fewer and fewer abilities."""
    lacking = WITHOUT[request.param]
    if "link" in lacking:
        monkeypatch.setattr(os, "link", refusing(errno.EPERM))
    if "renameat2" in lacking:
        monkeypatch.setattr(storage_exclusive, "_rename_without_replacing", refusing(errno.EINVAL))
    return open_storage(str(tmp_path / "root"), StorageConfig())


def test_a_name_is_given_once(storage: Storage) -> None:
    storage.create("parts/a", b"first")
    with pytest.raises(AlreadyExistsError, match="parts/a"):
        storage.create("parts/a", b"second")
    assert storage.read("parts/a") == b"first"
    assert [entry.key for entry in storage.list()] == ["parts/a"]


def test_a_link_that_leads_nowhere_is_a_name_too(storage: Storage) -> None:
    storage.write("other", b"x")
    Path(storage.root, "a").symlink_to("nothing")
    with pytest.raises(AlreadyExistsError):
        storage.create("a", b"y")


@pytest.mark.parametrize("code", sorted(storage_exclusive._UNSUPPORTED))
def test_another_way_is_taken_whatever_the_system_calls_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "link", refusing(code))
    storage = open_storage(str(tmp_path), StorageConfig())
    storage.create("a", b"x")
    assert storage.read("a") == b"x"


def test_locks_alone_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "link", refusing(errno.ENOSYS))
    monkeypatch.setattr(storage_exclusive, "_rename_without_replacing", refusing(errno.ENOSYS))
    open_storage(str(tmp_path), StorageConfig()).create("a", b"x")
    assert "neither hard links nor exclusive renames" in caplog.text


def test_a_link_whose_answer_got_lost_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def asked_twice(source: str, name: str) -> None:
        real(source, name)
        real(source, name)

    monkeypatch.setattr(os, "link", asked_twice)
    storage = open_storage(str(tmp_path), StorageConfig())
    storage.create("a", b"x")
    assert storage.read("a") == b"x"


def test_a_folder_that_may_not_be_written_is_not_taken_for_another_file_system(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("link", "rename"):
        monkeypatch.setattr(os, name, refusing(errno.EACCES))
    monkeypatch.setattr(storage_exclusive, "_rename_without_replacing", refusing(errno.EACCES))
    with pytest.raises(PermissionDeniedError, match="Permission denied"):
        storage.create("a", b"x")


@pytest.mark.skipif(sys.platform != "linux", reason="the call is Linux's")
def test_an_exclusive_rename_of_the_system_reports_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        storage_exclusive._rename_without_replacing(f"{tmp_path}/none", f"{tmp_path}/a")


RACER = """
import errno, os, sys, time
from pathlib import Path
from sam_batch.data import storage_exclusive
from sam_batch.data.storage_local import LocalFiles

def refuse(*_):
    raise OSError(errno.EPERM, "no")

root, lacking, me = sys.argv[1], sys.argv[2].split(","), sys.argv[3]
if "link" in lacking: os.link = refuse
if "renameat2" in lacking: storage_exclusive._rename_without_replacing = refuse
files = LocalFiles(root)
Path(root, f"ready-{me}").touch()
while not Path(root, "go").exists():
    time.sleep(0.001)
for number in range(200):
    try:
        files.create(f"names/{number}", f"{me} ".encode() * 5000)
        print(number)
    except FileExistsError:
        pass
"""


@pytest.mark.parametrize("lacking", WITHOUT.values(), ids=WITHOUT)
def test_of_racing_processes_one_gets_each_name_and_none_is_ever_seen_half(
    tmp_path: Path, lacking: tuple[str, ...]
) -> None:
    command = [sys.executable, "-c", RACER, str(tmp_path), ",".join(lacking)]
    racers = [subprocess.Popen([*command, str(me)], stdout=subprocess.PIPE, text=True) for me in range(4)]
    while len(list(tmp_path.glob("ready-*"))) < len(racers):
        assert all(racer.poll() is None for racer in racers)
        time.sleep(0.01)
    (tmp_path / "go").touch()
    sizes = set()
    while any(racer.poll() is None for racer in racers) or not sizes:
        sizes |= {path.stat().st_size for path in tmp_path.glob("names/*")}
    won = Counter(line for racer in racers for line in racer.communicate()[0].split())
    assert all(racer.returncode == 0 for racer in racers)
    assert won == Counter(map(str, range(200)))
    assert sizes == {10_000}
    for path in tmp_path.glob("names/*"):
        assert len(set(path.read_text().split())) == 1


def test_what_no_file_system_does_is_an_error(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", refusing(errno.EIO))
    monkeypatch.setattr(storage_exclusive, "_rename_without_replacing", refusing(errno.EIO))
    monkeypatch.setattr(os, "rename", refusing(errno.EIO))
    with pytest.raises(StorageError, match="Input/output error"):
        storage.create("a", b"x")
