"""TensorRT's messages and its progress, as this package shows them.

TensorRT calls both objects from threads of its own, and an exception in such a call goes nowhere: so they only take
note, and answer.
"""

import logging
import re
import threading
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any

from rich.progress import Progress, TaskID

from sam_batch.errors import EngineError

log = logging.getLogger(__name__)

KEPT_ERRORS = 8

_ACTIVATION = re.compile(r"Total Activation Memory: (\d+) bytes")


class Errors(deque[str]):
    """The last error messages of TensorRT, of which an exception says why something was refused.

    Attributes:
        layers: What a builder has said last of the layers it made, or empty.
        activation_bytes: Likewise, of the memory that they need while they run.
    """

    def __init__(self) -> None:
        super().__init__(maxlen=KEPT_ERRORS)
        self.layers, self.activation_bytes = "", 0

    def clear(self) -> None:
        """Forget what was said so far."""
        super().clear()
        self.layers, self.activation_bytes = "", 0

    def take(self, message: str, is_error: bool) -> None:
        """Hear a message."""
        if is_error:
            self.append(message)
        elif message.startswith("Layers:"):
            self.layers = message
        elif found := _ACTIVATION.match(message):
            self.activation_bytes = int(found[1])

    def text(self) -> str:
        """All of them, in one line."""
        return (
            "; ".join(" ".join(one.split()) for one in self) or "TensorRT gave no reason (it may be on standard error)"
        )

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


_BROKEN: list[Any] = []  # objects whose use, and whose end, TensorRT does not survive


def start(trt: Any, name: str) -> Any:
    """A `Builder` or a `Runtime`.

    Where CUDA cannot be used, TensorRT says so and returns an object all the same; the process dies of its first use,
    and of its end. So what it says meanwhile decides, and such an object is kept for ever.

    Raises:
        EngineError: TensorRT does not start.
    """
    logger, errors = get_logger(trt)
    errors.clear()
    try:
        made = getattr(trt, name)(logger)
    except TypeError:  # how the bindings say that the library returned nothing
        made = None
    if made is None or errors:
        _BROKEN.append(made)
        raise EngineError(
            f"TensorRT {trt.__version__} does not start: {errors.text()}; see whether nvidia-smi works and the "
            "driver is new enough for it"
        )
    return made


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
            errors.take(msg, level == logging.ERROR)

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
