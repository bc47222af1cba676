"""Connections to object stores: credentials, packages, processes, and which troubles may pass."""

import errno
import multiprocessing
import traceback
from types import SimpleNamespace

import aiohttp
import botocore.exceptions
import pytest
from support.s3 import Bucket
from tenacity import wait_none

from sam_batch.config import StorageConfig
from sam_batch.data import storage_clients
from sam_batch.data.storage import Storage, open_storage, read_uri
from sam_batch.data.storage_clients import client_of, tried
from sam_batch.errors import ConfigError, StorageError


def test_a_server_that_is_not_there_is_a_storage_error(s3_bucket: Bucket) -> None:
    config = StorageConfig(endpoint_url="http://127.0.0.1:9", attempts=2)
    with pytest.raises(StorageError, match="s3://"):
        open_storage(s3_bucket.uri, config).read("a")


def test_no_credentials_are_needed_for_anonymous_access(s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="a", Body=b"x", ACL="public-read")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert read_uri(f"{s3_bucket.uri}/a", s3_bucket.config.model_copy(update={"anonymous": True})) == b"x"


def test_missing_credentials_are_said(s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    config = s3_bucket.config.model_copy(update={"attempts": 3})  # a client of its own, made without credentials
    with pytest.raises(StorageError, match="credentials"):
        read_uri(f"{s3_bucket.uri}/a", config)


def test_no_key_is_shown(s3_server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    config = StorageConfig(endpoint_url="http://127.0.0.1:9", region="nowhere", attempts=1)
    with pytest.raises(StorageError) as caught:
        open_storage("s3://bucket", config).read("a")
    assert "hunter2" not in "".join(traceback.format_exception(caught.value)) + caplog.text


# Forking with threads is what is tested.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_makes_connections_of_its_own(s3_bucket: Bucket) -> None:
    storage = open_storage(s3_bucket.uri, s3_bucket.config)
    storage.write("a", b"x")
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_read_or_fail, args=(storage,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert storage.read("a") == b"x"


def _read_or_fail(storage: Storage) -> None:
    assert storage.read("a") == b"x"


def test_a_missing_package_is_an_error_before_any_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("no s3fs")

    monkeypatch.setattr(storage_clients.fsspec, "get_filesystem_class", missing)
    with pytest.raises(ConfigError, match=r"pip install 'sam-batch\[s3\]'"):
        open_storage("s3://bucket/a", StorageConfig(region="nowhere"))


def test_clients_are_shared_within_a_process_and_configuration(s3_server: str) -> None:
    one, same, other = (client_of("s3", "", StorageConfig(region=region)) for region in ("x", "x", "y"))
    assert one is same
    assert one is not other


class GoogleError(Exception):
    code = 503


class AzureError(OSError):
    status_code = 404


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (aiohttp.ClientPayloadError("cut"), True),
        (aiohttp.ServerDisconnectedError(), True),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="x"), True),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="x"), True),
        (GoogleError(), True),
        (AzureError(), False),
        (FileNotFoundError(), False),
        (FileExistsError(), False),
        (PermissionError(), False),
        (OSError(errno.EFBIG, "large"), False),
        (botocore.exceptions.NoCredentialsError(), False),
        (ValueError(), False),
    ],
)
def test_only_troubles_that_may_pass_are_tried_again(
    error: Exception, passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_clients, "wait_random_exponential", lambda **_: wait_none())
    tries = []

    def act() -> None:
        tries.append(1)
        raise error

    with pytest.raises((OSError, type(error))):
        tried(StorageConfig(attempts=3), act)
    assert len(tries) == (3 if passes else 1)


def test_the_waits_grow_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("tenacity.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda seconds: now.append(now.pop() + seconds)))

    def act() -> None:
        raise ConnectionResetError

    for attempts, longest in ((2, 0.4), (20, 150.0)):
        now[0] = 0.0
        with pytest.raises(ConnectionResetError):
            tried(StorageConfig(attempts=attempts), act)
        assert 0 < now[0] < longest
