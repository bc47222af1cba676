"""Buckets are listed as folders are."""

from pathlib import Path

import pytest
from support.listings import listing, make, put
from support.s3 import Bucket

from sam_batch.config import InputConfig
from sam_batch.data.listing import list_images
from sam_batch.data.storage import read_uri
from sam_batch.errors import InputError


def test_buckets_are_listed_as_folders_are(s3_bucket: Bucket) -> None:
    put(
        s3_bucket,
        "set/a.jpg",
        "set/b/c.PNG",
        "set/b/notes.txt",
        "set-2/d.jpg",
        "set/br[1].jpg",
        "set/br1.jpg",
        "set/e/",
    )

    def found(uri: str, **options: object) -> list[str]:
        config = InputConfig(uri=f"{s3_bucket.uri}{uri}", **options)
        images = list_images(config, s3_bucket.config, "s3://other/out").images
        assert all(read_uri(image.uri, s3_bucket.config).decode().endswith(image.key) for image in images)
        return [image.key for image in images]

    assert found("/set") == found("/set/") == ["a.jpg", "b/c.PNG", "br1.jpg", "br[1].jpg"]
    assert found("") == found("/") == ["set-2/d.jpg", "set/a.jpg", "set/b/c.PNG", "set/br1.jpg", "set/br[1].jpg"]
    assert found("/set", recursive=False) == ["a.jpg", "br1.jpg", "br[1].jpg"]
    assert found("/set/**/*.PNG") == ["b/c.PNG"]
    assert found("/*/?.jpg") == ["set-2/d.jpg", "set/a.jpg"]
    assert found("/set/br[1].jpg") == ["br[1].jpg"]
    for uri, message in (("/none", "does not exist"), ("/set/b/*.jpg", "no images"), ("-not", "does not exist")):
        with pytest.raises(InputError, match=message):
            found(uri)


def test_odd_keys_of_buckets_become_relative_paths_and_keep_their_uris(s3_bucket: Bucket) -> None:
    odd = {"in//a.jpg": "%2F/a.jpg", "in/x/../b.jpg": "x/%2E%2E/b.jpg", "in/./c.jpg": "%2E/c.jpg"}
    put(s3_bucket, *odd)
    images = list_images(InputConfig(uri=f"{s3_bucket.uri}/in"), s3_bucket.config).images
    assert {read_uri(image.uri, s3_bucket.config).decode(): image.key for image in images} == odd


def test_a_manifest_in_a_bucket_names_objects_beside_itself(s3_bucket: Bucket, tmp_path: Path) -> None:
    make(tmp_path, "local.jpg")
    put(s3_bucket, "set/b/a.jpg")
    body = f"b/a.jpg\n{s3_bucket.uri}/other/c.jpg\n{tmp_path}/local.jpg\n".encode()
    s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="set/m.txt", Body=body)
    images = list_images(InputConfig(uri=f"{s3_bucket.uri}/set/m.txt"), s3_bucket.config).images
    assert sorted(image.uri for image in images) == sorted(
        [f"{tmp_path}/local.jpg", f"{s3_bucket.uri}/other/c.jpg", f"{s3_bucket.uri}/set/b/a.jpg"]
    )
    assert f"{s3_bucket.name}/set/b/a.jpg" in [image.key for image in images]


def test_an_output_inside_a_prefix_is_refused(s3_bucket: Bucket) -> None:
    put(s3_bucket, "set/a.jpg")
    config = InputConfig(uri=f"{s3_bucket.uri}/set")
    with pytest.raises(InputError, match="lies in the input"):
        list_images(config, s3_bucket.config, output=f"{s3_bucket.uri}/set/out")
    assert list_images(config, s3_bucket.config, output=f"{s3_bucket.uri}/set-out").images


def test_buckets_say_what_is_left_out_as_folders_do(s3_bucket: Bucket, tmp_path: Path) -> None:
    names = ["a.jpg", "b/c.png", "b/d.txt", ".x/e.jpg", ".x/f.jpg", "s/@eaDir/g.jpg", "s/.h.jpg", "noext"]
    make(tmp_path / "set", *names)
    put(s3_bucket, *(f"set/{name}" for name in names))
    for options in ({}, {"recursive": False}, {"exclude": ["b/**"]}, {"extensions": ["", "jpg"]}):
        config = InputConfig(uri=f"{s3_bucket.uri}/set", **options)
        assert str(list_images(config, s3_bucket.config).left_out) == str(listing(tmp_path / "set", **options).left_out)


def test_one_object_that_is_no_image_is_refused(s3_bucket: Bucket) -> None:
    s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="a.zip", Body=b"PK\x03\x04")
    with pytest.raises(InputError, match="ZIP archive"):
        list_images(InputConfig(uri=f"{s3_bucket.uri}/a.zip"), s3_bucket.config)


@pytest.mark.parametrize("uri", ["/set/in", "/set/in/a.jpg", "/set/in/*.jpg", "/list.txt"])
def test_an_input_inside_an_outputs_prefix_is_refused(s3_bucket: Bucket, uri: str) -> None:
    put(s3_bucket, "set/in/a.jpg")
    s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="list.txt", Body=b"set/in/a.jpg")
    config = InputConfig(uri=f"{s3_bucket.uri}{uri}")
    with pytest.raises(InputError, match="lies in the output"):
        list_images(config, s3_bucket.config, output=f"{s3_bucket.uri}/set/")
    assert list_images(config, s3_bucket.config, output=f"{s3_bucket.uri}/set/i").images
