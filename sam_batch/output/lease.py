"""One driver an output: a lease says who works there, and a second driver is refused.

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

    def __init__(self, storage: Storage, holder: Holder) -> None:
        self._storage = storage
        self._holder = holder
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
                f"{self._storage.root}: this output, or at least its {layout.LEASE}, was deleted while the job worked "
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
            current = read_holder(self._storage)
            if current is not None and current.token == self._holder.token:
                self._storage.delete(layout.LEASE)
        except StorageError as error:
            _log.warning("the lease stays where it is: %s", error)

    def _renew(self) -> None:
        while not (self._lost.is_set() or self._released.wait(RENEW_SECONDS)):
            # A store that cannot be reached now is the workers' business; the next round tries again.
            with contextlib.suppress(StorageError):
                self._renew_once()

    def _renew_once(self) -> None:
        current = read_holder(self._storage)
        if current is not UNREADABLE and (current is None or current.token != self._holder.token):
            self._is_deleted = current is None
            self._lost.set()
            return
        renewed = Holder(**{**asdict(self._holder), "renewed": time.time()})
        self._storage.replace(layout.LEASE, renewed.to_bytes())


def acquire(storage: Storage) -> Lease:
    """Take the lease: if it is free, or if its holder is gone.

    Raises:
        LeaseError: Another driver that still lives holds it.
        OutputError: Somebody else's file has its name.
    """
    other = refuse_held(storage)
    if other is not None and other.has_ended() is None:
        other = _outwaited(storage, other)
    if other is not None:
        storage.delete(layout.LEASE)
    holder = Holder.this_process()
    try:
        storage.create(layout.LEASE, holder.to_bytes())
    except AlreadyExistsError:
        raise LeaseError(f"{storage.root}: another driver has just taken this output") from None
    return Lease(storage, holder)


def refuse_held(storage: Storage) -> Holder | None:
    """Who held the output and is gone, as far as its clock tells of one elsewhere, or None; changes nothing.

    It answers at once, for those who only look; `acquire` trusts no clock.

    Raises:
        LeaseError: A driver that still lives holds it.
        OutputError: Somebody else's file has its name.
    """
    other = read_holder(storage)
    if other is FOREIGN:
        raise OutputError(f"output.uri: {storage.root}/{layout.LEASE} is not this program's; move it away")
    if other is not None and not other.is_gone():
        raise _in_use(storage, other)
    return other


def _outwaited(storage: Storage, before: Holder) -> Holder | None:
    """Who holds an output once a driver that lives would have written its lease anew: clocks may differ by days.

    Raises:
        LeaseError: It was written anew, or another driver wrote one.
        OutputError: As of `refuse_held`.
    """
    seconds = 1.2 * RENEW_SECONDS
    _log.warning("%s: looking for %.0f s whether the driver whose lease lies there lives", storage.root, seconds)
    time.sleep(seconds)
    other = refuse_held(storage)
    if other is not None and other != before:
        raise _in_use(storage, other)
    return other


def read_holder(storage: Storage) -> Holder | None:
    """Who holds the output; None if nobody does, `UNREADABLE` if the lease does not say, `FOREIGN` if it is none."""
    try:
        data = storage.read(layout.LEASE)
    except NotFoundError:
        return None
    try:
        return Holder(**json.loads(data))
    except TypeError:
        return FOREIGN
    except ValueError:
        is_cut = _BEGINNING.startswith(data[: len(_BEGINNING)]) or not data.strip(b"\0")
        return UNREADABLE if is_cut else FOREIGN


def _in_use(storage: Storage, other: Holder) -> LeaseError:
    age = max(0.0, time.time() - other.renewed)
    return LeaseError(
        f"{storage.root}: in use by process {other.pid} on {other.host}, seen {age:.0f} s ago; stop it, or wait "
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
