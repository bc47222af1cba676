"""Workers that share a job: the files of one process, whoever is killed, and one that closes the job."""

import json
import random
import shutil
import signal

import pytest
from rich.console import Console
from support import drivers
from support.jobs import draw_photographs, job_config, result_files, rows, run

from sam_batch.data.storage import open_storage
from sam_batch.errors import ConfigError, LeaseError, OutputError
from sam_batch.job import steps
from sam_batch.job import worker as worker_module
from sam_batch.job.executor import InlineExecutor
from sam_batch.job.share import Share
from sam_batch.job.worker import close, run_worker
from sam_batch.output import lease
from sam_batch.output.parts import Receipt
from sam_batch.output.plan import read_plan

QUIET = Console(quiet=True)
FEW_FILES = {"segments": {"enabled": False}, "report": False}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared") / "photos"
    draw_photographs(folder, 12)  # three shards
    return folder


@pytest.fixture(scope="module")
def clean(photos):
    """The files that one process leaves."""
    run(job_config(photos, photos.with_name("clean"), output=FEW_FILES))
    return result_files(photos.with_name("clean"))


@pytest.fixture
def job(photos, tmp_path):
    return job_config(photos, tmp_path / "out", output=FEW_FILES)


def work(job, number, count):
    return run_worker(job, QUIET, Share(number, count))


def test_the_last_worker_closes_the_job_and_its_files_are_those_of_one_process(job, clean, tmp_path):
    first, last = work(job, 1, 2), work(job, 2, 2)
    assert (first.exit_code, first.planned, first.done) == (0, 8, 8)
    assert "worker 1/2; of the others' 1 shard are still to do" in first.to_text()
    assert (last.exit_code, last.planned, last.worked) == (0, 12, 4)
    assert json.loads((tmp_path / "out/summary.json").read_text())["images"]["ok"] == 12
    assert result_files(tmp_path / "out") == clean
    assert [path.name for path in (tmp_path / "out/.workers").iterdir()] == []


def test_a_finished_job_is_closed_again_by_any_worker_or_driver(job, clean, tmp_path):
    for number in (1, 2, 2):
        assert work(job, number, 2).exit_code == 0
    assert run(job).worked == 0
    assert result_files(tmp_path / "out") == clean


def test_workers_of_one_number_or_of_another_count_are_refused_and_so_are_drivers(job, tmp_path):
    storage = open_storage(str(tmp_path / "out"), job.storage)
    other = lease.acquire_for_worker(storage, 2, 2)
    with pytest.raises(LeaseError, match="in use by worker 2/2, process"):
        work(job, 2, 2)
    with pytest.raises(LeaseError, match="in use by worker 2/2"):
        work(job, 1, 3)
    with pytest.raises(LeaseError, match="in use by worker 2/2"):
        run(job)
    with pytest.raises(LeaseError, match="in use by worker 2/2"):
        lease.refuse_held(storage)
    other.release()
    driver = lease.acquire(storage)
    with pytest.raises(LeaseError, match="in use by process"):
        work(job, 2, 2)
    driver.release()
    assert not list((tmp_path / "out/.workers").iterdir())


def test_a_worker_may_begin_while_another_of_its_job_closes_it(job, clean, tmp_path):
    work(job, 1, 2)
    work(job, 2, 2)
    storage = open_storage(str(tmp_path / "out"), job.storage)
    other = lease.acquire_for_worker(storage, 1, 2)
    closing = lease.acquire_to_close(storage)
    assert "another one closes the job" in work(job, 2, 2).to_text()
    with pytest.raises(LeaseError, match="in use by"):
        lease.acquire_for_worker(storage, 1, 3)
    closing.release()
    other.release()
    assert result_files(tmp_path / "out") == clean


def test_a_worker_that_is_not_the_first_to_plan_goes_by_the_others_plan(job, clean, tmp_path, monkeypatch):
    def be_slow(*arguments):
        monkeypatch.setattr(worker_module, "extended_plan", steps.extended_plan)
        work(job, 1, 2)
        return steps.extended_plan(*arguments)

    monkeypatch.setattr(worker_module, "extended_plan", be_slow)
    assert work(job, 2, 2).exit_code == 0
    assert result_files(tmp_path / "out") == clean


def test_a_worker_that_lists_less_than_was_planned_changes_nothing(tmp_path):
    draw_photographs(tmp_path / "photos", 12)
    job = job_config(tmp_path / "photos", tmp_path / "out")
    work(job, 1, 2)
    (tmp_path / "photos/011.jpg").unlink()
    with pytest.raises(OutputError, match=r"is not as it was planned: .*run once without --worker"):
        work(job, 2, 2)
    assert not read_plan(open_storage(str(tmp_path / "out"), job.storage)).changes


def test_pictures_that_were_switched_on_are_for_a_driver_to_draw(job, photos, tmp_path):
    work(job, 1, 2)
    more = job_config(photos, tmp_path / "out", output=FEW_FILES | {"label_masks": {"enabled": True}})
    with pytest.raises(OutputError, match="pictures were switched on since"):
        work(more, 2, 2)


def test_where_two_workers_are_the_last_one_closes(job, monkeypatch):
    def taken(storage):
        raise LeaseError("held")

    work(job, 1, 2)
    monkeypatch.setattr(lease, "acquire_to_close", taken)
    assert "worker 2/2; another one closes the job" in work(job, 2, 2).to_text()


def test_a_job_is_closed_by_hand_once_nothing_is_missing(job, clean, tmp_path, monkeypatch):
    work(job, 1, 2)
    storage = open_storage(str(tmp_path / "out"), job.storage)
    killed = lease.acquire_for_worker(storage, 1, 2)
    dead = storage.read(".workers/1-of-2.json")
    killed.release()
    with pytest.raises(OutputError, match="4 images in 1 shard are still to do: start their workers again"):
        close(job, QUIET)
    monkeypatch.setattr(worker_module, "_close_if_last", lambda *_: None)  # as if it were killed
    work(job, 2, 2)
    (tmp_path / "out/.workers/1-of-2.json").write_bytes(dead)
    assert (close(job, QUIET).exit_code, result_files(tmp_path / "out")) == (0, clean)
    assert not list((tmp_path / "out/.workers").iterdir())


def test_what_is_for_a_driver_alone_is_refused(job):
    with pytest.raises(ConfigError, match=r"run\.retry_failed: .*run once without --worker"):
        work(job.model_copy(update={"run": job.run.model_copy(update={"retry_failed": True})}), 1, 2)


def test_a_worker_that_fails_says_why_and_writes_no_summary(job, tmp_path, monkeypatch):
    def fail(*_, **__):
        yield Receipt(0, error="the disk is full")

    monkeypatch.setattr(InlineExecutor, "run", fail)
    report = work(job, 1, 2)
    assert (report.exit_code, report.error) == (1, "the disk is full")
    assert not (tmp_path / "out/summary.json").exists()


@pytest.mark.slow  # dozens of processes
def test_workers_that_are_killed_at_random_lose_and_double_nothing(tmp_path):
    draw_photographs(tmp_path / "photos", 60)
    clean, shared = tmp_path / "clean", tmp_path / "shared"
    run(job_config(tmp_path / "photos", clean))
    config, moments, kills = job_config(tmp_path / "photos", shared), random.Random(0), 0
    while kills < 20:
        workers = [drivers.start_worker(config, number, 3) for number in (1, 2, 3)]
        victim = moments.choice(workers)
        kills += drivers.kill_at_random(victim, shared, moments)
        for worker in workers:
            worker.join(drivers.PATIENCE)
            assert worker.exitcode in (0, -signal.SIGKILL)
        if all(worker.exitcode == 0 for worker in workers):  # nothing is left to be killed at
            assert result_files(shared) == result_files(clean)
            shutil.rmtree(shared)
    for number in (1, 2, 3):
        drivers.start_worker(config, number, 3).join(drivers.PATIENCE)
    assert result_files(shared) == result_files(clean)
    assert [row["key"] for row in rows(shared)] == [f"{number:03}.jpg" for number in range(60)]
    assert json.loads((shared / "summary.json").read_text())["exit_code"] == 0
