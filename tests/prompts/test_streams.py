"""Sources of a million objects are read bit by bit: memory holds some of them at a time."""

import io
import json
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.prompts import dataset, settings

from sam_batch.prompts.formats import format_of, open_reader
from sam_batch.prompts.items import SourceObject

OBJECTS = 20_000
ROW = {"image": "000.jpg", "x": 1, "y": 2, "w": 3, "h": 4}


class Watched(io.BytesIO):
    """Content that knows how much of it was read."""

    given = 0

    def readinto(self, buffer):
        count = super().readinto(buffer)
        self.given += count
        return count


def coco():
    given = dataset()
    (first, *_) = given["annotations"]
    given["annotations"] = [{**first, "id": number} for number in range(OBJECTS)]
    return json.dumps(given).encode()


def parquet():
    sink = io.BytesIO()
    rows = [{**ROW, "note": f"{number * 7919:0300}"} for number in range(OBJECTS)]
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=1000, compression=None)
    return sink.getvalue()


CONTENT = {
    "a.json": coco,
    "b.json": lambda: json.dumps([{"image_id": 1, "bbox": [1, 2, 3, 4]}] * OBJECTS).encode(),
    "a.csv": lambda: b"image,x,y,w,h\n" + b"000.jpg,1,2,3,4\n" * OBJECTS,
    "a.jsonl": lambda: f"{json.dumps(ROW)}\n".encode() * OBJECTS,
    "a.parquet": parquet,
}


@pytest.mark.parametrize("name", CONTENT)
def test_the_first_objects_come_long_before_the_end_of_the_file_is_read(name):
    data = CONTENT[name]()
    watched = Watched(data)
    reader = open_reader(format_of(name, "auto"), settings())
    items = reader.read(name, io.BufferedReader(watched))
    assert any(isinstance(item, SourceObject) for item in islice(items, 20))
    assert watched.given < len(data) / 2
    assert sum(isinstance(item, SourceObject) for item in items) > OBJECTS - 20
