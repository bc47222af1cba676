"""What is told of images that a list names: size, time, and which are not there."""

import os
import tarfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from support.s3 import Bucket

from sam_batch.config import InputConfig, StorageConfig
from sam_batch.data import lookup
from sam_batch.data.listing import list_images
from sam_batch.data.lookup import look_up
from sam_batch.data.storage import Entry, Storage, stat_uri
from sam_batch.errors import PermissionDeniedError, StorageError

CONFIG = StorageConfig()


def without_what_is_told(entries: list[Entry]) -> list[Entry]:
    return [replace(entry, size=None, modified=None) for entry in entries]


def test_files_have_size_and_time_those_that_are_not_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("four")
    os.utime(tmp_path / "a.jpg", ns=(7, 7))
    (tmp_path / "folder.jpg").mkdir()
    named = [Entry(name, f"{tmp_path}/{name}") for name in ("a.jpg", "missing.jpg", "folder.jpg")]
    assert look_up(named, CONFIG) == [Entry("a.jpg", f"{tmp_path}/a.jpg", 4, "7"), None, None]


def test_a_file_that_may_not_be_looked_at_is_left_to_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry("a.jpg", f"{tmp_path}/a.jpg")
    for error in (PermissionDeniedError, StorageError):
        monkeypatch.setattr(lookup, "stat_uri", mock.Mock(side_effect=error("no")))
        assert look_up([entry], CONFIG) == [entry]


def test_members_of_an_archive_have_its_time_as_when_it_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("four")
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        archive.add(tmp_path / "a.jpg", "a.jpg")
    members = list_images(InputConfig(uri=str(tmp_path / "s.tar")), CONFIG).images
    assert look_up([replace(member, modified=None) for member in members], CONFIG) == members


@pytest.fixture
def objects(s3_bucket: Bucket) -> list[Entry]:
    """Eight in one folder beside one in a deeper one, as they are listed."""
    for name in [*(f"a/{number}.jpg" for number in range(8)), "a/b/0.jpg"]:
        s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=name, Body=name.encode())
    return list_images(InputConfig(uri=f"{s3_bucket.uri}/a"), s3_bucket.config).images


@pytest.mark.parametrize("page", [1000, 1])
def test_objects_are_told_as_a_listing_tells_them(
    s3_bucket: Bucket, objects: list[Entry], monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(lookup, "_PAGE", page)
    missing = Entry("missing.jpg", f"{s3_bucket.uri}/a/missing.jpg")
    assert look_up([missing, *without_what_is_told(objects)], s3_bucket.config) == [None, *objects]
    few = objects[:2]
    assert look_up(without_what_is_told(few), s3_bucket.config) == few


def test_a_folder_of_many_objects_is_listed_and_none_of_them_asked_for(
    s3_bucket: Bucket, objects: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = mock.Mock(side_effect=stat_uri)
    monkeypatch.setattr(lookup, "stat_uri", asked)
    look_up(without_what_is_told(objects), s3_bucket.config)
    assert [call.args[0] for call in asked.call_args_list] == [f"{s3_bucket.uri}/a/b/0.jpg"]


def test_where_nothing_may_be_listed_each_object_is_asked_for(
    s3_bucket: Bucket, objects: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Storage, "list", mock.Mock(side_effect=PermissionDeniedError("cannot list")))
    assert look_up(without_what_is_told(objects), s3_bucket.config) == objects


def test_a_bucket_that_does_not_answer_is_no_missing_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "stat_uri", mock.Mock(side_effect=StorageError("503")))
    with pytest.raises(StorageError, match="503"):
        look_up([Entry("a.jpg", "s3://bucket/a.jpg")], CONFIG)
