"""Manifests as people have them, and what is wrong with others."""

import gc
import gzip
import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_batch.data import manifest
from sam_batch.data.manifest import is_manifest, parse
from sam_batch.errors import InputError

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029\x85"), min_size=1)
ROWS = st.lists(st.tuples(TEXT.filter(str.strip), st.none() | TEXT), max_size=5)


def parquet(**columns: list) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def rows(name: str, data: bytes) -> list[tuple[str, str | None]]:
    found = list(parse(name, data))
    assert not [row for row in found if row.mistake]
    return [(row.uri, row.key) for row in found]


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
    assert [row.line for row in parse("m.txt", b"a\n\nb")] == [1, 3]
    assert [row.line for row in parse("m.csv", b"uri\na\nb\n")] == [2, 3]
    assert [row.line for row in parse("m.csv", b"# old\n\nuri\na\n")] == [4]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_texts_are_read_as_editors_and_shells_save_them(encoding: str, newline: str) -> None:
    names = ["caf\u00e9.jpg", "b c.jpg", "\U0001f600.png"]
    assert rows("m.txt", newline.join(names).encode(encoding)) == [(name, None) for name in names]
    table = newline.join(["uri,key", *(f"{name},{name}x" for name in names)])
    assert rows("m.csv", table.encode(encoding)) == [(name, f"{name}x") for name in names]
    for name in ("m.json", "m.jsonl"):
        data = json.dumps(names) if name == "m.json" else newline.join(map(json.dumps, names))
        assert rows(name, data.encode(encoding)) == [(name, None) for name in names]


@pytest.mark.parametrize("codec", ["gz", "bz2", "zst", "lz4"])
def test_manifests_may_be_compressed(codec: str) -> None:
    for name, data in {"m.txt": b"a.jpg\nb.jpg\n", "m.csv": b"uri\na.jpg\nb.jpg\n"}.items():
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, manifest._CODECS[codec]) as stream:
            stream.write(data)
        assert rows(f"{name}.{codec}", sink.getvalue().to_pybytes()) == [("a.jpg", None), ("b.jpg", None)]


def test_gzip_files_that_were_put_together_are_read_to_their_end() -> None:
    data = gzip.compress(b"a.jpg\n") + gzip.compress(b"b.jpg\n")
    assert rows("m.txt.gz", data) == [("a.jpg", None), ("b.jpg", None)]


def test_what_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match="unpacks to more than 1,000 bytes"):
        list(parse("m.txt.gz", gzip.compress(b"a.jpg\n" * 1000)))


@pytest.mark.parametrize("name", ["m.txt", "m.lst", "m.list", "m.tsv"])
def test_comments_and_quotes_are_no_part_of_a_path(name: str) -> None:
    data = b'# old ones\n#\n## more\n#comment\n"a b.jpg"\n\'c.jpg\'\n#1.jpg\n"\n'
    assert rows(name, data) == [("a b.jpg", None), ("c.jpg", None), ("#1.jpg", None), ('"', None)]


@pytest.mark.parametrize(
    "line",
    [
        "img/a b.jpg\t7",
        "img/a b.jpg\tn0144\t0.5",
        "12\t3.5\timg/a b.jpg",
        "img/a b.jpg 65",
        "img/a b.jpg 1 0 -1",
        "img/a b.jpg cat",
        "img/a b.jpg tabby cat",
        "img/a b.jpg 0.25 0.5",
        "img/a b.jpg 12,30,80,90,0 1,2,3,4,5",
    ],
)
def test_labels_beside_paths_are_dropped(line: str) -> None:
    assert rows("train.lst", f"{line}\n{line}\n".encode()) == [("img/a b.jpg", None)] * 2


def test_a_second_image_is_no_label() -> None:
    assert rows("m.txt", b"a.jpg a.png\nb.jpg b.png\n") == [("a.jpg a.png", None), ("b.jpg b.png", None)]


def test_a_word_at_the_end_of_one_name_is_no_label() -> None:
    assert rows("m.txt", b"a.jpg old\nb.jpg\n") == [("a.jpg old", None), ("b.jpg", None)]


def test_a_number_at_the_end_of_one_name_is_no_label() -> None:
    assert rows("m.txt", b"a.jpg 1\nb.jpg\n") == [("a.jpg 1", None), ("b.jpg", None)]


@pytest.mark.parametrize(
    ("name", "delimiter"),
    [("m.csv", ","), ("m.csv", ", "), ("m.csv", ";"), ("m.csv", "\t"), ("m.tsv", "\t"), ("m.txt", "\t")],
)
def test_columns_are_told_apart_as_the_first_line_does(name: str, delimiter: str) -> None:
    data = delimiter.join(["Key", "URI", "label"]) + "\r\n" + delimiter.join(["k", "a b.jpg", "cat"]) + "\r\n"
    assert rows(name, data.encode()) == [("a b.jpg", "k")]


def test_json_lists_hold_paths_or_objects() -> None:
    assert rows("m.json", b'["a.jpg", {"uri": "b.jpg", "key": "k"}]') == [("a.jpg", None), ("b.jpg", "k")]
    assert rows("m.ndjson", b'"a.jpg"\n{"uri": "b.jpg", "key": null}\n') == [("a.jpg", None), ("b.jpg", None)]


def test_manifests_are_known_by_their_extension() -> None:
    names = ("txt", "csv", "CSV", "jsonl", "parquet", "tsv", "ndjson", "lst", "list", "json", "csv.gz", "txt.ZST")
    assert all(is_manifest(f"/x.y/m.{one}") for one in names)
    assert not any(is_manifest(name) for name in ("a.jpg", "txt/a", "s3://b.txt/a", "noextension", "gz", "a.tar.gz"))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("m.csv", b"url,caption\na.jpg,b\n", "no column is named uri; its first line has url, caption"),
        ("m.csv", b"a;b\n", "its first line has a, b"),
        ("m.csv", b'uri\n"a\n', "cannot be read"),
        ("m.txt", b"a.jpg\nbad\xff.jpg\n", "line 2 is no UTF-8; save it as UTF-8"),
        ("m.txt", b"\x1f\x8b\x08" + b"\xff" * 20, r"it looks like compressed data \(gzip\)"),
        ("m.csv", b"PK\x03\x04\xff\xff", "it looks like a ZIP archive"),
        ("m.txt.gz", b"a.jpg\n", "cannot be read"),
        ("m.json", b'{"images": [], "annotations": []}', "it holds an object with images, annotations"),
        ("m.json", b"[", "cannot be read"),
        ("m.parquet", b"PAR1 is not enough", "cannot be read"),
        ("m.parquet", parquet(url=["a"], text=["b"]), "no column is named uri; it has url, text"),
    ],
)
def test_what_cannot_be_read_says_why(name: str, data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        list(parse(name, data))
    assert name in str(caught.value)


@pytest.mark.parametrize("codec", ["gz", "bz2", "zst", "lz4"])
def test_damaged_lists_leave_no_memory_behind(codec: str) -> None:
    tracemalloc.start()
    for _ in range(3):
        with pytest.raises(InputError):
            list(parse(f"m.txt.{codec}", b"damaged"))
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1 << 19


@pytest.mark.parametrize(
    ("name", "data", "line", "mistake"),
    [
        ("m.csv", b"uri,key\n,a\n", 2, "uri should be text"),
        ("m.csv", b"uri,key\na, b.jpg,k\n", 2, "more cells than columns"),
        ("m.jsonl", b'{"uri": "a"}\n{"url": "b", "text": 1}\n', 2, "it has no uri, but url, text"),
        ("m.jsonl", b'{"uri": "a"}\n{"uri": \n', 2, "it is no JSON"),
        ("m.jsonl", b'["a"]\n', 1, "neither a path nor an object"),
        ("m.jsonl", b'{"uri": 3}\n', 1, "uri should be text"),
        ("m.jsonl", b'{"uri": "a", "key": 3}\n', 1, "uri should be text"),
        ("m.json", b'["a.jpg", 3]', 2, "neither a path nor an object"),
        ("m.lst", b"a.jpg\tb.jpg\n", 1, "which of its 2 cells is the path"),
        ("m.parquet", parquet(uri=[None]), 1, "uri should be text"),
    ],
)
def test_mistakes_are_named_with_their_row(name: str, data: bytes, line: int, mistake: str) -> None:
    (wrong,) = [row for row in parse(name, data) if row.mistake]
    assert wrong.line == line
    assert mistake in wrong.mistake
