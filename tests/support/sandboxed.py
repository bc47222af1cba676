"""What tests have sandboxes do: work that crashes, hangs or takes memory, at a word. Its imports are few."""

import ctypes
import os
import signal
import time
from typing import Any


def obey(order: str, argument: Any = None, *, reserve: Any) -> Any:
    """Do what is asked for by its name."""
    match order:
        case "echo":
            return argument
        case "die":
            os.kill(os.getpid(), argument)
        case "exit":
            os._exit(argument)
        case "sleep":
            time.sleep(argument)
        case "sleep with the interpreter's lock":
            ctypes.PyDLL(None).sleep(argument)
        case "reserve":
            reserve(argument)
        case "blocked":
            return signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return "done"


def take(count: int, before: bool, *, reserve: Any) -> str:
    """Take memory, before it was reserved or afterwards."""
    try:
        taken = bytearray(count) if before else None
        reserve(count)
        taken = taken or bytearray(count)
    except MemoryError:
        return "none left"
    return f"{len(taken)} bytes"
