"""What a job would do (`plan`) and how far it has come (`status`), without torch, Ray or a worker."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Final

from sam_batch.config import Config
from sam_batch.data import listing
from sam_batch.data.storage import Entry, Storage, shown
from sam_batch.errors import OutputError
from sam_batch.export import failures
from sam_batch.export.formats import require_known
from sam_batch.job.changed import (
    difference_of,
    look_into,
    move_text,
    new_rows,
    pictures_to_draw,
    refuse_other_images,
    successor,
)
from sam_batch.job.cost import Cost, cost
from sam_batch.job.images import Images, list_images, with_prompts
from sam_batch.job.ray.cluster import refuse_working_copy
from sam_batch.job.redraw import pictures_of
from sam_batch.job.spec import known_settings, refuse_changed_settings
from sam_batch.model.checkpoints import known_sha256
from sam_batch.output import layout, lease, ownership
from sam_batch.output.output import Output, is_counted
from sam_batch.output.plan import Plan, committed_shards, read_plan
from sam_batch.output.summary import Summary
from sam_batch.records import Status
from sam_batch.wording import counted

_COUNTS: Final = (*map(str, Status), "masks")
_KEPT: Final = (*_COUNTS, "failures", "load_seconds", "segment_seconds", "write_seconds")  # of the metrics of a shard


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a run would do.

    Attributes:
        images: What the input gives now, with the prompts that they carry.
        moved: A line about an input that lies elsewhere than when it was planned; None where it does not.
        planned: In the stored plan, of earlier runs.
        new: Listed, but not yet in the plan.
        touched: Of another size, time or address than when they were planned; a run looks into them.
        gone: Planned, but no longer listed.
        shards: Of the plan as it would be.
        shards_to_do: Without a part.
        images_to_do: In those shards.
        pictures: Of `output`, those that were switched on after images were labelled.
        images_to_draw: That have rows, and may lack them.
    """

    images: Images
    moved: str | None
    planned: int
    new: int
    touched: int
    gone: int
    shards: int
    shards_to_do: int
    images_to_do: int
    pictures: list[str] = field(default_factory=list)
    images_to_draw: int = 0

    @property
    def listed(self) -> listing.Listing:
        """What the input gives now."""
        return self.images.listed

    @property
    def prompts(self) -> int | None:
        """Objects that its images carry; None where the job has no prompts, or their source is gone."""
        return None if self.images.prompts is None else len(self.images.prompts)

    def to_text(self, images_per_second: float | None, price: float | None = None) -> str:
        """For a person; with a rate, also the time it would take, and at a price an hour what that costs."""
        lines = [
            str(self.listed),
            *([] if self.prompts is None else [f"prompts: {counted(self.prompts, 'object')}"]),
            *([] if self.moved is None else [f"{self.moved}; a run compares the contents"]),
            f"{self.planned} planned by earlier runs, {self.new} new{self._changed()}",
            f"{counted(self.shards, 'shard')}, {self.shards - self.shards_to_do} done and skipped, "
            f"{self.shards_to_do} to do",
            f"{counted(self.images_to_do, 'image')} to do",
            *([self._to_draw()] if self.pictures else []),
        ]
        if images_per_second:
            hours = self.images_to_do / images_per_second / 3600
            cost = "" if price is None else f", price {price * hours:,.2f}"
            lines.append(f"{hours:.2f} hours at {images_per_second:g} images/s{cost}")
        return "\n".join(lines)

    def _to_draw(self) -> str:
        return f"{', '.join(self.pictures)} of {counted(self.images_to_draw, 'image')} to draw, from their rows"

    def _changed(self) -> str:
        touched = f", {self.touched} perhaps changed" if self.touched else ""
        return touched + (f", {self.gone} gone" if self.gone else "")

    def to_json(self, estimate: Mapping[str, Any] | None = None) -> str:
        """The attributes, and what was estimated by them."""
        counts = {key.name: getattr(self, key.name) for key in fields(self) if key.name != "images"}
        about = {"input": self.listed.to_dict(), "prompts": self.prompts, **counts}
        return json.dumps(about | ({"estimate": dict(estimate)} if estimate else {}), indent=2)


def dry_run(config: Config) -> DryRun:
    """List the input and compare it with what the output holds; writes nothing.

    It refuses what a run would refuse before it works, but for what only devices and tensors of weights tell. Images
    that may have been replaced are read only where input.changed is refuse.

    Raises:
        ConfigError: A run would be refused, for the input, the output or the weights.
    """
    listed, storage = _opened(config, overwrite=None)
    plan = read_plan(storage)
    model = config.model
    weights = None if config.engine.kind == "fake" else known_sha256(model.name, model.checkpoint, model.sha256)
    if plan is not None:
        refuse_changed_settings(plan.settings, config, weights)
    images = with_prompts(config, listed, plan)
    difference = difference_of(plan, images.listed, config)
    refuse_other_images(plan, difference, images.listed, config)
    if plan is not None and config.input.changed == "refuse":
        look_into(Output(storage), plan, difference, images, config)
    settings = known_settings(config)
    pictures = pictures_to_draw(storage, plan, settings) if plan else {}
    settings = plan.settings | pictures if plan else settings
    new = new_rows(storage, plan, difference.new, [], images, config, settings)
    new_shards = new["shard"].unique()
    done = committed_shards(storage)
    pending = plan.pending(done) if plan else set()
    undrawn = pictures_of(pictures if plan is None or plan.is_drawn else plan.pictures | pictures)
    return DryRun(
        images=images,
        moved=move_text(plan, config),
        planned=len(plan) if plan else 0,
        new=new.num_rows,
        touched=len(difference.touched) + len(difference.back),
        gone=len(difference.gone),
        shards=(plan.shard_count if plan else 0) + len(new_shards),
        shards_to_do=len(pending) + len(new_shards),
        images_to_do=(plan.image_count(pending) if plan else 0) + new.num_rows,
        pictures=undrawn,
        images_to_draw=plan.image_count(done) if plan and undrawn else 0,
    )


def would_be_removed(config: Config, overwrite: str) -> Iterator[str]:
    """The keys that a run with `--overwrite` deletes or replaces before it begins; reads alone.

    Raises:
        ConfigError: A run would be refused; as of `dry_run`.
    """
    listed, storage = _opened(config, overwrite)
    plan = ownership.plan_of(storage)
    later = successor(storage, with_prompts(config, listed, None), config, known_settings(config))
    ownership.refuse_succession(storage, plan, later, config.output.formats)
    return ownership.own_keys(storage, plan)


def _opened(config: Config, overwrite: str | None) -> tuple[listing.Listing, Storage]:
    """The input and the output, if nobody works there and it can be written."""
    require_known(config.output.formats)
    refuse_working_copy(config)
    listed = list_images(config, anew=overwrite is not None)
    storage = ownership.open_output(config, overwrite)
    lease.refuse_held(storage)
    if not storage.may_be_written():
        raise OutputError(f"output.uri: cannot be written: {shown(storage.root)}: no right to, or mounted read-only")
    return listed, storage


@dataclass(slots=True)
class JobStatus:
    """How far a job has come.

    Attributes:
        output: Where it writes.
        planned: Images.
        shards: In the plan.
        done_shards: With a part.
        counts: ok, empty, failed and masks of the shards that are done.
        failures: By kind.
        holder: Who works on it now, in words; empty if nobody does.
        cost: So far and to come; None where no price was given.
    """

    output: str
    planned: int = 0
    shards: int = 0
    done_shards: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    holder: str = ""
    cost: Cost | None = None

    def to_text(self) -> str:
        """For a person."""
        if not self.planned:
            return f"{self.output}: no job has been planned here"
        images = self.counts["ok"] + self.counts["empty"] + self.counts["failed"]
        lines = [
            f"{self.output}: {images} of {counted(self.planned, 'image')}, "
            f"{self.done_shards} of {counted(self.shards, 'shard')} done",
            f"{self.counts['ok']} with {counted(self.counts['masks'], 'mask')}, {self.counts['empty']} without, "
            f"{self.counts['failed']} failed",
        ]
        lines += [f"  failed, {kind}: {count}" for kind, count in self.failures.most_common()]
        lines += [self.cost.to_text()] if self.cost else []
        return "\n".join([*lines, f"running: {self.holder}" if self.holder else "not running"])

    def to_json(self) -> str:
        """The attributes."""
        known = {key.name: getattr(self, key.name) for key in fields(self)}
        return json.dumps(known | {"cost": self.cost.to_dict() if self.cost else None}, indent=2)


def status(config: Config, price: float | None = None) -> JobStatus:
    """Look at an output once; see `Watch`.

    Args:
        config: Of the job, or at least of its output.
        price: Of an hour of an engine.
    """
    return Watch(config).look(price)


class Watch:
    """Looks at an output as often as it is asked to, and reads only what is new since.

    What there is shows by the names of the plan and of the parts. Where no run has counted just these parts, the
    shards' metrics are read too.

    Args:
        config: Of the job, or at least of its output.

    Attributes:
        output: That it looks at.
    """

    def __init__(self, config: Config) -> None:
        self.output = Output.at(config.output.uri, config.storage)
        self._inline = config.run.executor == "inline"
        self._planned: tuple[list[tuple[str, str | None]], Plan | None] = [], None
        self._metrics: dict[int, tuple[str | None, dict[str, Any]]] = {}  # by shard, each with its part's `modified`

    def look(self, price: float | None = None) -> JobStatus:
        """How far the job is now; at a price of an engine's hour, with what it costs."""
        storage, plan = self.output.storage, self._plan()
        state = JobStatus(storage.root)
        if plan is None:
            return state
        parts = self.output.committed()
        state.planned, state.shards, state.done_shards = len(plan), plan.shard_count, len(parts)
        summary = Summary("", 0.0)
        is_known = is_counted(self.output, plan, summary)
        metrics = self._metrics_of(plan, parts) if price is not None or not is_known else {}
        if is_known:
            state.counts.update({**summary.status, "masks": summary.masks})
            state.failures.update(summary.failures)
        else:
            for shard in metrics.values():
                state.counts.update({name: shard.get(name, 0) for name in _COUNTS})
                state.failures.update(shard.get("failures", {}))
        if price is not None:
            state.cost = cost(plan, metrics, price, inline=self._inline)
        leases = [layout.LEASE, *lease.worker_leases(storage)]
        state.holder = ", ".join(filter(None, map(partial(_holder, storage), leases)))
        return state

    def _plan(self) -> Plan | None:
        files = sorted((one.key, one.modified) for one in self.output.storage.list(layout.PLAN, recursive=False))
        if files != self._planned[0] or any(modified is None for _, modified in files):
            self._planned = files, self.output.plan()
            self._metrics.clear()  # other images may count
        return self._planned[1]

    def _metrics_of(self, plan: Plan, parts: Mapping[int, Entry]) -> dict[int, dict[str, Any]]:
        """What counts of the metrics of shards; those of a part that was replaced are read again."""
        known = {
            shard: self._metrics[shard]
            for shard, part in parts.items()
            if part.modified is not None and self._metrics.get(shard, (None,))[0] == part.modified
        }
        new = sorted(parts.keys() - known.keys())
        for shard, metrics in zip(new, self.output.metrics_of(new), strict=True):
            # They are no result, and a copied output may lack them.
            known[shard] = parts[shard].modified, {name: metrics[name] for name in _KEPT if name in metrics}
        changed = plan.shard_of(plan.retired) & {*new}  # their metrics also count images that are gone or were replaced
        for shard, part in zip(plan.in_order(changed), self.output.parts(plan, changed), strict=True):
            summary = Summary("", 0.0)
            summary.count(part)
            counts = {status.value: summary.status[status] for status in Status}
            known[shard][1].update({**counts, "masks": summary.masks, "failures": summary.failures})
        self._metrics = known
        return {shard: metrics for shard, (_, metrics) in known.items()}


def _holder(storage: Storage, key: str) -> str:
    """Who holds a lease, in words; empty where it is nobody who lives."""
    holder = lease.read_holder(storage, key)
    if holder is None or holder.is_gone():
        return ""
    worker = "worker {}/{}, ".format(*layout.worker_of(key)) if layout.is_worker_lease(key) else ""
    return f"{worker}process {holder.pid} on {holder.host}"


def failed_images(config: Config) -> Iterator[str]:
    """CSV of the failed images of the shards that are done, a line a row, as the export `failures` writes it.

    Raises:
        OutputError: There is no job.
    """
    output = Output.at(config.output.uri, config.storage)
    plan = output.require_plan()
    yield failures.to_csv([failures.HEADER])
    for part in output.parts(plan, output.done()):
        yield failures.to_csv(failures.failed_rows(part))
