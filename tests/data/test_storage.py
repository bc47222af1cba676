"""One contract for every kind of storage; what only one kind can do is tested beside its module."""

import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sam_batch.config import StorageConfig
from sam_batch.data import storage_objects
from sam_batch.data.storage import (
    Storage,
    escape_undecodable,
    lies_under,
    open_storage,
    read_range,
    read_uri,
)
from sam_batch.errors import (
    AlreadyExistsError,
    ImageError,
    NotFoundError,
    StorageError,
)

NAMES = [
    "a.jpg", "a.png", "a.jpeg", "sub/a.jpg", "sub_a.jpg", "A.JPG", "case/x.jpg", "case/X.jpg",
    "nf/caf\u00e9.jpg", "nf/cafe\u0301.jpg", "n/" + "L" * 240 + ".jpg", "n/ lead.jpg", "n/trail .jpg", "n/trail.jpg ",
    "n/dot..jpg", "n/.hidden.jpg", "n/-rf.jpg", "n/tab\t.jpg", "n/quote'\".jpg", "n/back\\slash.jpg",
    "n/..\\..\\up.jpg", "n/%2e%2e%2fup.jpg", "n/col:on.jpg", "n/star*.jpg", "n/starry.jpg",
    "n/br[1].jpg", "n/br1.jpg", "n/q?.jpg", "n/qu.jpg", "n/h#sh.jpg", "n/p%41.jpg", "n/pA.jpg", "n/v?versionId=1.jpg",
    "n/=cmd|' calc'!A0.jpg", "n/@SUM(1+1).jpg", "n/<img src=x onerror=alert(1)>.jpg", "n/\u202egpj.exe.jpg",
    "n/\U0001f600.jpg", "n/CON.jpg", "n/esc\x1b[31mred.jpg", "n/year=2020/x.jpg", "n/$(id).jpg", "n/{0.__class__}.jpg",
    "n/{a,b}.jpg", "n/%s%n.jpg", "n/a.jpg.tmp", "n/a&b+c.jpg", "n/~.jpg",
]  # fmt: skip
UNLIKELY = ("", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a/.", "..", ".tmp/a", "a\0b", "a\udcff")


GS, ABFS = (pytest.param(scheme, marks=pytest.mark.stores) for scheme in ("gs", "abfs"))


@pytest.fixture(params=["local", "memory", "s3", GS, ABFS])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty storage of each kind."""
    if request.param == "local":
        return open_storage(str(tmp_path / "root"), StorageConfig())
    if request.param == "memory":
        return open_storage(f"memory://{uuid4().hex}/root", StorageConfig())
    if request.param in ("gs", "abfs"):
        uri = request.getfixturevalue(f"{request.param}_uri")
        return open_storage(f"{uri}/some/root/", StorageConfig(anonymous=request.param == "gs"))
    bucket = request.getfixturevalue("s3_bucket")
    return open_storage(f"{bucket.uri}/some/root/", bucket.config)


def keys(storage: Storage, prefix: str = "", recursive: bool = True) -> list[str]:
    return sorted(entry.key for entry in storage.list(prefix, recursive))


def test_every_name_addresses_its_own_bytes(storage: Storage) -> None:
    refused = [name for name, _ in storage.naming().unusable(NAMES)]
    names = [name for name in NAMES if name not in refused]
    for name in names:
        storage.write(name, name.encode())
    assert keys(storage) == sorted(names)
    for entry in storage.list():
        assert storage.read(entry.key) == entry.key.encode()
        assert read_uri(entry.uri, storage.config) == entry.key.encode()
        assert entry.size == len(entry.key.encode())
        assert storage.stat(entry.key) == entry
    for name in names[::2]:
        storage.delete(name)
    assert keys(storage) == sorted(names[1::2])
    for name in refused:
        with pytest.raises(StorageError, match="cannot address this name"):
            storage.write(name, b"x")


SEGMENT = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1, max_size=20
).filter(lambda text: text not in {".", "..", ".tmp"} and "::" not in text)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(SEGMENT, min_size=1, max_size=3), data=st.binary(max_size=100))
def test_what_is_written_is_read(storage: Storage, parts: list[str], data: bytes) -> None:
    key = "/".join([uuid4().hex, *parts])
    assume(not list(storage.naming().unusable([key])))
    storage.write(key, data)
    assert storage.read(key) == data
    assert keys(storage, key.partition("/")[0]) == [key]


@pytest.mark.parametrize("key", UNLIKELY)
def test_keys_that_could_leave_the_root_are_refused(storage: Storage, key: str) -> None:
    with pytest.raises(StorageError, match="is not the name of"):
        storage.write(key, b"x")
    with pytest.raises(StorageError, match="is not the name of"):
        storage.read(key)


@pytest.mark.parametrize("verb", ["write", "replace"])
def test_a_write_replaces(storage: Storage, verb: str) -> None:
    getattr(storage, verb)("a", b"first, and longer")
    getattr(storage, verb)("a", b"second")
    assert storage.read("a") == b"second"


def test_another_content_is_another_modification(storage: Storage) -> None:
    storage.write("a", b"first")
    before = storage.stat("a")
    assert list(storage.list()) == [before]
    time.sleep(0.02)  # the clock of file systems ticks every few milliseconds
    storage.write("a", b"other")
    assert before.modified
    assert before.modified != storage.stat("a").modified


def test_an_empty_object_can_be_written(storage: Storage) -> None:
    storage.write("empty", b"")
    assert storage.read("empty") == b""


@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")  # which some clients do
def test_a_file_is_put_whole(storage: Storage, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(range(256)) * 5000)
    storage.put_file("packed/large.tar", path)
    assert storage.read("packed/large.tar") == path.read_bytes()


def test_create_takes_a_name_once(storage: Storage) -> None:
    storage.create("parts/one", b"first")
    with pytest.raises(AlreadyExistsError, match="parts/one"):
        storage.create("parts/one", b"second")
    assert storage.read("parts/one") == b"first"


def test_nothing_is_not_created(storage: Storage) -> None:
    with pytest.raises(ValueError, match="empty object"):
        storage.create("marker", b"")
    assert not storage.exists("marker")


@pytest.mark.parametrize("storage", ["local", "s3", GS, ABFS], indirect=True)
def test_of_racing_creates_one_wins(storage: Storage) -> None:
    def create(content: bytes) -> bytes | None:
        try:
            storage.create("lease", content)
        except AlreadyExistsError:
            return None
        return content

    with ThreadPoolExecutor(8) as pool:
        winners = [content for content in pool.map(create, [b"%d" % i for i in range(8)]) if content]
    assert winners == [storage.read("lease")]


def test_what_is_missing_is_not_found(storage: Storage) -> None:
    storage.write("folder/file", b"x")
    for key in ("nothing", "folder", "folder/nothing", "fold"):
        assert not storage.exists(key)
        with pytest.raises(NotFoundError):
            storage.stat(key)
        with pytest.raises(StorageError):
            storage.read(key)
        storage.delete("nothing")
    assert storage.exists("folder/file")
    assert keys(storage, "nothing") == []


def test_a_folder_is_listed_alone_and_with_what_is_below(storage: Storage) -> None:
    for key in ("a", "b/c", "b/d/e", "bb/f", "b.txt"):
        storage.write(key, b"x")
    assert keys(storage) == ["a", "b.txt", "b/c", "b/d/e", "bb/f"]
    assert keys(storage, recursive=False) == ["a", "b.txt"]
    assert sorted(name for name in storage.names() if not name.startswith(".tmp/")) == keys(storage)
    assert keys(storage, "b") == keys(storage, "b/") == ["b/c", "b/d/e"]
    assert keys(storage, "b", recursive=False) == ["b/c"]


def test_a_storage_survives_pickling(storage: Storage) -> None:
    storage.write("a", b"x")
    copy = pickle.loads(pickle.dumps(storage))
    assert copy.root == storage.root
    assert copy.read("a") == b"x"


def test_flushing_and_cleaning_leave_what_is_written(storage: Storage) -> None:
    storage.flush()
    storage.clear_temporary(lambda key: False)
    storage.write("a", b"x")
    storage.flush()
    storage.clear_temporary(lambda key: False)
    assert storage.read("a") == b"x"
    assert keys(storage) == ["a"]


def test_too_many_bytes_are_not_read(storage: Storage) -> None:
    storage.write("a", b"12345")
    uri = storage.stat("a").uri
    assert read_uri(uri, storage.config, max_bytes=5) == b"12345"
    with pytest.raises(ImageError, match="at most 4") as caught:
        read_uri(uri, storage.config, max_bytes=4)
    assert caught.value.kind == "too_many_bytes"


def test_some_bytes_can_be_read_alone(storage: Storage) -> None:
    storage.write("a", b"0123456789")
    uri = storage.stat("a").uri
    ranges = [(0, 3), (3, 4), (8, 5)]
    assert [read_range(uri, storage.config, *one) for one in ranges] == [b"012", b"3456", b"89"]
    with pytest.raises(NotFoundError):
        read_range(f"{storage.root}/none", storage.config, 0, 1)


def test_a_name_that_cannot_be_printed_is_escaped_in_messages(storage: Storage) -> None:
    with pytest.raises(NotFoundError) as caught:
        storage.read("turned\u202e.jpg")
    assert str(caught.value).isprintable()


def test_undecodable_bytes_are_escaped() -> None:
    assert escape_undecodable("caf\u00e9%41.jpg") == "caf\u00e9%41.jpg"
    assert escape_undecodable("bad\udcff\udc80.jpg") == "bad%FF%80.jpg"


@pytest.mark.parametrize(
    ("place", "folder", "is_under"),
    [
        ("a/b", "a", True), ("a", "a/", True), ("a", "a/b", False), ("ab", "a", False), ("linked/b", "a", True),
        ("a/b", "linked", True), ("x/../a/b", "./a", True), ("b", "a/../b", True), ("a/new", "a", True),
        ("new/b", "new", True), ("a/b", "file://{here}/a", True), ("s3://k/a/b", "s3://k/a", True),
        ("s3://k/ab", "s3://k/a", False), ("s3://k/a", "s3://k", True), ("s3://k/a", "s3://other", False),
        ("s3://k/a", "a", False), ("az://k/a/b", "abfs://k/a", True),
    ],
)  # fmt: skip
def test_a_place_lies_under_a_folder_however_both_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, folder: str, is_under: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(storage_objects, "client_of", lambda *_: None)  # of packages that are not installed
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "linked").symlink_to("a")
    assert lies_under(place, folder.format(here=tmp_path), StorageConfig()) == is_under


def test_a_folder_that_is_one_under_two_names_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a file system ignores case."""
    for name in ("A/b", "a/c"):
        (tmp_path / name).mkdir(parents=True)
    real = Path.samefile
    monkeypatch.setattr(Path, "samefile", lambda path, other: real(str_lower(path), str_lower(other)))
    assert lies_under(str(tmp_path / "A/b"), str(tmp_path / "a"), StorageConfig())


def str_lower(path: str | Path) -> Path:
    return Path(str(path).replace("/A", "/a"))
