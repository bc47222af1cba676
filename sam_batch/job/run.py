"""The job from beginning to end, as the driver sees it.

1. Check everything that can be checked before a worker starts, from cheap to dear: settings, input, output, device,
   weights. Hold the output meanwhile.
2. Extend the plan by new images; refuse another job's output.
3. Stream the shards without a part through the stages. A part that appears is a shard done.
4. Give the shards that are still missing a second pass, image by image: what kills its worker again is `failed`.
5. Read all parts once: count the rows and write COCO.

Killed at any point and started again, it ends with the same files.
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import pyarrow as pa
from rich.console import Console

from sam_batch import configfile
from sam_batch.config import Config
from sam_batch.data.storage import Storage
from sam_batch.errors import OutageError, OutputError, StorageError
from sam_batch.export.formats import open_exports, require_known, unwritten
from sam_batch.job import cluster, preflight
from sam_batch.job.breaker import Breaker
from sam_batch.job.changed import (
    decide,
    difference_of,
    drop_cutouts,
    look_into,
    pictures_to_draw,
    refuse_other_images,
    successor,
)
from sam_batch.job.ending import Alarm, Run, sigterm_as_interrupt, summarised
from sam_batch.job.executor import Executor, InlineExecutor
from sam_batch.job.images import Images, list_images, with_prompts
from sam_batch.job.notes import noted
from sam_batch.job.outage import Patience, controls
from sam_batch.job.progress import RunProgress
from sam_batch.job.redraw import draw_switched_on
from sam_batch.job.second_pass import second_pass
from sam_batch.job.spec import JobSpec, refuse_changed_settings, roots_of
from sam_batch.output import claims, layout, lease, ownership
from sam_batch.output.fingerprint import refuse_other
from sam_batch.output.output import Output
from sam_batch.output.parts import Receipt
from sam_batch.output.plan import (
    Plan,
    committed_shards,
    read_plan,
    replace_plan,
    store,
    store_changes,
    store_pictures,
)
from sam_batch.output.summary import Summary
from sam_batch.prompts.arrow import GIVEN
from sam_batch.prompts.needs import Needs
from sam_batch.wording import counted

_log = logging.getLogger(__name__)


class Workers(NamedTuple):
    """What it takes to label: a job whose weights and engine are settled, and who runs it."""

    job: JobSpec
    executor: Executor


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
    require_known(config.output.formats)
    cluster.refuse_working_copy(config)
    notes: list[str] = []
    with noted(notes):
        listed = list_images(config, anew=overwrite is not None)
        console.print(str(listed), markup=False, highlight=False, soft_wrap=True)
        storage = ownership.open_output(config, overwrite)
        plan = _earlier_plan(storage, config) if overwrite is None else None
        images = with_prompts(config, listed, plan)
        refuse_other_images(plan, difference_of(plan, images.listed, config), images.listed, config)
        if images.prompts is not None:
            console.print(images.prompts_text(), markup=False, highlight=False, soft_wrap=True)
        summary = Summary(storage.root, config.run.max_failure_rate, listed=images.listed.to_dict(), notes=notes)
        with sigterm_as_interrupt(), _held(storage) as held:
            run = Run(config, storage, held, summary, console, Alarm())
            storage.clear_temporary(layout.ExportNames(claims.claimed(storage), ()).__contains__)
            before = read_plan(storage) if overwrite is None else None  # once more: now no other driver writes here
            if before is not None and _is_finished(run, before, images):
                with summarised(run, before):
                    _finish(run, before, changed=False)
            else:
                with _prepared(run, images, _needs(config, images, plan)) as workers:
                    summary.used = workers.job.used()
                    console.print(workers.job.to_text(), markup=False, highlight=False, soft_wrap=True)
                    _work(run, workers, images, before, overwrite is not None)
    return summary


def _is_finished(run: Run, plan: Plan, images: Images) -> bool:
    """Whether this very configuration has done all there is: then nothing dear need be loaded to say so."""
    output = Output(run.storage)
    same = ownership.read_if_there(run.storage, layout.CONFIG) == ownership.sealed(configfile.to_yaml(run.config))
    if not same or not plan.is_drawn or run.config.run.retry_failed or plan.pending(output.done()):
        return False
    difference = difference_of(plan, images.listed, run.config)
    return not difference.new and look_into(output, plan, difference, images, run.config) == (plan.changes, [], [])


def _earlier_plan(storage: Storage, config: Config) -> Plan | None:
    try:
        plan = read_plan(storage)
    except StorageError as error:
        raise OutputError(f"output.uri: {error}") from error
    if plan is not None:
        refuse_changed_settings(plan.settings, config)
    return plan


def _needs(config: Config, images: Images, plan: Plan | None) -> Needs | None:
    """What the prompts ask of an engine, those that are read and those that are planned."""
    given = [images.prompts.values] if images.prompts else []
    given += plan.rows["prompts"].chunks if plan else []
    return Needs.of(pa.chunked_array(given, GIVEN), config.prompts)


@contextlib.contextmanager
def _prepared(run: Run, images: Images, needs: Needs | None) -> Iterator[Workers]:
    """The dear checks: device, weights, Ray, engines. What they need takes seconds to import."""
    import torch

    from sam_batch.engine import factory
    from sam_batch.job import settle

    config, console = run.config, run.console
    if config.run.executor == "inline" or cluster.is_local():
        factory.resolve(config.engine, torch.cuda.is_available())  # a GPU that is missing shows before a download
    checkpoint = factory.resolve_weights(config)
    # The signal's handler comes second: Ray sets one of its own.
    with _executor(run) as (executor, has_gpus), sigterm_as_interrupt(config.run.grace_seconds):
        choice = factory.resolve(config.engine, has_gpus)
        uris = (entry.uri for entry in images.listed.images)
        preflight.check(JobSpec(config, checkpoint, choice), run.storage, uris, executor, console)
        choice = settle.settle(config, checkpoint, choice, executor, console, needs)
        yield Workers(JobSpec(config, checkpoint, choice), executor)


@contextlib.contextmanager
def _executor(run: Run) -> Iterator[tuple[Executor, bool]]:
    if run.config.run.executor == "inline":
        import torch

        yield InlineExecutor(run.alarm.end_now), torch.cuda.is_available()
        return
    with cluster.connected(run.config.run.verbose, run.console) as resources:
        from sam_batch.job.ray_executor import RayExecutor
        from sam_batch.job.ray_head import head_watched

        with head_watched(run.alarm.end_now):
            yield RayExecutor(resources), resources.gpus > 0 or _waits_for_gpus(run.config, resources)


def _waits_for_gpus(config: Config, resources: cluster.Resources) -> bool:
    """Whether a cluster that has no GPU yet is to bring some: it is asked for them, and grows."""
    return not resources.is_local and config.engine.device == "cuda" and config.run.max_actors is not None


@contextlib.contextmanager
def _held(storage: Storage) -> Iterator[lease.Lease]:
    try:
        holding = lease.acquire(storage)
    except StorageError as error:
        raise OutputError(f"output.uri: cannot be written: {error}") from error
    try:
        yield holding
    finally:
        holding.release()


def _work(run: Run, workers: Workers, images: Images, before: Plan | None, overwrite: bool) -> None:
    """Steps 2 to 5."""
    fingerprint = workers.job.fingerprint()
    extend = _new_plan if overwrite else partial(_extended_plan, plan=before)
    plan = extend(run, images, fingerprint)
    recounted = before is not None and before.changes != plan.changes
    effective = ownership.sealed(configfile.to_yaml(run.config))
    ownership.put_over_own(run.storage, layout.CONFIG, effective, ownership.is_sealed)
    with summarised(run, plan):
        workers = workers._replace(job=replace(workers.job, adopted=plan.fingerprint))
        plan = draw_switched_on(run, workers.executor, workers.job, plan)  # first: what is done again joins a tar
        changed = _label(run, workers, plan, recounted=recounted)
        _finish(run, plan, changed)


def _new_plan(run: Run, images: Images, fingerprint: dict[str, str]) -> Plan:
    """In the place of the old one, whose results go."""
    plan = successor(run.storage, images, run.config, fingerprint)
    ownership.clear(run.storage, ownership.plan_of(run.storage), plan, run.config.output.formats)
    replace_plan(run.storage, plan)
    return plan


def _extended_plan(run: Run, images: Images, fingerprint: dict[str, str], plan: Plan | None) -> Plan:
    pictures = dict[str, str]()
    settings = fingerprint
    if plan is not None:
        refuse_other(plan.settings, fingerprint)
        pictures = pictures_to_draw(run.storage, plan, fingerprint)
        settings = plan.settings | pictures
        fingerprint = plan.fingerprint  # as it was written: the parts carry its digest
    else:
        ownership.refuse_foreign(run.storage)  # once more: now no other driver writes here
    decision = decide(Output(run.storage), plan, images, run.config, settings)
    for note in decision.notes:
        _log.warning("%s", note)
    if plan is not None:
        drop_cutouts(Output(run.storage), plan, decision.again)
        # First: what replaces an image is new after a crash.
        plan = store_changes(run.storage, plan, decision.changes, roots_of(run.config, plan.roots))
        plan = store_pictures(run.storage, plan, pictures, is_drawn=plan.is_drawn and not pictures)
    return store(run.storage, plan, decision.rows, fingerprint, images.categories)


def _label(run: Run, workers: Workers, plan: Plan, *, recounted: bool) -> bool:
    """Steps 3 and 4. Returns whether other rows count than before."""
    done = committed_shards(run.storage)
    run.summary.done = plan.image_count(done)
    pending = plan.pending(done)
    again = Output(run.storage).failed(plan) if run.config.run.retry_failed else []
    if not pending and not again and not recounted:
        return False
    ownership.withdraw_exports(run.storage, plan, layout.EXPORTS)
    total = sum(rows.num_rows for rows in again) + plan.image_count(pending)
    shards = counted(len(pending) + len(again), "shard")
    run.console.print(f"{total} of {counted(len(plan), 'image')} to do, in {shards}", highlight=False)
    with RunProgress(run.console, total) as progress:
        _label_shards(run, workers, plan, list(plan.shards(pending)), progress, again=False)
        _label_shards(run, workers, plan, again, progress, again=True)
    return True


def _label_shards(
    run: Run, workers: Workers, plan: Plan, shards: Sequence[pa.Table], progress: RunProgress, *, again: bool
) -> None:
    missing = {rows["shard"][0].as_py(): rows for rows in shards}
    patience = Patience(run.config.storage.outage_seconds, run.console)
    breaker = Breaker(run.config.run)
    while missing:
        try:
            job = replace(workers.job, controls=controls(plan, run.storage))
            for receipt in _receipts(workers._replace(job=job), missing, again=again):
                run.lease.check()
                patience.answered()
                _account(run, receipt, progress)
                missing.pop(receipt.shard, None)
                if not again:  # such images are done already, and failed before
                    run.summary.done += receipt.images
                    breaker.count(receipt)
        except OutageError as outage:
            patience.wait(outage)


def _receipts(workers: Workers, missing: Mapping[int, pa.Table], *, again: bool) -> Iterator[Receipt]:
    """Of the shards that the workers finish, and then, from the second pass, of those that are missing still."""
    job, executor = workers
    with closing(executor.run(job, list(missing.values()), again=again)) as stream:
        for receipt in stream:
            if receipt.error:
                raise StorageError(receipt.error)
            if receipt.outage:
                raise OutageError(receipt.outage)
            yield receipt
    yield from second_pass(executor, job, list(missing.values()), again=again)


def _account(run: Run, receipt: Receipt, progress: RunProgress) -> None:
    for note in receipt.notes:
        if note not in run.summary.notes:
            _log.warning("%s", note)  # which notes it
    for way in receipt.postprocessing:
        if way not in run.summary.postprocessing:
            _log.info("post-processing: %s", way)
            run.summary.postprocessing.append(way)
    run.summary.add(receipt)
    progress.add(receipt)


def _finish(run: Run, plan: Plan, changed: bool) -> None:
    """Step 5. Every planned image has exactly one row, made for this plan, or the job has failed."""
    output, settings = Output(run.storage), run.config.output
    output.refuse_foreign_parts(plan)
    missing = settings.formats if changed else unwritten(settings.formats, run.storage, settings)
    run.lease.confirm()
    run.summary.recount()
    with open_exports(missing, run.storage, settings, plan) as exports:
        for part in output.parts(plan, output.done()):
            run.summary.count(part)
            exports.add(part)
        exports.finish()
