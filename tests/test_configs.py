"""The configurations that come with the project."""

from pathlib import Path

import pytest

from sam_batch.config import InputConfig
from sam_batch.configfile import SCHEMA_LINE, load

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def test_there_are_some() -> None:
    assert {"demo", "vit_h", "cluster"} <= {path.stem for path in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_loads_and_takes_an_override(path: Path) -> None:
    assert load([path], ["run.shard_size=5"]).run.shard_size == 5


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_names_the_schema_for_editors(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(SCHEMA_LINE)
    assert (path.parent / "job.schema.json").is_file()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_purpose_never_narrows_what_is_read(path: Path) -> None:
    read = load([path]).input
    assert read == InputConfig(uri=read.uri)


def test_the_demo_needs_no_gpu_no_download_and_no_other_folder() -> None:
    demo = load([ROOT / "configs" / "demo.yaml"])
    assert (demo.model.name, demo.model.checkpoint, demo.engine.device) == ("demo", "auto", "cpu")
    assert (ROOT / demo.input.uris[0]).is_dir()
