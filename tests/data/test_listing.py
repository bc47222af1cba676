"""Which images an input names, under which keys; and what is said when it names none."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.listings import CONFIG, content, keys, listed, listing, make

from sam_batch.config import InputConfig
from sam_batch.data.listing import list_images
from sam_batch.data.storage import Entry
from sam_batch.errors import ConfigError, InputError


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
