"""Object stores: what the network does to requests, and names and sizes only buckets have."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support.s3 import Bucket, FaultyProxy
from tenacity import wait_none

from sam_batch.config import StorageConfig
from sam_batch.data import storage_clients, storage_objects
from sam_batch.data.storage import Storage, open_storage, read_uri
from sam_batch.errors import AlreadyExistsError, NotFoundError, PermissionDeniedError, StorageError

ATTEMPTS = 5


@pytest.fixture(scope="module")
def one_proxy(s3_server: str) -> Iterator[FaultyProxy]:
    with FaultyProxy(s3_server) as proxy:
        yield proxy


@pytest.fixture
def proxy(one_proxy: FaultyProxy) -> Iterator[FaultyProxy]:
    """The proxy, without faults and without memory of other tests."""
    one_proxy.requests.clear()
    yield one_proxy
    one_proxy.faults.clear()


@pytest.fixture
def storage(s3_bucket: Bucket, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """The bucket through the proxy, without the waits between tries."""
    monkeypatch.setattr(storage_clients, "wait_random_exponential", lambda **_: wait_none())
    config = StorageConfig(endpoint_url=proxy.endpoint_url, region="us-east-1", attempts=ATTEMPTS)
    return open_storage(s3_bucket.uri, config)


VERBS: dict[str, Callable[[Storage], object]] = {
    "read": lambda storage: storage.read("old"),
    "stat": lambda storage: storage.stat("old"),
    "list": lambda storage: list(storage.list()),
    "write": lambda storage: storage.write("new", b"content"),
    "replace": lambda storage: storage.replace("new", b"content"),
    "create": lambda storage: storage.create("new", b"content"),
    "delete": lambda storage: storage.delete("new"),
    "put_file": lambda storage: storage.put_file("new", Path(__file__)),
}


@pytest.mark.parametrize("fault", [500, 503, 429, "reset", "lost_ack"])
@pytest.mark.parametrize("verb", VERBS)
def test_passing_trouble_is_tried_again(storage: Storage, proxy: FaultyProxy, verb: str, fault: int | str) -> None:
    storage.write("old", b"old content")
    proxy.faults.extend([fault] * (ATTEMPTS - 1))
    VERBS[verb](storage)
    assert not proxy.faults
    assert storage.read("old") == b"old content"
    if verb in ("write", "replace", "create"):
        assert storage.read("new") == b"content"


@pytest.mark.parametrize("fault", [500, "reset"])
@pytest.mark.parametrize("verb", VERBS)
def test_lasting_trouble_ends_after_the_attempts(
    storage: Storage, proxy: FaultyProxy, verb: str, fault: int | str
) -> None:
    storage.write("old", b"old content")
    proxy.faults.extend([fault] * 100)
    proxy.requests.clear()
    with pytest.raises(StorageError, match=r"cannot .* s3://"):
        VERBS[verb](storage)
    # A connection that was open already and is cut is opened again by the HTTP client itself.
    assert len(proxy.requests) in ([ATTEMPTS] if fault == 500 else range(ATTEMPTS, 2 * ATTEMPTS + 1))


def test_a_truncated_answer_is_never_taken_for_the_object(storage: Storage, proxy: FaultyProxy) -> None:
    content = bytes(range(256)) * 400
    storage.write("a", content)
    proxy.faults.extend(["truncate"] * 2)
    assert storage.read("a") == content
    assert proxy.requests[-3:] == ["GET truncate", "GET truncate", "GET ok"]


def test_a_lost_acknowledgement_is_not_another_writer(storage: Storage, proxy: FaultyProxy) -> None:
    storage.write("old", b"x")  # opens a connection, whose loss the HTTP client hides by asking again
    for name in ("first", "second"):
        proxy.requests.clear()
        proxy.faults.append("lost_ack")
        storage.create(name, b"mine")
        assert proxy.requests == ["PUT lost_ack", "PUT ok", "HEAD ok"]
        assert storage.read(name) == b"mine"


def test_another_writer_is_not_a_lost_acknowledgement(storage: Storage, proxy: FaultyProxy) -> None:
    storage.create("lease", b"the same")
    for fault in ([], ["reset"], [500]):
        proxy.faults.extend(fault)
        with pytest.raises(AlreadyExistsError):
            storage.create("lease", b"the same")


def test_a_conflict_with_another_request_is_tried_again(storage: Storage, proxy: FaultyProxy) -> None:
    proxy.faults.append(409)
    storage.create("a", b"x")
    assert storage.read("a") == b"x"


@pytest.mark.parametrize(("status", "error"), [(403, PermissionDeniedError), (404, NotFoundError), (400, StorageError)])
@pytest.mark.parametrize("verb", ["read", "write", "create", "list"])
def test_a_refusal_is_final(
    storage: Storage, proxy: FaultyProxy, verb: str, status: int, error: type[StorageError]
) -> None:
    proxy.faults.append(status)
    with pytest.raises(error):
        VERBS[verb](storage)
    assert len(proxy.requests) == 1


def test_a_missing_bucket_is_not_found(s3_bucket: Bucket) -> None:
    storage = open_storage(s3_bucket.uri + "-not", s3_bucket.config)
    for act in (lambda: storage.read("a"), lambda: storage.write("a", b"x"), lambda: list(storage.list())):
        with pytest.raises(NotFoundError):
            act()


def test_more_objects_than_one_page_are_listed_once(s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    call = storage_objects.S3Objects._call
    small_page = lambda self, method, **request: call(self, method, MaxKeys=2, **request)  # noqa: E731
    storage = open_storage(s3_bucket.uri, s3_bucket.config)
    for i in range(7):
        storage.write(f"many/{i}", b"")
    monkeypatch.setattr(storage_objects.S3Objects, "_call", small_page)
    assert [entry.key for entry in storage.list("many")] == [f"many/{i}" for i in range(7)]


def test_keys_only_buckets_have_are_listed_and_read_exactly(s3_bucket: Bucket) -> None:
    keys = ["a//b.jpg", "/lead.jpg", "d/../up.jpg", "d/./here.jpg", "K" * 1000 + ".jpg"]
    for key in keys:
        s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=key, Body=key.encode())
    s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="folder/", Body=b"")  # as consoles make folders
    entries = list(open_storage(s3_bucket.uri, s3_bucket.config).list())
    assert sorted(entry.key for entry in entries) == sorted(keys)
    for entry in entries:
        assert read_uri(entry.uri, s3_bucket.config) == entry.key.encode()


def test_a_large_file_appears_when_all_its_parts_have_arrived(s3_bucket: Bucket, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(101 << 20))
    storage = open_storage(s3_bucket.uri, s3_bucket.config)
    storage.put_file("large", path)
    assert storage.stat("large").size == 101 << 20


def test_only_our_uploads_left_in_parts_are_aborted(s3_bucket: Bucket) -> None:
    keys = ["other/b", "out/a", "out/sub/a", "out/theirs"]
    for key in keys:
        s3_bucket.client.create_multipart_upload(Bucket=s3_bucket.name, Key=key)
    storage = open_storage(f"{s3_bucket.uri}/out", s3_bucket.config)
    storage.clear_temporary(lambda key: key == "a")
    left = s3_bucket.client.list_multipart_uploads(Bucket=s3_bucket.name)["Uploads"]
    assert sorted(upload["Key"] for upload in left) == ["other/b", "out/sub/a", "out/theirs"]


def test_uploads_are_looked_through_page_by_page(s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [
        {"Uploads": [{"Key": "out/a", "UploadId": "1"}], "IsTruncated": True, "NextKeyMarker": "out/a",
         "NextUploadIdMarker": "1"},
        {"Uploads": [{"Key": "out/b", "UploadId": "2"}, {"Key": "out/c", "UploadId": "3"}]},
    ]  # fmt: skip
    asked = []

    def call(self: object, method: str, **request: str) -> dict[str, object]:
        asked.append((method, request))
        return pages.pop(0) if method == "list_multipart_uploads" else {}

    monkeypatch.setattr(storage_objects.S3Objects, "_call", call)
    open_storage(f"{s3_bucket.uri}/out", s3_bucket.config).clear_temporary(lambda key: key != "b")
    assert asked == [
        ("list_multipart_uploads", {"Prefix": "out/"}),
        ("abort_multipart_upload", {"Key": "out/a", "UploadId": "1"}),
        ("list_multipart_uploads", {"Prefix": "out/", "KeyMarker": "out/a", "UploadIdMarker": "1"}),
        ("abort_multipart_upload", {"Key": "out/c", "UploadId": "3"}),
    ]


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Storage:
    """A store that is reached through fsspec alone, without the waits between tries."""
    monkeypatch.setattr(storage_clients, "wait_random_exponential", lambda **_: wait_none())
    return open_storage("memory://bucket/root", StorageConfig(attempts=3))


def failing(error: Exception, times: int, then: Callable[..., object]) -> Callable[..., object]:
    errors = [error] * times

    def act(*args: object, **kwargs: object) -> object:
        if errors:
            raise errors.pop()
        return then(*args, **kwargs)

    return act


def test_other_stores_are_tried_again_too(other: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe_file = MemoryFileSystem.pipe_file
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", failing(ConnectionResetError(), 2, pipe_file))
    other.write("a", b"x")
    assert other.read("a") == b"x"
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", failing(ConnectionResetError(), 3, pipe_file))
    with pytest.raises(StorageError, match="ConnectionResetError"):
        other.write("a", b"y")


def test_a_lost_acknowledgement_of_other_stores_shows_by_the_content(
    other: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = MemoryFileSystem.pipe_file

    def lost(self: MemoryFileSystem, path: str, value: bytes, mode: str = "overwrite") -> None:
        monkeypatch.setattr(MemoryFileSystem, "pipe_file", real)
        real(self, path, value, mode=mode)
        raise ConnectionResetError

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", lost)
    other.create("part-of-mine", b"mine")
    with pytest.raises(AlreadyExistsError):
        other.create("part-of-mine", b"theirs")


def test_a_refusal_of_google_is_a_refusal(other: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", failing(OSError("Forbidden: https://..."), 1, print))
    with pytest.raises(PermissionDeniedError):
        other.write("a", b"x")


def test_a_name_that_a_client_would_change_is_refused(other: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    real = MemoryFileSystem._strip_protocol
    monkeypatch.setattr(MemoryFileSystem, "_strip_protocol", staticmethod(lambda uri: real(uri.partition("?")[0])))
    with pytest.raises(StorageError, match="cannot address this name"):
        other.write("a?b", b"x")
