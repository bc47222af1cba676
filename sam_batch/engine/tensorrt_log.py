"""TensorRT's messages and its progress, as this package shows them.

TensorRT calls both objects from threads of its own, and an exception in such a call goes nowhere: so they only take
note, and answer.
"""

import logging
import threading
from collections import deque
from typing import Any

from rich.progress import Progress, TaskID

log = logging.getLogger(__name__)

KEPT_ERRORS = 8


class Errors(deque[str]):
    """The last error messages of a logger, of which an exception says why something was refused."""

    def __init__(self) -> None:
        super().__init__(maxlen=KEPT_ERRORS)

    def text(self) -> str:
        """All of them, in one line."""
        return "; ".join(" ".join(one.split()) for one in self) or "TensorRT gave no reason"


def make_logger(trt: Any) -> tuple[Any, Errors]:
    """A `trt.ILogger` that hands its messages to Python's logging, and the errors it has heard."""
    errors = Errors()
    levels = {trt.ILogger.INTERNAL_ERROR: logging.ERROR, trt.ILogger.ERROR: logging.ERROR}
    levels |= {trt.ILogger.WARNING: logging.INFO, trt.ILogger.INFO: logging.DEBUG, trt.ILogger.VERBOSE: logging.DEBUG}

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            level = levels[severity]
            log.log(min(level, logging.INFO), "%s", msg)  # whoever asked reports the errors
            if level == logging.ERROR:
                errors.append(msg)

    return Logger(), errors


def make_monitor(trt: Any, progress: Progress, title: str, cancelled: threading.Event) -> Any:
    """A `trt.IProgressMonitor` that moves a bar, and ends the build once `cancelled` is set.

    The bar shows the outermost phase; what is under way below it is named beside the title.
    """

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._tasks: dict[str, TaskID] = {}
            self._lock = threading.Lock()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self._lock:
                if parent_phase is None:
                    self._tasks[phase_name] = progress.add_task(title, total=num_steps)
                else:
                    for task in self._tasks.values():
                        progress.update(task, description=f"{title}: {phase_name}")

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._lock:
                if phase_name in self._tasks:
                    progress.update(self._tasks[phase_name], completed=step + 1)
            return not cancelled.is_set()

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                task = self._tasks.pop(phase_name, None)
                if task is not None:
                    total = progress.tasks[progress.task_ids.index(task)].total
                    progress.update(task, description=title, completed=total)

    return Monitor()
