"""An output of version 0.1.0 stays usable: it is read, finished, extended and tried again, and keeps its bytes.

`golden/0.1.0` was made by commit 6301be2 with the settings below. Nothing in it is ever made anew.
"""

import shutil
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.jobs import draw_photographs, job_config, result_files, rows, run

from sam_batch.errors import ExitCode
from sam_batch.job.status import status

GOLDEN = Path(__file__).parent / "golden" / "0.1.0"
SETTINGS = {
    "output": {"label_masks": {"enabled": True}},
    "run": {"shard_size": 2, "max_failure_rate": 1.0},
    "generator": {"points_per_side": 2, "crop_n_layers": 1},
}


@pytest.fixture
def photos():
    """The input, under the address it had: in memory, which is the same on every machine."""
    memory = fsspec.filesystem("memory")
    for path in sorted(GOLDEN.joinpath("photos").rglob("*.*")):
        memory.pipe_file(f"/photos/{path.relative_to(GOLDEN / 'photos').as_posix()}", path.read_bytes())
    yield memory
    memory.rm("/photos", recursive=True)


@pytest.fixture
def output(tmp_path, photos):
    return Path(shutil.copytree(GOLDEN / "output", tmp_path / "output"))


def job(output, **sections):
    return job_config("memory://photos", output, **{**SETTINGS, **sections})


def test_it_is_read(output):
    assert [row["status"] for row in rows(output)] == ["ok", "ok", "empty", "failed", "ok", "ok", "ok"]
    assert status(job(output)).counts == {"ok": 5, "empty": 1, "failed": 1, "masks": 53}


def test_there_is_nothing_left_to_do(output):
    before = result_files(output)
    report = run(job(output))
    assert (report.exit_code, report.worked) == (ExitCode.OK, 0)
    assert result_files(output) == before


def test_an_interrupted_one_is_finished(output):
    (output / "annotations" / "part-00002.parquet").unlink()
    shutil.rmtree(output / "coco")
    before = result_files(output)
    assert run(job(output)).worked == 2
    after = result_files(output)
    kept = [name for name in before if not name.startswith(("color_masks/sub", "label_masks/sub", "segments/sub"))]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert rows(output) == rows(GOLDEN / "output")
    pictures = [name for name in before if name.startswith("color_masks/")]
    for name in pictures:  # in the colours that the output began with; decoders may differ by a little
        new, old = (np.asarray(Image.open(folder / name), int) for folder in (output, GOLDEN / "output"))
        assert np.abs(new - old).mean() < 2


def test_it_is_extended(output, photos, tmp_path):
    before = result_files(output)
    draw_photographs(tmp_path / "new", 1, first=9)
    photos.pipe_file("/photos/new.jpg", (tmp_path / "new" / "009.jpg").read_bytes())
    assert run(job(output)).worked == 1
    after = result_files(output)
    kept = before.keys() - {"coco/annotations.json"}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    old, new = (pq.read_schema(output / "annotations" / f"part-0000{shard}.parquet") for shard in (3, 4))
    assert new.metadata[b"sam_batch.fingerprint"] == old.metadata[b"sam_batch.fingerprint"]
    assert run(job(output)).exit_code == ExitCode.OK
