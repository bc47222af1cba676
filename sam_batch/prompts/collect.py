"""Prompts on their way from a source to the plan: gathered in Arrow as they come, then put to their images.

A million boxes take some hundred megabytes here, whatever their file takes. It opens no file.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sam_batch.config_prompts import PromptsConfig
from sam_batch.data.storage import Entry, shown, some
from sam_batch.errors import ConfigError
from sam_batch.prompts.arrow import GIVEN, PROMPT, prompt_to_row
from sam_batch.prompts.categories import Categories
from sam_batch.prompts.items import Category, Item, Mistake, Place, SourceImage, SourceObject
from sam_batch.prompts.matching import AmbiguousError, Names
from sam_batch.records import Prompt, PromptFailure
from sam_batch.records import PromptFailureKind as Kind
from sam_batch.wording import counted

NAMED = 10  # of many mistakes
CHUNK = 1 << 14  # objects that are Python's before they are Arrow's


@dataclass(frozen=True, slots=True)
class GivenPrompts:
    """The prompts of the listed images.

    Attributes:
        keys: Of the images that carry some, text.
        values: Theirs, `arrow.GIVEN`.
        categories: What their objects can be, in the order of the source.
        notes: What the user should know.
    """

    keys: pa.Array
    values: pa.StructArray
    categories: tuple[Category, ...]
    notes: list[str] = field(default_factory=list)

    def of(self, keys: Sequence[str] | pa.ChunkedArray) -> pa.StructArray:
        """The prompts of some images, null where they carry none."""
        wanted = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else pa.array(keys, pa.string())
        return self.values.take(pc.index_in(wanted, value_set=self.keys))

    def __len__(self) -> int:
        """How many prompts there are."""
        return len(self.values.field("objects").flatten()) if len(self.values) else 0


class Collector:
    """Gathers what sources say, in any order.

    Args:
        config: Which objects are left out, and what becomes of wrong rows.
        known: Categories that keep their numbers.
    """

    def __init__(self, config: PromptsConfig, known: Sequence[Category] = ()) -> None:
        self._config = config
        self._images: dict[str, SourceImage] = {}
        self._categories = Categories(known)
        self._waiting: list[SourceObject] = []
        self._chunks: list[pa.RecordBatch] = []
        self._places: dict[tuple[str, str], int] = {}  # files, and what their rows are called
        self._mistakes: list[str] = []  # the first of them
        self._count = self._mistake_count = self._low_scores = self._unused_masks = 0
        self._largest = 0.0  # coordinate in pixels

    def add(self, items: Iterable[Item]) -> None:
        """Take all that a source says.

        Raises:
            ConfigError: It contradicts itself.
        """
        for item in items:
            match item:
                case SourceObject():
                    self._object(item)
                case SourceImage():
                    self._image(item)
                case Category():
                    self._categories.add(item)
                case Mistake():
                    self._mistake_count += 1
                    if self._mistake_count <= NAMED:
                        self._mistakes.append(f"{item.place}: {item.reason}")

    def _image(self, image: SourceImage) -> None:
        other = self._images.setdefault(image.reference, image)
        if other != image:
            raise ConfigError(f"prompts.uri: {image.reference!r} is two images: {other} and {image}")

    def _object(self, item: SourceObject) -> None:
        self._count += 1
        if item.score is not None and self._config.min_score is not None and item.score < self._config.min_score:
            self._low_scores += 1
            return
        self._unused_masks += item.has_mask and "mask" not in self._config.use
        prompt = item.prompt
        if prompt.prompt_id is None:
            prompt = replace(prompt, prompt_id=str(self._count))
        if prompt.box is not None:
            self._largest = max(self._largest, *(abs(side) for side in prompt.box))
        self._waiting.append(replace(item, prompt=_finite(prompt)))
        if len(self._waiting) == CHUNK:
            self._flush()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        places = [self._places.setdefault((item.place.file, item.place.what), len(self._places)) for item in waiting]
        columns = {
            "image": pa.array([item.image for item in waiting], pa.string()),
            "prompt": pa.array([prompt_to_row(item.prompt) for item in waiting], PROMPT),
            "place": pa.array(places, pa.int32()),
            "number": pa.array([item.place.number for item in waiting], pa.int64()),
        }
        self._chunks.append(pa.record_batch(columns))

    def finish(self, listed: Sequence[Entry]) -> GivenPrompts:
        """Put the prompts to the listed images.

        Raises:
            ConfigError: Rows are wrong, ids stand twice, a name is ambiguous, or no name is that of an image.
        """
        self._flush()
        table = pa.Table.from_batches(self._chunks)
        self._chunks.clear()
        notes = self._check(table)
        references = table["image"].unique()
        images = [self._image_of(reference) for reference in references.to_pylist()]
        places, unmatched = self._match(images, listed)
        notes += self._judge_unmatched(unmatched, len(images), listed)
        place_of_object = places[np.asarray(pc.index_in(table["image"], value_set=references))]
        prompts = table["prompt"].combine_chunks()
        del table  # each copy counts
        kept = np.flatnonzero(place_of_object >= 0)
        order = kept[np.argsort(place_of_object[kept], kind="stable")]
        prompts = self._categories.complete(prompts.take(pa.array(order)))
        by_place = dict(zip(places.tolist(), images, strict=True))
        values = _by_image(prompts, place_of_object[order], by_place)
        keys = pa.array([listed[place].key for place in np.unique(place_of_object[order])], pa.string())
        return GivenPrompts(keys, values, tuple(self._categories), notes)

    def _image_of(self, reference: str) -> SourceImage:
        """An image as the source describes it; one that it does not describe is called by its reference."""
        return self._images.get(reference) or SourceImage(reference, reference, is_stem="." not in reference)

    def _check(self, table: pa.Table) -> list[str]:
        notes = []
        if self._mistakes:
            more = self._mistake_count - len(self._mistakes)
            named = "; ".join(map(shown, self._mistakes)) + (f" and {more} more" if more else "")
            rows = counted(self._mistake_count, "row")
            if self._config.bad_rows == "refuse":
                raise ConfigError(
                    f"prompts.uri: {rows} cannot be understood: {named}; prompts.bad_rows=skip leaves them out"
                )
            notes.append(f"prompts: {rows} left out: {named}")
        if self._low_scores:
            notes.append(f"prompts: {counted(self._low_scores, 'object')} below prompts.min_score left out")
        if self._unused_masks:
            masks = counted(self._unused_masks, "object")
            notes.append(f"prompts: the masks of {masks} are not asked with; prompts.use takes them")
        self._refuse_twice(table)
        if 0 < self._largest <= 1 and not any(image.normalised for image in self._images.values()):
            raise ConfigError(
                "prompts.uri: no coordinate of a box is above 1, so they seem to be shares of the images' sides; "
                "set prompts.normalised=true"
            )
        return notes

    def _refuse_twice(self, table: pa.Table) -> None:
        ids = pc.struct_field(table["prompt"], "prompt_id").combine_chunks()
        counts = pc.value_counts(ids)
        twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
        if not len(twice):
            return
        names = list(self._places)
        where = np.flatnonzero(np.asarray(pc.is_in(ids, value_set=twice)))
        rows = table.select(["place", "number"]).take(where[:NAMED])
        shown = [
            f"{ids[int(row)]} ({Place(names[place][0], names[place][1], number)})"
            for row, place, number in zip(where, rows["place"].to_pylist(), rows["number"].to_pylist(), strict=False)
        ]
        more = f" and {len(where) - len(shown)} more" if len(where) > len(shown) else ""
        raise ConfigError(f"prompts.uri: {counted(len(twice), 'id')} more than once: {', '.join(shown)}{more}")

    def _match(self, images: Sequence[SourceImage], listed: Sequence[Entry]) -> tuple[NDArray[np.int64], list[str]]:
        """The place of each image in the listing, -1 where it has none, and the names of those."""
        names, places = Names(listed), np.full(len(images), -1, np.int64)
        ambiguous: list[str] = []
        claims: dict[int, list[tuple[int, int]]] = defaultdict(list)  # by listed image: how doubtful, which image
        for number, image in enumerate(images):
            try:
                match = names.find(image.name, is_stem=image.is_stem)
            except AmbiguousError as error:
                ambiguous.append(str(error))
                continue
            if match is not None:
                claims[match.place].append((match.doubt, number))
        for place, claiming in claims.items():
            (doubt, first), *others = sorted(claiming)
            places[first] = place
            if others and others[0][0] == doubt:  # else the other image is not in the input, only called alike
                other = images[others[0][1]].name
                ambiguous.append(f"{listed[place].key!r} is meant by {images[first].name!r} and by {other!r}")
        unmatched = [images[number].name for number in np.flatnonzero(places < 0).tolist()]
        if ambiguous:
            message = f"prompts.uri: {counted(len(ambiguous), 'name')} could be of several images: "
            raise ConfigError(f"{message}{some(ambiguous, '; ')}; name more of their folders")
        return places, unmatched

    def _judge_unmatched(self, unmatched: Sequence[str], images: int, listed: Sequence[Entry]) -> list[str]:
        if not unmatched:
            return []
        message = f"{len(unmatched)} of {counted(images, 'image')} with prompts not in the input: {_first(unmatched)}"
        if len(unmatched) == images or self._config.unmatched == "refuse":
            keys = _first([entry.key for entry in listed])
            raise ConfigError(f"prompts.uri: {message}; the input has {keys}")
        return [f"prompts: {message}"]


def _first(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names[:3])) + ", ..." * (len(names) > 3)


def _by_image(objects: pa.StructArray, places: NDArray[np.int64], images: Mapping[int, SourceImage]) -> pa.StructArray:
    """One `GIVEN` an image, of objects that are sorted by the place of their image."""
    present, starts = np.unique(places, return_index=True)
    offsets = pa.array([*starts.tolist(), len(places)], pa.int32())
    given = [images[place] for place in present.tolist()]
    columns = {
        "source_id": pa.array([image.source_id for image in given], pa.int64()),
        "width": pa.array([image.width for image in given], pa.int32()),
        "height": pa.array([image.height for image in given], pa.int32()),
        "normalised": pa.array([image.normalised for image in given], pa.bool_()),
        "objects": pa.ListArray.from_arrays(offsets, objects).cast(GIVEN.field("objects").type),
    }
    return pa.StructArray.from_arrays(list(columns.values()), fields=list(GIVEN))


def _finite(prompt: Prompt) -> Prompt:
    """The prompt, or what is left of it where a number is NaN or infinite."""
    numbers = [*(prompt.box or ()), *chain.from_iterable(prompt.points)]
    if all(map(math.isfinite, numbers)):
        return prompt
    fault = PromptFailure(Kind.NOT_FINITE, f"its numbers are not finite: {', '.join(f'{one:g}' for one in numbers)}")
    return replace(prompt, box=None, points=(), labels=(), fault=prompt.fault or fault)
