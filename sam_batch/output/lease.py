"""One driver an output: a lease says who works there, and a second driver is refused.

Workers that share a job declare themselves: each has a lease of its own, named by its number and how many there are.
They admit each other, and neither them and a driver, nor two of one number, nor those that count otherwise.

The lease is a courtesy, not what keeps results right: parts are created only if absent, so two drivers that slip past
each other still commit every shard once.
"""

import contextlib
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from sam_batch.data.storage import Storage
from sam_batch.errors import AlreadyExistsError, LeaseError, LeaseLostError, NotFoundError, OutputError, StorageError
from sam_batch.output import layout

RENEW_SECONDS = 15.0
STALE_SECONDS = 60.0
UNKNOWN = "unknown"  # when a process was born, where /proc is not there, or hides those of others


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds an output.

    Attributes:
        token: Random; tells two drivers apart.
        host: Its name, for people: containers and machines of a cluster may share one.
        pid: Process number there.
        born: When that process started, in the kernel's count, so that a recycled number is not mistaken for it.
        renewed: Seconds since the epoch.
        processes: Where such numbers mean the same processes; empty where that cannot be told.
    """

    token: str
    host: str
    pid: int
    born: str
    renewed: float
    processes: str = ""

    @classmethod
    def this_process(cls) -> "Holder":
        """This process, now, with a fresh token."""
        pid, now = os.getpid(), time.time()
        return cls(secrets.token_hex(8), socket.gethostname(), pid, _born(pid), now, _processes())

    @property
    def process(self) -> tuple[str, str, int, str]:
        """What all its leases have in common."""
        return self.host, self.processes, self.pid, self.born

    def is_gone(self) -> bool:
        """Whether the holder has ended, as far as its clock tells of one elsewhere; both ways off is a wrong clock."""
        ended = self.has_ended()
        return abs(time.time() - self.renewed) > STALE_SECONDS if ended is None else ended

    def has_ended(self) -> bool | None:
        """The same, known at once among its own processes, if they tell; None of others."""
        if self.token in _RELEASED:
            return True
        here = _processes()
        is_here = self.processes == here if here else self.host == socket.gethostname()
        born = _born(self.pid) if is_here else UNKNOWN
        if not born or UNKNOWN not in (born, self.born):
            return born != self.born
        return None

    def to_bytes(self) -> bytes:
        """As stored."""
        return json.dumps(asdict(self)).encode()


UNREADABLE = Holder("", "", 0, "", 0.0)
"""Of a lease that is damaged, as a power failure may leave it; nobody, but one that lives writes it anew."""

FOREIGN = Holder("", "", 0, "", 0.0)
"""Of a file that is no lease, but has its name."""

_BEGINNING = b'{"token": "'
_RELEASED: set[str] = set()  # tokens of this process, which lives on; not every lease could be removed
_log = logging.getLogger(__name__)


class Lease:
    """A held lease, renewed in the background until it is released."""

    def __init__(self, storage: Storage, holder: Holder, key: str = layout.LEASE) -> None:
        self._storage = storage
        self._holder = holder
        self._key = key
        self._lost = threading.Event()
        self._is_deleted = False
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    @property
    def is_lost(self) -> bool:
        """Whether another driver is known to have taken the output over."""
        return self._lost.is_set()

    def check(self) -> None:
        """Raise LeaseLostError if another driver is known to have taken the output over, or somebody deleted it."""
        if self.is_lost and self._is_deleted:
            raise LeaseLostError(
                f"{self._storage.root}: this output, or at least its {self._key}, was deleted while the job worked "
                "on it; what is left there stays"
            )
        if self.is_lost:
            raise LeaseLostError(
                f"{self._storage.root}: another driver has taken this output over; what was committed stays, and the "
                "other goes on from there"
            )

    def confirm(self) -> None:
        """The same after a look; for steps that must not meet another driver's."""
        self._renew_once()
        self.check()

    def release(self) -> None:
        """Stop renewing and remove the lease if it is still ours; where that fails, whoever comes next takes it over.

        What a store says of that is only warned of: it must not hide why the job ended.
        """
        self._released.set()
        _RELEASED.add(self._holder.token)
        self._thread.join()
        try:
            current = read_holder(self._storage, self._key)
            if current is not None and current.token == self._holder.token:
                self._storage.delete(self._key)
        except StorageError as error:
            _log.warning("the lease stays where it is: %s", error)

    def _renew(self) -> None:
        while not (self._lost.is_set() or self._released.wait(RENEW_SECONDS)):
            # A store that cannot be reached now is the workers' business; the next round tries again.
            with contextlib.suppress(StorageError):
                self._renew_once()

    def _renew_once(self) -> None:
        current = read_holder(self._storage, self._key)
        if current is not UNREADABLE and (current is None or current.token != self._holder.token):
            self._is_deleted = current is None
            self._lost.set()
            return
        renewed = Holder(**{**asdict(self._holder), "renewed": time.time()})
        self._storage.replace(self._key, renewed.to_bytes())


def acquire(storage: Storage) -> Lease:
    """Take the lease: if it is free, or if its holder is gone, and no worker lives.

    Raises:
        LeaseError: Another driver that still lives holds it, or a worker does.
        OutputError: Somebody else's file has its name.
    """
    held = _take(storage, layout.LEASE)
    try:
        _refuse_workers(storage, _refuse_living)  # a worker that begins now sees the lease
    except BaseException:
        held.release()
        raise
    return held


def acquire_to_close(storage: Storage) -> Lease:
    """Likewise, for a worker that has seen that all is done: others that live have no more to write."""
    return _take(storage, layout.LEASE)


def acquire_for_worker(storage: Storage, number: int, count: int) -> Lease:
    """Take the lease of one of several workers, beside the others'.

    Args:
        storage: The output.
        number: Of the worker, from 1.
        count: How many there are.

    Raises:
        LeaseError: A driver holds the output, this number is at work, or workers are of another count.
        OutputError: Somebody else's file has the driver's lease's name.
    """
    key = layout.worker_lease_key(number, count)
    held = _take(storage, key)
    try:
        if not _is_closed_by_another(storage, key):
            _refuse_living(storage, layout.LEASE)
        _refuse_workers(storage, _refuse_living, but_of=count)
    except BaseException:
        held.release()
        raise
    return held


def _is_closed_by_another(storage: Storage, own: str) -> bool:
    """Whether who holds the output is a worker, other than that of one key, which closes the job of both."""
    driver, count = read_holder(storage, layout.LEASE), layout.worker_of(own)[1]
    if driver is None or driver in (FOREIGN, UNREADABLE):
        return False
    others = (key for key in worker_leases(storage) if key != own and layout.worker_of(key)[1] == count)
    return any(other and other.process == driver.process for other in (read_holder(storage, key) for key in others))


def _take(storage: Storage, key: str) -> Lease:
    """A lease that is free, or whose holder is gone."""
    if _refuse_living(storage, key) is not None:
        storage.delete(key)
    holder = Holder.this_process()
    try:
        storage.create(key, holder.to_bytes())
    except AlreadyExistsError:
        raise LeaseError(f"{storage.root}: another driver has just taken this output") from None
    return Lease(storage, holder, key)


def refuse_held(storage: Storage) -> Holder | None:
    """The driver that held the output and is gone, as far as its clock tells of one elsewhere, or None.

    It changes nothing, and answers at once, for those who only look; `acquire` trusts no clock.

    Raises:
        LeaseError: A driver or a worker that still lives holds it.
        OutputError: Somebody else's file has the lease's name.
    """
    gone = _refuse(storage, layout.LEASE)
    _refuse_workers(storage, _refuse)
    return gone


def _refuse_workers(storage: Storage, refuse: Callable[[Storage, str], Holder | None], but_of: int = 0) -> None:
    """Refuse where workers live, but for those of one count."""
    for key in worker_leases(storage):
        if layout.worker_of(key)[1] != but_of:
            refuse(storage, key)


def worker_leases(storage: Storage) -> list[str]:
    """The keys of all leases of workers, also of those that are gone."""
    keys = (entry.key for entry in storage.list(layout.WORKERS, recursive=False))
    return sorted(key for key in keys if layout.is_worker_lease(key))


def forget_workers(storage: Storage) -> None:
    """Delete the leases of workers that ended without doing so; for whoever holds the output when all is done."""
    for key in worker_leases(storage):
        holder = read_holder(storage, key)
        if holder is None or holder.is_gone():
            storage.delete(key)


def _refuse(storage: Storage, key: str) -> Holder | None:
    """Who held one lease and is gone, or None; raises as `refuse_held` does."""
    other = read_holder(storage, key)
    if other is FOREIGN:
        raise OutputError(f"output.uri: {storage.root}/{key} is not this program's; move it away")
    if other is not None and not other.is_gone():
        raise _in_use(storage, other, key)
    return other


def _refuse_living(storage: Storage, key: str) -> Holder | None:
    """Likewise, of a holder elsewhere once it would have written its lease anew: clocks may differ by days."""
    before = _refuse(storage, key)
    if before is None or before.has_ended() is not None:
        return before
    seconds = 1.2 * RENEW_SECONDS
    _log.warning("%s: looking for %.0f s whether the driver whose lease lies there lives", storage.root, seconds)
    time.sleep(seconds)
    other = _refuse(storage, key)
    if other is not None and other != before:
        raise _in_use(storage, other, key)
    return other


def read_holder(storage: Storage, key: str = layout.LEASE) -> Holder | None:
    """Who holds a lease; None if nobody does, `UNREADABLE` if the lease does not say, `FOREIGN` if it is none."""
    try:
        data = storage.read(key)
    except NotFoundError:
        return None
    try:
        return Holder(**json.loads(data))
    except TypeError:
        return FOREIGN
    except ValueError:
        is_cut = _BEGINNING.startswith(data[: len(_BEGINNING)]) or not data.strip(b"\0")
        return UNREADABLE if is_cut else FOREIGN


def _in_use(storage: Storage, other: Holder, key: str) -> LeaseError:
    age = max(0.0, time.time() - other.renewed)
    who = "worker {}/{}, ".format(*layout.worker_of(key)) if layout.is_worker_lease(key) else ""
    return LeaseError(
        f"{storage.root}: in use by {who}process {other.pid} on {other.host}, seen {age:.0f} s ago; stop it, or wait "
        f"{STALE_SECONDS:.0f} s after it has ended, or use another output"
    )


def _processes() -> str:
    """The boot of this machine and the namespace of its process numbers, as Linux tells; empty elsewhere."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - it leads to no path
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return UNKNOWN if _is_alive(pid) else ""
    return stat.rpartition(")")[2].split()[19]


def _is_alive(pid: int) -> bool:
    """For systems without /proc, where a recycled process number cannot be told apart."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
