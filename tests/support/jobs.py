"""Small labelling jobs for tests: photographs drawn by seed, the fake engine, the tree a job leaves."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from sam_batch import configfile
from sam_batch.config import Config
from sam_batch.engine.fake import FakeEngine
from sam_batch.job.run import run_job
from sam_batch.output import schema
from sam_batch.output.summary import Summary

KILLER_RGB = FakeEngine.KILLER_RGB
FATAL_WIDTH = 99  # of a picture of which a writer on Ray dies; see tests/job/conftest.py
RESULTS = ("annotations", "color_masks", "label_masks", "segments", "coco", "plan")


def draw_photographs(folder: Path, count: int, size: tuple[int, int] = (64, 48), first: int = 0) -> None:
    """Write `count` little JPEGs, `000.jpg` and so on, the same for the same numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number:03}.jpg", quality=90)


def draw_killer(path: Path) -> None:
    """Write an image that ends the process of the engine that embeds it."""
    Image.new("RGB", (64, 48), KILLER_RGB).save(path)


def draw_hanging(path: Path) -> None:
    """Write an image that the engine which embeds it never comes back from."""
    Image.new("RGB", (64, 48), FakeEngine.HANGING_RGB).save(path)


def make_unreadable_folder(root: Path) -> None:
    """Folders in folders, until the path of the innermost is too long to be opened: even root cannot."""
    folder = os.open(root, os.O_RDONLY)
    for _ in range(17):
        os.mkdir("d" * 250, dir_fd=folder)
        above, folder = folder, os.open("d" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(above)
    os.close(folder)


def job_config(source: Path | str, output: Path | str, /, **sections: Any) -> Config:
    """A job with the fake engine in a plain loop and few points; sections are merged over that."""
    tree: dict[str, Any] = {
        "input": {"uri": str(source)},
        "output": {"uri": str(output)},
        "model": {"name": "demo"},
        "engine": {"kind": "fake"},
        "generator": {"points_per_side": 3},
        "run": {"executor": "inline", "shard_size": 4},
    }
    for name, section in sections.items():
        tree[name] = tree.get(name, {}) | section
    return configfile.check(tree)


def run(config: Config, overwrite: str | None = None) -> Summary:
    """Run a job without showing progress."""
    return run_job(config, Console(quiet=True), overwrite)


def result_files(output: Path) -> dict[str, str]:
    """Every result file with the hash of its content: what must not depend on how often a job was interrupted."""
    files = [path for name in RESULTS for path in sorted((output / name).rglob("*")) if path.is_file()]
    return {path.relative_to(output).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows(output: Path) -> list[dict[str, Any]]:
    """All committed rows, in the plan's order."""
    parts = sorted((output / "annotations").glob("part-*.parquet"))
    return [row for part in parts for row in schema.read_part(part.read_bytes()).to_pylist()]
