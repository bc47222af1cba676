"""Files are complete, and none is larger than it may be, unless a single image is."""

import json

import pytest

from sam_batch.config import StorageConfig
from sam_batch.data.storage import Storage
from sam_batch.export.coco_files import open_files

IMAGE, MASK = b'{"id":1}', b'{"id":2}'


@pytest.mark.parametrize(("max_bytes", "count"), [(None, 1), (10_000, 1), (1, 3)])
def test_a_limit_makes_several_files_of_what_is_one_without(tmp_path, max_bytes, count):
    with open_files(Storage(str(tmp_path), StorageConfig()), "a/b", max_bytes) as files:
        files.rest = {"info": {}}
        for _ in range(3):
            files.add(IMAGE, [MASK, MASK])
        keys = files.finish()
    assert keys == (["a/b.json"] if count == 1 else [f"a/b-{number:05d}.json" for number in range(count)])
    said = [json.loads((tmp_path / key).read_text()) for key in keys]
    images = 3 // count
    assert said == [{"annotations": [{"id": 2}] * 2 * images, "images": [{"id": 1}] * images, "info": {}}] * count


def test_what_was_not_finished_is_not_there(tmp_path):
    with open_files(Storage(str(tmp_path), StorageConfig()), "a/b", None) as files:
        files.add(IMAGE, [MASK])
    assert list(tmp_path.iterdir()) == []
