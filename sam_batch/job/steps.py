"""What a driver and a worker that shares a job do alike: settle what is dear, extend the plan, label, and close.

In which order, and who may do what, `job.run` and `job.worker` say.
"""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import pyarrow as pa
from rich.console import Console

from sam_batch import configfile
from sam_batch.config import Config
from sam_batch.data.storage import Storage, shown
from sam_batch.errors import OutageError, OutputError, StorageError
from sam_batch.export.formats import open_exports, require_known, unwritten
from sam_batch.job import preflight, webhook
from sam_batch.job.breaker import Breaker
from sam_batch.job.changed import decide, difference_of, drop_cutouts, pictures_to_draw, refuse_other_images
from sam_batch.job.ending import Run, sigterm_as_interrupt
from sam_batch.job.executor import Executor, InlineExecutor
from sam_batch.job.images import Images, list_images, with_prompts
from sam_batch.job.outage import Patience, controls
from sam_batch.job.progress import ListingProgress, RunProgress
from sam_batch.job.ray import cluster
from sam_batch.job.second_pass import second_pass
from sam_batch.job.spec import JobSpec, refuse_changed_settings, roots_of
from sam_batch.output import layout, lease, ownership
from sam_batch.output.fingerprint import refuse_other
from sam_batch.output.output import Output, is_counted
from sam_batch.output.parts import Receipt
from sam_batch.output.plan import (
    Plan,
    committed_shards,
    read_plan,
    store,
    store_changes,
    store_pictures,
)
from sam_batch.prompts.arrow import GIVEN
from sam_batch.prompts.needs import Needs
from sam_batch.wording import counted

MANY_IMAGES = 100_000  # whose cut-outs, one by one, are more files than most would want

_log = logging.getLogger(__name__)


RowsOf: TypeAlias = Callable[[set[int]], Iterable[pa.Table]]  # what there is to do of some shards, in their order


class Workers(NamedTuple):
    """What it takes to label: a job whose weights and engine are settled, and who runs it."""

    job: JobSpec
    executor: Executor


class Opened(NamedTuple):
    """What a run begins with: the output, the images, and the plan that is there, if one is."""

    storage: Storage
    images: Images
    plan: Plan | None


def opened(config: Config, console: Console, overwrite: str | None = None) -> Opened:
    """List the input, and open the output if this job may go on there; nothing is written.

    Raises:
        ConfigError: It may not, or something named cannot be used.
    """
    require_known(config.output.formats)
    webhook.address_of(config.run.webhook)
    cluster.refuse_working_copy(config)
    with ListingProgress(console) as progress:
        listed = list_images(config, anew=overwrite is not None, progress=progress.found)
    console.print(str(listed), markup=False, highlight=False, soft_wrap=True)
    storage = ownership.open_output(config, overwrite)
    plan = _earlier_plan(storage, config) if overwrite is None else None
    images = with_prompts(config, listed, plan)
    refuse_other_images(plan, difference_of(plan, images.listed, config), images.listed, config)
    if images.prompts is not None:
        console.print(images.prompts_text(), markup=False, highlight=False, soft_wrap=True)
    segments, count = config.output.segments, len(listed.images)
    if plan is None and segments.enabled and segments.pack == "none" and count >= MANY_IMAGES:
        _log.warning(
            "output.segments: each mask of %d images will be a file of its own, and file systems are slow with so "
            "many; output.segments.pack=tar makes one of a shard, output.segments.enabled=false none",
            count,
        )
    return Opened(storage, images, plan)


@contextlib.contextmanager
def held(acquire: Callable[[], lease.Lease]) -> Iterator[lease.Lease]:
    """Meanwhile hold a lease of the output.

    Raises:
        OutputError: It is held, or cannot be written.
    """
    try:
        holding = acquire()
    except StorageError as error:
        raise OutputError(f"output.uri: cannot be written: {error}") from error
    try:
        yield holding
    finally:
        holding.release()


def _earlier_plan(storage: Storage, config: Config) -> Plan | None:
    try:
        plan = read_plan(storage)
    except StorageError as error:
        raise OutputError(f"output.uri: {error}") from error
    if plan is not None:
        refuse_changed_settings(plan.settings, config)
    return plan


def needs_of(config: Config, images: Images, plan: Plan | None) -> Needs | None:
    """What the prompts ask of an engine, those that are read and those that are planned."""
    given = [images.prompts.values] if images.prompts else []
    planned = (block["prompts"] for block in plan.rows.blocks(["prompts"])) if plan else ()
    given += [chunk for prompts in planned for chunk in prompts.chunks if chunk.null_count < len(chunk)]
    return Needs.of(pa.chunked_array(given, GIVEN), config.prompts)


@contextlib.contextmanager
def prepared(run: Run, images: Images, needs: Needs | None) -> Iterator[Workers]:
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
        from sam_batch.job.ray.executor import RayExecutor
        from sam_batch.job.ray.head import head_watched

        with head_watched(run.alarm.end_now):
            yield RayExecutor(resources), resources.gpus > 0 or _waits_for_gpus(run.config, resources)


def _waits_for_gpus(config: Config, resources: cluster.Resources) -> bool:
    """Whether a cluster that has no GPU yet is to bring some: it is asked for them, and grows."""
    return not resources.is_local and config.engine.device == "cuda" and config.run.max_actors is not None


def keep_config(run: Run) -> None:
    """Leave the effective configuration in the output, unless somebody edited the one that is there."""
    ownership.put_over_own(run.storage, layout.CONFIG, kept_config(run.config), ownership.is_sealed)


def kept_config(config: Config) -> bytes:
    """The effective configuration as an output keeps it: without a webhook's address, which often is a secret."""
    if config.run.webhook is not None and not webhook.is_variable(config.run.webhook):
        config = config.model_copy(update={"run": config.run.model_copy(update={"webhook": None})})
    return ownership.sealed(configfile.to_yaml(config))


def extended_plan(run: Run, images: Images, fingerprint: dict[str, str], plan: Plan | None) -> Plan:
    """Step 2: the plan with the images that are new, or its beginning.

    Raises:
        OutputError: It is of other settings, its images were replaced and may not be, or somebody's files are in the
            way.
    """
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


def label(run: Run, workers: Workers, plan: Plan, *, recounted: bool) -> bool:
    """Steps 3 and 4. Returns whether other rows count than before."""
    done = committed_shards(run.storage)
    run.summary.done = plan.image_count(run.own(done))
    pending = run.own(plan.pending(done))
    again = Output(run.storage).failed(plan) if run.config.run.retry_failed else []
    if not pending and not again and not recounted:
        return False
    ownership.withdraw_exports(run.storage, plan, layout.EXPORTS)
    total = sum(rows.num_rows for rows in again) + plan.image_count(pending)
    shards = counted(len(pending) + len(again), "shard")
    run.console.print(f"{total} of {counted(len(plan), 'image')} to do, in {shards}", highlight=False)
    with RunProgress(run.console, total) as progress:
        _label_shards(run, workers, plan, pending, plan.shards, progress, again=False)
        failed = {rows["shard"][0].as_py(): rows for rows in again}
        _label_shards(
            run, workers, plan, {*failed}, lambda some: map(failed.__getitem__, sorted(some)), progress, again=True
        )
    return True


def _label_shards(
    run: Run, workers: Workers, plan: Plan, missing: set[int], rows_of: RowsOf, progress: RunProgress, *, again: bool
) -> None:
    patience = Patience(run.config.storage.outage_seconds, run.console)
    breaker = Breaker(run.config.run)
    while missing:
        try:
            job = replace(workers.job, controls=controls(plan, run.storage))
            for receipt in _receipts(workers._replace(job=job), missing, rows_of, again=again):
                run.lease.check()
                patience.answered()
                _account(run, receipt, progress)
                missing.discard(receipt.shard)
                if not again:  # such images are done already, and failed before
                    run.summary.done += receipt.images
                    breaker.count(receipt)
        except OutageError as outage:
            patience.wait(outage)


def _receipts(workers: Workers, missing: set[int], rows_of: RowsOf, *, again: bool) -> Iterator[Receipt]:
    """Of the shards that the workers finish, and then, from the second pass, of those that are missing still."""
    job, executor = workers
    with closing(executor.run(job, rows_of(missing), again=again)) as stream:
        for receipt in stream:
            if receipt.error:
                raise StorageError(receipt.error)
            if receipt.outage:
                raise OutageError(receipt.outage)
            yield receipt
    yield from second_pass(executor, job, rows_of(missing), again=again)


def _account(run: Run, receipt: Receipt, progress: RunProgress) -> None:
    for note in receipt.notes:
        if note not in run.summary.notes:
            _log.warning("%s", note)  # which notes it
    for way in receipt.postprocessing:
        if way not in run.summary.postprocessing:
            _log.info("post-processing: %s", way)
            run.summary.postprocessing.append(way)
    for row in receipt.rows:
        level = logging.INFO if row["kind"] else logging.DEBUG  # run.log=json shows both
        words = f"{row['kind']}: {row['message']}" if row["kind"] else row["status"]
        _log.log(level, "%s: %s", shown(row["key"]), words, extra={"facts": {"shard": receipt.shard, **row}})
    run.summary.add(receipt)
    progress.add(receipt)


def finish(run: Run, plan: Plan, changed: bool) -> None:
    """Step 5. Every planned image has exactly one row, made for this plan, or the job has failed."""
    output, settings = Output(run.storage), run.config.output
    output.refuse_foreign_parts(plan)
    missing = settings.formats if changed else unwritten(settings.formats, run.storage, settings)
    run.lease.confirm()
    if not missing and is_counted(output, plan, run.summary):
        return
    mark = output.mark(plan)  # before they are read: what changes meanwhile is counted anew by the next run
    run.summary.recount()
    with open_exports(missing, run.storage, settings, plan) as exports:
        for part in output.parts(plan, output.done()):
            run.summary.count(part)
            exports.add(part)
        exports.finish()
    run.summary.counted = mark
