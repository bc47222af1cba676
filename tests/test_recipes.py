"""Each snippet of docs/recipes.md runs on an output, and finds in it what the job wrote."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.jobs import draw_photographs, job_config, rows, run

from sam_batch.config import InputConfig, StorageConfig
from sam_batch.data.listing import list_images
from sam_batch.data.storage import read_uri

PAGE = Path(__file__).parents[1] / "docs" / "recipes.md"
SECTIONS = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.M)[1:]
SNIPPETS = {
    section.partition("\n")[0]: code[1]
    for section in SECTIONS
    if (code := re.search(r"```python\n(.*?)```", section, re.DOTALL))
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A folder with an output where the snippets look for it: three photographs with masks, and one that failed."""
    folder = tmp_path_factory.mktemp("recipes")
    draw_photographs(folder / "photos", 3)
    (folder / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    exports = {"exports": ["coco", "hf"]}
    run(job_config(folder / "photos", folder / "runs" / "demo", run={"max_failure_rate": 1.0}, output=exports))
    return folder


@pytest.fixture
def names(demo, monkeypatch):
    """Runs a snippet there, and returns what it defined."""
    monkeypatch.chdir(demo)
    monkeypatch.setenv("HF_HOME", str(demo / "huggingface"))

    def run_snippet(title):
        defined = {}
        exec(SNIPPETS[title], defined)
        return defined

    return run_snippet


def annotations(demo):
    return [mask for row in rows(demo / "runs" / "demo") for mask in row["masks"]]


def test_pandas_has_a_row_an_image_and_a_row_a_mask(names, demo):
    found = names("pandas")
    assert found["images"]["status"].tolist().count("ok") == 3
    assert found["failed"].iloc[0]["kind"] == "truncated"
    assert found["masks"]["area"].tolist() == [mask["area"] for mask in annotations(demo)]
    assert found["masks"]["share"].between(0, 1).all()


def test_duckdb_finds_the_largest_masks(names, demo):
    shares = [row[2] for row in names("DuckDB")["largest"].fetchall()]
    areas = sorted((mask["area"] for mask in annotations(demo)), reverse=True)
    assert shares == pytest.approx([area / (64 * 48) for area in areas[:10]])


@pytest.mark.slow  # the package takes seconds to import, and writes a cache
@pytest.mark.skipif(find_spec("datasets") is None, reason="`make test-recipes` installs the package")
@pytest.mark.filterwarnings("ignore")  # of what it imports
def test_datasets_hold_photographs_beside_masks(names, demo):
    found = names("Hugging Face datasets")
    assert found["photograph"].size == (64, 48)
    areas = [mask["area"] for mask in rows(demo / "runs" / "demo")[0]["masks"]]
    assert found["arrays"].sum(axis=(0, 1)).tolist() == areas


def test_pictures_inside_of_parquet_files_become_an_archive_that_can_be_labelled(names, demo):
    names("Pictures inside of Parquet files")
    images = list_images(InputConfig(uri="photos.tar"), StorageConfig()).images
    assert [image.key for image in images] == [f"photos/{number:08}.jpg" for number in range(3)]
    assert read_uri(images[0].uri, StorageConfig()) == (demo / "photos/000.jpg").read_bytes()


def test_a_notebook_shows_the_masks(names):
    found = names("A notebook")
    assert found["masks"].draw().size == (64, 48)
    assert len(found["masks"]) > 0


def test_every_snippet_is_tested():
    assert len(SNIPPETS) == PAGE.read_text(encoding="utf-8").count("```python") == 5
