"""However a job ends, the first cause is the one that is told; the lease goes, and the next run does the rest."""

import errno
import json
import os
import shutil
from threading import Event

import pytest
from rich.console import Console
from support.jobs import draw_hanging, draw_photographs, job_config, result_files, rows, run

from sam_batch.data.storage_local import LocalFiles
from sam_batch.job import breaker
from sam_batch.job.executor import InlineExecutor
from sam_batch.job.run import run_job
from sam_batch.output import lease

WRITES = ("write", "replace", "create", "put_file", "delete")


@pytest.fixture
def photos(tmp_path):
    draw_photographs(tmp_path / "photos", 12)
    return tmp_path / "photos"


@pytest.fixture
def fail(monkeypatch, out):
    """Makes verbs on the output's files fail with an errno from the second part on; counts how often it did."""
    fired = []

    def failing(verb, code):
        def fail_or_do(self, name, *arguments):
            if (out / "annotations/part-00000.parquet").exists() and self.uri(name).startswith(f"{out}/"):
                fired.append(verb)
                raise OSError(code, os.strerror(code))
            return real(self, name, *arguments)

        real = getattr(LocalFiles, verb)
        monkeypatch.setattr(LocalFiles, verb, fail_or_do)

    def fail(code, *verbs):
        for verb in verbs:
            failing(verb, code)
        return fired

    return fail


@pytest.mark.parametrize(
    ("code", "verbs"),
    [
        (errno.ENOSPC, WRITES),
        (errno.EROFS, WRITES),
        (errno.EACCES, ("read", "stat", *WRITES)),
        (errno.EIO, ("create",)),
    ],
    ids=["full", "read-only", "all denied", "parts alone"],
)
def test_an_output_that_fails_ends_the_job_with_its_first_word(photos, out, fail, monkeypatch, code, verbs):
    fired = fail(code, *verbs)
    report = run(job_config(photos, out))
    assert fired
    assert (report.exit_code, report.planned, report.done) == (1, 12, 4)
    assert os.strerror(code) in report.error
    assert not any(name in report.error for name in ("summary.json", "lease.json"))
    monkeypatch.undo()
    assert run(job_config(photos, out)).exit_code == 0
    run(job_config(photos, out.with_name("clean")))
    assert result_files(out) == result_files(out.with_name("clean"))


def test_a_summary_that_cannot_be_written_is_an_error_of_its_own(photos, out, monkeypatch):
    replace = LocalFiles.replace

    def fail_on_summary(self, name, data):
        if name == "summary.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(self, name, data)

    monkeypatch.setattr(LocalFiles, "replace", fail_on_summary)
    report = run(job_config(photos, out))
    assert (report.exit_code, report.done) == (1, 12)
    assert "summary.json: No space left" in report.error
    assert not (out / "lease.json").exists()


@pytest.fixture
def meanwhile(monkeypatch):
    """Something happens after the first shard."""

    def happens(what):
        def run_and_let_happen(executor, job, shards, **options):
            for number, receipt in enumerate(inline_run(executor, job, shards, **options)):
                if number == 0:
                    what()
                yield receipt

        inline_run = InlineExecutor.run
        monkeypatch.setattr(InlineExecutor, "run", run_and_let_happen)

    return happens


def test_an_output_that_is_deleted_is_not_begun_anew(photos, out, meanwhile):
    meanwhile(lambda: shutil.rmtree(out))
    report = run(job_config(photos, out))
    assert (report.exit_code, report.worked) == (1, 4)
    assert "was deleted while the job worked on it" in report.error
    assert not out.exists()


def test_an_output_that_is_moved_away_and_mounted_again_can_be_gone_on_with(photos, out, meanwhile, monkeypatch):
    meanwhile(lambda: out.rename(out.with_name("away")))
    assert run(job_config(photos, out)).exit_code == 1
    out.with_name("away").rename(out)
    monkeypatch.undo()
    assert run(job_config(photos, out)).done == 12


def test_a_store_that_fails_since_another_driver_clears_it_says_so(photos, out, meanwhile, fail):
    def overtake():
        (out / "lease.json").write_bytes(lease.Holder.this_process().to_bytes())
        fail(errno.ENOENT, "write")

    meanwhile(overtake)
    report = run(job_config(photos, out))
    assert report.exit_code == 1
    assert "another driver has taken this output over" in report.error


def test_a_plain_loop_that_hangs_ends_with_the_shard_and_what_is_done(photos, out, monkeypatch, capsys):
    def wait_for_the_end(seconds):
        assert ended.wait(30)
        raise InterruptedError

    draw_hanging(photos / "005.png")
    ended = Event()
    monkeypatch.setattr(os, "_exit", lambda code: ended.set())
    monkeypatch.setattr("sam_batch.engine.fake.time.sleep", wait_for_the_end)
    run_job(job_config(photos, out, run={"image_timeout_seconds": 4, "max_failure_rate": 1.0}), Console(width=500))
    (told,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("error: ")]
    assert "no image ended within run.image_timeout_seconds = 4 (times its views) in shard 1: 004.jpg, " in told


def test_a_run_in_which_most_images_fail_ends_on_its_way(photos, out, monkeypatch):
    for number in range(4, 12):
        (photos / f"{number:03}.jpg").write_bytes(b"no picture")
    monkeypatch.setattr(breaker, "IMAGES", 6)
    report = run(job_config(photos, out))
    assert (report.exit_code, report.done) == (1, 12)
    assert "8 of the last 8 images failed, more than run.abort_failure_rate = 0.5" in report.error
    assert json.loads((out / "summary.json").read_text())["images"]["failed"] == 8
    assert len(rows(out)) == 12
