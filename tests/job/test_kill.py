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


@pytest.mark.parametrize(("executor", "kills"), [("inline", KILLS), ("ray", KILLS)])
def test_kills_at_random_moments_leave_the_files_of_an_uninterrupted_run(tmp_path, executor, kills):
    draw_photographs(tmp_path / "photos", IMAGES)
    config = tmp_path / "job.yaml"
    settings = job_config(tmp_path / "photos", "unset", run={"executor": executor, "shard_size": 5})
    config.write_text(configfile.to_yaml(settings))
    clean, killed = tmp_path / "clean", tmp_path / "killed"

    started = time.monotonic()
    subprocess.run(command(config, f"output.uri={clean}"), check=True)
    duration = time.monotonic() - started
    moments = random.Random(0)
    was_killed = 0
    for _ in range(kills):
        process = subprocess.Popen(command(config, f"output.uri={killed}"))
        try:
            process.wait(moments.uniform(0.2, 1.0) * duration)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            was_killed += 1
        process.wait()
    assert was_killed > 0
    subprocess.run(command(config, f"output.uri={killed}"), check=True)
    assert result_files(killed) == result_files(clean)
    assert len(list((killed / "annotations").iterdir())) == IMAGES // 5
