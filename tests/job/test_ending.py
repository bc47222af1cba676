"""An alarm ends a run from beside it; how runs end otherwise is in test_endings."""

import json
import os
import signal
from threading import Thread

import pytest
from rich.console import Console
from support.jobs import draw_photographs, job_config, run

from sam_batch.job import run as run_module
from sam_batch.job.ending import Alarm, sigterm_as_interrupt
from sam_batch.job.executor import InlineExecutor


class EndedError(Exception):
    """Instead of the process."""


def test_a_run_that_cannot_end_itself_leaves_a_summary_and_no_lease(tmp_path, monkeypatch, capsys):
    def exit_with(code):
        raise EndedError(code)

    def hang(executor, job, shards, **options):
        yield next(inline_run(executor, job, shards, **options))
        alarms[0].end_now("the cluster is gone")

    alarms = []
    monkeypatch.setattr(run_module, "Alarm", lambda: alarms.append(Alarm()) or alarms[0])
    inline_run = InlineExecutor.run
    monkeypatch.setattr(InlineExecutor, "run", hang)
    monkeypatch.setattr(os, "_exit", exit_with)
    draw_photographs(tmp_path / "photos", 6)
    with pytest.raises(EndedError) as caught:
        run_module.run_job(job_config(tmp_path / "photos", tmp_path / "out"), Console())
    assert caught.value.args == (1,)
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["error"], summary["images"]["done"]) == ("the cluster is gone", 4)
    assert not (tmp_path / "out/lease.json").exists()
    assert capsys.readouterr().out.splitlines()[-1] == "error: the cluster is gone"


def test_an_alarm_does_nothing_where_nothing_is_to_be_ended():
    told = []
    alarm = Alarm()
    alarm.end_now("too early")
    with alarm.answered(told.append):
        ringing = Thread(target=alarm.end_now, args=("now",))
        ringing.start()
        ringing.join()
    alarm.end_now("too late")
    assert told == ["now"]


@pytest.fixture
def signalled(tmp_path, monkeypatch):
    """The report of a job of three shards that gets a signal after each; and for how long it set a timer."""

    def signalled(*signals, grace):
        def run_and_raise(executor, job, shards, **options):
            for number, receipt in zip(signals, inline_run(executor, job, shards, **options), strict=False):
                yield receipt
                signal.raise_signal(number)

        inline_run, timers = InlineExecutor.run, []
        monkeypatch.setattr(InlineExecutor, "run", run_and_raise)
        monkeypatch.setattr(signal, "setitimer", lambda timer, seconds: timers.append(seconds))
        draw_photographs(tmp_path / "photos", 12)
        report = run(job_config(tmp_path / "photos", tmp_path / "out", run={"grace_seconds": grace}))
        assert not (tmp_path / "out/lease.json").exists()
        return report, timers[0]

    return signalled


@pytest.mark.parametrize("then", [signal.SIGALRM, signal.SIGTERM])  # the timer, or whoever stops it once more
def test_what_ends_within_the_grace_of_a_stop_is_committed(signalled, then):
    report, timer = signalled(signal.SIGTERM, then, grace=9)
    assert (report.exit_code, report.done, timer) == (130, 8, 9)


def test_a_job_without_grace_stops_at_once(signalled):
    report, _ = signalled(signal.SIGTERM, signal.SIGTERM, grace=0)
    assert (report.exit_code, report.done) == (130, 4)


def test_signals_mean_afterwards_what_they_meant_before():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)
    with pytest.raises(KeyboardInterrupt), sigterm_as_interrupt():
        signal.raise_signal(signal.SIGTERM)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)) == before
