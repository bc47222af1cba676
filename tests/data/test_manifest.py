"""Manifests in their four formats, and what is wrong with others."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_batch.data.manifest import is_manifest, parse
from sam_batch.errors import InputError

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029\x85"), min_size=1)
ROWS = st.lists(st.tuples(TEXT.filter(str.strip), st.none() | TEXT), max_size=5)


def parquet(**columns: list) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def rows(name: str, data: bytes) -> list[tuple[str, str | None]]:
    return [(uri, key) for _, uri, key in parse(name, data)]


@given(ROWS)
def test_jsonl_and_parquet_carry_any_text(written: list[tuple[str, str | None]]) -> None:
    lines = [json.dumps({"uri": uri} | ({"key": key} if key else {})) for uri, key in written]
    assert rows("m.jsonl", "\n".join(lines).encode()) == written
    table = {
        "uri": pa.array([uri for uri, _ in written], pa.string()),
        "key": pa.array([key for _, key in written], pa.string()),
    }
    assert rows("m.parquet", parquet(**table)) == written


def test_csv_quotes_as_spreadsheets_do() -> None:
    data = b'\xef\xbb\xbfkey,uri,other\r\n"a ""b"", c.jpg",/x/1.jpg,9\r\n,"new\nline.jpg",9\r\n'
    assert rows("m.csv", data) == [("/x/1.jpg", 'a "b", c.jpg'), ("new\nline.jpg", None)]


def test_txt_has_one_uri_a_line_and_may_have_empty_lines() -> None:
    assert rows("m.txt", "a b.jpg\r\n\n#1.jpg\n\u00e9.jpg".encode()) == [
        ("a b.jpg", None),
        ("#1.jpg", None),
        ("\u00e9.jpg", None),
    ]


def test_rows_are_numbered_as_editors_do() -> None:
    assert [line for line, *_ in parse("m.txt", b"a\n\nb")] == [1, 3]
    assert [line for line, *_ in parse("m.csv", b"uri\na\nb\n")] == [2, 3]


def test_manifests_are_known_by_their_extension() -> None:
    assert all(is_manifest(f"/x.y/m.{one}") for one in ("txt", "csv", "CSV", "jsonl", "parquet"))
    assert not any(is_manifest(name) for name in ("a.jpg", "txt/a", "s3://b.txt/a", "noextension"))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("m.csv", b"url\na.jpg\n", "row 1: there is no column or field named uri"),
        ("m.csv", b"uri,key\n,a\n", "row 2: uri should be text"),
        ("m.csv", b'uri\n"a\n', "cannot be read"),
        ("m.jsonl", b'{"uri": "a"}\n{"url": "b"}\n', "row 2: there is no column"),
        ("m.jsonl", b'{"uri": "a"}\n{"uri": \n', "after row 1"),
        ("m.jsonl", b'["a"]\n', "no JSON object"),
        ("m.jsonl", b'{"uri": 3}\n', "row 1: uri should be text"),
        ("m.jsonl", b'{"uri": "a", "key": 3}\n', "row 1: uri should be text"),
        ("m.txt", b"a.jpg\nbad\xff.jpg\n", "cannot be read"),
        ("m.parquet", b"PAR1 is not enough", "cannot be read"),
        ("m.parquet", parquet(url=["a"]), "no column or field named uri"),
        ("m.parquet", parquet(uri=[None]), "row 1: uri should be text"),
    ],
)
def test_mistakes_are_named_with_their_row(name: str, data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        list(parse(name, data))
    assert name in str(caught.value)
