"""Looks at what a job needs, from every node that will work on it, seconds after the start and before any work.

A node without the mount, the credentials, the weights, the package or its GPU would cost hours, or leave results where
nobody finds them. Whether images are any good, and whether stores stay, is found out by the work itself; nodes that
join later are not looked at.
"""

import contextlib
import hashlib
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from sam_batch import __version__
from sam_batch.config import StorageConfig
from sam_batch.data.storage import Storage, open_storage, read_uri, shown
from sam_batch.errors import ConfigError, ImageError, NotFoundError, OutputError, SamBatchError, StorageError
from sam_batch.job.decoders import sandboxes
from sam_batch.job.executor import Executor
from sam_batch.job.spec import JobSpec
from sam_batch.model.checkpoints import find_here
from sam_batch.output import layout
from sam_batch.wording import counted

SAMPLES = 3  # images that the driver tries until it can read one, for nodes to read
ATTEMPTS = 2  # of such a read
NAMED = 5  # nodes in a refusal

_SHARE = "name an absolute path of a folder that all nodes share, or a bucket"


class Sample(NamedTuple):
    """An image that the driver could read.

    Attributes:
        uri: As listed.
        sha256: Of its bytes, hexadecimal.
    """

    uri: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What every node is to find. Picklable.

    Attributes:
        job: The job.
        probe: The name of a file that the driver has written into the output.
        sample: None where the driver could read no image itself.
        package: The driver's `package_digest`.
    """

    job: JobSpec
    probe: str
    sample: Sample | None
    package: str


class Seen(NamedTuple):
    """What a node answers.

    Attributes:
        fault: The first thing that is wrong there, in words; empty if nothing is.
        probe: The name of the file that it has written into the output.
    """

    fault: str
    probe: str = ""


def check(job: JobSpec, storage: Storage, images: Iterable[str], executor: Executor, console: Console) -> None:
    """Write and read back in the output from here, and have all nodes of a cluster look at what they need.

    Args:
        job: The job.
        storage: Its output, which this driver holds.
        images: URIs of its input.
        executor: Reaches the nodes.
        console: Is told how many there are.

    Raises:
        OutputError: The output does not give back what is written into it.
        ConfigError: Some nodes cannot work on this job; names them, and what they lack.
    """
    probe = layout.PROBE + secrets.token_hex(16)
    try:
        _write_probe(storage, probe)
        if executor.is_cluster:
            sample = _sample(images, job)
            _check_nodes(Asked(job, probe, sample, package_digest()), storage, executor, console)
    except StorageError as error:
        raise OutputError(f"output.uri: {error}") from error
    finally:
        with contextlib.suppress(StorageError):  # the first error counts
            clear(storage, probe)


def _write_probe(storage: Storage, probe: str) -> None:
    storage.write(probe, probe.encode())
    if storage.read(probe) != probe.encode():
        raise StorageError(f"{shown(storage.root)} does not give back what is written into it")


def clear(storage: Storage, probe: str = layout.PROBE) -> None:
    """Delete one probe and what nodes made of it; or all, of killed runs too, for whoever alone holds the output."""
    for entry in list(storage.list(recursive=False)):
        if entry.key.startswith(probe):
            storage.delete(entry.key)


def _sample(images: Iterable[str], job: JobSpec) -> Sample | None:
    for uri in islice(images, SAMPLES):
        with contextlib.suppress(ImageError, StorageError):
            hasty = job.config.storage.model_copy(update={"attempts": ATTEMPTS})
            return Sample(uri, _sha256(uri, hasty, job.config.input.max_bytes))
    return None


def _sha256(uri: str, config: StorageConfig, max_bytes: int) -> str:
    return hashlib.sha256(read_uri(uri, config, max_bytes)).hexdigest()


def _check_nodes(asked: Asked, storage: Storage, executor: Executor, console: Console) -> None:
    answers = executor.on_nodes(look, asked, failed=Seen)
    faults = []
    for node, seen in answers:
        fault = seen.fault or _not_written(storage, seen.probe)
        faults += [f"{node}: {fault}"] if fault else []
    if faults:
        more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        raise ConfigError(
            f"{len(faults)} of {counted(len(answers), 'node')} cannot work on this job: "
            f"{'; '.join(faults[:NAMED])}{more}"
        )
    console.print(f"{counted(len(answers), 'node')} can read, write and load what this job needs", highlight=False)


def _not_written(storage: Storage, probe: str) -> str:
    try:
        if storage.read(probe) == probe.encode():
            return ""
    except NotFoundError:
        pass
    return f"what it writes into {shown(storage.root)} does not come to the driver; {_SHARE}"


def look(asked: Asked, gpus: int) -> Seen:
    """On a node: whether it has what a job needs.

    Args:
        asked: What that is.
        gpus: How many Ray promises there.
    """
    probe = f"{asked.probe}-{secrets.token_hex(8)}"
    try:
        fault = next(filter(None, _faults(asked, gpus, probe)), "")
    except (SamBatchError, OSError) as error:
        fault = str(error) or type(error).__name__
    return Seen(fault, probe)


def _faults(asked: Asked, gpus: int, probe: str) -> Iterator[str]:
    """Of this node, from cheap to dear."""
    job, sample = asked.job, asked.sample
    if package_digest() != asked.package:
        yield f"has another sam-batch than the driver, here {__version__}; install the same on all nodes"
    yield _output_fault(job.config.output.uri, asked.probe, probe, job.config.storage)
    if sample and _sha256(sample.uri, job.config.storage, job.config.input.max_bytes) != sample.sha256:
        yield f"{shown(sample.uri)} is another file than on the driver; mount the same input on all nodes"
    sandboxes().check()
    if job.checkpoint.sha256:  # the fake engine has no weights
        find_here(job.checkpoint)
    if job.engine.on_gpu and gpus:
        import torch

        if (there := torch.cuda.device_count()) < gpus:
            yield f"Ray counts {counted(gpus, 'GPU')} and torch sees {there}; look at its driver and build of torch"


def _output_fault(uri: str, drivers: str, own: str, config: StorageConfig) -> str:
    storage = open_storage(uri, config)
    if not storage.exists(drivers):
        there = f", which is {shown(storage.root)} there" if storage.root != uri.rstrip("/") else ""
        return f"does not see what the driver writes into {shown(uri)}{there}; {_SHARE}"
    _write_probe(storage, own)
    return ""


def package_digest() -> str:
    """A hash of this package's source: two checkouts may call themselves by one version."""
    folder, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
