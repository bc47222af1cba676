import io
import json
import math
from functools import partial

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.prompts import mistakes, prompts, read

from sam_batch.errors import ConfigError
from sam_batch.records import Prompt

ROWS = [
    {"image": "a.jpg", "xmin": 1.0, "ymin": 2.0, "xmax": 5.0, "ymax": 8.0, "category": "cup", "by": "Ä"},
    {"image": "b.jpg", "xmin": 1.5, "ymin": 2.0, "xmax": 5.0, "ymax": 8.0, "category": "cat", "by": "B"},
]
EXPECTED = [
    Prompt(box=(1.0, 2.0, 5.0, 8.0), prompt_id="1", category="cup", attributes='{"by":"Ä"}'),
    Prompt(box=(1.5, 2.0, 5.0, 8.0), prompt_id="2", category="cat", attributes='{"by":"B"}'),
]


def parquet(rows):
    sink = io.BytesIO()
    pd.DataFrame(rows).to_parquet(sink)
    return sink.getvalue()


def jsonl(rows):
    return "".join(f"{json.dumps(row)}\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", pd.DataFrame(ROWS).to_csv(index=False)),
        ("a.csv", "\ufeff" + pd.DataFrame(ROWS).to_csv(index=False, sep=";")),
        ("a.tsv", pd.DataFrame(ROWS).to_csv(index=False, sep="\t")),
        ("a.jsonl", jsonl(ROWS)),
        ("a.parquet", parquet(ROWS)),
    ],
    ids=["csv", "semicolons", "tsv", "jsonl", "parquet"],
)
def test_every_kind_of_table_says_the_same(name, content):
    items = read(name, content)
    assert prompts(items) == EXPECTED
    assert [item.image for item in items if hasattr(item, "prompt")] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    "columns",
    [
        {"x0": 1, "y0": 2, "x1": 5, "y1": 8},
        {"x": 1, "y": 2, "w": 4, "h": 6},
        {"cx": 3, "cy": 5, "w": 4, "h": 6},
        {"box": [1, 2, 4, 6]},
    ],
    ids=lambda columns: "-".join(columns),
)
def test_boxes_in_every_spelling(columns):
    (prompt,) = prompts(read("a.jsonl", jsonl([{"image": "a", **columns}]), box_format="xywh"))
    assert (prompt.box, prompt.attributes) == ((1.0, 2.0, 5.0, 8.0), "")


def test_a_box_without_a_format_is_refused_by_its_key():
    with pytest.raises(ConfigError, match=r"prompts\.box_format: say what"):
        read("a.jsonl", jsonl([{"image": "a", "box": [1, 2, 3, 4]}]))


@pytest.mark.parametrize(
    ("row", "points", "labels"),
    [
        ({"points": [[1, 2], [3, 4]]}, ((1.0, 2.0), (3.0, 4.0)), (1, 1)),
        ({"points": [[1, 2], [3, 4]], "labels": [1, 0]}, ((1.0, 2.0), (3.0, 4.0)), (1, 0)),
        ({"points": [[1, 2, 0], [3, 4]]}, ((1.0, 2.0), (3.0, 4.0)), (0, 1)),
    ],
    ids=["foreground", "labels", "inside"],
)
def test_points_with_and_without_labels_also_in_csv(row, points, labels):
    csv_row = {key: json.dumps(value) for key, value in row.items()}
    for items in (
        read("a.jsonl", jsonl([{"image": "a", **row}])),
        read("a.csv", pd.DataFrame([{"image": "a", **csv_row}]).to_csv(index=False)),
    ):
        assert [(prompt.points, prompt.labels) for prompt in prompts(items)] == [(points, labels)]


def test_masks_and_logits_are_taken_where_they_are_asked_for():
    row = {"image": "a", "mask": "02", "logits": b"\0\0\0\0"}
    (prompt,) = prompts(read("a.parquet", parquet([{**row, "logits": None}]), use=["mask"]))
    assert prompt.mask == "02"
    (prompt,) = prompts(read("a.parquet", parquet([{**row, "mask": None}]), use=["mask"]))
    assert prompt.logits == b"\0\0\0\0"
    (prompt,) = prompts(read("a.parquet", parquet([row])))
    assert (prompt.mask, prompt.fault.kind) == (None, "nothing_given")


def test_what_pandas_writes_for_nothing_is_nothing():
    numbers = {"id": 3.0, "score": 0.5, "weight": 2.0, "width": 64.0}
    columns = {name: pa.array([number, math.nan]) for name, number in numbers.items()}
    boxes = {name: pa.array([row[name] for row in ROWS]) for name in ("image", "xmin", "ymin", "xmax", "ymax")}
    sink = io.BytesIO()
    pq.write_table(pa.table({**boxes, **columns, "category": pa.array(["cup", None])}), sink)
    first, second = prompts(read("a.parquet", sink.getvalue()))
    assert (first.prompt_id, first.attributes) == ("3", '{"weight":2.0}')
    assert (second.prompt_id, second.category, second.attributes) == ("2", None, "")


def test_numbers_that_json_has_not_are_null_among_the_attributes():
    (prompt,) = prompts(read("a.parquet", parquet([ROWS[0] | {"by": [1.0, float("inf")]}])))
    assert json.loads(prompt.attributes) == {"by": [1.0, None]}


broken = partial("image,xmin,ymin,xmax,ymax\na.jpg,1,2,3,4\n{}\na.jpg,5,6,7,8\n".format)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", broken("a.jpg,1,2")),
        ("a.csv", broken("a.jpg,one,2,3,4")),
        ("a.csv", broken(",1,2,3,4")),
        ("a.jsonl", jsonl([ROWS[0]]) + "\n{'image'\n" + jsonl([ROWS[1]])),
        ("a.jsonl", jsonl([ROWS[0]]) + "\n[1]\n" + jsonl([ROWS[1]])),
    ],
    ids=["cells", "number", "no name", "no JSON", "no object"],
)
def test_a_wrong_row_is_named_by_its_line_and_its_neighbours_are_read(name, content):
    items = read(name, content)
    assert len(prompts(items)) == 2
    assert len(mistakes(items)) == 1
    assert mistakes(items)[0].startswith(f"{name}, line 3: ")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "picture,box\na,1\n", "no column is called image, file_name, uri, key; its first line has picture"),
        ("a.csv", broken("é,1,2,3,4").encode("latin-1"), "line 3 is no UTF-8"),
        ("a.jsonl", '{"image": "é"}'.encode("latin-1"), "line 1 is no UTF-8"),
        ("a.parquet", b"PAR1", "cannot be read as a table"),
        ("a.parquet", parquet([{"picture": "a"}]), "no column is called image"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_with_the_reason(name, content, reason):
    with pytest.raises(ConfigError) as refused:
        read(name, content)
    assert reason in str(refused.value)
