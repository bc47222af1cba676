"""The driver may die at any moment: the same command, repeated, ends with the same files."""

import itertools
import random
import shutil
import signal
import subprocess
import sys
from functools import partial

import pytest
from support import drivers
from support.jobs import draw_photographs, job_config, result_files, rows, run

from sam_batch import configfile

IMAGES = 60
EVERY = 10  # calls: as many tests, each of minutes, kill at all of them together


@pytest.mark.parametrize(
    ("executor", "count"),
    [
        ("inline", 5),
        pytest.param("inline", 50, marks=pytest.mark.slow),
        pytest.param("ray", 10, marks=[pytest.mark.ray, pytest.mark.slow]),
    ],
)
def test_kills_at_random_moments_leave_the_files_of_an_uninterrupted_run(tmp_path, executor, count):
    draw_photographs(tmp_path / "photos", IMAGES)
    clean, killed = tmp_path / "clean", tmp_path / "killed"
    run(job_config(tmp_path / "photos", clean))
    config = job_config(tmp_path / "photos", killed, run={"executor": executor})

    moments = random.Random(0)
    kills = 0
    while kills < count:
        if drivers.kill_at_random(drivers.start(config), killed, moments):
            kills += 1
        else:  # on a fast machine: there is nothing left to be killed at
            assert result_files(killed) == result_files(clean)
            shutil.rmtree(killed)
    last = drivers.start(config)
    last.join(drivers.PATIENCE)
    assert last.exitcode == 0
    assert result_files(killed) == result_files(clean)
    assert not list((killed / ".tmp").iterdir())


@pytest.mark.slow  # some hundred drivers, each with another run behind it
@pytest.mark.parametrize("first", range(1, EVERY + 1))
def test_a_kill_at_every_call_that_changes_the_output_leaves_the_files_of_an_uninterrupted_run(
    tmp_path, record_property, first
):
    draw_photographs(tmp_path / "photos", 2)
    small = {"run": {"shard_size": 1}, "generator": {"points_per_side": 2}}
    clean = tmp_path / "clean"
    run(job_config(tmp_path / "photos", clean, **small))
    for call in itertools.count(first, EVERY):
        killed = tmp_path / f"killed-{call}"
        driver = drivers.start_dying(job_config(tmp_path / "photos", killed, **small), call)
        driver.join(drivers.PATIENCE)
        if driver.exitcode == 0:
            break  # it makes fewer calls
        assert driver.exitcode == -signal.SIGKILL
        again = drivers.start(job_config(tmp_path / "photos", killed, **small))
        again.join(drivers.PATIENCE)
        assert (call, again.exitcode) == (call, 0)
        assert (call, result_files(killed)) == (call, result_files(clean))
        assert not list((killed / ".tmp").iterdir())
        shutil.rmtree(killed)
    record_property("kills", len(range(first, call, EVERY)))
    assert call > 50


@pytest.mark.parametrize(
    ("executor", "images", "sent"),
    [
        ("inline", 40, signal.SIGINT),
        pytest.param("ray", 200, signal.SIGINT, marks=[pytest.mark.ray, pytest.mark.slow]),
        pytest.param("ray", 200, signal.SIGTERM, marks=[pytest.mark.ray, pytest.mark.slow]),
    ],
)
def test_a_signal_ends_the_program_with_a_summary_and_the_next_run_goes_on(tmp_path, executor, images, sent):
    draw_photographs(tmp_path / "photos", images)
    slow = {"points_per_side": 10}  # so that the signal finds it at work
    settings = partial(job_config, tmp_path / "photos", tmp_path / "out", generator=slow)
    (tmp_path / "job.yaml").write_text(configfile.to_yaml(settings(run={"executor": executor})))
    command = [sys.executable, "-m", "sam_batch", "run", str(tmp_path / "job.yaml")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=drivers.hear_ctrl_c
    )
    parts = tmp_path / "out/annotations"
    drivers.wait_until(lambda: len(list(parts.glob("*.parquet"))) >= 3, lambda: process.poll() is not None)
    process.send_signal(sent)
    told, _ = process.communicate(timeout=drivers.PATIENCE)
    assert process.returncode == 130
    assert "interrupted" in told
    assert (tmp_path / "out/summary.json").is_file()
    assert len(rows(tmp_path / "out")) < images
    assert run(settings()).exit_code == 0
    assert len(rows(tmp_path / "out")) == images
