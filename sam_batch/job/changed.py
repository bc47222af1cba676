"""What became of the planned images, decided before any work: new, replaced, gone, or as they were.

A size or time that differs is looked into: only another content is another image. Rows of images that are gone or were
replaced count nowhere from then on; what replaced them is planned like a new image. Nothing is written here: a run does
what was decided, `plan` foresees what it would refuse.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sam_batch.config import Config
from sam_batch.data.listing import Listing
from sam_batch.data.storage import Entry, Storage, read_uri, shown
from sam_batch.errors import ImageError, NotFoundError, OutputError, PermissionDeniedError
from sam_batch.job.images import Images
from sam_batch.output import claims, layout, ownership
from sam_batch.output.changes import Change, Changes, Difference, State, compare, retired
from sam_batch.output.file_names import refuse_unwritable
from sam_batch.output.output import Output
from sam_batch.output.plan import Plan, extend, images_per_shard
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
    rows: pa.Table
    notes: list[str]


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
        OutputError: Images were replaced, and input.changed is refuse; or the output cannot hold new images' results.
        StorageError: Rows of the output, or an image to look into, cannot be read.
    """
    difference = difference_of(plan, images.listed, config)
    changes, again = look_into(output, plan, difference, images, config) if plan else ({}, [])
    rows = new_rows(output.storage, plan, [*difference.new, *again], images, config, fingerprint)
    return Decision(changes, again, rows, _notes(difference, again, images))


def look_into(
    output: Output, plan: Plan, difference: Difference, images: Images, config: Config
) -> tuple[Changes, list[Entry]]:
    """What is known of the plan's images now, and which of them others took the place of; reads those that differ.

    An image that carries other prompts than it was planned with is another one.

    Raises:
        OutputError: Images were replaced, and input.changed is refuse.
        StorageError: Rows of the output, or an image to look into, cannot be read.
    """
    changes = {**plan.changes, **{image_id: _gone(plan, image_id) for image_id in difference.gone}}
    touched = [*difference.touched, *difference.back]
    again = []
    for (image_id, entry), same in zip(touched, _are_same(output, plan, touched, config), strict=True):
        state = State.SAME if same else State.REPLACED
        changes[image_id] = Change(state, entry.size, entry.modified)
        if not same:
            again.append(entry)
    for image_id, entry in _asked_otherwise(plan, changes, images):
        changes[image_id] = Change(State.REPLACED, entry.size, entry.modified)
        again.append(entry)
    if again and config.input.changed == "refuse":
        names = ", ".join(shown(entry.key) for entry in again[:NAMED])
        raise OutputError(
            f"input.changed: {_changed(again, images)} since they were labelled ({names}"
            f"{', ...' * (len(again) > NAMED)}); redo labels them again"
        )
    return changes, again


def _asked_otherwise(plan: Plan, changes: Changes, images: Images) -> list[tuple[int, Entry]]:
    """The planned images whose prompts are no longer those they were planned with, with their image_ids."""
    if images.prompts is None:
        return []
    entries = {entry.key: entry for entry in images.listed.images}
    counts = pa.array(~np.isin(plan.rows["image_id"], retired(changes)))
    rows = plan.rows.filter(pc.and_(counts, pc.is_in(plan.rows["key"], value_set=pa.array([*entries], pa.string()))))
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
    entries: Sequence[Entry],
    images: Images,
    config: Config,
    fingerprint: Mapping[str, str],
) -> pa.Table:
    """Rows of the plan for images that it does not hold as they are.

    Raises:
        OutputError: The file system does not take the names of their results, or somebody else's files have them.
    """
    entries = sorted(entries, key=lambda entry: entry.key)
    prompts = images.prompts_of([entry.key for entry in entries])
    rows = extend(plan, entries, images_per_shard(config, len(entries)), prompts)
    formats = claims.claimed(storage).union(config.output.formats)
    whole = pa.concat_tables([plan.rows, rows]) if plan else rows
    if rows.num_rows:
        _refuse_names(storage, ownership.Names(whole, fingerprint, formats))
        ours = plan.rows["key"] if plan else pa.array([], pa.string())  # planned once: its pictures' names are ours
        free = rows.filter(pc.invert(pc.is_in(rows["key"], value_set=ours)))
        ownership.refuse_taken(storage, ownership.Names(free, fingerprint, formats))
    ownership.refuse_unclaimed(storage, config.output.formats, whole)
    return rows


def successor(storage: Storage, images: Images, config: Config, fingerprint: Mapping[str, str]) -> Plan:
    """The plan that takes the place of another, whose results go.

    Raises:
        OutputError: The file system does not take the names of its results.
    """
    entries = images.listed.images
    prompts = images.prompts_of([entry.key for entry in entries])
    rows = extend(None, entries, images_per_shard(config, len(entries)), prompts)
    plan = Plan(rows, dict(fingerprint), parts=1, categories=images.categories)
    _refuse_names(storage, ownership.Names(plan.rows, plan.fingerprint, config.output.formats))
    return plan


def _refuse_names(storage: Storage, names: ownership.Names) -> None:
    ownership.refuse_nested(names)
    refuse_unwritable(storage, sorted(names.pictures | names.cutouts | names.exports.of_images))


def drop_cutouts(output: Output, plan: Plan, again: Sequence[Entry]) -> None:
    """Delete the cut-outs of images that were replaced: the new ones may be fewer."""
    for entry in again:
        for cutout in list(output.storage.list(layout.cutouts_key(entry.key), recursive=False)):
            if layout.cutout_folder(cutout.key) == layout.cutouts_key(entry.key):
                output.storage.delete(cutout.key)


def _gone(plan: Plan, image_id: int) -> Change:
    known = plan.changes.get(image_id)
    row = plan.rows.slice(image_id, 1).to_pylist()[0]
    return Change(State.GONE, known.size if known else row["size"], known.modified if known else row["modified"])


def _are_same(output: Output, plan: Plan, touched: Sequence[tuple[int, Entry]], config: Config) -> list[bool]:
    """Whether each image is what its row was made of; one without a row is, unless it lies elsewhere now."""
    hashes = _hashes(output, plan, [image_id for image_id, _ in touched])

    def is_same(pair: tuple[int, Entry]) -> bool:
        image_id, entry = pair
        if image_id not in hashes:
            return bool(plan.rows["uri"][image_id].as_py() == entry.uri)
        try:
            data = read_uri(entry.uri, config.storage, config.input.max_bytes)
        except (ImageError, NotFoundError, PermissionDeniedError):
            return False  # whatever it is now, a worker will say so in its row
        return hashlib.sha256(data).hexdigest() == hashes[image_id]

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(is_same, touched))


def _hashes(output: Output, plan: Plan, image_ids: Sequence[int]) -> dict[int, str]:
    """The sha256 of the bytes that images were labelled with, of those that are done."""
    shards = set(plan.rows["shard"].take(np.array(image_ids, np.int64)).to_pylist())
    wanted, hashes = set(image_ids), {}
    for part in output.parts(replace(plan, changes={}), shards & output.done()):
        pairs = zip(part["image_id"].to_pylist(), part["sha256"].to_pylist(), strict=True)
        hashes.update({image_id: sha256 for image_id, sha256 in pairs if image_id in wanted})
    return hashes


def _changed(again: Sequence[Entry], images: Images) -> str:
    return f"{counted(len(again), 'image')} changed" + (", or carry other prompts," if images.prompts else "")


def _notes(difference: Difference, again: Sequence[Entry], images: Images) -> list[str]:
    notes = []
    if again:
        notes.append(f"{_changed(again, images)} since they were labelled: done again")
    if difference.gone:
        gone = counted(len(difference.gone), "image")
        notes.append(f"{gone} no longer in the input: left out of counts and exports, rows and pictures stay")
    return notes
