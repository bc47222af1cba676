"""Which images tar archives give, in folders and in buckets."""

from pathlib import Path

import pytest
from support.listings import CONFIG, content, keys, listed, listing, make, pack
from support.s3 import Bucket

from sam_batch.config import InputConfig
from sam_batch.data import tar
from sam_batch.data.listing import list_images
from sam_batch.data.storage import read_uri
from sam_batch.errors import ImageError, InputError, NotFoundError, StorageError


def test_a_tar_archive_gives_its_images_by_its_name(tmp_path: Path) -> None:
    pack(
        tmp_path / "s/000.tar",
        "./a.jpg",
        "a.json",
        "b/c.png",
        ".hidden.jpg",
        "__MACOSX/d.jpg",
        "a#1!.jpg",
        "\u00e9.jpg",
    )
    found = listing(tmp_path / "s/000.tar")
    assert [image.key for image in found.images] == ["000/a#1!.jpg", "000/a.jpg", "000/b/c.png", "000/\u00e9.jpg"]
    assert {content(image).removeprefix("./") for image in found.images} == {
        image.key.removeprefix("000/") for image in found.images
    }
    assert all(image.size == len(read_uri(image.uri, CONFIG)) for image in found.images)
    modified = str((tmp_path / "s/000.tar").stat().st_mtime_ns)
    assert {image.modified for image in found.images} == {modified}
    assert str(found.left_out) == "1 by extension (1 json; input.extensions), 1 hidden, 1 excluded (input.exclude)"


def test_archives_are_opened_where_they_are_asked_for(tmp_path: Path) -> None:
    pack(tmp_path / "set/x/000.tar", "a.jpg")
    pack(tmp_path / "set/001.tar", "a.jpg")
    make(tmp_path, "set/b.jpg")
    inside = ["001/a.jpg", "x/000/a.jpg"]
    assert keys(tmp_path / "set") == ["b.jpg"]
    assert "(2 tar; input.extensions)" in str(listing(tmp_path / "set"))
    assert keys(f"{tmp_path}/set/**/*.tar") == inside
    with pytest.raises(InputError, match=r"names: 000\.tar"):
        listed(f"{tmp_path}/set/{{000..001}}.tar")
    assert keys(f"{tmp_path}/set/{{001..001}}.tar") == ["001/a.jpg"]


def test_a_glob_of_compressed_archives_says_why_they_are_not_opened(tmp_path: Path) -> None:
    make(tmp_path, "0.tar.gz", "1.tgz")
    for glob in ("*.tar.gz", "*.tgz"):
        with pytest.raises(InputError, match="no member can be read alone: unpack it"):
            listed(f"{tmp_path}/{glob}")


def test_archives_of_a_folder_are_taken_beside_its_images(tmp_path: Path) -> None:
    pack(tmp_path / "set/x/000.tar", "a.jpg")
    make(tmp_path, "set/b.jpg")
    assert keys(tmp_path / "set", extensions=["jpg", "tar"]) == ["b.jpg", "x/000/a.jpg"]


def test_of_two_members_of_one_name_the_later_counts(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", "x.jpg", "y.jpg", "x.jpg")
    offsets = [tar.split_uri(image.uri)[1].offset for image in listed(tmp_path / "a.tar")]
    assert offsets == [5 * 512, 3 * 512]


def test_a_damaged_archive_among_others_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b", "c"):
        pack(tmp_path / f"{name}.tar", "1.jpg", "2.jpg")
    (tmp_path / "b.tar").write_bytes((tmp_path / "b.tar").read_bytes()[:1100])
    (tmp_path / "c.tar").write_bytes(b"\x1f\x8b compressed")
    assert keys(f"{tmp_path}/*.tar") == ["a/1.jpg", "a/2.jpg", "b/1.jpg"]
    assert f"could not be read: {tmp_path}/b.tar: " in caplog.text
    assert "of which no member can be read alone" in caplog.text
    with pytest.raises(InputError, match=r"b\.tar: "):
        listed(tmp_path / "b.tar")


def test_a_member_of_an_archive_that_was_made_anew_is_not_found(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", "x.jpg", "y.jpg")
    first, second = listed(tmp_path / "a.tar")
    pack(tmp_path / "a.tar", "y.jpg", "x.jpg")
    for image in (first, second):
        with pytest.raises(NotFoundError, match="is not where it was when the archive was listed"):
            read_uri(image.uri, CONFIG)
    pack(tmp_path / "a.tar", "x.jpg")
    assert content(first) == "x.jpg"
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:514])
    with pytest.raises(NotFoundError):
        read_uri(first.uri, CONFIG)


def test_a_large_member_is_refused_by_its_size_alone(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", "x.jpg")
    (image,) = listed(tmp_path / "a.tar")
    with pytest.raises(ImageError, match="at most 4"):
        read_uri(image.uri, CONFIG, max_bytes=4)


def test_a_member_may_be_listed_by_its_uri(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", "s/x.jpg", "s/y.jpg")
    images = listed(tmp_path / "a.tar")
    (tmp_path / "m.txt").write_text("\n".join(image.uri for image in images))
    again = listed(tmp_path / "m.txt")
    assert [(image.key, image.uri) for image in again] == [("x.jpg", images[0].uri), ("y.jpg", images[1].uri)]


def test_archives_in_buckets_are_read_in_ranges(s3_bucket: Bucket, tmp_path: Path) -> None:
    for number in range(3):
        pack(tmp_path / f"{number}.tar", f"{number}.jpg", "x.txt", "sub/y.png")
        s3_bucket.client.upload_file(str(tmp_path / f"{number}.tar"), s3_bucket.name, f"set/{number}.tar")
    s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="set/empty.tar", Body=b"")
    found = list_images(InputConfig(uri=f"{s3_bucket.uri}/set/*.tar"), s3_bucket.config)
    assert [image.key for image in found.images] == [
        f"{n}/{name}" for n in range(3) for name in (f"{n}.jpg", "sub/y.png")
    ]
    assert all(image.key.endswith(read_uri(image.uri, s3_bucket.config).decode()) for image in found.images)
    assert found.left_out.unreadable == [f"{s3_bucket.uri}/set/empty.tar: empty file"]
    pack(tmp_path / "0.tar", "0.jpg")
    s3_bucket.client.upload_file(str(tmp_path / "0.tar"), s3_bucket.name, "set/0.tar")
    s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="set/1.tar", Body=b"short")
    for image in found.images[1:3]:
        with pytest.raises(StorageError):
            read_uri(image.uri, s3_bucket.config)


def test_a_bucket_that_stays_away_is_not_taken_for_a_damaged_archive(
    s3_bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(tmp_path / "0.tar", "0.jpg")
    s3_bucket.client.upload_file(str(tmp_path / "0.tar"), s3_bucket.name, "0.tar")

    def away(*_: object) -> bytes:
        raise StorageError("cannot read: 503 Slow Down")

    monkeypatch.setattr("sam_batch.data.listing.read_range", away)
    with pytest.raises(InputError, match="503"):
        list_images(InputConfig(uri=f"{s3_bucket.uri}/*.tar"), s3_bucket.config)
    with pytest.raises(InputError, match=r"no images .*1 unreadable"):
        listed(f"{tmp_path}/*.tar")
