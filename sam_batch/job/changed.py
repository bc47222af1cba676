"""What became of the planned images, decided before any work: new, replaced, gone, or as they were.

A size or time that differs is looked into: only another content is another image. Rows of images that are gone or were
replaced count nowhere from then on; what replaced them is planned like a new image. Nothing is written here: a run does
what was decided, `plan` foresees what it would refuse.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sam_batch.config import Config
from sam_batch.data.entries import Entries, gathered
from sam_batch.data.listing import Listing
from sam_batch.data.packed import PackedTable
from sam_batch.data.storage import Entry, Storage, read_uri, shown, some
from sam_batch.errors import ImageError, NotFoundError, OutputError, PermissionDeniedError
from sam_batch.job.images import Images
from sam_batch.job.spec import input_roots
from sam_batch.output import claims, layout, ownership
from sam_batch.output.changes import Change, Changes, Difference, State, compare, retired
from sam_batch.output.file_names import refuse_unwritable
from sam_batch.output.fingerprint import only, switched_on
from sam_batch.output.output import Output
from sam_batch.output.plan import Plan, extend, images_per_shard
from sam_batch.records import Status
from sam_batch.wording import counted

THREADS = 8  # images read at once
NAMED = 5  # images in a refusal


class Decision(NamedTuple):
    """What a run does about an input that is not as it was planned.

    Attributes:
        changes: Of the plan's images, all that are known.
        again: Images to plan in the place of others of the same key.
        rows: For the plan: of these, and of those that no image of the plan was.
        notes: What the user should know.
    """

    changes: Changes
    again: list[Entry]
    rows: PackedTable
    notes: list[str]


class Looked(NamedTuple):
    """What became of the plan's images, and which of them are planned anew.

    Attributes:
        changes: All that are known.
        changed: Images of which another one has a row.
        elsewhere: Images that have none yet, or failed, and lie at another address than the plan's.
    """

    changes: Changes
    changed: list[Entry]
    elsewhere: list[Entry]


def move_text(plan: Plan | None, config: Config) -> str | None:
    """One line about an input that lies elsewhere than when the last run looked; None where it at most grew a root."""
    roots = input_roots(config)
    if plan is None or set(plan.roots) <= set(roots):
        return None
    return f"input.uri: was {_listed(plan.roots)} and is now {_listed(roots)}"


def refuse_other_images(plan: Plan | None, difference: Difference, listed: Listing, config: Config) -> None:
    """Refuse an input that moved and is not the same: each image of the plan must be there, in its size.

    Their contents are compared by `look_into`.

    Raises:
        OutputError: It moved, and is another one, or not listed as a whole.
    """
    moved = move_text(plan, config)
    if plan is None or moved is None:
        return
    if config.input.limit is not None or listed.left_out.unreadable:
        raise OutputError(f"{moved}: run once without input.limit, and with all folders readable, to see what moved")
    gone = plan.rows.take(difference.gone)["key"].to_pylist()
    resized = [entry.key for image_id, entry in difference.touched if _other_size(plan, image_id, entry)]
    _refuse_move(moved, gone, "not there")
    _refuse_move(moved, resized, "of another size")


def _refuse_move(moved: str, keys: Sequence[str], fault: str) -> None:
    if keys:
        raise OutputError(
            f"{moved}, with other images: those of the output are {fault}: {some([*keys])}; use another output, or "
            "--overwrite"
        )


def _other_size(plan: Plan, image_id: int, entry: Entry) -> bool:
    change = plan.changes.get(image_id)
    size = change.size if change else plan.rows.row(image_id)["size"]
    return None not in (size, entry.size) and size != entry.size


def _listed(roots: Sequence[str]) -> str:
    return ", ".join(map(shown, roots))


def difference_of(plan: Plan | None, listed: Listing, config: Config) -> Difference:
    """The input as it is beside the plan, if there is one; reads nothing.

    Nothing is gone from a listing that is cut short, nor from a folder that could not be read.
    """
    if plan is None:
        return Difference(listed.images, [], [], [])
    whole = config.input.limit is None and not listed.left_out.unreadable
    return compare(plan.rows, plan.changes, listed.images, whole=whole)


def decide(
    output: Output, plan: Plan | None, images: Images, config: Config, fingerprint: Mapping[str, str]
) -> Decision:
    """Compare the input with the plan, and look into what differs.

    Raises:
        OutputError: Images were replaced, and input.changed is refuse; the input moved, and is another one; or the
            output cannot hold new images' results.
        StorageError: Rows of the output, or an image to look into, cannot be read.
    """
    difference = difference_of(plan, images.listed, config)
    refuse_other_images(plan, difference, images.listed, config)
    looked = look_into(output, plan, difference, images, config) if plan else Looked({}, [], [])
    again = [*looked.changed, *looked.elsewhere]
    rows = new_rows(output.storage, plan, difference.new, again, images, config, fingerprint)
    moved = move_text(plan, config)
    notes = [f"{moved}; the images are the same"] if moved else []
    return Decision(looked.changes, again, rows, [*notes, *_notes(difference, looked, images)])


def look_into(output: Output, plan: Plan, difference: Difference, images: Images, config: Config) -> Looked:
    """What is known of the plan's images now, and which of them others took the place of; reads those that differ.

    An image that carries other prompts than it was planned with is another one.

    Raises:
        OutputError: Images were replaced, and input.changed is refuse, or the input moved.
        StorageError: Rows of the output, or an image to look into, cannot be read.
    """
    changes = {**plan.changes, **{image_id: _gone(plan, image_id) for image_id in difference.gone}}
    touched = [*difference.touched, *difference.back]
    hashes = _hashes(output, plan, dict(touched))
    changed, elsewhere = list[Entry](), list[Entry]()
    for (image_id, entry), same in zip(touched, _are_same(plan, touched, hashes, config), strict=True):
        state = State.SAME if same else State.REPLACED
        changes[image_id] = Change(state, entry.size, entry.modified, _new_address(plan, image_id, entry))
        if not same:
            (changed if image_id in hashes else elsewhere).append(entry)
    if moved := move_text(plan, config):
        was_back = {entry.key for _, entry in difference.back}
        _refuse_move(moved, [entry.key for entry in changed if entry.key not in was_back], "of other content")
    for image_id, entry in _asked_otherwise(plan, changes, images):
        changes[image_id] = Change(State.REPLACED, entry.size, entry.modified)
        changed.append(entry)
    if changed and config.input.changed == "refuse":
        names = ", ".join(shown(entry.key) for entry in changed[:NAMED])
        raise OutputError(
            f"input.changed: {_changed(changed, images)} since they were labelled ({names}"
            f"{', ...' * (len(changed) > NAMED)}); redo labels them again"
        )
    return Looked(changes, changed, elsewhere)


def _asked_otherwise(plan: Plan, changes: Changes, images: Images) -> list[tuple[int, Entry]]:
    """The planned images whose prompts are no longer those they were planned with, with their image_ids."""
    if images.prompts is None:
        return []
    entries = {entry.key: entry for entry in images.listed.images}
    rows = plan.rows.read()
    counts = pa.array(~np.isin(rows["image_id"], retired(changes)))
    rows = rows.filter(pc.and_(counts, pc.is_in(rows["key"], value_set=pa.array([*entries], pa.string()))))
    now = images.prompts_of(rows["key"])
    places = list(unequal(rows["prompts"].combine_chunks(), now))
    different = rows.select(["image_id", "key"]).take(pa.array(places, pa.int64())).to_pylist()
    return [(row["image_id"], entries[row["key"]]) for row in different]


def unequal(one: pa.Array, other: pa.Array) -> Iterator[int]:
    """Where two columns differ: by halves, since Arrow compares wholes of any type, and says no more."""
    if one.equals(other):
        return
    if len(one) == 1:
        yield 0
        return
    half = len(one) // 2
    yield from unequal(one[:half], other[:half])
    yield from (half + place for place in unequal(one[half:], other[half:]))


def new_rows(
    storage: Storage,
    plan: Plan | None,
    new: Entries,
    again: Sequence[Entry],
    images: Images,
    config: Config,
    fingerprint: Mapping[str, str],
) -> PackedTable:
    """Rows of the plan for images that it does not hold as they are.

    Args:
        storage: The output.
        plan: Its plan, if it has one.
        new: Images that it does not hold, sorted by key.
        again: Images that others were planned as.
        images: Of the job.
        config: The job.
        fingerprint: Of its settings.

    Raises:
        OutputError: The file system does not take the names of their results, or somebody else's files have them.
    """
    entries = gathered(chain(new, again)) if again else new
    rows = extend(plan, entries, images_per_shard(config, len(entries)), images.prompts_of)
    formats = claims.claimed(storage).union(config.output.formats)
    whole = plan.rows + rows if plan else rows
    if rows.num_rows:
        refuse_names(storage, ownership.Names(whole, fingerprint, formats))
        ours = _planned_keys(plan, again)
        blocks = rows.blocks(["shard", "key"])
        free = (block.filter(pc.invert(pc.is_in(block["key"], value_set=ours))) for block in blocks)
        ownership.refuse_taken(storage, (ownership.Names(block, fingerprint, formats) for block in free))
    ownership.refuse_unclaimed(storage, config.output.formats, whole)
    return rows


def pictures_to_draw(storage: Storage, plan: Plan, settings: Mapping[str, str]) -> dict[str, str]:
    """The settings of pictures that were off when the images of an output were labelled, and are switched on now.

    Raises:
        OutputError: The file system does not take their names, or somebody else's files have them.
    """
    pictures = switched_on(plan.settings, settings)
    if pictures:
        refuse_names(storage, ownership.Names(plan.rows, plan.settings | pictures))
        ownership.refuse_taken(storage, [ownership.Names(plan.rows, only(pictures))], pictures_alone=True)
    return pictures


def _planned_keys(plan: Plan | None, again: Sequence[Entry]) -> pa.Array:
    """Of new images those whose keys were planned before: the names of their pictures are ours."""
    keys = [entry.key for entry in again]
    if plan is not None:
        keys += plan.rows.take(plan.retired)["key"].to_pylist()
    return pa.array(keys, pa.string())


def successor(storage: Storage, images: Images, config: Config, fingerprint: Mapping[str, str]) -> Plan:
    """The plan that takes the place of another, whose results go.

    Raises:
        OutputError: The file system does not take the names of its results.
    """
    entries = images.listed.images
    rows = extend(None, entries, images_per_shard(config, len(entries)), images.prompts_of)
    plan = Plan(rows, dict(fingerprint), parts=1, categories=images.categories)
    refuse_names(storage, ownership.Names(plan.rows, plan.fingerprint, config.output.formats))
    return plan


def refuse_names(storage: Storage, names: ownership.Names) -> None:
    """Refuse names that would meet in an output, or that its file system does not take.

    Raises:
        OutputError: Naming the first of them.
    """
    ownership.refuse_nested(names)
    refuse_unwritable(storage, names.of_images)


def drop_cutouts(output: Output, plan: Plan, again: Sequence[Entry]) -> None:
    """Delete the cut-outs of images that were replaced: the new ones may be fewer."""
    for entry in again:
        for cutout in list(output.storage.list(layout.cutouts_key(entry.key), recursive=False)):
            if layout.cutout_folder(cutout.key) == layout.cutouts_key(entry.key):
                output.storage.delete(cutout.key)


def _gone(plan: Plan, image_id: int) -> Change:
    known = plan.changes.get(image_id)
    row = plan.rows.row(image_id)
    return known._replace(state=State.GONE) if known else Change(State.GONE, row["size"], row["modified"])


def _are_same(
    plan: Plan, touched: Sequence[tuple[int, Entry]], hashes: Mapping[int, str], config: Config
) -> list[bool]:
    """Whether each image is what its row was made of; one without a row is, unless it lies elsewhere now."""

    def is_same(pair: tuple[int, Entry]) -> bool:
        image_id, entry = pair
        if image_id not in hashes:
            return _is_at_home(plan, image_id, entry)
        try:
            data = read_uri(entry.uri, config.storage, config.input.max_bytes)
        except (ImageError, NotFoundError, PermissionDeniedError):
            return False  # whatever it is now, a worker will say so in its row
        return hashlib.sha256(data).hexdigest() == hashes[image_id]

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(is_same, touched))


def _new_address(plan: Plan, image_id: int, entry: Entry) -> str | None:
    return None if _is_at_home(plan, image_id, entry) else entry.uri


def _is_at_home(plan: Plan, image_id: int, entry: Entry) -> bool:
    """Whether workers, who go by the plan, would find the image where it is."""
    return bool(plan.rows.row(image_id)["uri"] == entry.uri)


def _hashes(output: Output, plan: Plan, touched: Mapping[int, Entry]) -> dict[int, str]:
    """The sha256 of the bytes that images were labelled with, of those that are done: elsewhere only what went well."""
    shards = plan.shard_of([*touched])
    hashes = {}
    for part in output.parts(replace(plan, changes={}), shards & output.done()):
        for row in part.select(["image_id", "sha256", "status"]).to_pylist():
            entry = touched.get(row["image_id"])
            if entry and (row["status"] != Status.FAILED or _is_at_home(plan, row["image_id"], entry)):
                hashes[row["image_id"]] = row["sha256"]
    return hashes


def _changed(again: Sequence[Entry], images: Images) -> str:
    return f"{counted(len(again), 'image')} changed" + (", or carry other prompts," if images.prompts else "")


def _notes(difference: Difference, looked: Looked, images: Images) -> list[str]:
    notes = []
    if looked.changed:
        notes.append(f"{_changed(looked.changed, images)} since they were labelled: done again")
    if looked.elsewhere:
        unlabelled = counted(len(looked.elsewhere), "image")
        notes.append(f"{unlabelled} without a row, or failed, found elsewhere than planned: planned anew")
    if difference.gone:
        gone = counted(len(difference.gone), "image")
        notes.append(f"{gone} no longer in the input: left out of counts and exports, rows and pictures stay")
    return notes
