"""Which kind of storage a URI lies in; what each can do, `test_storage.py` tests."""

import sys

import pytest

from sam_batch.config import StorageConfig
from sam_batch.data.storage import open_storage
from sam_batch.data.storage_kinds import bucket_of, is_local, refuse_read_only
from sam_batch.errors import ConfigError


@pytest.mark.parametrize(
    "uri", ["http://host/a", "https://host/a", "simplecache::s3://b/a", "github://u:r@/a", "s3://", "ftp://h/a"]
)
def test_other_schemes_and_chains_are_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="is not a place"):
        open_storage(uri, StorageConfig())


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs.core", None)
    with pytest.raises(ConfigError, match=r"pip install 'sam-batch\[gcs\]'"):
        open_storage("gs://bucket/a", StorageConfig())


def test_schemes_are_told_from_names() -> None:
    assert is_local("a::b.jpg")
    assert is_local("/data/x:y")
    assert is_local("file:///data")
    assert not is_local("s3://bucket")


@pytest.mark.parametrize(
    ("uri", "bucket"),
    [
        ("s3://bucket/a/b.jpg", "s3://bucket"),
        ("hf://datasets/me/photos@v1/a/b.jpg", "hf://datasets/me/photos@v1"),
        ("hf://buckets/me/photos/a.jpg", "hf://buckets/me/photos"),
    ],
)
def test_an_object_lies_in_a_bucket_or_a_repository(uri: str, bucket: str) -> None:
    assert bucket_of(uri) == bucket


@pytest.mark.parametrize("uri", ["hf://datasets/me/labels", "HF://buckets/me/labels/out"])
def test_a_place_that_is_only_read_is_no_output(uri: str) -> None:
    with pytest.raises(ConfigError, match="read and not written: choose a folder or a bucket"):
        refuse_read_only(uri)
    refuse_read_only("s3://bucket/out")
