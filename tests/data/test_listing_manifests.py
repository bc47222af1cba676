"""Which images a manifest names, under which keys."""

from pathlib import Path

import pytest
from support.listings import content, keys, listed, listing, make

from sam_batch.data import listing as module
from sam_batch.errors import InputError


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


@pytest.mark.usefixtures("there")
def test_where_nothing_is_left_out_nothing_is_said(tmp_path: Path) -> None:
    make(tmp_path, "c.jpg")
    assert str(listing(tmp_path)) == "input: 1 image, 0.0 MB"
    (tmp_path / "m.txt").write_text("a.jpg\nb.jpg")
    assert str(listing(tmp_path / "m.txt")) == "input: 2 images"
    assert str(listing(tmp_path / "m.txt", tmp_path / "c.jpg")) == "input: 3 images, at least 0.0 MB"
