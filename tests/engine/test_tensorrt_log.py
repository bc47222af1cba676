import logging
import threading

import pytest
from rich.console import Console
from rich.progress import Progress

from sam_batch.engine.tensorrt_log import KEPT_ERRORS, make_logger, make_monitor


def test_errors_are_remembered_for_the_exception_and_nothing_is_printed(host, caplog, capsys):
    caplog.set_level(logging.DEBUG, "sam_batch")
    logger, errors = make_logger(host.trt)
    logger.log(host.trt.ILogger.WARNING, "slow tactic")
    logger.log(host.trt.ILogger.ERROR, "no memory\n  for this")
    assert errors.text() == "no memory for this"
    assert [record.getMessage() for record in caplog.records] == ["slow tactic", "no memory\n  for this"]
    assert capsys.readouterr() == ("", "")


def test_only_the_last_errors_are_kept(host):
    logger, errors = make_logger(host.trt)
    assert errors.text() == "TensorRT gave no reason"
    for number in range(100):
        logger.log(host.trt.ILogger.INTERNAL_ERROR, str(number))
    assert len(errors) == KEPT_ERRORS
    assert errors[-1] == "99"


class TestMonitor:
    @pytest.fixture
    def progress(self):
        return Progress(console=Console(quiet=True))

    def test_it_shows_the_outermost_phase_and_names_what_runs_below(self, host, progress):
        monitor = make_monitor(host.trt, progress, "encoder", threading.Event())
        monitor.phase_start("Build", None, 4)
        monitor.phase_start("Timing", "Build", 100)
        assert monitor.step_complete("Timing", 50)
        assert monitor.step_complete("Build", 1)
        (task,) = progress.tasks
        assert (task.description, task.completed, task.total) == ("encoder: Timing", 2, 4)
        monitor.phase_finish("Timing")
        monitor.phase_finish("Build")  # phases may end before their last step
        assert (task.description, task.completed) == ("encoder", 4)

    def test_a_cancelled_build_is_told_to_stop(self, host, progress):
        cancelled = threading.Event()
        monitor = make_monitor(host.trt, progress, "encoder", cancelled)
        monitor.phase_start("Build", None, 4)
        cancelled.set()
        assert not monitor.step_complete("Build", 0)
