"""Workers that share a job without Ray: each does its share of the shards, and the last one closes the job.

1. Each lists the input. The first to create the plan has planned; the others go by it.
2. Each commits the shards of its share, as a driver does: parts are created only if absent.
3. Whoever then finds that no shard is missing takes the driver's lease, counts all rows and writes the exports. Where
   two find it, one does. `close` does the same later, for workers that were killed before.

What changed in the input, failed images and an output that is to be overwritten are a driver's business.
"""

from dataclasses import replace
from functools import partial

from rich.console import Console

from sam_batch.config import Config
from sam_batch.errors import AlreadyExistsError, ConfigError, LeaseError, OutputError
from sam_batch.export.formats import require_known
from sam_batch.job.changed import difference_of, look_into
from sam_batch.job.ending import Alarm, Run, sigterm_as_interrupt, summarised
from sam_batch.job.images import Images
from sam_batch.job.notes import noted
from sam_batch.job.share import Share
from sam_batch.job.spec import known_settings, roots_of
from sam_batch.job.steps import (
    Workers,
    extended_plan,
    finish,
    held,
    keep_config,
    label,
    needs_of,
    opened,
    prepared,
)
from sam_batch.output import lease
from sam_batch.output.fingerprint import switched_on
from sam_batch.output.output import Output
from sam_batch.output.plan import Plan, read_plan
from sam_batch.output.summary import Summary
from sam_batch.wording import counted


def run_worker(config: Config, console: Console, share: Share) -> Summary:
    """Label a share of the images that have no row yet, and close the job if it is the last.

    Args:
        config: The job, the same for all workers.
        console: For progress.
        share: Of this worker.

    Returns:
        The summary of the share, or of the whole job where this worker closed it.

    Raises:
        ConfigError: Something is wrong that was found before any work began.
    """
    if config.run.retry_failed:
        raise ConfigError("run.retry_failed: replaces rows, which is for one driver alone; run once without --worker")
    notes: list[str] = []
    with noted(notes):
        storage, images, plan = opened(config, console)
        summary = Summary(storage.root, config.run.max_failure_rate, listed=images.listed.to_dict(), notes=notes)
        take = partial(lease.acquire_for_worker, storage, share.number, share.count)
        with sigterm_as_interrupt(), held(take) as holding:
            run = Run(config, storage, holding, summary, console, Alarm(), share)
            plan = read_plan(storage)
            if plan is None or _has_work(run, plan, images):
                with prepared(run, images, needs_of(config, images, plan)) as workers:
                    summary.used = workers.job.used()
                    console.print(workers.job.to_text(), markup=False, highlight=False, soft_wrap=True)
                    plan = _work(run, workers, images, plan)
            if plan is not None and not summary.error and not summary.interrupted:
                _close_if_last(run, plan)
    return summary


def _has_work(run: Run, plan: Plan, images: Images) -> bool:
    """Whether this worker has shards to do, or images to plan."""
    _refuse_changes(run, plan, images)
    new = difference_of(plan, images.listed, run.config).new
    return bool(new or run.own(plan.pending(Output(run.storage).done())))


def _refuse_changes(run: Run, plan: Plan, images: Images) -> None:
    """Refuse a job that is not as it was planned: what becomes of rows is not for one of several to say."""
    difference = difference_of(plan, images.listed, run.config)
    is_same = look_into(Output(run.storage), plan, difference, images, run.config) == (plan.changes, [], [])
    if not is_same or tuple(roots_of(run.config, plan.roots)) != plan.roots:
        raise OutputError(
            "input.uri: is not as it was planned: images were replaced, moved or are gone, or a folder came beside it; "
            "run once without --worker"
        )
    if not plan.is_drawn or switched_on(plan.settings, known_settings(run.config)):
        raise OutputError("output: pictures were switched on since it was planned; run once without --worker")


def _work(run: Run, workers: Workers, images: Images, plan: Plan | None) -> Plan:
    """Steps 1 and 2."""
    plan = _planned(run, workers, images, plan)
    keep_config(run)
    with summarised(run, plan):
        label(run, workers._replace(job=replace(workers.job, adopted=plan.fingerprint)), plan, recounted=False)
    return plan


def _planned(run: Run, workers: Workers, images: Images, plan: Plan | None) -> Plan:
    """The plan, extended by this worker or by one that was faster."""
    while True:
        if plan is not None:
            _refuse_changes(run, plan, images)
        try:
            return extended_plan(run, images, workers.job.fingerprint(), plan)
        except (AlreadyExistsError, OutputError):
            faster = read_plan(run.storage)
            if faster is None or (plan is not None and faster.parts == plan.parts):
                raise
            plan = faster


def _close_if_last(run: Run, plan: Plan) -> None:
    """Step 3."""
    left = plan.pending(Output(run.storage).done())
    if left:
        run.summary.others = (
            f"worker {run.share}; of the others' {counted(len(left), 'shard')} are still to do: the last worker closes "
            "the job, or `sam-batch finish`"
        )
        return
    try:
        closing = lease.acquire_to_close(run.storage)
    except LeaseError:
        run.summary.others = f"worker {run.share}; another one closes the job"
        return
    with held(lambda: closing):
        _finish(replace(run, lease=closing, share=None), plan)


def close(config: Config, console: Console) -> Summary:
    """Close a job all of whose shards are done: count its rows, write its summary and what it exports.

    Args:
        config: Of the job, or at least of its output.
        console: For progress.

    Raises:
        OutputError: There is no job, somebody works on it, or shards are missing.
    """
    require_known(config.output.formats)
    output = Output.at(config.output.uri, config.storage)
    output.require_plan()
    notes: list[str] = []
    with noted(notes), sigterm_as_interrupt(), held(partial(lease.acquire, output.storage)) as holding:
        plan = output.require_plan()
        summary = Summary(output.storage.root, config.run.max_failure_rate, notes=notes)
        if left := plan.pending(output.done()):
            raise OutputError(
                f"output.uri: {counted(plan.image_count(left), 'image')} in {counted(len(left), 'shard')} are still to "
                "do: start their workers again, or run the job without --worker"
            )
        _finish(Run(config, output.storage, holding, summary, console, Alarm()), plan)
    return summary


def _finish(run: Run, plan: Plan) -> None:
    with summarised(run, plan):
        finish(run, plan, changed=False)
    lease.forget_workers(run.storage)
