"""The driver may die at any moment: the same command, repeated, ends with the same files."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.jobs import draw_photographs, job_config, result_files

from sam_batch import configfile

IMAGES = 60
KILLS = 10


def command(config: Path, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "sam_batch.cli", "run", str(config), *overrides]


def file_count(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def kill_at_random(process: subprocess.Popen, output: Path, moments: random.Random) -> bool:
    """Kill the driver after a random number of new files and a random moment; False if it was already done."""
    enough = file_count(output) + moments.randrange(60)
    while file_count(output) < enough and process.poll() is None:
        time.sleep(0.005)
    time.sleep(moments.uniform(0, 0.05))
    process.send_signal(signal.SIGKILL)
    return process.wait() != 0


@pytest.mark.parametrize("executor", ["ray", pytest.param("inline", marks=pytest.mark.slow)])
def test_ten_kills_at_random_moments_leave_the_files_of_an_uninterrupted_run(tmp_path, executor):
    draw_photographs(tmp_path / "photos", IMAGES)
    config = tmp_path / "job.yaml"
    settings = job_config(tmp_path / "photos", "unset", run={"executor": executor, "shard_size": 4})
    config.write_text(configfile.to_yaml(settings))
    clean, killed = tmp_path / "clean", tmp_path / "killed"
    subprocess.run(command(config, f"output.uri={clean}"), check=True)

    moments = random.Random(0)
    kills = 0
    for _ in range(KILLS):
        process = subprocess.Popen(command(config, f"output.uri={killed}"))
        kills += kill_at_random(process, killed, moments)
    assert kills == KILLS
    subprocess.run(command(config, f"output.uri={killed}"), check=True)
    assert result_files(killed) == result_files(clean)
    assert not list((killed / ".tmp").iterdir())
