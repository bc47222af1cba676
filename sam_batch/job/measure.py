"""What a job would cost: some of its images are labelled here, into a temporary folder, and the rest is multiplied.

Nothing is written into the output. What depends on other machines, such as their number of processors, is not foreseen:
where Ray runs the job, loading and writing are taken to keep up with the engines.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
from rich.console import Console

from sam_batch.config import Config
from sam_batch.data.storage import open_storage
from sam_batch.errors import ConfigError
from sam_batch.job.ending import Alarm
from sam_batch.job.executor import InlineExecutor
from sam_batch.job.spec import JobSpec
from sam_batch.job.status import DryRun
from sam_batch.output import layout
from sam_batch.output.parts import Receipt
from sam_batch.output.plan import extend
from sam_batch.prompts.needs import Needs
from sam_batch.wording import counted


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is to do, by what was measured.

    Attributes:
        measured: Images that were labelled for it.
        failed: Those of them that failed; they count as quick ones.
        seconds: Of one image, by stage.
        engines: That work at the same time.
        hours: Until all is done.
        price: Of these hours, where one was given for an hour of an engine.
        files: To be written, by folder, without exports and report.
        bytes: Of these.
    """

    measured: int
    failed: int
    seconds: dict[str, float]
    engines: int
    hours: float
    price: float | None
    files: dict[str, int]
    bytes: dict[str, int]

    def to_text(self) -> str:
        """For a person."""
        stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in self.seconds.items())
        price = "" if self.price is None else f", price {self.price:,.2f}"
        failed = f", {self.failed} of which failed" if self.failed else ""
        folders = ", ".join(f"{name} {count:,} ({_size(self.bytes[name])})" for name, count in self.files.items())
        return (
            f"about {self.hours:.2f} hours with {counted(self.engines, 'engine')} as here{price}; seconds an image: "
            f"{stages}; measured on {counted(self.measured, 'image')}{failed}\n"
            f"about {sum(self.files.values()):,} files, {_size(sum(self.bytes.values()))}: {folders}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The attributes."""
        return asdict(self)


def measure(config: Config, found: DryRun, count: int, price: float | None, console: Console) -> Estimate:
    """Label some images from all over the input, and say what all that is to do would take.

    Args:
        config: The job.
        found: What is to do.
        count: Images to label; the first is labelled twice, since what is compiled or loaded once takes seconds.
        price: Of an hour of an engine, in any currency.
        console: For what the engine's choice says.

    Raises:
        ConfigError: The model, the device or an engine cannot be used, or none of the images can be labelled.
        EngineError: The engine broke.
    """
    listed = found.listed.images
    count = min(count, len(listed))
    entries = [listed[number * len(listed) // count] for number in range(count)]
    rows = extend(None, entries, 1, found.images.prompts_of)
    shards = [rows.slice(number, 1) for number in (0, *range(rows.num_rows))]
    with TemporaryDirectory(prefix="sam-batch-") as folder:
        receipts = _label(config, folder, shards, console)[1:]
        written = open_storage(folder, config.storage).list()
        sizes = [(entry.key.partition("/")[0], entry.size or 0) for entry in written]
    failed = sum(receipt.failed for receipt in receipts)
    if failed == len(receipts):
        raise ConfigError("--measure: none of the images that were tried could be labelled; name more, or other ones")
    return _estimate(config, found, receipts, sizes, price)


def _label(config: Config, folder: str, shards: Sequence[pa.Table], console: Console) -> list[Receipt]:
    """Label shards of one image each in this process, with the engine that the job would have here."""
    import torch

    from sam_batch.engine import factory
    from sam_batch.job import settle

    elsewhere = {"output": config.output.model_copy(update={"uri": folder})}
    choice = factory.resolve(config.engine, torch.cuda.is_available())  # a GPU that is missing shows before a download
    checkpoint, executor = factory.resolve_weights(config), InlineExecutor(Alarm().end_now)
    needs = Needs.of(pa.chunked_array([chunk for shard in shards for chunk in shard["prompts"].chunks]), config.prompts)
    choice = settle.settle(config, checkpoint, choice, executor, console, needs)
    job = JobSpec(config.model_copy(update=elsewhere), checkpoint, choice)
    return list(executor.run(job, shards, again=False))


def _estimate(
    config: Config, found: DryRun, receipts: Sequence[Receipt], sizes: Sequence[tuple[str, int]], price: float | None
) -> Estimate:
    """Multiply what some images took by how many there are."""
    seconds = {
        "load": sum(receipt.load_seconds for receipt in receipts) / len(receipts),
        "segment": sum(receipt.segment_seconds for receipt in receipts) / len(receipts),
        "write": sum(receipt.write_seconds for receipt in receipts) / len(receipts),
    }
    is_inline, actors = config.run.executor == "inline", config.run.actors
    engines = 1 if is_inline or isinstance(actors, str) else actors
    one_image = sum(seconds.values()) if is_inline else seconds["segment"]
    hours = found.images_to_do * one_image / engines / 3600
    scale = found.images_to_do / len(receipts)
    files, size = Counter[str](), Counter[str]()
    for folder, weight in sizes:
        files[folder] += 1
        size[folder] += weight
    packed = (layout.SEGMENTS,) if config.output.segments.pack == "tar" else ()
    of_shards = (layout.ANNOTATIONS, layout.METRICS, *packed)
    return Estimate(
        measured=len(receipts),
        failed=sum(receipt.failed for receipt in receipts),
        seconds=seconds,
        engines=engines,
        hours=hours,
        price=None if price is None else price * hours * engines,
        files={
            name: found.shards_to_do if name in of_shards else round(count * scale) for name, count in files.items()
        },
        bytes={name: round(weight * scale) for name, weight in size.items()},
    )


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
