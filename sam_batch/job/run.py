"""The job from beginning to end, as the driver sees it.

1. Check everything that can be checked before a worker starts, from cheap to dear: settings, input, output, device,
   weights. Hold the output meanwhile.
2. Extend the plan by new images; refuse another job's output.
3. Stream the shards without a part through the stages. A part that appears is a shard done.
4. Give the shards that are still missing a second pass, image by image: what kills its worker again is `failed`.
5. Read all parts once: count the rows and write COCO.

Killed at any point and started again, it ends with the same files.
"""

import logging
from dataclasses import replace
from functools import partial

from rich.console import Console

from sam_batch.config import Config
from sam_batch.job import preflight
from sam_batch.job.changed import difference_of, look_into, successor
from sam_batch.job.ending import Alarm, Run, sigterm_as_interrupt, summarised
from sam_batch.job.images import Images
from sam_batch.job.notes import noted
from sam_batch.job.redraw import draw_switched_on
from sam_batch.job.steps import (
    Workers,
    extended_plan,
    finish,
    held,
    keep_config,
    kept_config,
    label,
    needs_of,
    opened,
    prepared,
)
from sam_batch.output import claims, layout, lease, ownership
from sam_batch.output.output import Output
from sam_batch.output.plan import (
    Plan,
    read_plan,
    replace_plan,
)
from sam_batch.output.summary import Summary

_log = logging.getLogger(__name__)


def run_job(config: Config, console: Console, overwrite: str | None = None) -> Summary:
    """Label the images that have no row yet.

    Args:
        config: The job.
        console: For progress.
        overwrite: The output's URI once more, to throw its results away first: what is ours in it.

    Returns:
        The summary, also of a job that was interrupted or failed on the way.

    Raises:
        ConfigError: Something is wrong that was found before any work began.
    """
    notes: list[str] = []
    with noted(notes):
        storage, images, plan = opened(config, console, overwrite)
        summary = Summary(storage.root, config.run.max_failure_rate, listed=images.listed.to_dict(), notes=notes)
        with sigterm_as_interrupt(), held(partial(lease.acquire, storage)) as holding:
            run = Run(config, storage, holding, summary, console, Alarm())
            storage.clear_temporary(layout.ExportNames(claims.claimed(storage), tuple).__contains__)
            preflight.clear(storage)
            before = read_plan(storage) if overwrite is None else None  # once more: now no other driver writes here
            if before is not None and _is_finished(run, before, images):
                with summarised(run, before):
                    finish(run, before, changed=False)
            else:
                with prepared(run, images, needs_of(config, images, plan)) as workers:
                    summary.used = workers.job.used()
                    console.print(workers.job.to_text(), markup=False, highlight=False, soft_wrap=True)
                    _work(run, workers, images, before, overwrite is not None)
    return summary


def _is_finished(run: Run, plan: Plan, images: Images) -> bool:
    """Whether this very configuration has done all there is: then nothing dear need be loaded to say so."""
    output = Output(run.storage)
    same = ownership.read_if_there(run.storage, layout.CONFIG) == kept_config(run.config)
    if not same or not plan.is_drawn or run.config.run.retry_failed or plan.pending(output.done()):
        return False
    difference = difference_of(plan, images.listed, run.config)
    return not difference.new and look_into(output, plan, difference, images, run.config) == (plan.changes, [], [])


def _work(run: Run, workers: Workers, images: Images, before: Plan | None, overwrite: bool) -> None:
    """Steps 2 to 5."""
    fingerprint = workers.job.fingerprint()
    extend = _new_plan if overwrite else partial(extended_plan, plan=before)
    plan = extend(run, images, fingerprint)
    recounted = before is not None and before.changes != plan.changes
    keep_config(run)
    with summarised(run, plan):
        workers = workers._replace(job=replace(workers.job, adopted=plan.fingerprint))
        plan = draw_switched_on(run, workers.executor, workers.job, plan)  # first: what is done again joins a tar
        changed = label(run, workers, plan, recounted=recounted)
        finish(run, plan, changed)


def _new_plan(run: Run, images: Images, fingerprint: dict[str, str]) -> Plan:
    """In the place of the old one, whose results go."""
    plan = successor(run.storage, images, run.config, fingerprint)
    ownership.clear(run.storage, ownership.plan_of(run.storage), plan, run.config.output.formats)
    replace_plan(run.storage, plan)
    return plan
