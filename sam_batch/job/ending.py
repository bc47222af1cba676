"""What the steps of a run share, and how a run ends: with a cause, a summary and no lease.

The first thing that goes wrong is the one that is told. What a store says of the summary or the lease after that is
only warned of. What cannot end by itself, since the driver waits for what never comes, an `Alarm` ends from beside it.
"""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import NoReturn

from rich.console import Console

from sam_batch.config import Config
from sam_batch.data.storage import Storage
from sam_batch.errors import ConfigError, EngineError, ExitCode, JobError, LeaseLostError, StorageError
from sam_batch.job import webhook
from sam_batch.job.share import Share
from sam_batch.output import layout, lease, ownership
from sam_batch.output.card import card, is_card
from sam_batch.output.plan import Plan, committed_shards
from sam_batch.output.summary import Summary

_log = logging.getLogger(__name__)


class Alarm:
    """Ends a run from another thread, in which nothing waits."""

    def __init__(self) -> None:
        self._end: Callable[[str], None] | None = None
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def answered(self, end: Callable[[str], None]) -> Iterator[None]:
        """Meanwhile `end_now` calls this with the cause."""
        self._end = end
        try:
            yield
        finally:
            with self._lock:  # who is ending the run already does not come back
                self._end = None

    def end_now(self, cause: str) -> None:
        """End the process with a summary and this cause; nothing, where the run has begun to end by itself."""
        with self._lock:
            if self._end is not None:
                self._end(cause)


@dataclass(frozen=True, slots=True)
class Run:
    """What the steps of one run share.

    Attributes:
        config: The job.
        storage: Its output.
        lease: That this run holds.
        summary: Of this run.
        console: For progress.
        alarm: Ends it from beside.
        share: Of a worker that shares the job with others; it writes no summary.
    """

    config: Config
    storage: Storage
    lease: lease.Lease
    summary: Summary
    console: Console
    alarm: "Alarm"
    share: Share | None = None

    def own(self, shards: set[int]) -> set[int]:
        """Of some shards those that are this run's to do."""
        return shards if self.share is None else self.share.of(shards)


@contextlib.contextmanager
def summarised(run: Run, plan: Plan) -> Iterator[None]:
    """What goes wrong inside ends in the summary, which is written if anything can be; then the report."""
    run.summary.planned = plan.image_count(run.own(set(range(plan.shard_count))))
    run.summary.planned_prompts = plan.prompt_count if run.share is None else 0  # whose they are, nobody counts
    earlier = ownership.read_if_there(run.storage, layout.SUMMARY)
    try:
        with run.alarm.answered(partial(_end_now, run, earlier)):
            yield
    except (KeyboardInterrupt, JobError, StorageError, EngineError) as error:
        run.summary.interrupted = isinstance(error, KeyboardInterrupt)
        run.summary.error = _reason(run, error)
        with contextlib.suppress(StorageError):  # else what this run has counted stands
            run.summary.done = plan.image_count(run.own(committed_shards(run.storage)))
    _store_end(run, plan, earlier)
    _tell(run)


def _store_end(run: Run, plan: Plan, earlier: bytes | None) -> None:
    """The summary, the card and the report."""
    try:
        if _store_summary(run, earlier):
            put_card(run.storage, run.summary, plan)
            if run.summary.worked and run.config.output.report:
                _report(run)
    except StorageError as error:  # the same store may have ended the job: its first word counts
        if run.summary.error:
            _log.warning("there is no new summary: %s", error)
        run.summary.error = run.summary.error or str(error)


def _tell(run: Run) -> None:
    """Of workers that share a job the one that closes it tells."""
    address = webhook.address_of(run.config.run.webhook)
    if address is not None and run.share is None:
        webhook.tell(address, run.summary)


def _reason(run: Run, error: BaseException) -> str:
    """Why the job ended: a store that fails may be one that another driver clears, or that somebody deleted."""
    if isinstance(error, StorageError):
        try:
            run.lease.confirm()
        except LeaseLostError as lost:
            return str(lost)
        except StorageError:
            pass
    return str(error)


def _store_summary(run: Run, earlier: bytes | None) -> bool:
    """Whether this is still the run whose summary lies in the output."""
    if run.share is not None:
        return False
    if run.lease.is_lost:
        # A summary that was not there before is the other driver's; and no output that is gone begins anew with one.
        is_others = ownership.read_if_there(run.storage, layout.SUMMARY) != earlier
        if is_others or not run.storage.exists(layout.part_key(layout.PLAN, 0)):
            return False
    ownership.put_over_own(run.storage, layout.SUMMARY, run.summary.to_json().encode(), ownership.is_summary)
    return True


def put_card(storage: Storage, summary: Summary, plan: Plan) -> None:
    """Write the output's README.md, unless somebody has one there."""
    there, wanted = ownership.read_if_there(storage, layout.CARD), card(summary, plan)
    if there is None or (there != wanted and is_card(there)):
        storage.replace(layout.CARD, wanted)


def _end_now(run: Run, earlier: bytes | None, cause: str) -> None:
    """What `summarised` and the lease do at a run's end, for a driver that cannot; then end the process."""
    run.summary.error = cause
    try:
        with contextlib.suppress(StorageError):
            _store_summary(run, earlier)
        run.lease.release()
        run.console.print(f"error: {cause}", markup=False, highlight=False, soft_wrap=True)
        _tell(run)
    finally:
        os._exit(ExitCode.FAILED)


def _report(run: Run) -> None:
    """Show the rows on one page. It is no result: what goes wrong with it is only warned of."""
    from sam_batch.report.make import make_report  # draws pictures, and takes a second to import

    try:
        run.summary.page = make_report(run.storage.root, run.config.storage)
    except (ConfigError, JobError, StorageError) as error:
        _log.warning("no report was written: %s", error)


@contextlib.contextmanager
def sigterm_as_interrupt(grace_seconds: float = 0.0) -> Iterator[None]:
    """A cluster stops a driver with SIGTERM: meanwhile that ends like Ctrl-C, with a summary; a second one at once.

    Args:
        grace_seconds: In which the work goes on, so that what is nearly done is committed.
    """

    def interrupt(signum: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    def interrupt_soon(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, grace_seconds)

    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, interrupt_soon if grace_seconds else interrupt),
        signal.SIGALRM: signal.signal(signal.SIGALRM, interrupt),
    }
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
