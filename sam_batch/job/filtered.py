"""Another output of what an output holds, with fewer masks: made of its rows alone, without a model or an image.

The new output has the plan of the old one, so images and shards keep their numbers, and no pictures. Its fingerprint
says what it was filtered from and by, so no run goes on with it. Done again it is made anew from the old one.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from sam_batch.data.storage import Storage, open_storage, shown
from sam_batch.errors import ConfigError, OutputError
from sam_batch.job.ending import put_card
from sam_batch.job.notes import noted
from sam_batch.output import layout, lease, ownership, schema
from sam_batch.output.fingerprint import FILTER, digest, generator_of, value_of
from sam_batch.output.output import Output
from sam_batch.output.parts import Receipt, commit
from sam_batch.output.plan import Plan, read_plan, store, store_changes
from sam_batch.output.summary import Summary
from sam_batch.segment.thinning import Thinning, thin

_PICTURES: Final = ("color_masks", "segments", "label_masks")
_THRESHOLDS: Final = ("pred_iou_thresh", "stability_score_thresh")
_OF_CANDIDATES: Final = ("box_nms_thresh", "crop_nms_thresh", "min_mask_region_area")
_KEPT: Final = "output.candidates"
_NOT_BY_SCORE: Final = ("crop_n_layers", "min_mask_region_area")  # what else decides which of two masks is suppressed
_log = logging.getLogger(__name__)


def filter_output(source: Output, destination: str, thinning: Thinning) -> Summary:
    """Write the rows of a finished output, with the masks that a filter leaves, into another.

    Args:
        source: Of any job; it stays as it is.
        destination: URI of a folder or prefix that is empty, new, or was filtered so before.
        thinning: What stays.

    Returns:
        The summary, as it is written into the new output.

    Raises:
        ConfigError: The filter does nothing, or asks for masks that the output never had.
        OutputError: There is no job, it is not finished, somebody works on it, or the destination is somebody else's.
        JobError: A part is not of its plan.
        StorageError: A file cannot be read or written.
    """
    plan = source.require_plan()
    lease.refuse_held(source.storage)
    _refuse_idle(plan, thinning)
    source.require_finished(plan)
    storage = open_storage(destination, source.storage.config)
    if storage.root == source.storage.root:
        raise ConfigError(f"{shown(destination)}: is the output itself; name another folder")
    if read_plan(storage) is None:
        ownership.refuse_foreign(storage)  # before a lease is written there
    # What failed for the job that labelled is no failure of this one.
    summary = Summary(storage.root, max_failure_rate=1.0, planned=len(plan), planned_prompts=plan.prompt_count)
    holding = lease.acquire(storage)
    try:
        with noted(summary.notes):
            _warn_of_others(plan, thinning)
            _write(source, plan, Output(storage), thinning, summary)
    finally:
        holding.release()
    return summary


def _refuse_idle(plan: Plan, thinning: Thinning) -> None:
    if not thinning.settings:
        raise ConfigError("filter: nothing to filter by; --help lists what there is")
    for name in _THRESHOLDS:
        asked, there = thinning.settings.get(name), value_of(plan.fingerprint, f"generator.{name}")
        if asked is not None and asked < there:
            raise ConfigError(
                f"{name}: the output was made with {there:g}, and masks below that are not in it; a run with {asked:g} "
                "into another output finds them"
            )
    for name in _OF_CANDIDATES:
        if name in thinning.settings and not value_of(plan.fingerprint, _KEPT):
            raise ConfigError(
                f"{name}: chooses among masks that the output did not keep; a run with {_KEPT}=true keeps them"
            )


def _warn_of_others(plan: Plan, thinning: Thinning) -> None:
    """Where a run with these thresholds might keep masks that are not in the output."""
    if value_of(plan.fingerprint, _KEPT):
        return
    has_other_orders = any(value_of(plan.fingerprint, f"generator.{name}") for name in _NOT_BY_SCORE)
    for name in _THRESHOLDS:
        if name in thinning.settings and (name == "stability_score_thresh" or has_other_orders):
            _log.warning("%s: a run with it may keep masks that others, which are dropped now, had suppressed", name)


def _write(source: Output, plan: Plan, target: Output, thinning: Thinning, summary: Summary) -> None:
    """The plan first, then the parts, then what is said of them: as a run does."""
    storage, done = target.storage, source.done()
    fingerprint = _fingerprint(plan, source.storage, thinning)
    planned = _planned(storage, plan, fingerprint)
    ownership.withdraw_exports(storage, planned, layout.EXPORTS)
    marks = {"sam_batch.fingerprint": digest(fingerprint), f"sam_batch.{FILTER}": fingerprint[FILTER]}
    generator, keeps = generator_of(plan.fingerprint), value_of(fingerprint, _KEPT)
    parts = source.whole_parts(plan, done, schema.CANDIDATE_SCHEMA)
    for shard, part in zip(plan.in_order(done), parts, strict=True):
        results = [thin(result, thinning, generator) for result in schema.table_to_results(part)]
        receipt = Receipt.of(shard, results, _seconds(source.metrics(shard)))
        metadata = schema.part_metadata(part) | marks
        commit(storage, receipt, results, metadata, replace=True, candidates=keeps)
    for part in target.parts(planned, done):
        summary.count(part)
    _describe(source, storage, fingerprint[FILTER], summary)
    put_card(storage, summary, planned)


def _fingerprint(plan: Plan, source: Storage, thinning: Thinning) -> dict[str, str]:
    steps = [*json.loads(plan.fingerprint.get(FILTER, "[]")), {"from": source.root, **thinning.settings}]
    keeps = value_of(plan.fingerprint, _KEPT)
    exact = thinning.generator if keeps else {name: thinning.settings.get(name) for name in _THRESHOLDS}
    found_with = {f"generator.{name}": value for name, value in exact.items() if value is not None}
    without = {f"output.{name}.enabled": False for name in _PICTURES}
    kept = {_KEPT: not thinning.one_owner} if keeps else {}
    values = {**found_with, **without, **kept, FILTER: steps}
    return {**plan.fingerprint, **{key: json.dumps(value) for key, value in values.items()}}


def _planned(storage: Storage, plan: Plan, fingerprint: dict[str, str]) -> Plan:
    """The plan in the new output, written or found."""
    there = read_plan(storage)
    if there is None:
        ownership.refuse_foreign(storage)
        there = store(storage, None, plan.rows, fingerprint, plan.categories)
    elif there.fingerprint != fingerprint or not there.rows.equals(plan.rows):
        raise OutputError(
            f"{shown(storage.root)}: holds the results of another job or filter, or of an input that has grown since; "
            "name an empty or a new folder"
        )
    return store_changes(storage, there, plan.changes, plan.roots)


def _seconds(metrics: Mapping[str, Any]) -> tuple[float, float, float]:
    """What the masks of a shard cost when they were made."""
    load, segment, write = (float(metrics.get(f"{stage}_seconds", 0.0)) for stage in ("load", "segment", "write"))
    return load, segment, write


def _describe(source: Output, storage: Storage, steps: str, summary: Summary) -> None:
    """`summary.json` and `config.yaml`: of the job that labelled, and what it was filtered by."""
    told = source.summary()
    summary.listed = told.get("input") or {}
    labelled = told.get("run") or {}
    kept = {key: labelled[key] for key in ("model", "sha256", "engine", "precision") if key in labelled}
    summary.used = {**kept, FILTER: steps}
    settings = source.config()
    if ownership.is_sealed(settings.encode()):
        settings = settings.partition("\n")[2]
    effective = ownership.sealed(f"# These settings labelled what was filtered since: {steps}\n{settings}")
    ownership.put_over_own(storage, layout.CONFIG, effective, ownership.is_sealed)
    page = ownership.read_if_there(storage, layout.REPORT)
    if page is not None and ownership.is_report(page):
        storage.delete(layout.REPORT)  # it shows what was here before
    ownership.put_over_own(storage, layout.SUMMARY, summary.to_json().encode(), ownership.is_summary)
