"""Which images an input names, under which keys; and what is said when it names none."""

import errno
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.s3 import Bucket

from sam_batch.config import InputConfig, StorageConfig
from sam_batch.data import listing as module
from sam_batch.data import tar
from sam_batch.data.listing import Listing, list_images
from sam_batch.data.storage import Entry, read_uri
from sam_batch.errors import ConfigError, ImageError, InputError, NotFoundError, StorageError

CONFIG = StorageConfig()


def make(root: Path, *names: str) -> None:
    """Files whose content is their name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def listed(*uris: Path | str, **options: object) -> list[Entry]:
    return listing(*uris, **options).images


def listing(*uris: Path | str, **options: object) -> Listing:
    return list_images(InputConfig(uri=tuple(map(str, uris)), **options), CONFIG)


def keys(*uris: Path | str, **options: object) -> list[str]:
    return [image.key for image in listed(*uris, **options)]


def content(image: Entry) -> str:
    return read_uri(image.uri, CONFIG).decode()


def test_a_folder_is_listed_with_what_is_below_sorted_by_key(tmp_path: Path) -> None:
    make(tmp_path, "b.jpg", "B.jpg", "a/z.png", "a-1.jpg", "a/b/c.jpeg", "\u00e9.jpg")
    assert keys(tmp_path) == ["B.jpg", "a-1.jpg", "a/b/c.jpeg", "a/z.png", "b.jpg", "\u00e9.jpg"]
    assert keys(f"{tmp_path}/") == keys(f"file://{tmp_path}") == keys(tmp_path)
    assert keys(tmp_path, recursive=False) == ["B.jpg", "a-1.jpg", "b.jpg", "\u00e9.jpg"]
    assert all(content(image) == image.key and image.size == len(image.key.encode()) for image in listed(tmp_path))


def test_a_relative_folder_gives_absolute_uris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "photos/a.jpg")
    monkeypatch.chdir(tmp_path)
    assert [image.uri for image in listed("photos")] == [f"{tmp_path}/photos/a.jpg"]


def test_only_wanted_extensions_count_whatever_their_case(tmp_path: Path) -> None:
    make(tmp_path, "a.JPG", "b.jpg.txt", "c", "jpg", "d.TIFF", "notes.md", "x.jpg/inside.txt")
    assert keys(tmp_path) == ["a.JPG", "d.TIFF"]
    assert keys(tmp_path, extensions=["md", ".TXT"]) == ["b.jpg.txt", "notes.md", "x.jpg/inside.txt"]


def test_hidden_names_and_what_is_below_them_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", ".hidden.jpg", ".cache/b.jpg", "sub/.thumbs/c.jpg", "sub/._d.jpg", "sub/e.f.jpg", "_g.jpg")
    assert keys(tmp_path) == ["_g.jpg", "a.jpg", "sub/e.f.jpg"]


def test_the_limit_applies_after_sorting(tmp_path: Path) -> None:
    make(tmp_path, *(f"{i}.jpg" for i in range(20, 0, -1)))
    assert keys(tmp_path, limit=3) == ["1.jpg", "10.jpg", "11.jpg"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg", "b.jpg"]),
        ("**/*.jpg", ["a.jpg", "b.jpg", "s/a.jpg", "s/t/a.jpg", "u/b.jpg"]),
        ("**", ["a.jpg", "b.jpg", "c.png", "s/a.jpg", "s/t/a.jpg", "u/b.jpg"]),
        ("**/**/a.jpg", ["a.jpg", "s/a.jpg", "s/t/a.jpg"]),
        ("s/**/a.jpg", ["a.jpg", "t/a.jpg"]),
        ("*/?.jpg", ["s/a.jpg", "u/b.jpg"]),
        ("[!a].*", ["b.jpg", "c.png"]),
        ("[us]/*", ["s/a.jpg", "u/b.jpg"]),
        ("s/**/t/*.jpg", ["t/a.jpg"]),
    ],
)
def test_globs_match_within_a_name_and_two_stars_across_folders(
    tmp_path: Path, pattern: str, expected: list[str]
) -> None:
    make(tmp_path, "a.jpg", "b.jpg", "c.png", "s/a.jpg", "s/t/a.jpg", "u/b.jpg", "notes.txt")
    assert keys(f"{tmp_path}/{pattern}") == expected


PART = st.text("ab.*?[]!-", min_size=1, max_size=6).filter(lambda part: part.strip(".") and "**" not in part)


@given(PART)
def test_a_name_that_exists_is_never_a_glob(tmp_path_factory: pytest.TempPathFactory, part: str) -> None:
    root = tmp_path_factory.mktemp("names")
    make(root, f"{part}.jpg", "a.jpg", "ab.jpg", "b.jpg")
    (image,) = listed(root / f"{part}.jpg")
    assert (image.key, content(image)) == (f"{part}.jpg", f"{part}.jpg")


def test_a_folder_named_like_a_glob_is_a_folder(tmp_path: Path) -> None:
    make(tmp_path, "set[1]/a.jpg", "set1/b.jpg")
    assert keys(tmp_path / "set[1]") == ["a.jpg"]


def test_one_image_is_taken_whatever_its_extension(tmp_path: Path) -> None:
    path = tmp_path / "scan.dat"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert listed(path) == [Entry("scan.dat", str(path), 8, str(path.stat().st_mtime_ns))]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("set.zip", b"PK\x03\x04", "it looks like a ZIP archive"),
        ("set.tar.gz", b"\x1f\x8b\x08", r"compressed data \(gzip\); .* no member can be read alone: unpack it"),
        ("set.rar", b"Rar!\x1a\x07", r"a RAR archive; a file is an image, a list .* or a plain \.tar of images"),
        ("paper.pdf", b"%PDF-1.7", "PDF is not supported"),
        ("empty.dat", b"", "the file has no bytes"),
        ("notes.md", b"# Some notes about it", "it looks like text"),
    ],
)
def test_one_file_that_is_no_image_is_refused_with_what_it_looks_like(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        listed(tmp_path / name)


def test_one_file_that_is_called_an_image_is_left_to_its_row(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"<html>")
    assert keys(tmp_path / "broken.jpg") == ["broken.jpg"]


def test_several_folders_are_told_apart_by_their_names(tmp_path: Path) -> None:
    make(tmp_path, "x/a.jpg", "y/a.jpg", "y/b/c.jpg")
    assert keys(tmp_path / "y", tmp_path / "x") == ["x/a.jpg", "y/a.jpg", "y/b/c.jpg"]


def test_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "x/train/a.jpg", "y/train/a.jpg")
    with pytest.raises(InputError, match=r"input\.uri: 2 inputs have the base name train"):
        listed(tmp_path / "x/train", tmp_path / "y/train")


def test_an_image_found_twice_counts_once(tmp_path: Path) -> None:
    make(tmp_path, "x/y/a.jpg", "x/b.jpg")
    assert keys(tmp_path / "x", tmp_path / "x/y", tmp_path / "x/./b.jpg") == ["x/b.jpg", "x/y/a.jpg"]


def test_two_images_under_one_key_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "x/a.jpg", "y/a.jpg")
    with pytest.raises(InputError, match=r"would both be named a\.jpg"):
        listed(tmp_path / "x/a.jpg", tmp_path / "y/a.jpg")
    (tmp_path / "m.csv").write_text("uri,key\nx/a.jpg,same\ny/a.jpg,same\n")
    with pytest.raises(InputError, match="would both be named same"):
        listed(tmp_path / "m.csv")


def test_a_manifest_names_images_beside_itself_and_elsewhere(tmp_path: Path) -> None:
    make(tmp_path, "data/x/a.jpg", "data/x/y/b.dat", "data/[1].jpg")
    (tmp_path / "data/list.txt").write_text(f"x/a.jpg\n./x/y/b.dat\n{tmp_path}/data/[1].jpg\nx/a.jpg\nx/missing.jpg\n")
    images = listed(tmp_path / "data/list.txt")
    assert [image.key for image in images] == ["[1].jpg", "x/a.jpg", "x/missing.jpg", "x/y/b.dat"]
    assert content(images[1]) == "data/x/a.jpg"


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a manifest lists is taken to be there."""
    monkeypatch.setattr(module, "look_up", lambda entries, config: list(entries))


@pytest.mark.usefixtures("there")
def test_manifest_keys_start_at_the_longest_common_folder(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("/data/photos/2024/a.jpg\n/data/photos/2025/b/c.jpg\n")
    assert keys(tmp_path / "m.txt") == ["2024/a.jpg", "2025/b/c.jpg"]
    (tmp_path / "m.txt").write_text("/data/one.jpg\n")
    assert keys(tmp_path / "m.txt") == ["one.jpg"]


@pytest.mark.usefixtures("there")
def test_manifest_keys_may_be_given(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("uri,key\n/a/b/1.jpg,first.jpg\n/a/c/2.jpg,\n/a/b/3.jpg,../../up.jpg\n")
    assert keys(tmp_path / "m.csv") == ["%2E%2E/%2E%2E/up.jpg", "2.jpg", "first.jpg"]


def test_images_of_a_manifest_have_size_and_time_as_those_of_a_folder(tmp_path: Path) -> None:
    make(tmp_path, "in/a.jpg", "in/b.jpg")
    (tmp_path / "m.txt").write_text("in/b.jpg\nin/a.jpg\n")
    assert listed(tmp_path / "m.txt") == listed(tmp_path / "in")


def test_what_a_manifest_lists_and_is_not_there_is_said_and_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, "a.jpg")
    (tmp_path / "m.txt").write_text("a.jpg\nb.jpg\n")
    assert keys(tmp_path / "m.txt") == ["a.jpg", "b.jpg"]
    assert f"1 of its images are not there: {tmp_path}/b.jpg" in caplog.text


def test_a_manifest_of_which_nothing_is_there_is_refused_with_where_it_was_looked_for(tmp_path: Path) -> None:
    make(tmp_path, "x.jpg", "x.png")
    (tmp_path / "m.txt").write_text("x.jpg x.png\n")
    with pytest.raises(
        InputError, match=r"m\.txt: none of the 1 images that it lists is there: .*/x\.jpg x\.png; a row"
    ):
        listed(tmp_path / "m.txt")


def test_a_manifest_reaches_no_further_than_an_input(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("a.jpg\nhttp://169.254.169.254/latest\n")
    with pytest.raises(InputError, match=r"m\.txt: 1 rows are wrong: row 2: .*is not a place"):
        listed(tmp_path / "m.txt")


def test_of_many_wrong_rows_the_first_ten_are_named(tmp_path: Path) -> None:
    lines = ["a.jpg", *(f"http://host/{number}.jpg" for number in range(12))]
    (tmp_path / "m.txt").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"12 rows are wrong: row 2: .*row 11: .* and 2 more") as caught:
        listed(tmp_path / "m.txt")
    assert str(caught.value).count("is not a place") == 10


def test_a_manifest_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "m.txt").open("wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(InputError, match=r"m\.txt: .*at most"):
        listed(tmp_path / "m.txt")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("missing", "missing does not exist"),
        ("missing/*.jpg", "the folder .*missing/ does not exist"),
        ("missing.txt", "does not exist"),
        ("empty", "no images in .*empty: looked for jpg, jpeg"),
        ("other", r"left out: 3 by extension \(2 txt, 1 without; input.extensions\)"),
        ("other/*.png", "no images"),
        ("hidden", "left out: 1 hidden"),
        ("ftp://host/a", "is not a place"),
        ("n" * 300, "too long"),
    ],
)
def test_an_input_without_images_says_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, message: str
) -> None:
    make(tmp_path, "other/a.txt", "other/b.TXT", "other/c", "hidden/.a.jpg")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        listed(uri)
    assert str(caught.value).startswith("input.uri: ")


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Makes a folder fail with an error of the system when it is opened."""
    codes: dict[str, int] = {}
    real = os.scandir

    def guarded(path: str) -> object:
        if code := codes.get(Path(path).name):
            raise OSError(code, os.strerror(code), path)
        return real(path)

    monkeypatch.setattr(os, "scandir", guarded)
    return codes.__setitem__


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOENT])
def test_one_folder_that_cannot_be_read_costs_a_warning(
    tmp_path: Path, unreadable: Callable[[str, int], None], caplog: pytest.LogCaptureFixture, code: int
) -> None:
    make(tmp_path, "a.jpg", "bad/b.jpg", "c/d.jpg")
    unreadable("bad", code)
    found = listing(tmp_path)
    assert [image.key for image in found.images] == ["a.jpg", "c/d.jpg"]
    assert found.left_out.unreadable == [f"{tmp_path}/bad: {os.strerror(code)}"]
    assert f"passed over what could not be read: {tmp_path}/bad: {os.strerror(code)}" in caplog.text
    assert f"left out: 1 unreadable ({tmp_path}/bad: {os.strerror(code)})" in str(found)


@pytest.mark.parametrize("folder", [".Trash-0", "lost+found", "@eaDir", "elsewhere"])
def test_a_folder_that_would_not_be_listed_is_not_opened(
    tmp_path: Path, unreadable: Callable[[str, int], None], folder: str
) -> None:
    make(tmp_path, "s/a.jpg", f"{folder}/b.jpg")
    unreadable(folder, errno.EACCES)
    found = listing(f"{tmp_path}/s*/*.jpg" if folder == "elsewhere" else tmp_path)
    assert len(found.images) == 1
    assert not found.left_out.unreadable


def test_an_input_that_may_not_be_read_is_refused(tmp_path: Path, unreadable: Callable[[str, int], None]) -> None:
    make(tmp_path, "photos/a.jpg")
    unreadable("photos", errno.EACCES)
    with pytest.raises(InputError, match=r"input\.uri: .*photos: Permission denied"):
        listed(tmp_path / "photos")


def test_names_of_all_kinds_lead_to_their_bytes(tmp_path: Path) -> None:
    names = ["a b.jpg", "x::y.jpg", "#1.jpg", "q?.jpg", "s*.jpg", "br[1].jpg", "new\nline.jpg", "p%41.jpg", "-rf.jpg"]
    make(tmp_path, *names)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.jpg")).write_text("bad%FF.jpg")
    images = listed(tmp_path)
    assert [image.key for image in images] == sorted([*names, "bad%FF.jpg"])
    for image in images:
        image.uri.encode("utf-8")
        assert content(image) == image.key


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    make(tmp_path, "1.jpg", "2.jpg", "3.jpg", "a.PDF", "b.pdf", "c.mov", "noext", ".hidden.jpg", ".thumbs/x.jpg")
    make(tmp_path, "@eaDir/1.jpg/SYNOPHOTO_THUMB_XL.jpg", "#recycle/old.jpg")
    (tmp_path / "linked.jpg").symlink_to("/etc/hostname")
    (tmp_path / "folder").symlink_to("/etc")
    found = listing(tmp_path, limit=2)
    assert str(found) == (
        "input: 2 images, 0.0 MB; left out: 4 by extension (2 pdf, 1 without, 1 mov; input.extensions), 2 hidden, "
        "2 excluded (input.exclude), 2 links (input.follow_links), 1 beyond input.limit"
    )
    assert found.to_dict() == {
        "images": 2,
        "left_out": {
            "by_extension": {"pdf": 2, "mov": 1, "": 1},
            "hidden": 2,
            "excluded": 2,
            "links": 2,
            "beyond_limit": 1,
        },
    }


NAME = st.from_regex(r"[.]?[ab_]{1,3}([.](jpg|PNG|txt|tar|))?", fullmatch=True)


@settings(max_examples=30)
@given(st.sets(NAME, max_size=12), st.booleans(), st.sampled_from([(), ("a*",), ("*.jpg", "b")]))
def test_every_file_is_taken_or_counted(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], without: bool, exclude: tuple[str, ...]
) -> None:
    root = tmp_path_factory.mktemp("any")
    make(root, "sure_to_be_there.jpeg", *names)
    found = listing(root, exclude=exclude, extensions=["jpeg", "png", *([""] if without else [])])
    left_out = found.left_out
    counted = left_out.by_extension.total() + left_out.hidden + left_out.excluded
    assert len(found.images) + counted == len(names) + 1


@pytest.mark.usefixtures("there")
def test_where_nothing_is_left_out_nothing_is_said(tmp_path: Path) -> None:
    make(tmp_path, "c.jpg")
    assert str(listing(tmp_path)) == "input: 1 image, 0.0 MB"
    (tmp_path / "m.txt").write_text("a.jpg\nb.jpg")
    assert str(listing(tmp_path / "m.txt")) == "input: 2 images"
    assert str(listing(tmp_path / "m.txt", tmp_path / "c.jpg")) == "input: 3 images, at least 0.0 MB"


def test_sub_folders_that_are_not_looked_into_are_counted(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b/c.jpg", "b/d/e.jpg", "f/g.jpg", ".h/i.jpg")
    assert str(listing(tmp_path, recursive=False).left_out) == "1 hidden, 2 sub-folders (input.recursive)"


def test_a_glob_says_what_differs_in_case_alone(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b.JPG", "c.png")
    assert str(listing(f"{tmp_path}/*.jpg").left_out) == "1 unlike the glob in upper and lower case"


def test_files_without_an_extension_can_be_asked_for(tmp_path: Path) -> None:
    make(tmp_path, "00a1", "b.jpg", "c.", "d.txt")
    assert keys(tmp_path, extensions=["", "jpg"]) == ["00a1", "b.jpg", "c."]


def test_what_is_excluded_is_passed_over_at_any_depth_or_at_one(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "a_mask.jpg", "s/b_mask.jpg", "s/b.jpg", "t/c.jpg", "s/t/d.jpg")
    assert keys(tmp_path, exclude="*_mask.jpg") == ["a.jpg", "s/b.jpg", "s/t/d.jpg", "t/c.jpg"]
    assert keys(tmp_path, exclude=["*_mask.jpg", "t/**"]) == ["a.jpg", "s/b.jpg", "s/t/d.jpg"]
    assert keys(tmp_path, exclude=["**/t/**", "a*"]) == ["s/b.jpg", "s/b_mask.jpg"]


def test_a_download_cache_of_links_is_taken_when_links_are_followed(tmp_path: Path) -> None:
    make(tmp_path, "blobs/1f", "blobs/2e", "snapshots/main/sub/x")
    for name, blob in {"a.jpg": "../../blobs/1f", "sub/b.jpg": "../../../blobs/2e"}.items():
        (tmp_path / "snapshots/main" / name).symlink_to(blob)
    with pytest.raises(InputError, match=r"no images .* left out: .*2 links \(input.follow_links\)"):
        listed(tmp_path / "snapshots/main")
    images = listed(tmp_path / "snapshots/main", follow_links=True)
    assert {image.key: content(image) for image in images} == {"a.jpg": "blobs/1f", "sub/b.jpg": "blobs/2e"}


def test_splits_made_of_links_to_folders_are_taken_and_loops_end(tmp_path: Path) -> None:
    make(tmp_path, "data/cats/1.jpg", "data/dogs/2.jpg", "split/own.jpg")
    for name, target in {"cats": "data/cats", "dogs": "data/dogs", "zoo": "data", "up": ".", "self": "split"}.items():
        (tmp_path / "split" / name).symlink_to(tmp_path / target)
    (tmp_path / "data/back").symlink_to("../split")
    assert keys(tmp_path / "split", follow_links=True) == ["cats/1.jpg", "dogs/2.jpg", "own.jpg"]
    assert keys(tmp_path / "split") == ["own.jpg"]


def test_a_link_that_leads_to_the_output_is_refused_before_there_are_pictures(tmp_path: Path) -> None:
    make(tmp_path, "photos/a.jpg", "disk/b.jpg")
    (tmp_path / "photos/disk").symlink_to("../disk")
    config = InputConfig(uri=str(tmp_path / "photos"), follow_links=True)
    with pytest.raises(InputError, match="lies in the input"):
        list_images(config, CONFIG, output=f"{tmp_path}/disk/out")
    assert list_images(config.model_copy(update={"follow_links": False}), CONFIG, output=f"{tmp_path}/disk/out").images


def test_braces_stand_for_each_of_their_names(tmp_path: Path) -> None:
    make(tmp_path, "train/1.jpg", "val/2.png", "test/3.jpg", "007.jpg", "008.jpg", "009.jpg", "{x,y}/4.jpg")
    assert keys(f"{tmp_path}/{{train,val}}/*.{{jpg,png}}") == ["train/1.jpg", "val/2.png"]
    assert keys(f"{tmp_path}/{{007..008}}.jpg") == ["007.jpg", "008.jpg"]
    assert keys(tmp_path / "{x,y}") == ["4.jpg"]


def test_a_name_spelt_in_braces_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "007.jpg", "train/a.jpg")
    with pytest.raises(InputError, match=r"lacks what \{007\.\.009\}\.jpg names: 008\.jpg, 009\.jpg"):
        listed(f"{tmp_path}/{{007..009}}.jpg")
    with pytest.raises(InputError, match=r"add /\*\* for what lies in train"):
        listed(f"{tmp_path}/tr*")


def test_several_inputs_without_brackets_are_told_how(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"several inputs are written \[one,other\]"):
        listed(f"{tmp_path}/a.jpg,b.jpg")


def test_what_is_wrong_with_the_output_is_not_held_against_the_input(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    with pytest.raises(ConfigError) as caught:
        list_images(InputConfig(uri=str(tmp_path)), CONFIG, output="ftp://host/out")
    assert "input.uri" not in str(caught.value)


def test_links_pipes_and_loops_do_not_stop_the_listing(tmp_path: Path) -> None:
    make(tmp_path, "root/a.jpg", "outside.jpg")
    os.mkfifo(tmp_path / "root/pipe.jpg")
    for name, target in {"loop": "..", "out.jpg": "../outside.jpg", "gone.jpg": "nothing", "in.jpg": "a.jpg"}.items():
        (tmp_path / "root" / name).symlink_to(target)
    (tmp_path / "root/folder.jpg").mkdir()
    sizes = {image.key: image.size for image in listed(tmp_path / "root")}
    assert sizes == {"a.jpg": 10, "gone.jpg": None, "in.jpg": 10, "pipe.jpg": None}


@pytest.mark.parametrize("uri", ["photos", "photos/", "photos/**/*.jpg", "linked", "."])
def test_an_output_inside_the_input_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    make(tmp_path, "photos/a.jpg")
    (tmp_path / "linked").symlink_to("photos")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="lies in the input"):
        list_images(InputConfig(uri=uri), CONFIG, output="photos/out")


@pytest.mark.parametrize(
    ("uri", "recursive", "output"),
    [("photos", True, "out"), ("photos", True, "photos-out"), ("photos/*.jpg", True, "photos/out"),
     ("photos", False, "photos/out"), ("photos/a.jpg", True, "photos/out"), ("photos", True, "a")],
)  # fmt: skip
def test_an_output_elsewhere_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, recursive: bool, output: str
) -> None:
    make(tmp_path, "photos/a.jpg")
    monkeypatch.chdir(tmp_path)
    found = list_images(InputConfig(uri=uri, recursive=recursive), CONFIG, output=output)
    assert [image.key for image in found.images] == ["a.jpg"]


def test_the_output_may_not_be_the_input(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    with pytest.raises(InputError, match="lies in the input"):
        list_images(InputConfig(uri=str(tmp_path), recursive=False), CONFIG, output=f"{tmp_path}/")


@pytest.mark.parametrize(
    "uri",
    ["data/photos", "data/photos/*.jpg", "data/photos/a.jpg", "linked", "linked/a.jpg", "data/list.txt", "list.txt"],
)
@pytest.mark.parametrize("output", ["data", "./data/", "x/../data", "again"])
def test_an_input_inside_the_output_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, output: str
) -> None:
    make(tmp_path, "data/photos/a.jpg")
    for manifest, line in (("data/list.txt", "/elsewhere/a.jpg"), ("list.txt", "/elsewhere/a.jpg\nlinked/a.jpg")):
        (tmp_path / manifest).write_text(line)
    (tmp_path / "linked").symlink_to("data/photos")
    (tmp_path / "again").symlink_to("data")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"input\.uri: the input .* lies in the output"):
        list_images(InputConfig(uri=uri), CONFIG, output=output)


def put(bucket: Bucket, *keys: str) -> None:
    for key in keys:
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=key.encode())


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


def pack(path: Path, *names: str) -> None:
    """A tar archive of files whose content is their name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name.encode())
            archive.addfile(info, io.BytesIO(name.encode()))


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
