"""The driver may die at any moment: the same command, repeated, ends with the same files."""

import random
import shutil
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
    return [sys.executable, "-m", "sam_batch", "run", str(config), *overrides]


def file_count(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def kill_at_random(process: subprocess.Popen, output: Path, moments: random.Random) -> bool:
    """Kill the driver after a random number of new files and a random moment; False if it was done before."""
    enough = file_count(output) + moments.randrange(60)
    while file_count(output) < enough and process.poll() is None:
        time.sleep(0.005)
    time.sleep(moments.uniform(0, 0.05))
    process.send_signal(signal.SIGKILL)
    assert process.wait() in (0, -signal.SIGKILL)
    return process.returncode != 0


@pytest.mark.parametrize(
    "executor", [pytest.param("ray", marks=pytest.mark.ray), pytest.param("inline", marks=pytest.mark.slow)]
)
def test_ten_kills_at_random_moments_leave_the_files_of_an_uninterrupted_run(tmp_path, executor):
    draw_photographs(tmp_path / "photos", IMAGES)
    config = tmp_path / "job.yaml"
    settings = job_config(tmp_path / "photos", "unset", run={"executor": executor, "shard_size": 4})
    config.write_text(configfile.to_yaml(settings))
    clean, killed = tmp_path / "clean", tmp_path / "killed"
    subprocess.run(command(config, f"output.uri={clean}"), check=True)

    moments = random.Random(0)
    kills = 0
    while kills < KILLS:
        process = subprocess.Popen(command(config, f"output.uri={killed}"))
        if kill_at_random(process, killed, moments):
            kills += 1
        else:  # on a fast machine: there is nothing left to be killed at
            assert result_files(killed) == result_files(clean)
            shutil.rmtree(killed)
    subprocess.run(command(config, f"output.uri={killed}"), check=True)
    assert result_files(killed) == result_files(clean)
    assert not list((killed / ".tmp").iterdir())
