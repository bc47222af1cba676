"""Pictures that were switched on after images were labelled: the driver has them drawn from the rows, by the workers.

No image is segmented again, and no row is touched. What is drawn is kept beside the plan before the first picture is,
and that all are there after the last; what an interruption leaves is done by the next run. How one is drawn,
`job.pictures` knows.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace

import numpy as np
import pyarrow as pa

from sam_batch.config import Config
from sam_batch.errors import JobError, OutageError, StorageError
from sam_batch.job.ending import Run
from sam_batch.job.executor import Executor
from sam_batch.job.outage import Patience, controls
from sam_batch.job.progress import RunProgress
from sam_batch.job.spec import JobSpec
from sam_batch.output.fingerprint import PICTURES
from sam_batch.output.output import Output
from sam_batch.output.plan import Plan, store_pictures
from sam_batch.wording import counted

_log = logging.getLogger(__name__)


def draw_switched_on(run: Run, executor: Executor, job: JobSpec, plan: Plan) -> Plan:
    """Draw the pictures that images which have rows may lack.

    Args:
        run: The run.
        executor: Whose workers draw.
        job: With the settings of the pictures.
        plan: Of the output.

    Returns:
        The plan, which says whether all are there.

    Raises:
        JobError: A shard's workers died, or the input cannot be loaded.
        StorageError: The output cannot be read or written.
    """
    if plan.is_drawn:
        return plan
    shards = {rows["shard"][0].as_py(): rows for rows in shards_to_draw(plan, Output(run.storage).done())}
    total = sum(rows.num_rows for rows in shards.values())
    pictures = pictures_of(plan.pictures)
    told = f"{', '.join(pictures)} of {counted(total, 'image')} to draw, from their rows"
    run.console.print(told, highlight=False, soft_wrap=True)
    job = replace(job, config=_only(job.config, pictures), controls=controls(plan, run.storage))
    undrawn = 0
    with RunProgress(run.console, total) as progress:
        patience = Patience(run.config.storage.outage_seconds, run.console)
        while shards:
            try:
                undrawn += _draw_shards(run, executor, job, shards, progress, patience)
            except OutageError as outage:
                patience.wait(outage)
    if undrawn:
        _log.warning("%s without pictures that were switched on; the next run tries again", counted(undrawn, "image"))
    return plan if undrawn else store_pictures(run.storage, plan, {}, is_drawn=True)


def _draw_shards(
    run: Run, executor: Executor, job: JobSpec, shards: dict[int, pa.Table], progress: RunProgress, patience: Patience
) -> int:
    """Take what is drawn from the shards; returns how many images could not be."""
    undrawn = 0
    with closing(executor.redraw(job, list(shards.values()))) as stream:
        for receipt in stream:
            if receipt.error:
                raise StorageError(receipt.error)
            if receipt.outage:
                raise OutageError(receipt.outage)
            run.lease.check()
            patience.answered()
            for note in receipt.notes:
                _log.warning("%s", note)
            progress.add(receipt)
            undrawn += receipt.failed
            del shards[receipt.shard]
    if shards:
        raise JobError(f"workers died while they drew {counted(len(shards), 'shard')}; the same command tries again")
    return undrawn


def shards_to_draw(plan: Plan, done: set[int]) -> Iterator[pa.Table]:
    """Of the shards that have a part, the images that count, `uri` where they are now."""
    for shard in map(plan.readdressed, plan.shards(done)):
        counted_rows = shard.filter(pa.array(~np.isin(shard["image_id"], plan.retired)))
        if counted_rows.num_rows:
            yield counted_rows


def pictures_of(settings: Mapping[str, str]) -> list[str]:
    """The sections of `output` that settings switch on, as `fingerprint.switched_on` returns them."""
    return [name for name in PICTURES if settings.get(f"output.{name}.enabled") == "true"]


def _only(config: Config, pictures: list[str]) -> Config:
    """The job with these pictures and no others."""
    sections = {name: getattr(config.output, name) for name in PICTURES}
    others = {name: one.model_copy(update={"enabled": False}) for name, one in sections.items() if name not in pictures}
    return config.model_copy(update={"output": config.output.model_copy(update=others)})
