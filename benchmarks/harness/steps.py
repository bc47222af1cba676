"""Programs one after the other, each in a process of its own with a time limit, and a JSON line for each in a file.

The file is what lets a run go on after it was stopped: what succeeded there, on the same device, is not run again.
It knows nothing of what the programs measure.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OK, FAILED, TIMEOUT, LEFT_OUT = "ok", "failed", "timeout", "left out"
LAST_WORDS = 20  # lines
GRACE = 20.0  # seconds in which a program that is stopped may tidy up

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """A program, and what makes it a success.

    Attributes:
        name: Also of its log.
        command: Python's arguments; `{scratch}` becomes an empty folder that is gone afterwards.
        minutes: After which it is stopped.
        needs: Modules of which one must be installed; without it the step is left out.
        least: Of the figures in its last JSON line, those that must be there, and how large.
    """

    name: str
    command: tuple[str, ...]
    minutes: float = 10.0
    needs: tuple[str, ...] = ()
    least: Mapping[str, float] = field(default_factory=dict)


def run_steps(steps: Sequence[Step], output: Path, about: Row, seconds: float) -> bool:
    """Run what has not succeeded yet, and append a line to a file as each step ends.

    Args:
        steps: In order.
        output: The file; the programs' whole output goes into a folder beside it, named like it without its suffix.
        about: What every line says of the machine; its `device` must be there.
        seconds: For all together: a step that runs when they are over is stopped, and none begins.

    Returns:
        Whether all steps have succeeded, now or before, or were left out.
    """
    deadline = time.monotonic() + seconds
    logs = output.with_suffix("")
    logs.mkdir(parents=True, exist_ok=True)
    before, outcomes = succeeded(output, about["device"]), set()
    for step in steps:
        if step.command in before:
            print(f"{step.name}: done before", flush=True)
            continue
        left = deadline - time.monotonic()
        if left <= 0:
            print(f"{step.name}: not begun, the time is over", flush=True)
            outcomes.add(TIMEOUT)
            continue
        row = run_step(step, logs / f"{step.name}.log", min(left, 60 * step.minutes))
        with output.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row | about) + "\n")
        print(f"{step.name}: {row['outcome']}, {row['seconds']} s", *row["last_words"], sep="\n  ", flush=True)
        outcomes.add(row["outcome"])
    return outcomes <= {OK, LEFT_OUT}


def succeeded(output: Path, device: str) -> set[tuple[str, ...]]:
    """Commands that a file says have succeeded on a device; a line that was cut short says nothing."""
    if not output.exists():
        return set()
    rows = filter(None, map(parse, output.read_text(encoding="utf-8").splitlines()))
    return {tuple(row["command"]) for row in rows if row["outcome"] == OK and row["device"] == device}


def run_step(step: Step, log: Path, seconds: float) -> Row:
    """Run one step, and say how it ended."""
    started = time.monotonic()
    row = {"step": step.name, "command": step.command, "date": datetime.now(UTC).isoformat(timespec="seconds")}
    if step.needs and not any(map(find_spec, step.needs)):
        outcome, figures, words = LEFT_OUT, None, [f"{' or '.join(step.needs)} is not installed"]
    else:
        status = _run(step.command, log, seconds)
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        figures = next(filter(None, map(parse, reversed(lines))), None)
        outcome, words = _judge(step, status, figures)
        words = [] if outcome == OK and figures else [*lines[-LAST_WORDS:], *words]
    return row | {
        "outcome": outcome,
        "seconds": round(time.monotonic() - started, 1),
        "figures": figures,
        "last_words": words,
    }


def parse(line: str) -> Row | None:
    """A line's JSON object, if it is one."""
    with suppress(ValueError):
        row = json.loads(line)
        return row if isinstance(row, dict) else None
    return None


def _judge(step: Step, status: int | None, figures: Row | None) -> tuple[str, list[str]]:
    """An outcome, and why."""
    if status is None:
        return TIMEOUT, ["stopped: its time was over"]
    if status != 0:
        return FAILED, [f"exit code {status}"]
    given = {name: (figures or {}).get(name) for name in step.least}
    short = [name for name, value in given.items() if value is None or value < step.least[name]]
    return FAILED if short else OK, [f"{name} is {given[name]}, not {step.least[name]} or more" for name in short]


def _run(command: Sequence[str], log: Path, seconds: float) -> int | None:
    """The exit code; None if the time was over, and then its whole process group has been ended."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch, log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *(part.replace("{scratch}", scratch) for part in command)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:  # of Ctrl-C too, which does not reach another session
            if process.poll() is None:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
