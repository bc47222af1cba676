"""TensorRT's messages and its progress, as this package shows them.

TensorRT calls both objects from threads of its own, and an exception in such a call goes nowhere: so they only take
note, and answer.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any

from rich.progress import Progress, TaskID

from sam_batch.errors import EngineError

log = logging.getLogger(__name__)

KEPT_ERRORS = 8


class Errors(deque[str]):
    """The last error messages of TensorRT, of which an exception says why something was refused."""

    def __init__(self) -> None:
        super().__init__(maxlen=KEPT_ERRORS)

    def text(self) -> str:
        """All of them, in one line."""
        return "; ".join(" ".join(one.split()) for one in self) or "TensorRT gave no reason"

    def ask(self, refusal: str, call: Callable[..., Any], *arguments: Any) -> Any:
        """What a call answers; None and False are how TensorRT refuses.

        Args:
            refusal: What it then means, for the message.
            call: Of TensorRT.
            *arguments: Its own.

        Raises:
            EngineError: TensorRT refuses; with what it has said since it was asked.
        """
        self.clear()
        answer = call(*arguments)
        if answer is None or answer is False:
            raise EngineError(f"{refusal}: {self.text()}")
        return answer


def get_logger(trt: Any) -> tuple[Any, Errors]:
    """The process's `trt.ILogger`, which hands its messages to Python's logging, and the errors it has heard.

    There is one: what TensorRT says outside of a builder or runtime, it says to the first logger that it was given.
    """
    return _make_logger(trt.ILogger)


@cache
def _make_logger(base: Any) -> tuple[Any, Errors]:
    errors = Errors()
    levels = {base.INTERNAL_ERROR: logging.ERROR, base.ERROR: logging.ERROR}
    levels |= {base.WARNING: logging.INFO, base.INFO: logging.DEBUG, base.VERBOSE: logging.DEBUG}

    class Logger(base):
        def __init__(self) -> None:
            base.__init__(self)

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
