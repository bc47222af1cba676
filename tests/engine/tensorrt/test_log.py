import logging
import threading

import pytest
from rich.console import Console
from rich.progress import Progress

from sam_batch.engine.tensorrt.log import KEPT_ERRORS, get_logger, make_monitor
from sam_batch.errors import EngineError


@pytest.fixture
def logger(host):
    logger, errors = get_logger(host.trt)
    errors.clear()
    return logger


@pytest.fixture
def errors(host, logger):
    return get_logger(host.trt)[1]


def test_a_process_has_one_logger(host, bindings, logger):
    from support.tensorrt_standin import machine

    assert get_logger(machine.host(bindings).trt)[0] is logger


def test_errors_are_remembered_for_the_exception_and_nothing_is_printed(host, logger, errors, caplog, capsys):
    caplog.set_level(logging.DEBUG, "sam_batch")
    logger.log(host.trt.ILogger.WARNING, "slow tactic")
    logger.log(host.trt.ILogger.ERROR, "no memory\n  for this")
    assert errors.text() == "no memory for this"
    assert [record.getMessage() for record in caplog.records] == ["slow tactic", "no memory\n  for this"]
    assert capsys.readouterr() == ("", "")


def test_only_the_last_errors_are_kept(host, logger, errors):
    assert errors.text().startswith("TensorRT gave no reason")
    for number in range(100):
        logger.log(host.trt.ILogger.INTERNAL_ERROR, str(number))
    assert len(errors) == KEPT_ERRORS
    assert errors[-1] == "99"


class TestAsking:
    def test_an_answer_is_returned(self, errors):
        assert errors.ask("does not add", int.__add__, 1, 2) == 3

    @pytest.mark.parametrize("refusal", [None, False])
    def test_a_refusal_is_an_error_with_what_was_said_since(self, host, logger, errors, refusal):
        def refuse():
            logger.log(host.trt.ILogger.ERROR, "no memory")
            return refusal

        logger.log(host.trt.ILogger.ERROR, "of another plan, long ago")
        with pytest.raises(EngineError, match=r"^does not run: no memory$"):
            errors.ask("does not run", refuse)


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
