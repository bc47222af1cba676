"""Jobs whose images lie on the Hugging Face Hub: the bytes of a job on disk, moved branches, a Hub that is away."""

from pathlib import Path

import pytest
from support.hub import Hub
from support.jobs import draw_photographs, job_config, result_files, rows, run
from tenacity import wait_none

from sam_batch.config import Config
from sam_batch.data import storage_clients
from sam_batch.errors import ConfigError
from sam_batch.job import status

PHOTOS = "hf://datasets/me/photos"
MAIN = "datasets/me/photos@main"
PICTURES = ("color_masks/", "segments/")


@pytest.fixture
def job(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A job of six photographs in a data set."""
    monkeypatch.setattr(storage_clients, "wait_random_exponential", lambda **_: wait_none())
    draw_photographs(tmp_path / "photos", 6)
    hub.trees[MAIN] = {f"train/{path.name}": path.read_bytes() for path in (tmp_path / "photos").iterdir()}
    storage, output = {"attempts": 1, "outage_seconds": 0}, {"report": False}  # which shows photographs
    return job_config(f"{PHOTOS}/train", tmp_path / "out", storage=storage, output=output)


def read(hub: Hub) -> list[str]:
    """The images that were read since the last time."""
    names = [path.rpartition("/")[2] for path, _ in hub.requests if "/resolve/" in path]
    hub.requests.clear()
    return sorted(names)


def test_a_job_leaves_the_pictures_of_one_on_disk_and_is_done_once(job: Config, hub: Hub, tmp_path: Path) -> None:
    run(job_config(tmp_path / "photos", tmp_path / "here"))
    assert run(job).exit_code == 0
    assert set(read(hub)) == {f"{number:03}.jpg" for number in range(6)}
    assert run(job).worked == 0
    there, here = result_files(tmp_path / "out"), result_files(tmp_path / "here")
    pictures = {name: digest for name, digest in here.items() if name.startswith(PICTURES)}
    assert pictures
    assert pictures.items() <= there.items()


def test_of_a_branch_that_moved_the_next_run_does_what_changed(job: Config, hub: Hub, tmp_path: Path) -> None:
    run(job)
    draw_photographs(tmp_path / "more", 2, first=6)
    hub.trees[MAIN]["train/000.jpg"] = (tmp_path / "more/006.jpg").read_bytes()
    hub.trees[MAIN]["train/007.jpg"] = (tmp_path / "more/007.jpg").read_bytes()
    hub.trees[MAIN]["README.md"] = b"another commit"
    read(hub)
    assert run(job).worked == 2
    assert set(read(hub)) == {"000.jpg", "007.jpg"}


def test_a_hub_that_goes_away_ends_the_job_without_rows_and_the_next_run_does_the_rest(
    job: Config, hub: Hub, tmp_path: Path
) -> None:
    status.dry_run(job)
    hub.faults.extend(["ok"] * len(hub.requests) + ["503"] * 10_000)  # it answers until all is listed
    report = run(job)
    assert (report.exit_code, rows(tmp_path / "out")) == (1, [])
    assert "could not be loaded" in report.error
    assert "503" in report.error
    hub.faults.clear()
    assert (run(job).exit_code, len(rows(tmp_path / "out"))) == (0, 6)


def test_an_output_there_is_refused_before_anything_is_asked(hub: Hub, tmp_path: Path) -> None:
    job = job_config(PHOTOS, "hf://datasets/me/labels")
    for act in (run, status.dry_run):
        with pytest.raises(ConfigError, match=r"output.uri: hf://datasets/me/labels is read and not written"):
            act(job)
    assert not hub.requests
