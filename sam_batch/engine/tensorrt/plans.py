"""Built TensorRT engines on disk: under which conditions one may be loaded, and how one appears whole or not at all.

A *plan* is what TensorRT's builder makes of one graph. It is native code for one TensorRT version and one kind of GPU,
and loading one is running it: plans are only ever built here, in a folder that belongs to the user alone, and what
does not match its key or its hash never reaches TensorRT. This module imports neither TensorRT nor torch.

    <folder>/plans/<model>-<precision>-<graph>-<key>.plan   the plan
    <folder>/plans/<model>-<precision>-<graph>-<key>.json   its sidecar: key, hash, what verification said
    <folder>/plans/<...>-<key>.<GPU and driver>.compiled    what TensorRT for RTX has compiled of it
    <folder>/timing/<machine>.cache                         TensorRT's timing cache
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from sam_batch.engine.tensorrt.plan_key import Machine, PlanKey
from sam_batch.errors import EngineError, EngineFileError, OutputError, UnverifiedError
from sam_batch.section import flatten

BUILD_COMMAND = "sam-batch engine build CONFIG"
FOLDER = "engine.tensorrt.folder"


@dataclass(frozen=True, slots=True)
class Record:
    """A plan's sidecar.

    Attributes:
        name: Of the plan's files, without extension.
        key: As `PlanKey`, in JSON's types: what an older or newer version wrote may have other fields.
        sha256: Of the plan.
        size: In bytes.
        seconds: That its build took.
        verified: Where (`Flavour.verified_on`) `engine.verify` has found what, with `plans`, the hashes of those that
            it ran with.
        rebuild: Name of the rebuild it was made in, if one was asked for.
        inside: What the builder has said of its layers and memory, `inspect.Inspection` in words.
    """

    name: str
    key: dict[str, Any]
    sha256: str
    size: int
    seconds: float
    verified: dict[str, dict[str, Any]] | None = None
    rebuild: str | None = None
    inside: str = ""

    def to_text(self) -> str:
        """For a person."""
        told = flatten(self.key)
        library = "TensorRT for RTX" if told.get("machine.flavour") == "rtx" else "TensorRT"
        gpu = told.get("machine.gpu") or f"compute capability {told.get('machine.compute_capability')}"
        state = f"verified on {'; '.join(self.verified)}" if self.verified else "not verified"
        return f"{self.name}  {self.size / 1e6:.1f} MB  {library} {told.get('machine.tensorrt')}  {gpu}  {state}"


_SIDECAR = TypeAdapter(Record)


class PlanStore:
    """The plans in one folder; the folder is made when something is stored."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._plans = folder / "plans"

    @contextlib.contextmanager
    def locked(self, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """For whoever builds: a second builder waits, and then finds what the first has built.

        Args:
            waiting: Called before a wait.

        Raises:
            OutputError: The folder cannot be made or locked.
        """
        self._make(self._plans)
        with self._acquire(waiting):
            self._sweep()
            yield

    def _acquire(self, waiting: Callable[[], None]) -> AbstractContextManager[object]:
        lock = FileLock(self._plans / ".lock")
        try:
            try:
                return lock.acquire(blocking=False)
            except Timeout:
                waiting()
                return lock.acquire()
        except (OSError, NotImplementedError) as error:  # no right to it, or a file system without locks
            raise OutputError(f"{self.folder}: cannot be locked: {error}; set {FOLDER} to another") from error

    def records(self) -> Iterator[Record]:
        """All sidecars that can be read, by name."""
        paths: list[Path] = []
        with contextlib.suppress(OSError):
            paths = sorted(self._plans.glob("*.json"))
        for record in map(_parse, paths):
            if record is not None:
                yield record

    def find(self, key: PlanKey) -> Record:
        """The sidecar of the plan for this key, if it may be loaded; reads all of the plan.

        Raises:
            EngineFileError: There is none, it was altered, or others may write to it.
        """
        record, path = self._record(key), self._path(key.name, "plan")
        with _reading(path), path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        _require_unaltered(path, digest, record)
        return record

    def read(self, key: PlanKey) -> tuple[Record, bytes]:
        """The plan for this key, after the sidecar that it was compared with.

        Raises:
            EngineFileError: As `find`.
        """
        record, path = self._record(key), self._path(key.name, "plan")
        with _reading(path):
            data = path.read_bytes()
        _require_unaltered(path, hashlib.sha256(data).hexdigest(), record)
        return record, data

    def store(
        self, key: PlanKey, plan: bytes | memoryview, seconds: float, rebuild: str | None = None, inside: str = ""
    ) -> Record:
        """Put a freshly built plan into the folder: whole, or not at all.

        Raises:
            OutputError: The folder cannot be made.
            EngineError: It cannot be written; nothing is left behind.
        """
        digest = hashlib.sha256(plan).hexdigest()
        record = Record(key.name, _as_json(key), digest, len(plan), seconds, rebuild=rebuild, inside=inside)
        self._make(self._plans)
        self._write(self._path(key.name, "plan"), plan)
        self._write_record(record)  # last: without its sidecar a plan does not exist
        return record

    def set_verified(self, records: Sequence[Record], where: str, found: Mapping[str, Any]) -> None:
        """Note in each sidecar what the verification of these plans, run together in one place, has found.

        Raises:
            EngineFileError: One is not there any more, or another in its place.
            EngineError: A sidecar cannot be written.
        """
        there = [_parse(self._path(record.name, "json")) for record in records]
        for before, now in zip(records, there, strict=True):
            if now is None or now.sha256 != before.sha256:
                raise EngineFileError(
                    f"{self.folder}: {before.name} was changed while it was verified; "
                    "run sam-batch engine verify CONFIG again"
                )
        for record in filter(None, there):
            verdict = {**found, "plans": _hashes(records)}
            self._write_record(replace(record, verified={**(record.verified or {}), where: verdict}))

    def verified(self, records: Sequence[Record], where: str) -> dict[str, Any]:
        """What verification found for these plans together, and perhaps more of the same model, in one place.

        Raises:
            UnverifiedError: They never were.
        """
        verdicts = [(record.verified or {}).get(where, {}) for record in records]
        for record, verdict in zip(records, verdicts, strict=True):
            if not set(_hashes(records)) <= set(verdict.get("plans", ())):
                raise UnverifiedError(
                    f"{self.folder}: {record.name} was built but not verified on {where}; "
                    "run sam-batch engine verify CONFIG"
                )
        return verdicts[0]

    def compiled(self, record: Record, where: str) -> bytes:
        """What was compiled of a plan as it ran in a place; empty if nothing was."""
        with contextlib.suppress(OSError):
            return self._compiled_path(record, where).read_bytes()
        return b""

    def store_compiled(self, record: Record, where: str, data: bytes) -> None:
        """Keep what was compiled, for the next process.

        Raises:
            EngineError: It cannot be written.
        """
        self._write(self._compiled_path(record, where), data)

    def timing_cache(self, machine: Machine) -> bytes:
        """What earlier builds on such a machine have measured; empty before the first."""
        with contextlib.suppress(OSError):
            return self._timing_path(machine).read_bytes()
        return b""

    def store_timing_cache(self, machine: Machine, data: bytes) -> None:
        """Keep the measurements of a build.

        Raises:
            OutputError: The folder cannot be made.
            EngineError: They cannot be written.
        """
        self._make(self._timing_path(machine).parent)
        self._write(self._timing_path(machine), data)

    def _path(self, name: str, extension: str) -> Path:
        return self._plans / f"{name}.{extension}"

    def _compiled_path(self, record: Record, where: str) -> Path:
        """Beside the plan: it is native code as well, and this folder is its owner's alone."""
        return self._path(record.name, f"{_as_file_name(where)}.compiled")

    def _timing_path(self, machine: Machine) -> Path:
        words = f"{machine.tensorrt}-cuda{machine.cuda}-{machine.gpu}-sm{machine.compute_capability}"
        return self.folder / "timing" / f"{_as_file_name(words)}.cache"

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made: {error.strerror}; set {FOLDER} to another") from error

    def _sweep(self) -> None:
        """Remove what killed builders have left half written; only who holds the lock writes such files."""
        for pattern in ("plans/.*.plan.tmp", "plans/.*.compiled.tmp", "timing/.*.cache.tmp"):
            with contextlib.suppress(OSError):
                for path in self.folder.glob(pattern):
                    path.unlink()

    def _record(self, key: PlanKey) -> Record:
        """The sidecar of the plan for this key; what is in the plan, it does not look at."""
        self._require_private()
        path, plan = self._path(key.name, "json"), self._path(key.name, "plan")
        record = _parse(path)
        if record is None:
            raise EngineFileError(f"{self.folder}: no TensorRT plan of {_describe(key)}{self._nearest(key)}; {_mend()}")
        if (record.name, record.key) != (key.name, _as_json(key)):
            raise EngineFileError(f"{path}: does not describe the plan of that name; {_mend()}")
        with _reading(plan):
            whole = plan.is_file() and plan.stat().st_size == record.size
        if not whole:
            raise EngineFileError(f"{plan}: is missing or truncated; {_mend()}")
        return record

    def _require_private(self) -> None:
        try:
            status = self._plans.stat()
        except FileNotFoundError:
            return
        except OSError as error:
            raise EngineFileError(
                f"{self._plans}: cannot be read: {error.strerror}; set {FOLDER} to another, then {BUILD_COMMAND}"
            ) from error
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise EngineFileError(
                f"{self._plans}: others may write here, and a plan runs as native code; take it over (chown) and "
                f"chmod 700 it, or set {FOLDER} to another, then {BUILD_COMMAND}"
            )

    def _nearest(self, key: PlanKey) -> str:
        """In words, what differs from the most similar plan that is there."""
        wanted = flatten(_as_json(key))
        kin = [one for one in self.records() if all(one.key.get(name) == wanted[name] for name in ("graph", "model"))]
        if not kin:
            return ""
        differing = min((_differing(wanted, flatten(one.key)) for one in kin), key=len)
        return "; the nearest was built for another " + ", ".join(differing)

    def _write_record(self, record: Record) -> None:
        self._write(self._path(record.name, "json"), (json.dumps(asdict(record), indent=2) + "\n").encode())

    def _write(self, path: Path, data: bytes | memoryview) -> None:
        try:
            _write_whole(path, data)
        except OSError as error:
            raise EngineError(
                f"{path}: cannot be written ({len(data):,} bytes): {error.strerror}; "
                f"free some space, or set {FOLDER} to another disk"
            ) from error


def _write_whole(path: Path, data: bytes | memoryview) -> None:
    """Through a temporary file in the same folder, which is gone whatever happens."""
    descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=f"{path.suffix}.tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _parse(path: Path) -> Record | None:
    """None for what is no sidecar."""
    try:
        return _SIDECAR.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineFileError(f"{path}: cannot be read: {error.strerror}; {_mend()}") from error


def _require_unaltered(path: Path, digest: str, record: Record) -> None:
    if digest != record.sha256:
        raise EngineFileError(f"{path}: was altered since it was built (its sha256 is another); {_mend()}")


def _as_file_name(words: str) -> str:
    return "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in words)


def _hashes(records: Sequence[Record]) -> list[str]:
    return sorted(record.sha256 for record in records)


def _as_json(key: PlanKey) -> dict[str, Any]:
    """With lists for tuples, as they come back from a file."""
    return dict(json.loads(json.dumps(asdict(key))))


def _differing(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    names = [name for name in wanted if there.get(name) != wanted[name]]
    return [f"{name.removeprefix('machine.')} ({there.get(name)}, here {wanted[name]})" for name in names]


def _describe(key: PlanKey) -> str:
    machine = key.machine
    where = machine.gpu or f"compute capability {machine.compute_capability}"
    return f"{key.model} {key.graph} in {key.precision} for TensorRT {machine.tensorrt} on {where}"


def _mend() -> str:
    return f"run {BUILD_COMMAND}"
