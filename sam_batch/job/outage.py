"""An input store that does not answer: noticed by the loaders, waited out by the driver. It makes no rows.

An image that cannot be read is held against it only if its store still answers. The proof is a control: another image
of the same store that can be read after the failure. There are, in this order, the last one that this loader read,
images that have rows, and images from all over the plan. Only where an image has no other in its store, its bucket or
its folder is looked up instead.
"""

import platform
import time
from collections.abc import Callable
from threading import Lock

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from sam_batch.config import Config
from sam_batch.data import globs, tar
from sam_batch.data.storage import Storage, locate, open_storage, read_uri, stat_uri
from sam_batch.data.storage_kinds import bucket_of, is_local
from sam_batch.errors import ImageError, JobError, NotFoundError, OutageError, PermissionDeniedError, StorageError
from sam_batch.job.spec import Pictured
from sam_batch.output import layout, schema
from sam_batch.output.plan import Plan, committed_shards
from sam_batch.records import Status

KNOWN = 4  # controls from each of some parts
SPREAD = 16  # controls from all over the plan
SLOW = 3  # controls that are tried where each may take a minute
CONTROL_ATTEMPTS = 2
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0


class Reader:
    """Reads the images of one shard, in several threads, and tells a bad image from a store that is gone."""

    def __init__(self, job: Pictured) -> None:
        self._config = job.config
        self._hasty = job.config.storage.model_copy(update={"attempts": CONTROL_ATTEMPTS})
        self._roots = _local_roots(job.config)
        self._controls = job.controls
        self._was_read: dict[str, str] = {}  # an image by its store
        self._outage: OutageError | None = None
        self._lock = Lock()

    def read(self, uri: str) -> bytes:
        """An image's bytes.

        Raises:
            OutageError: The store does not answer, which is no image's fault; from then on for every image.
            ImageError, StorageError: As `read_uri` does, of this image alone.
        """
        if self._outage is not None:
            raise self._outage
        try:
            data = read_uri(uri, self._config.storage, self._config.input.max_bytes)
        except StorageError as error:
            self._require_store(uri, error)
            data = self._read_soon(uri)  # the store may have come back between the two
        self._was_read[self._store_of(uri)] = uri
        return data

    def _require_store(self, uri: str, error: StorageError) -> None:
        with self._lock:  # where all threads fail at once, one asks
            if self._outage is None and not self._answers(uri, error):
                self._outage = OutageError(f"{error}; nor can other images there be read on {platform.node()}")
        if self._outage is not None:
            raise self._outage from error

    def _answers(self, uri: str, error: StorageError) -> bool:
        """Whether the store of an image that could not be read answers now."""
        store = self._store_of(uri)
        known = [self._was_read[store]] if store in self._was_read else []
        others = [*known, *(control for control in self._controls if self._store_of(control) == store)]
        others = [other for other in dict.fromkeys(others) if other != uri]
        if not others:
            return self._place_is_there(uri)
        is_quick = isinstance(error, (NotFoundError, PermissionDeniedError))
        return any(self._control_answers(other, error) for other in (others if is_quick else others[:SLOW]))

    def _read_soon(self, uri: str) -> bytes:
        return read_uri(uri, self._hasty, self._config.input.max_bytes)

    def _control_answers(self, uri: str, error: StorageError) -> bool:
        try:
            if isinstance(error, NotFoundError):
                stat_uri(_file_of(uri), self._hasty)
            else:
                self._read_soon(uri)
        except StorageError:
            return False
        except ImageError:  # it was looked at
            return True
        return True

    def _place_is_there(self, uri: str) -> bool:
        file = _file_of(uri)
        place = (file.rpartition("/")[0] or "/") if is_local(file) else bucket_of(file)
        try:
            return open_storage(place, self._config.storage).is_folder()
        except StorageError:
            return False

    def _store_of(self, uri: str) -> str:
        """What one outage takes away together: a bucket, or a local folder that is an input of its own."""
        file = _file_of(uri)
        if not is_local(file):
            return bucket_of(file)
        return max((root for root in self._roots if f"{file}/".startswith(root)), key=len, default="/")


def _file_of(uri: str) -> str:
    """The archive where an image lies in one."""
    in_archive = tar.split_uri(uri)
    return in_archive[0] if in_archive else uri


def _local_roots(config: Config) -> list[str]:
    """The fixed part of every local input, as the URIs below it begin."""
    fixed = (globs.split(uri)[0] for uri in config.input.uris if is_local(uri))
    return [locate(uri, config.storage).uri.rstrip("/") + "/" for uri in fixed]


def controls(plan: Plan, storage: Storage) -> tuple[str, ...]:
    """Images that a loader tries when it can read none of its own: first some that have rows, then some of all."""
    done = sorted(committed_shards(storage))
    parts = [done[index] for index in _spread(len(done), 3)]
    known = [uri for shard in parts for uri in _known_good(plan, storage, shard)]
    return tuple(dict.fromkeys([*known, *plan.addresses(_spread(plan.rows.num_rows, SPREAD))]))


def _known_good(plan: Plan, storage: Storage, shard: int) -> list[str]:
    part = plan.readdressed(schema.read_part(storage.read(layout.part_key(layout.ANNOTATIONS, shard))))
    return _some(part.filter(pc.not_equal(part["status"], Status.FAILED.value))["uri"], KNOWN)


def _some(uris: pa.ChunkedArray, count: int) -> list[str]:
    texts: list[str] = uris.take(pa.array(_spread(len(uris), count), pa.int64())).to_pylist()
    return texts


def _spread(length: int, count: int) -> list[int]:
    return sorted({number * length // count for number in range(count)} if length else ())


class Patience:
    """Waits while images cannot be loaded, for `storage.outage_seconds` in a row and no longer."""

    def __init__(
        self,
        seconds: float,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._seconds, self._console, self._clock, self._sleep = seconds, console, clock, sleep
        self._since: float | None = None
        self._pause = FIRST_PAUSE_S

    def answered(self) -> None:
        """They can be loaded again: the next outage has all the time once more."""
        if self._since is not None:
            self._console.print("images are loaded again", highlight=False)
        self._since, self._pause = None, FIRST_PAUSE_S

    def wait(self, outage: OutageError) -> None:
        """Return when it is time to try again.

        Raises:
            JobError: It was tried for long enough.
        """
        now = self._clock()
        self._since = now if self._since is None else self._since
        left = self._since + self._seconds - now
        if left <= 0:
            raise JobError(
                f"images could not be loaded for {self._seconds:g} s (storage.outage_seconds): {outage}; they are "
                "still to do, and the same command goes on with them"
            ) from outage
        told = f"images cannot be loaded: {outage}; trying again for {left:.0f} s"
        self._console.print(told, markup=False, highlight=False, soft_wrap=True)
        self._sleep(min(self._pause, left))
        self._pause = min(2 * self._pause, LONGEST_PAUSE_S)
