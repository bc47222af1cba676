"""The package's own decoder, with the faults that tests ask for. Sandboxes do its functions."""

import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

from sam_batch.job.boundary import tried
from sam_batch.job.decode import Answer, decode
from sam_batch.records import Stage

FATAL_HEIGHT, HANGING_HEIGHT, GREEDY_HEIGHT = 41, 42, 43  # of pictures


def faulty(data: bytes, settings: bytes, *, reserve: Any) -> Answer:
    """Crashes, hangs or takes all memory at pictures of some heights."""
    answer = decode(data, settings, reserve=reserve)
    height = getattr(answer.image, "height", 0)
    if height == FATAL_HEIGHT:
        os.abort()
    if height == HANGING_HEIGHT:
        time.sleep(60)
    if height == GREEDY_HEIGHT:
        return Answer(tried(Stage.LOAD, lambda: bytearray(8 << 30) and answer.image), [])
    return answer


def killed_once(data: bytes, settings: bytes, *, reserve: Any) -> Answer:
    """Is killed while it decodes for the first time, and has something to say at the second; the data name the file."""

    def warn(size: Any) -> None:
        logging.getLogger("sam_batch.data").warning("odd pixels")
        reserve(size)

    path = Path(os.fsdecode(data))
    marker = path.with_suffix(".tried")
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(path.read_bytes(), settings, reserve=warn)
