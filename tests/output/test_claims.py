"""A receipt says whose an export is, and whether it is whole."""

import pytest

from sam_batch.config import StorageConfig
from sam_batch.data.storage import Storage
from sam_batch.output import claims


@pytest.fixture
def storage(tmp_path):
    return Storage(str(tmp_path), StorageConfig())


def test_a_format_is_complete_with_a_receipt_of_its_settings(storage):
    assert not claims.is_complete(storage, "failures", {})
    for complete in (False, True):
        storage.write("failures/export.json", claims.written("failures", {"a": 1}, complete=complete))
        assert claims.is_complete(storage, "failures", {"a": 1}) == complete
    assert not claims.is_complete(storage, "failures", {"a": 2})


@pytest.mark.parametrize("data", [b"", b"mine", b"[]", b"{}", b"\xff"])
def test_somebody_elses_file_is_no_receipt(storage, data):
    storage.write("failures/export.json", data)
    assert claims.claimed(storage) == {"coco"}


def test_coco_of_an_older_version_is_complete_with_its_first_file(storage):
    storage.write("coco/annotations-00001.json", b"")
    assert not claims.is_complete(storage, "coco", {})
    storage.write("coco/annotations-00000.json", b"")
    assert claims.is_complete(storage, "coco", {"any": "settings"})
