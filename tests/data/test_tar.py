"""Members of archives, found by their headers and read alone."""

import io
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_batch.data.tar import DamagedTarError, Kind, Member, check_header, member_uri, members, split_uri

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def packed(files: dict[str, bytes], layout: int = tarfile.PAX_FORMAT) -> bytes:
    sink = io.BytesIO()
    with tarfile.TarFile(fileobj=sink, mode="w", format=layout) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def reading(data: bytes, asked: list[int] | None = None) -> Callable[[int, int], bytes]:
    def read(offset: int, size: int) -> bytes:
        if asked is not None:
            asked.append(size)
        assert 0 <= offset < len(data)
        return data[offset : offset + size]

    return read


def found(data: bytes, block: int = 4096) -> list[Member]:
    return list(members(reading(data), len(data), block))


@pytest.mark.parametrize("layout", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("block", [512, 1000, 1 << 20])
def test_every_member_is_found_where_its_bytes_are(layout: int, block: int) -> None:
    files = {"a.jpg": b"x" * 5000, "sub/b.png": b"", "c" * 90 + ".jpg": b"y" * 512, "d.json": b"{}"}
    data = packed(files, layout)
    got = found(data, block)
    assert {one.name: data[one.offset : one.offset + one.size] for one in got} == files
    assert all(check_header(data[one.offset - 512 : one.offset], one) for one in got)


@pytest.mark.parametrize("layout", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
def test_long_and_foreign_names_are_found_too(layout: int) -> None:
    files = {"f/" * 100 + "long.jpg": b"1", "\u00e9\u732b.jpg": b"22", "bad\udcff.jpg": b"333"}
    data = packed(files, layout)
    got = found(data)
    assert {one.name: data[one.offset : one.offset + one.size] for one in got} == files
    assert all(check_header(data[one.offset - 512 : one.offset], one) for one in got)


def test_large_members_are_not_read_to_find_the_next() -> None:
    data = packed({f"{number}.jpg": bytes(1 << 20) for number in range(8)})
    asked: list[int] = []
    assert len(list(members(reading(data, asked), len(data), 4096))) == 8
    assert sum(asked) < len(data) / 50


def test_folders_links_and_dots_before_names() -> None:
    sink = io.BytesIO()
    with tarfile.TarFile(fileobj=sink, mode="w") as archive:
        for name, kind in {"./": tarfile.DIRTYPE, "./a.jpg": tarfile.REGTYPE, "./l.jpg": tarfile.SYMTYPE}.items():
            info = tarfile.TarInfo(name)
            info.type = kind
            info.linkname = "a.jpg" if kind == tarfile.SYMTYPE else ""
            archive.addfile(info)
    kinds = [(one.name, one.kind) for one in found(sink.getvalue())]
    assert kinds[1:] == [("a.jpg", Kind.FILE), ("l.jpg", Kind.LINK)]
    assert kinds[0][1] is Kind.OTHER


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"hello" * 300, "it is text"),
        (b"\x1f\x8b" + b"x" * 600, r"it is compressed data \(gzip\), of which no member can be read alone"),
        (b"PK\x03\x04" + b"x" * 600, "it is a ZIP archive"),
    ],
)
def test_what_is_no_archive_is_named(data: bytes, message: str) -> None:
    with pytest.raises(DamagedTarError, match=message):
        found(data)


@pytest.mark.parametrize(("cut", "whole"), [(1000, []), (3584 + 100, ["a.jpg"]), (6000, ["a.jpg"])])
def test_an_archive_that_is_cut_gives_what_is_whole(cut: int, whole: list[str]) -> None:
    data = packed({"a.jpg": b"x" * 3000, "b.jpg": b"y" * 3000})[:cut]
    got = members(reading(data), cut, 4096)
    assert [next(got).name for _ in whole] == whole
    with pytest.raises(DamagedTarError):
        next(got)


def test_a_header_that_is_damaged_is_not_taken_for_the_end() -> None:
    data = bytearray(packed({"a.jpg": b"x" * 512, "b.jpg": b"y"}))
    data[1024 + 150] ^= 1
    with pytest.raises(DamagedTarError, match="damaged at byte 1,024"):
        found(bytes(data))


TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1)


@given(TEXT, TEXT, st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_a_uri_gives_back_what_it_was_made_of(archive: str, name: str, offset: int, size: int) -> None:
    assert split_uri(member_uri(archive, name, offset, size)) == (archive, Member(name, Kind.FILE, offset, size))


@pytest.mark.parametrize("uri", ["/a/b.jpg", "s3://b/a!b#1+2", "tar://a", "tar://a!b", "tar://a!b#1-2"])
def test_other_uris_are_none_of_members(uri: str) -> None:
    assert split_uri(uri) is None


def test_another_header_is_not_the_members() -> None:
    data = packed({"a.jpg": b"xx", "b.jpg": b"yy", "c.jpg": b"z"})
    first, second, third = found(data)
    header = data[first.offset - 512 : first.offset]
    assert check_header(header, first)
    assert not check_header(header, second)
    assert not check_header(header, third)
    assert not check_header(b"\0" * 512, first)
    assert not check_header(b"x" * 512, first)
