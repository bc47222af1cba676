"""Pictures of an output drawn anew into a folder of their own, with other settings: from rows and photographs alone.

The output stays as it is, and no mask changes. What is drawn is kept beside the pictures, so that the same command,
given again, goes on, and another one is refused.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any, Final

from rich.console import Console

from sam_batch.config import Config
from sam_batch.data.storage import Storage, open_storage, shown
from sam_batch.errors import ConfigError, JobError, OutageError, OutputError
from sam_batch.job.changed import refuse_names
from sam_batch.job.outage import Patience, controls
from sam_batch.job.pictures import draw_lacking
from sam_batch.job.progress import RunProgress
from sam_batch.job.spec import known_settings
from sam_batch.output import layout, lease, ownership, schema
from sam_batch.output.fingerprint import PICTURES, decoding_of, digest, value_of
from sam_batch.output.output import Output
from sam_batch.output.parts import Receipt
from sam_batch.output.plan import Plan
from sam_batch.records import ImageResult
from sam_batch.wording import counted

RECEIPT: Final = "pictures.json"
_KEYS: Final = tuple(f"output.{name}." for name in PICTURES)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Drawing:
    """A `spec.Pictured` of an output that is there."""

    config: Config
    adopted: Mapping[str, str]
    controls: tuple[str, ...]


def draw_output(source: Output, destination: str, config: Config, console: Console) -> int:
    """Draw the pictures of a finished output into another folder.

    Args:
        source: Of any job, also one that was filtered.
        destination: URI of a folder or prefix that is empty, new, or was begun by the same command.
        config: Of the job, with the pictures that are wanted.
        console: For progress.

    Returns:
        How many images have their pictures there now; failed ones have none, and count.

    Raises:
        ConfigError: No pictures are asked for.
        OutputError: There is no finished job, or the destination is somebody else's, or of other pictures or rows.
        JobError: Images are gone or changed since they were labelled; all others are drawn.
        StorageError: A file cannot be read or written.
    """
    plan = source.require_plan()
    lease.refuse_held(source.storage)
    done = source.require_finished(plan)
    settings = {key: value for key, value in known_settings(config).items() if key.startswith(_KEYS)}
    if not any(value_of(settings, f"output.{name}.enabled") for name in PICTURES):
        raise ConfigError(f"draw: nothing to draw: {', '.join(f'output.{name}' for name in PICTURES)} are all off")
    storage = open_storage(destination, config.storage)
    if storage.root == source.storage.root:
        raise ConfigError(f"{shown(destination)}: is the output itself; name another folder")
    _claim(storage, _receipt(source, plan, settings), ownership.Names(plan.rows, settings))
    decoding = decoding_of(plan.fingerprint)
    known = {name: getattr(decoding, name) for name in decoding.model_fields_set} | {"uri": plan.roots}
    settings_of_job = config.model_copy(update={"input": config.input.model_copy(update=known)})
    drawing = _Drawing(settings_of_job, plan.fingerprint, controls(plan, source.storage))
    drawn = undrawn = 0
    patience = Patience(config.storage.outage_seconds, console)
    with RunProgress(console, len(plan)) as progress:
        for shard, part in zip(plan.in_order(done), source.parts(plan, done), strict=True):
            receipt = _draw(schema.table_to_results(part), shard, drawing, storage, patience)
            for note in receipt.notes:
                _log.warning("%s", note)
            progress.add(receipt)
            drawn, undrawn = drawn + receipt.ok, undrawn + receipt.failed
    if undrawn:
        raise JobError(f"{counted(undrawn, 'image')} not drawn, {drawn} were; the same command tries those again")
    return drawn


def _draw(results: list[ImageResult], shard: int, drawing: _Drawing, storage: Storage, patience: Patience) -> Receipt:
    while True:
        receipt = draw_lacking(results, shard, drawing, storage)
        if not receipt.outage:
            patience.answered()
            return receipt
        patience.wait(OutageError(receipt.outage))


def _receipt(source: Output, plan: Plan, settings: Mapping[str, Any]) -> bytes:
    """What is drawn: of which rows, as far as their files' names, sizes and times tell, and how."""
    files = [astuple(entry)[2:] for entry in source.storage.list(layout.ANNOTATIONS, recursive=False)]
    rows = hashlib.sha256(json.dumps([files, digest(plan.fingerprint)]).encode()).hexdigest()
    about = {"sam_batch.pictures": source.storage.root, "rows": rows, "settings": dict(settings)}
    return json.dumps(about, indent=2, sort_keys=True).encode() + b"\n"


def _claim(storage: Storage, receipt: bytes, names: ownership.Names) -> None:
    """Keep what is drawn there, unless it is kept already."""
    there = ownership.read_if_there(storage, RECEIPT)
    if there is None:
        ownership.refuse_foreign(storage)
        refuse_names(storage, names)
        storage.create(RECEIPT, receipt)
    elif there != receipt:
        raise OutputError(
            f"{shown(storage.root)}: holds pictures of other settings, or of rows that have changed since, or "
            f"something else by the name of {RECEIPT}; name an empty or a new folder"
        )
